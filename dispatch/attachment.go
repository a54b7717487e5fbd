package dispatch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/visutility/visutility"
)

// The store and the log get this long to answer a question about positions.
const answerTimeout = 5 * time.Second

// An attachment is one observer under its name, with a worker for each partition.
type attachment struct {
	name    string
	workers []*worker
	keeps   bool          // the observer keeps its positions itself
	stop    chan struct{} // closed to detach
	settled chan struct{} // closed when the workers have finished or been given up; err is set then
	err     error

	started, stopping bool // guarded by Dispatcher.mu

	// Used by serve alone.
	saved      map[int]visutility.Position
	saveFailed bool
}

func newAttachment(o Options, name string, observer visutility.Observer) *attachment {
	_, keeps := observer.(visutility.Positioner)
	a := &attachment{
		name:    name,
		keeps:   keeps,
		stop:    make(chan struct{}),
		settled: make(chan struct{}),
		saved:   make(map[int]visutility.Position),
	}
	for p := range o.Bus.Partitions() {
		a.workers = append(a.workers, newWorker(o, name, observer, p))
	}
	return a
}

// fromNow makes the end of the log the place to start for want of another.
func (a *attachment) fromNow(bus visutility.Bus) error {
	ctx, cancel := context.WithTimeout(context.Background(), answerTimeout)
	defer cancel()
	for _, w := range a.workers {
		last, err := bus.Last(ctx, w.partition)
		if err != nil {
			return fmt.Errorf("read the end of partition %d: %w", w.partition, err)
		}
		first, err := bus.First(ctx, w.partition) // past Last when everything has been dropped
		if err != nil {
			return fmt.Errorf("read the beginning of partition %d: %w", w.partition, err)
		}
		w.fallback, w.fromNow = max(last, first), true
	}
	return nil
}

// serve runs the workers of an observer until ctx ends or it is detached, and saves its positions.
func (d *Dispatcher) serve(ctx context.Context, a *attachment) {
	reading, stopReading := context.WithCancel(ctx)
	defer stopReading()
	// Calls outlive ctx by the time they have to finish.
	calling, giveUp := context.WithCancelCause(context.WithoutCancel(ctx))
	defer giveUp(nil)

	var workers sync.WaitGroup
	for _, w := range a.workers {
		w.work(reading, calling, &workers)
	}
	finished := make(chan struct{})
	go func() { workers.Wait(); close(finished) }()

	tick := time.NewTicker(d.options.SaveEvery)
	defer tick.Stop()
	for waiting := true; waiting; {
		select {
		case <-tick.C:
			a.saveNow(calling, d.options)
		case <-finished: // only by a worker's own end: reading has not been stopped
			waiting = false
		case <-a.stop:
			waiting = false
		case <-ctx.Done():
			waiting = false
		}
	}
	stopReading()

	over := time.AfterFunc(d.options.DrainTimeout, func() { giveUp(visutility.ErrShutdown) })
	defer over.Stop()
	// Who heeds the end of the context gets a moment to do so.
	lost := time.NewTimer(d.options.DrainTimeout + d.options.DrainTimeout/10)
	defer lost.Stop()
	var left error
	select {
	case <-finished:
	case <-lost.C:
		left = a.leftBehind(d.options.DrainTimeout)
	}
	a.err = errors.Join(left, a.save(context.WithoutCancel(ctx), d.options.Positions))
	if left != nil {
		close(a.settled)
		<-finished
	}
	d.mu.Lock()
	delete(d.attached, a.name)
	d.mu.Unlock()
	if left == nil {
		close(a.settled)
	}
}

func (a *attachment) leftBehind(after time.Duration) error {
	var stuck []int
	for _, w := range a.workers {
		if w.inCall() {
			stuck = append(stuck, w.partition)
		}
	}
	return fmt.Errorf("observer %q left behind: still in a call for partitions %v, %s after it was asked to end", a.name, stuck, after)
}

// saveNow saves and logs the first failure of several, and the recovery.
func (a *attachment) saveNow(ctx context.Context, o Options) {
	err := a.save(ctx, o.Positions)
	switch {
	case err != nil && !a.saveFailed:
		o.Logger.LogAttrs(ctx, slog.LevelError, "cannot save positions; going on, and trying again", slog.String("observer", a.name), slog.Any("error", err))
	case err == nil && a.saveFailed:
		o.Logger.LogAttrs(ctx, slog.LevelInfo, "positions are saved again", slog.String("observer", a.name))
	}
	a.saveFailed = err != nil
}

// save writes the positions of all partitions, if any has moved.
func (a *attachment) save(ctx context.Context, store Positions) error {
	if a.keeps {
		return nil
	}
	now := make(map[int]visutility.Position, len(a.workers))
	for _, w := range a.workers {
		if p, ok := w.reached(); ok {
			now[w.partition] = p
		}
	}
	if maps.Equal(now, a.saved) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	if err := store.SetObserverPositions(ctx, a.name, now); err != nil {
		return fmt.Errorf("save positions of observer %q: %w", a.name, err)
	}
	a.saved = now
	return nil
}
