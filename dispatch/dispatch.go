package dispatch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/visutility/visutility"
)

// Positions keeps how far the observers have read that do not keep it
// themselves. Implementations are safe for concurrent use.
type Positions interface {
	// ObserverPosition is the position saved for an observer in a partition; false when there is none.
	ObserverPosition(ctx context.Context, name string, partition int) (visutility.Position, bool, error)
	// SetObserverPositions saves the positions of one observer, by partition, all or none.
	SetObserverPositions(ctx context.Context, name string, positions map[int]visutility.Position) error
	// DeleteObserver forgets all positions of an observer; one without any is no error.
	DeleteObserver(ctx context.Context, name string) error
}

// Options say what a [Dispatcher] works with.
type Options struct {
	// Bus is the log to read. Required.
	Bus visutility.Bus
	// Positions keeps the places of observers that are no Positioner. Required.
	Positions Positions
	// Logger is told of failures and recoveries. Defaults to slog.Default().
	Logger *slog.Logger
	// Registerer gets the metrics while Run runs. Defaults to none.
	Registerer prometheus.Registerer

	// RetryMin and RetryMax bound the pause after a failure: it doubles from
	// one to the other, less up to half at random. Default to 100 ms and 30 s.
	RetryMin, RetryMax time.Duration
	// QuarantineAfter is how many failures in a row quarantine an observer. Defaults to 5.
	QuarantineAfter int
	// ProbeEvery is how often a quarantined observer is tried. Defaults to 1 minute.
	ProbeEvery time.Duration
	// HangAfter is how long a call may take before it counts as hung and its context ends. Defaults to 30 s.
	HangAfter time.Duration
	// DrainTimeout is how long calls under way may take to finish at the end. Defaults to 10 s.
	DrainTimeout time.Duration
	// SaveEvery is how often positions are saved, at most. Defaults to 1 s.
	SaveEvery time.Duration
}

func (o Options) withDefaults() Options {
	o.Logger = cmp.Or(o.Logger, slog.Default())
	o.RetryMin = cmp.Or(o.RetryMin, 100*time.Millisecond)
	o.RetryMax = cmp.Or(o.RetryMax, 30*time.Second)
	o.QuarantineAfter = cmp.Or(o.QuarantineAfter, 5)
	o.ProbeEvery = cmp.Or(o.ProbeEvery, time.Minute)
	o.HangAfter = cmp.Or(o.HangAfter, 30*time.Second)
	o.DrainTimeout = cmp.Or(o.DrainTimeout, 10*time.Second)
	o.SaveEvery = cmp.Or(o.SaveEvery, time.Second)
	return o
}

// A Dispatcher hands the entries of a log to observers. Its methods are safe for concurrent use.
type Dispatcher struct {
	options Options
	changed chan struct{} // capacity 1: wakes Run when an observer was attached

	mu       sync.Mutex
	phase    phase
	attached map[string]*attachment
}

type phase int

const (
	notStarted phase = iota
	running
	ended
)

// New returns a Dispatcher without observers.
func New(o Options) *Dispatcher {
	return &Dispatcher{
		options:  o.withDefaults(),
		changed:  make(chan struct{}, 1),
		attached: make(map[string]*attachment),
	}
}

// Run serves the attached observers until ctx ends. Then each finishes the call it is
// in, positions are saved, and Run returns nil, or an error that names the observers
// that did not finish within Options.DrainTimeout and were left behind, and those
// whose positions could not be saved. A Dispatcher runs once: a second Run is ErrConflict.
func (d *Dispatcher) Run(ctx context.Context) error {
	d.mu.Lock()
	if d.phase != notStarted {
		d.mu.Unlock()
		return fmt.Errorf("dispatcher has been run before: %w", visutility.ErrConflict)
	}
	d.phase = running
	d.mu.Unlock()

	if r := d.options.Registerer; r != nil {
		c := collector{d}
		if err := r.Register(c); err != nil {
			return errors.Join(fmt.Errorf("register metrics of the dispatcher: %w", err), d.drain())
		}
		defer r.Unregister(c)
	}
	for {
		d.launch(ctx)
		select {
		case <-d.changed:
		case <-ctx.Done():
			return d.drain()
		}
	}
}

// launch starts the observers that have been attached since it was last called.
func (d *Dispatcher) launch(ctx context.Context) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, a := range d.attached {
		if !a.started {
			a.started = true
			go d.serve(ctx, a)
		}
	}
}

