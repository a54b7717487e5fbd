package bus

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/visutility/visutility"
)

// Options say how a log is kept.
type Options struct {
	// Dir is the directory of the log, made if need be. Required. Only one
	// process at a time may have it open; the caller sees to that.
	Dir string
	// Partitions is fixed when the directory is made. Defaults to what the
	// directory has, or 8.
	Partitions int
	// MaxAge is how long entries are kept. Defaults to 7 days.
	MaxAge time.Duration
	// MaxBytes is how much is kept; the oldest entries go first. Defaults to 10 GiB.
	MaxBytes int64
	// DedupWindow is how long a key is remembered, at most MaxAge. Defaults to 10 minutes.
	DedupWindow time.Duration
	// GatherWait and GatherMessages bound how long the writer, when busy, waits
	// for how many calls to join a flush. Default to 5 ms and 100.
	GatherWait     time.Duration
	GatherMessages int
	// MaxPending is how many bytes may wait to be written before callers have
	// to. A single call may not be larger. Defaults to 64 MiB.
	MaxPending int64
	// MinFree is how much of the disk must stay free: below it nothing is
	// taken. Defaults to 64 MiB; negative for no such limit.
	MinFree int64
	// Listen is the host and port on which the embedded server takes NATS
	// clients, which may publish to [IntakeSubject]. Defaults to none: no port is opened.
	Listen string
	// Token is what such clients must show, as a token or as a password. Defaults to
	// none: whoever can connect may publish.
	Token string
	// Logger defaults to one that discards.
	Logger *slog.Logger
	// Now defaults to time.Now. It dates events that carry no time.
	Now func() time.Time

	free    func(dir string) (int64, error) // for tests: how much disk is free
	attempt time.Duration                   // for tests: how long an answer of the server is awaited
}

func (o Options) withDefaults() Options {
	o.MaxAge = cmp.Or(o.MaxAge, 7*24*time.Hour)
	o.MaxBytes = cmp.Or(o.MaxBytes, 10<<30)
	o.DedupWindow = min(cmp.Or(o.DedupWindow, 10*time.Minute), o.MaxAge)
	o.GatherWait = cmp.Or(o.GatherWait, 5*time.Millisecond)
	o.GatherMessages = cmp.Or(o.GatherMessages, 100)
	o.MaxPending = cmp.Or(o.MaxPending, 64<<20)
	o.MinFree = cmp.Or(o.MinFree, 64<<20)
	o.attempt = cmp.Or(o.attempt, 3*time.Second)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.free == nil {
		o.free = freeSpace
	}
	return o
}

// Stats are counts since Open.
type Stats struct {
	Requests   uint64 // calls acknowledged, those without effect included
	Events     uint64 // events stored
	Controls   uint64 // controls stored
	Payloads   uint64 // payloads stored
	Messages   uint64 // entries stored
	Bytes      uint64 // of those entries
	Syncs      uint64 // writes that were synced as one
	Duplicates uint64 // keyed calls without effect, since their key was known
	Refused    uint64 // calls that ended in an error
	Corrupt    uint64 // entries missing from the log, or unreadable
	Restarts   uint64 // times the embedded server was started anew
}

type counters struct {
	requests, events, controls, payloads, messages, bytes, syncs, duplicates, refused, corrupt, restarts atomic.Uint64
}

// A Log is the durable log of events in one directory. It is safe for concurrent use.
type Log struct {
	o          Options
	partitions int
	gate       *gate
	encoders   encoders
	room       *semaphore.Weighted
	queue      *queue
	space      *space
	high       *high     // the writer's
	ids        idCounter // the writer's
	previous   *session  // the last one started, stopped before the next: Open's, then the repairer's, then Close's
	count      counters

	mu      sync.Mutex
	session *session      // nil while the server is down
	down    error         // why it is down
	changed chan struct{} // closed when session or closed changes
	closed  bool

	broken chan struct{} // tells the repairer that the session failed
	quit   chan struct{}
	wg     sync.WaitGroup
}

var _ visutility.Bus = (*Log)(nil)

