package trigger

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/policy"
	"github.com/visutility/visutility/store"
)

// Options says what a [Trigger] works with.
type Options struct {
	// Store takes what is decided. Required.
	Store *store.Store
	// Partitions is the number of partitions of the log. Required.
	Partitions int
	// Epoch is the one under which the partitions were acquired. Required.
	Epoch int64
	// Policies in force at the start. Required.
	Policies *policy.Set
	// Strategies that policies may name, by name; each makes one for a model. Defaults to none.
	Strategies map[string]func(model string) visutility.Strategy
	// Past reads what was measured before a condition was there, for it to start with. Defaults to none: it starts with nothing.
	Past Past
	// Opened is told of runs after they are stored. It must not block. Defaults to nothing.
	Opened func(run string)
	// SnapshotEvery is the least time between two snapshots of the state. Defaults to 1 s.
	SnapshotEvery time.Duration
	// Logger defaults to slog.Default().
	Logger *slog.Logger
	// Registerer takes the metrics. Defaults to none.
	Registerer prometheus.Registerer
}

// A Trigger is the observer that decides. It is safe for concurrent use.
type Trigger struct {
	o     Options
	log   *slog.Logger
	parts []*partition
	wake  chan struct{}
	met   *metrics

	mu      sync.Mutex
	done    chan struct{}                        // closed and replaced at every commit
	waiters map[string]chan *visutility.Decision // by request
}

var _ visutility.Positioner = (*Trigger)(nil)

// New restores a trigger from the store.
func New(ctx context.Context, o Options) (*Trigger, error) {
	if o.SnapshotEvery <= 0 {
		o.SnapshotEvery = time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Opened == nil {
		o.Opened = func(string) {}
	}
	t := &Trigger{
		o: o, log: o.Logger, wake: make(chan struct{}, 1),
		done: make(chan struct{}), waiters: make(map[string]chan *visutility.Decision),
	}
	for i := range o.Partitions {
		p := newPartition(t, i, o.Policies)
		if err := p.load(ctx, o.Store); err != nil {
			return nil, fmt.Errorf("restoring partition %d: %w", i, err)
		}
		t.parts = append(t.parts, p)
	}
	if err := t.loadSeries(ctx); err != nil {
		return nil, err
	}
	if err := t.loadRuns(ctx); err != nil {
		return nil, err
	}
	t.met = newMetrics(t, o.Registerer)
	return t, nil
}

func (t *Trigger) loadSeries(ctx context.Context) error {
	for s, err := range t.o.Store.SeriesKeys(ctx) {
		if err != nil {
			return fmt.Errorf("loading the series: %w", err)
		}
		// A series that came after the snapshots will be met again.
		p := t.partition(s.Model)
		if m := p.models[s.Model]; m != nil {
			if i := p.knownSeries(m, s.Metric); i >= 0 {
				p.series.meet(i, s.Labels)
			}
		}
	}
	return nil
}

// loadRuns gives the partitions the active runs, for when they have caught up.
func (t *Trigger) loadRuns(ctx context.Context) error {
	runs, err := t.o.Store.OpenRuns(ctx)
	if err != nil {
		return fmt.Errorf("loading the open runs: %w", err)
	}
	for _, r := range runs {
		if r.State.Active() {
			p := t.partition(r.Model)
			p.active = append(p.active, r)
		}
	}
	for _, p := range t.parts {
		p.advance(p.folded)
	}
	return nil
}

func (t *Trigger) partition(model string) *partition {
	return t.parts[visutility.PartitionOf(model, len(t.parts))]
}

// Start is the position after which a partition is to be read: at first that of its
// snapshots, later that of what was folded.
func (t *Trigger) Start(_ context.Context, partition int) (visutility.Position, error) {
	return t.Folded(partition), nil
}

// Folded is the position up to which a partition is folded, stored or not.
func (t *Trigger) Folded(partition int) visutility.Position {
	p := t.parts[partition]
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.folded
}

// Observe folds a batch. What it decides is committed soon after, not before it returns;
// it waits when too much waits for the database.
func (t *Trigger) Observe(ctx context.Context, b visutility.Batch) error {
	p := t.parts[b.Partition]
	if err := p.room(ctx); err != nil {
		return err
	}
	p.fold(b)
	p.mu.Lock()
	urgent, n := p.out.urgent(), p.counts
	p.counts = counts{}
	p.mu.Unlock()
	t.met.count(n)
	if urgent {
		t.poke()
	}
	return nil
}

func (t *Trigger) poke() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// SetPolicies puts other policies in force, from the next entry of each partition on.
// Operators that are the same keep their state; others begin with the past, as far as there is one.
func (t *Trigger) SetPolicies(set *policy.Set) {
	ctx, cancel := context.WithTimeout(context.Background(), warmTime)
	defer cancel()
	for _, p := range t.parts {
		p.adopt(set, t.warm(ctx, p.colds(set)))
	}
	t.poke()
}

// Expect announces that a control with this request is about to be published; the channel gets the decision that
// answers it (nil where a control asks for none) once it is stored. forget ends the wait.
func (t *Trigger) Expect(request string) (answer <-chan *visutility.Decision, forget func()) {
	c := make(chan *visutility.Decision, 1)
	t.mu.Lock()
	t.waiters[request] = c
	t.mu.Unlock()
	return c, func() {
		t.mu.Lock()
		delete(t.waiters, request)
		t.mu.Unlock()
	}
}

// Champion is the version that the fold believes to be the champion of a model;
// settled is false when it never saw the model, or a run may be about to move it.
func (t *Trigger) Champion(model string) (version string, settled bool) {
	p := t.partition(model)
	p.mu.Lock()
	defer p.mu.Unlock()
	m := p.models[model]
	if m == nil {
		return "", false
	}
	return m.facts.Champion, m.facts.ActiveRun == "" && m.facts.WatchedRun == ""
}

// Events is how many events of all models were seen by the fold, over the life of the data directory.
func (t *Trigger) Events() int64 {
	var n int64
	for _, p := range t.parts {
		p.mu.Lock()
		n += p.events
		p.mu.Unlock()
	}
	return n
}

// StateBytes is the memory held for series and for the state of all programs, and the number of models.
func (t *Trigger) StateBytes() (bytes, models int) {
	for _, p := range t.parts {
		p.mu.Lock()
		for _, tab := range p.tables {
			bytes += tab.bytes()
		}
		bytes += p.series.bytes()
		models += len(p.models)
		p.mu.Unlock()
	}
	return bytes, models
}