// drain waits until every observer has settled, for which Run's context must have ended.
func (d *Dispatcher) drain() error {
	d.mu.Lock()
	d.phase = ended
	var all []*attachment
	for name, a := range d.attached {
		if a.started {
			all = append(all, a)
		} else {
			delete(d.attached, name)
		}
	}
	d.mu.Unlock()

	slices.SortFunc(all, func(a, b *attachment) int { return cmp.Compare(a.name, b.name) })
	var errs []error
	for _, a := range all {
		<-a.settled
		errs = append(errs, a.err)
	}
	return errors.Join(errs...)
}

// AttachOptions say how an observer is attached.
type AttachOptions struct {
	// FromNow lets an observer that has no position yet start at the end of the
	// log, as it is when Attach is called, instead of its beginning.
	FromNow bool
}

var validName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// Attach adds an observer under a name: up to 64 letters, digits, dots, dashes and
// underscores, the first a letter or digit. It is served as soon as the
// dispatcher runs. ErrConflict: the name is in use; ErrUnavailable: the dispatcher has ended,
// or the end of the log could not be told.
func (d *Dispatcher) Attach(name string, o visutility.Observer, options AttachOptions) error {
	if !validName.MatchString(name) {
		return visutility.Invalidf("name", "name", "%q is not a name for an observer: use up to 64 letters, digits, dots, dashes and underscores, starting with a letter or digit", name)
	}
	if o == nil {
		return visutility.Invalidf("observer", "empty", "is nil")
	}
	a := newAttachment(d.options, name, o)
	if options.FromNow {
		if err := a.fromNow(d.options.Bus); err != nil {
			return fmt.Errorf("attach observer %q: %w", name, err)
		}
	}

	d.mu.Lock()
	defer d.mu.Unlock()
	if d.phase == ended {
		return fmt.Errorf("attach observer %q: dispatcher has ended: %w", name, visutility.ErrUnavailable)
	}
	if d.attached[name] != nil {
		return fmt.Errorf("attach observer %q: the name is in use: %w", name, visutility.ErrConflict)
	}
	d.attached[name] = a
	select {
	case d.changed <- struct{}{}:
	default: // Run has been woken already and will see this observer too
	}
	return nil
}

// Detach lets an observer finish the call it is in, saves its positions and
// removes it with its metrics. It waits for that until ctx ends, and no longer
// than Options.DrainTimeout: an observer that is still in a call then is said so in the error
// and keeps its name until that call returns.
func (d *Dispatcher) Detach(ctx context.Context, name string) error {
	d.mu.Lock()
	a := d.attached[name]
	switch {
	case a == nil:
		d.mu.Unlock()
		return fmt.Errorf("detach observer %q: %w", name, visutility.ErrNotFound)
	case !a.started:
		delete(d.attached, name)
		d.mu.Unlock()
		return nil
	}
	if !a.stopping {
		a.stopping = true
		close(a.stop)
	}
	d.mu.Unlock()

	select {
	case <-a.settled:
		return a.err
	case <-ctx.Done():
		return fmt.Errorf("detach observer %q: %w", name, ctx.Err())
	}
}

// Forget deletes the saved positions of an observer that is not attached, so that the
// name starts afresh. ErrConflict: it is attached.
func (d *Dispatcher) Forget(ctx context.Context, name string) error {
	d.mu.Lock()
	used := d.attached[name] != nil
	d.mu.Unlock()
	if used {
		return fmt.Errorf("forget observer %q: it is attached: %w", name, visutility.ErrConflict)
	}
	if err := d.options.Positions.DeleteObserver(ctx, name); err != nil {
		return fmt.Errorf("forget observer %q: %w", name, err)
	}
	return nil
}

// Release ends the pause after a failure: the observer is tried again at once.
func (d *Dispatcher) Release(name string) error {
	d.mu.Lock()
	a := d.attached[name]
	d.mu.Unlock()
	if a == nil {
		return fmt.Errorf("release observer %q: %w", name, visutility.ErrNotFound)
	}
	for _, w := range a.workers {
		select {
		case w.retry <- struct{}{}:
		default:
		}
	}
	return nil
}

// Status tells how every observer does, sorted by name. It neither waits nor reads the log.
func (d *Dispatcher) Status() []Status {
	d.mu.Lock()
	all := make([]*attachment, 0, len(d.attached))
	for _, a := range d.attached {
		all = append(all, a)
	}
	d.mu.Unlock()
	slices.SortFunc(all, func(a, b *attachment) int { return cmp.Compare(a.name, b.name) })
	now := time.Now()
	list := make([]Status, len(all))
	for i, a := range all {
		list[i] = a.status(now)
	}
	return list
}
