package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/bus"
	"github.com/visutility/visutility/dispatch"
	"github.com/visutility/visutility/history"
	"github.com/visutility/visutility/policy"
	"github.com/visutility/visutility/retrain"
	"github.com/visutility/visutility/store"
	"github.com/visutility/visutility/trainer"
	"github.com/visutility/visutility/trigger"
)

// An Engine is a running VisuTility. All methods are safe for concurrent use.
type Engine struct {
	o        Options
	log      *slog.Logger
	closers  []io.Closer
	store    *store.Store
	bus      *bus.Log
	policies *policies
	series   *seriesSet
	trigger  *trigger.Trigger
	history  *history.History
	dispatch *dispatch.Dispatcher
	samples  *samples
	registry visutility.Registry
	runner   *retrain.Runner
	tokens   *trainer.Tokens
	hub      *trainer.Callbacks
	tracker  *trainer.Tracker
	pulls    *prometheus.CounterVec
	replays  chan struct{} // holds a token for each backtest under way
	testing  chan struct{} // holds a token while a test is made from a decision
}

// Open opens, or makes, a data directory and restores everything in it. Nothing
// runs before [Engine.Run]. It returns [visutility.ErrConflict] when another process has
// the directory.
func Open(ctx context.Context, o Options) (*Engine, error) {
	if o.Dir == "" {
		return nil, visutility.Invalidf("Dir", "empty", "is missing: the engine needs a data directory")
	}
	o.fill()
	e := &Engine{
		o: o, log: o.Logger, series: newSeriesSet(o.MaxSeries),
		replays: make(chan struct{}, maxReplays), testing: make(chan struct{}, 1),
	}
	if err := e.open(ctx); err != nil {
		return nil, errors.Join(err, closeAll(e.closers))
	}
	return e, nil
}

func (e *Engine) open(ctx context.Context) error {
	// Trainings run elsewhere: every path they are told must be absolute.
	for _, dir := range []*string{&e.o.Dir, &e.o.PolicyDir} {
		if *dir == "" {
			continue
		}
		abs, err := filepath.Abs(*dir)
		if err != nil {
			return err
		}
		*dir = abs
	}
	lock, err := lockDir(ctx, e.o.Dir)
	if err != nil {
		return err
	}
	e.closers = append(e.closers, lock)
	for _, step := range []func(context.Context) error{e.openStore, e.openBus, e.openFold, e.openRuns, e.openSamples} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (e *Engine) path(elem ...string) string {
	return filepath.Join(append([]string{e.o.Dir}, elem...)...)
}

func (e *Engine) openStore(ctx context.Context) (err error) {
	if e.store, err = store.Open(ctx, store.Options{Path: e.path("state.db"), Logger: e.log}); err != nil {
		return fmt.Errorf("opening the store: %w", err)
	}
	e.closers = append(e.closers, e.store)
	if err := e.series.load(ctx, e.store); err != nil {
		return err
	}
	e.policies, err = openPolicies(ctx, &e.o, e.store)
	return err
}

func (e *Engine) openBus(ctx context.Context) (err error) {
	e.bus, err = bus.Open(ctx, bus.Options{
		Dir: e.path("bus"), Partitions: e.o.Partitions, MaxAge: e.o.Retention, MaxBytes: e.o.MaxLogBytes,
		Listen: e.o.NATSListen, Token: e.o.NATSToken, Logger: e.log,
	})
	if err != nil {
		return fmt.Errorf("opening the log: %w", err)
	}
	e.closers = append(e.closers, e.bus)
	e.pulls = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "visutility_queries_total", Help: "PromQL queries of policies that were asked, by policy and what came of them (ok, failed, refused).",
	}, []string{"policy", "result"})
	return errors.Join(registerLog(e.o.Registerer, e.bus.Stats), e.o.Registerer.Register(e.pulls))
}

func (e *Engine) openFold(ctx context.Context) error {
	n := e.bus.Partitions()
	host, _ := os.Hostname() // only a name for people
	epoch, err := e.store.Acquire(ctx, n, fmt.Sprintf("%s/%d", host, os.Getpid()))
	if err != nil {
		return fmt.Errorf("acquiring the partitions: %w", err)
	}
	if err := e.checkPositions(ctx, n); err != nil {
		return err
	}
	if e.history, err = history.Open(history.Options{Dir: e.path("history"), Retention: e.o.HistoryRetention, Logger: quiet(e.log), Registerer: e.o.Registerer}); err != nil {
		return fmt.Errorf("opening the history: %w", err)
	}
	e.closers = append(e.closers, e.history)
	e.trigger, err = trigger.New(ctx, trigger.Options{
		Store: e.store, Partitions: n, Epoch: epoch, Policies: e.policies.set(), Strategies: e.o.Strategies,
		Past: e.past, Opened: func(run string) { e.runner.Wake(run) }, SnapshotEvery: e.o.SnapshotEvery,
		Logger: e.log, Registerer: e.o.Registerer,
	})
	if err != nil {
		return err
	}
	e.dispatch = dispatch.New(dispatch.Options{Bus: e.bus, Positions: e.store, Logger: e.log, Registerer: e.o.Registerer})
	if err := e.dispatch.Attach("trigger", e.trigger, dispatch.AttachOptions{}); err != nil {
		return err
	}
	return e.dispatch.Attach("history", e.history, dispatch.AttachOptions{})
}