// Open opens the log in o.Dir, and makes it if there is none. Missing entries
// are counted and logged; a directory that was made otherwise is ErrInvalid.
func Open(ctx context.Context, o Options) (*Log, error) {
	o = o.withDefaults()
	if o.Dir == "" {
		return nil, visutility.Invalidf("dir", "empty", "is required: the directory of the log")
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", visutility.ErrInvalid, err)
	}
	o.Dir = dir
	partitions, err := claim(o.Dir, o.Partitions)
	if err != nil {
		return nil, err
	}
	h, err := openHigh(o.Dir)
	if err != nil {
		return nil, err
	}
	l := &Log{
		o: o, partitions: partitions, high: h, gate: &gate{own: rand.Text(), token: o.Token},
		room:    semaphore.NewWeighted(o.MaxPending),
		queue:   newQueue(),
		space:   &space{dir: o.Dir, free: o.free},
		ids:     idCounter{prefix: "f" + rand.Text()[:8]},
		changed: make(chan struct{}),
		broken:  make(chan struct{}, 1),
		quit:    make(chan struct{}),
	}
	s, err := l.start(ctx)
	if err != nil {
		return nil, errors.Join(err, h.close())
	}
	l.session = s
	l.wg.Go(l.write)
	l.wg.Go(l.repair)
	return l, nil
}

// Close writes what is still queued, ends the readers with ErrUnavailable and
// stops the server. It may be called more than once.
func (l *Log) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	close(l.changed)
	l.changed = make(chan struct{})
	l.mu.Unlock()

	l.queue.close()
	close(l.quit)
	l.wg.Wait()
	if l.previous != nil {
		l.previous.stop()
	}
	return l.high.close()
}

// Stats returns the counts since Open.
func (l *Log) Stats() Stats {
	c := &l.count
	return Stats{
		Requests: c.requests.Load(), Events: c.events.Load(), Controls: c.controls.Load(), Payloads: c.payloads.Load(),
		Messages: c.messages.Load(), Bytes: c.bytes.Load(), Syncs: c.syncs.Load(),
		Duplicates: c.duplicates.Load(), Refused: c.refused.Load(), Corrupt: c.corrupt.Load(), Restarts: c.restarts.Load(),
	}
}

// Partitions is the number of partitions.
func (l *Log) Partitions() int { return l.partitions }

// Ready returns nil when the log takes events, and ErrUnavailable with the
// reason when it does not.
func (l *Log) Ready() error {
	if _, _, err := l.current(); err != nil {
		return err
	}
	return l.space.check(l.o.MinFree)
}

// current returns the session, or why there is none and a channel that is
// closed when that changes.
func (l *Log) current() (*session, <-chan struct{}, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed:
		return nil, nil, errClosed
	case l.session == nil:
		return nil, l.changed, l.down
	}
	return l.session, l.changed, nil
}

// writable is current for the writer, who writes what was queued even when the log is being closed.
func (l *Log) writable() (*session, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.session == nil {
		return nil, l.down
	}
	return l.session, nil
}

var errClosed = fmt.Errorf("%w: the log is closed", visutility.ErrUnavailable)

// await returns the session, waiting for the server to be up again if need be.
func (l *Log) await(ctx context.Context) (*session, error) {
	for {
		s, changed, err := l.current()
		if err == nil || changed == nil {
			return s, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// fail takes the session out of use and has it replaced.
func (l *Log) fail(s *session, cause error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.session != s {
		return
	}
	l.down = fmt.Errorf("%w: the log does not take writes: %w", visutility.ErrUnavailable, cause)
	l.session = nil
	l.o.Logger.Error("the log failed and will be started anew", "error", cause)
	s.retire()
	select {
	case l.broken <- struct{}{}:
	default:
	}
}

const (
	repairFirst = 50 * time.Millisecond
	repairMost  = 5 * time.Second
)

// repair starts the server anew whenever it failed, as soon as there is space, later and later.
func (l *Log) repair() {
	for {
		select {
		case <-l.broken:
		case <-l.quit:
			return
		}
		for wait := repairFirst; !l.restart(); wait = min(2*wait, repairMost) {
			select {
			case <-time.After(wait):
			case <-l.quit:
				return
			}
		}
	}
}

// restart starts a server in place of the failed one and reports whether that went well.
func (l *Log) restart() bool {
	if err := l.space.check(max(l.o.MinFree, leastFree)); err != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	s, err := l.start(ctx)
	if err != nil {
		l.o.Logger.Error("the log could not be started anew", "error", err)
		return false
	}
	l.count.restarts.Add(1)
	l.o.Logger.Info("the log takes events again", "last", s.last)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.session, l.down = s, nil
	close(l.changed)
	l.changed = make(chan struct{})
	return true
}

// leastFree is needed to start a server at all, whatever MinFree says.
const leastFree = 1 << 20
