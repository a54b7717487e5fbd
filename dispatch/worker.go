package dispatch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/visutility/visutility"
)

// A worker serves one observer with one partition.
type worker struct {
	options   Options
	log       *slog.Logger
	name      string
	observer  visutility.Observer
	partition int
	// fallback is where to start without a position: the beginning, or where the log ended at Attach.
	fallback visutility.Position
	fromNow  bool
	retry    chan struct{} // capacity 1: ends a pause

	mu   sync.Mutex
	view view
	call call
}

// A view is what others may see of a worker.
type view struct {
	position visutility.Position
	placed   bool      // position is known
	waiting  uint64    // entries that wait, those in the call under way included
	oldest   time.Time // when the log stored the oldest of them, or the one before it
	state    int       // index into states

	failures    int // of the observer, in a row
	unread      int // failed tries to read the log, in a row
	lastError   error
	lastErrorAt time.Time
	nextTry     time.Time

	batches, events, failed, panics, skipped uint64
}

// The indexes of the states, and their order of gravity.
const (
	isRunning = iota
	isRetrying
	isQuarantined
	isHung
)

func newWorker(o Options, name string, observer visutility.Observer, partition int) *worker {
	return &worker{
		options:   o,
		name:      name,
		log:       o.Logger.With(slog.String("observer", name), slog.Int("partition", partition)),
		observer:  observer,
		partition: partition,
		retry:     make(chan struct{}, 1),
	}
}

// work runs the worker in a goroutine of workers, and in another one should an observer end it.
func (w *worker) work(reading, calling context.Context, workers *sync.WaitGroup) {
	workers.Go(func() {
		returned := false
		defer func() {
			if returned {
				return
			}
			w.mu.Lock()
			w.call.began, w.call.hung = time.Time{}, false
			w.mu.Unlock()
			workers.Go(func() {
				if w.pause(reading, w.trouble(errGone, true)) {
					w.work(reading, calling, workers)
				}
			})
		}()
		w.run(reading, calling)
		returned = true
	})
}

// run reads and delivers until reading ends. calling is the context of the calls.
func (w *worker) run(reading, calling context.Context) {
	w.call.arm(w)
	defer w.call.disarm()
	var at visutility.Position
	for placed := false; ; {
		var err error
		if !placed {
			at, err = w.start(reading)
			placed = err == nil
		}
		if placed {
			at, err = w.read(reading, calling, at)
		}
		// Whatever ended the reading, the cure is the same: to read on from the last position.
		if reading.Err() != nil || !w.pause(reading, w.trouble(err, false)) {
			return
		}
	}
}

// start is the position after which the partition is to be read.
func (w *worker) start(ctx context.Context) (visutility.Position, error) {
	var at visutility.Position
	var found bool
	var err error
	if p, ok := w.observer.(visutility.Positioner); ok {
		at, err = p.Start(ctx, w.partition)
		found = at > 0
	} else if at, found = w.reached(); !found {
		at, found, err = w.options.Positions.ObserverPosition(ctx, w.name, w.partition)
	}
	if err != nil {
		return 0, fmt.Errorf("where to start: %w", err)
	}
	if !found {
		at = w.fallback
		if !w.fromNow {
			// What the log dropped before the observer existed is not missed.
			if at, err = w.options.Bus.First(ctx, w.partition); err != nil {
				return 0, fmt.Errorf("where the log begins: %w", err)
			}
		}
	}
	w.mu.Lock()
	w.view.position, w.view.placed = at, true
	w.mu.Unlock()
	return at, nil
}

// read delivers what comes after a position until the reading fails, and returns how far it came.
func (w *worker) read(reading, calling context.Context, at visutility.Position) (visutility.Position, error) {
	at, err := w.checkPlace(reading, at)
	if err != nil {
		return at, err
	}
	for b, err := range w.options.Bus.Read(reading, w.partition, at) {
		if err != nil {
			return at, fmt.Errorf("read after position %d: %w", at, err)
		}
		if len(b.Entries) == 0 {
			continue
		}
		if !w.deliver(reading, calling, b) {
			return at, reading.Err()
		}
		at = b.Last()
		// A call that ran into the end of the context is finished; nothing new begins.
		if reading.Err() != nil {
			return at, reading.Err()
		}
	}
	return at, errors.New("the log stopped sending without an error")
}