// checkPositions refuses a log that ends before what was folded of it: it is not
// the log that the store belongs to, and new events would be passed over.
func (e *Engine) checkPositions(ctx context.Context, n int) error {
	for p := range n {
		c, err := e.store.Checkpoint(ctx, p)
		if err != nil {
			return err
		}
		last, err := e.bus.Last(ctx, p)
		if err != nil {
			return fmt.Errorf("reading the end of the log: %w", err)
		}
		if c.Position > last {
			return fmt.Errorf("%w: partition %d of the log in %s ends at %d, but %d was folded already: the log was lost or replaced. "+
				"Restore it from a backup together with state.db, or move the data directory away to start anew",
				visutility.ErrConflict, p, e.path("bus"), last, c.Position)
		}
	}
	return nil
}

// Run works until ctx ends, then drains and stores everything; trainings in processes of
// their own go on. It returns nil after an orderly end.
func (e *Engine) Run(ctx context.Context) error {
	// The parts stop in this order: what feeds the fold, the fold, what stores it.
	foldCtx, stopFold := context.WithCancel(context.WithoutCancel(ctx))
	defer stopFold()
	runCtx, stopRuns := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stopRuns(nil)

	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer stopFold()
		return e.dispatch.Run(gctx)
	})
	g.Go(func() error { return e.trigger.Run(foldCtx) })
	g.Go(func() error { return e.samples.dispatch.Run(gctx) })
	g.Go(func() error {
		<-gctx.Done()
		stopRuns(visutility.ErrShutdown)
		return nil
	})
	g.Go(func() error { return e.warm(gctx) })
	g.Go(func() error { return e.runner.Run(runCtx) })
	g.Go(func() error { return e.pumpOutbox(gctx) })
	g.Go(func() error { return e.tick(gctx) })
	g.Go(func() error { return e.pull(gctx) })
	g.Go(func() error { return e.prune(gctx) })
	g.Go(func() error { return e.policies.watch(gctx, e.trigger.SetPolicies) })
	g.Go(func() error { return e.reconcile(gctx) })
	err := g.Wait()
	if ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, visutility.ErrShutdown)) {
		return nil
	}
	return err
}

// Close closes everything. Run must have returned.
func (e *Engine) Close() error { return closeAll(e.closers) }

// Attach adds an observer under a name; it starts where one of that name stopped,
// or at the beginning of the log.
func (e *Engine) Attach(name string, o visutility.Observer) error {
	return e.dispatch.Attach(name, o, dispatch.AttachOptions{})
}

// Detach removes an observer, after the batch it is at. Its position is kept.
func (e *Engine) Detach(ctx context.Context, name string) error { return e.dispatch.Detach(ctx, name) }

// NATS returns a connection to the engine's own NATS server, by which to take in what clients of its
// port publish to [bus.IntakeSubject], and the address of that port, nil for none. The caller closes the connection.
func (e *Engine) NATS() (*nats.Conn, net.Addr, error) {
	nc, err := e.bus.Connect()
	return nc, e.bus.ListenAddr(), err
}

// Observers tells how every observer stands.
func (e *Engine) Observers() []dispatch.Status {
	return append(e.dispatch.Status(), e.samples.dispatch.Status()...)
}

// Store gives read access to everything that was stored.
func (e *Engine) Store() *store.Store { return e.store }

// History gives access to the metric history.
func (e *Engine) History() *history.History { return e.history }

// Registry is where the versions are.
func (e *Engine) Registry() visutility.Registry { return e.registry }

// Policies in force.
func (e *Engine) Policies() []*policy.Policy { return e.policies.set().Policies() }

// ApplyPolicy puts source in force as the policy of that name, in the place of its revision ("" for a new one), by writing it
// into the directory of policies. It returns when it is in force: events from then on are decided by it. It may not reach
// further than the policies in force do; see [policy.Set.Amend], which says what is refused. ErrConflict: it is at another revision,
// its file was changed meanwhile, or the directory cannot be written. Safe for concurrent use.
func (e *Engine) ApplyPolicy(ctx context.Context, name, revision string, source []byte, by string) (*policy.Policy, error) {
	return e.policies.apply(ctx, name, revision, source, by, e.trigger.SetPolicies)
}

// PolicyErrors are what is wrong with policy files that were refused.
func (e *Engine) PolicyErrors() []error { return e.policies.errs() }

// Models lists models, by name.
func (e *Engine) Models(ctx context.Context, p store.Page, f store.ModelFilter) ([]store.Model, string, error) {
	return e.store.Models(ctx, p, f)
}

// Model returns one model.
func (e *Engine) Model(ctx context.Context, name string) (store.Model, error) {
	return e.store.Model(ctx, name)
}

// Explain tells how a model stands with every policy that watches it, and why it is not retraining.
func (e *Engine) Explain(_ context.Context, model string) (trigger.Explanation, error) {
	return e.trigger.Explain(model, time.Now())
}

// Folded is how many events were folded, over the life of the data directory.
func (e *Engine) Folded() int64 { return e.trigger.Events() }

// StateBytes is the memory held for the state of all policies, and the number of models.
func (e *Engine) StateBytes() (bytes, models int) { return e.trigger.StateBytes() }

// Ready returns nil when events can be accepted.
func (e *Engine) Ready(ctx context.Context) error {
	if _, err := e.bus.Last(ctx, 0); err != nil {
		return fmt.Errorf("%w: the log does not answer: %w", visutility.ErrUnavailable, err)
	}
	if _, err := e.store.LastActivity(ctx); err != nil {
		return fmt.Errorf("%w: the store does not answer: %w", visutility.ErrUnavailable, err)
	}
	return nil
}