// checkPlace holds a position against what the log has: it moves past entries that are
// gone, and refuses to wait for a position the log has never given out.
func (w *worker) checkPlace(ctx context.Context, at visutility.Position) (visutility.Position, error) {
	first, err := w.options.Bus.First(ctx, w.partition)
	if err != nil {
		return at, fmt.Errorf("where the log begins: %w", err)
	}
	if first > at {
		lost := uint64(first - at)
		w.mu.Lock()
		w.view.skipped += lost
		w.view.position = first
		w.mu.Unlock()
		w.log.LogAttrs(ctx, slog.LevelError, "entries were dropped from the log before the observer read them; going on with the oldest there is",
			slog.Uint64("position", uint64(at)), slog.Uint64("oldest", uint64(first)), slog.Uint64("skipped", lost))
		return first, nil
	}
	last, err := w.options.Bus.Last(ctx, w.partition)
	if err != nil {
		return at, fmt.Errorf("where the log ends: %w", err)
	}
	if at > max(last, first) {
		return at, fmt.Errorf("position %d is past the end of the log, %d: was the log replaced? %w", at, max(last, first), visutility.ErrConflict)
	}
	return at, nil
}

// deliver hands over one batch until it is accepted; false when it was not before reading ended.
func (w *worker) deliver(reading, calling context.Context, b visutility.Batch) bool {
	w.mu.Lock()
	unread := w.view.unread
	w.view.unread = 0
	w.view.waiting = b.Pending + uint64(len(b.Entries))
	w.view.oldest = time.UnixMilli(b.Entries[0].Stored)
	w.mu.Unlock()
	if unread > 0 {
		w.log.LogAttrs(reading, slog.LevelInfo, "the log can be read again", slog.Int("failures", unread))
	}
	for {
		select {
		case <-w.retry: // of an earlier pause
		default:
		}
		err := w.call.do(calling, w, b)
		if err == nil {
			w.delivered(b)
			return true
		}
		if !w.pause(reading, w.trouble(err, true)) {
			return false
		}
	}
}

// delivered notes that a batch was accepted.
func (w *worker) delivered(b visutility.Batch) {
	events := 0
	for i := range b.Entries {
		events += len(b.Entries[i].Records)
	}
	w.mu.Lock()
	v := &w.view
	failures := v.failures
	v.position = b.Last()
	v.waiting = b.Pending
	v.oldest = time.UnixMilli(b.Entries[len(b.Entries)-1].Stored)
	v.state, v.failures, v.nextTry = isRunning, 0, time.Time{}
	v.batches++
	v.events += uint64(events)
	w.mu.Unlock()
	if failures > 0 {
		w.log.LogAttrs(context.Background(), slog.LevelInfo, "observer works again", slog.Int("failures", failures))
	}
}

// trouble notes a failure, of the observer or of reading the log, and returns how long to
// pause: longer each time, and until the next probe once the observer is quarantined.
func (w *worker) trouble(err error, ofObserver bool) time.Duration {
	o := w.options
	w.mu.Lock()
	v := &w.view
	row := &v.failures
	if !ofObserver {
		row = &v.unread
	}
	*row++
	failures := *row
	v.failed++
	v.lastError, v.lastErrorAt = err, time.Now()
	v.state = isRetrying
	pause := o.RetryMax
	if shift := failures - 1; shift < 30 && o.RetryMin<<shift < o.RetryMax {
		pause = o.RetryMin << shift
	}
	pause -= rand.N(pause/2 + 1)
	if ofObserver && failures >= o.QuarantineAfter {
		v.state = isQuarantined
		pause = o.ProbeEvery
	}
	v.nextTry = v.lastErrorAt.Add(pause)
	p, panicked := errors.AsType[*panicError](err)
	if panicked {
		v.panics++
	}
	w.mu.Unlock()

	// Of a row of failures two are logged: that it began, and that it lasts.
	ctx, attrs := context.Background(), []slog.Attr{slog.Any("error", err), slog.Duration("next_try_in", pause)}
	switch {
	case !ofObserver && failures == 1:
		w.log.LogAttrs(ctx, slog.LevelWarn, "cannot read the log; trying again", attrs...)
	case ofObserver && failures == o.QuarantineAfter:
		if panicked {
			attrs = append(attrs, slog.String("stack", string(p.stack)))
		}
		w.log.LogAttrs(ctx, slog.LevelError, "observer is quarantined", append(attrs, slog.Int("failures", failures))...)
	case ofObserver && failures == 1:
		w.log.LogAttrs(ctx, slog.LevelWarn, "observer failed; trying again", attrs...)
	}
	return pause
}

// pause waits for a time, or for Release; false when ctx ended first.
func (w *worker) pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-w.retry:
	case <-ctx.Done():
		return false
	}
	return true
}

// reached is how far the worker has come, false while it does not know where it is.
func (w *worker) reached() (visutility.Position, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.view.position, w.view.placed
}

func (w *worker) snapshot() view {
	w.mu.Lock()
	defer w.mu.Unlock()
	v := w.view
	if w.call.hung {
		v.state = isHung
	}
	return v
}
