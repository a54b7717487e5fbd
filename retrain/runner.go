package retrain

import (
	"cmp"
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/policy"
)

// Store is what the runner needs of the store, where the methods are documented.
type Store interface {
	Run(ctx context.Context, id string) (visutility.Run, error)
	OpenRuns(ctx context.Context) ([]visutility.Run, error)
	MoveRun(ctx context.Context, run visutility.Run, from visutility.RunState, note string, controls ...visutility.Control) error
	SaveProgress(ctx context.Context, id string, attempt int, progress float64, message string) error
	Decision(ctx context.Context, id string) (visutility.Decision, error)
	Watch() (changed <-chan struct{}, stop func())
}

// Options says what a [Runner] works with.
type Options struct {
	// Store holds the runs. Required.
	Store Store
	// Registry takes the versions. Required.
	Registry visutility.Registry
	// Policy returns a policy as it was at a revision: a run is carried through under the policy that decided. Required.
	Policy func(ctx context.Context, name, revision string) (*policy.Policy, error)
	// Trainer returns the trainer that a policy asks for. Required.
	Trainer func(*policy.Policy) (visutility.Trainer, error)
	// Dir is where each run gets a directory. Required.
	Dir string
	// MaxRuns bounds the trainings at once; what is over it waits, oldest first. Trainings found under way
	// at the start are carried on in any case. Defaults to 4.
	MaxRuns int
	// StopGrace is how long a trainer may take to return when it is told to stop; then it is left
	// to itself and its result refused. Defaults to 1 minute.
	StopGrace time.Duration
	// Now is the clock. Defaults to time.Now.
	Now func() time.Time
	// Rand returns a random number from [0, 1), for the pauses between retries. Safe for
	// concurrent use. Defaults to rand.Float64.
	Rand func() float64
	// Logger defaults to slog.Default().
	Logger *slog.Logger
	// Registerer takes the metrics. Defaults to none.
	Registerer prometheus.Registerer
}

const (
	// maxSteps bounds the workers that do anything but train.
	maxSteps = 16
	// rescan is how often the rows are looked at though nothing was heard: nothing depends on a wake-up call.
	rescan = 30 * time.Second
	// restScan is the least time between two looks: the store tells of every progress.
	restScan = 100 * time.Millisecond
	// watchEvery is how often a watched run looks whether it is still the champion.
	watchEvery = time.Minute
)

// A Runner moves runs forward. Make it with [New]; Wake may be called from any goroutine.
type Runner struct {
	o       Options
	log     *slog.Logger
	metrics *metrics
	wake    chan struct{} // of capacity 1
	done    chan string   // runs whose worker has ended

	mu   sync.Mutex
	woke map[string]struct{} // runs to look at now, whatever their timers say
}

// New makes a runner.
func New(o Options) *Runner {
	o.MaxRuns = cmp.Or(o.MaxRuns, 4)
	o.StopGrace = cmp.Or(o.StopGrace, time.Minute)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Rand == nil {
		o.Rand = rand.Float64
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	r := &Runner{
		o: o, log: o.Logger, metrics: newMetrics(),
		wake: make(chan struct{}, 1), done: make(chan string), woke: make(map[string]struct{}),
	}
	if o.Registerer != nil {
		for _, c := range r.metrics.collectors() {
			if err := o.Registerer.Register(c); err != nil {
				r.log.Warn("a metric is not exported", slog.String("error", err.Error()))
			}
		}
	}
	return r
}

// Wake has the runner look at a run at once, "" for all of them. It is never needed for anything
// to happen, only for it to happen soon.
func (r *Runner) Wake(run string) {
	if run != "" {
		r.mu.Lock()
		r.woke[run] = struct{}{}
		r.mu.Unlock()
	}
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Run moves runs until ctx ends, then tells the trainers that the process shuts down, waits for its
// workers and returns nil. Call it once.
func (r *Runner) Run(ctx context.Context) error {
	changed, stop := r.o.Store.Watch()
	defer stop()
	work, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	l := &loop{r: r, workers: make(map[string]*worker), timers: make(map[string]timer)}
	timer := time.NewTimer(0)
	defer timer.Stop()
	last := time.Time{}
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case id := <-r.done:
			l.ended(id)
			timer.Reset(0)
		case <-changed:
			timer.Reset(max(0, restScan-time.Since(last)))
		case <-r.wake:
			timer.Reset(0)
		case <-timer.C:
			last = time.Now()
			timer.Reset(l.look(work))
		}
	}
	cancel(visutility.ErrShutdown)
	for len(l.workers) > 0 {
		l.ended(<-r.done)
	}
	return nil
}

// takeWoken empties the list of runs to look at now.
func (r *Runner) takeWoken() map[string]struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	woke := r.woke
	r.woke = make(map[string]struct{})
	return woke
}

// A loop is what one call of Run keeps. Only its goroutine touches it.
type loop struct {
	r        *Runner
	workers  map[string]*worker
	training int // workers that train
	timers   map[string]timer
	faults   int // looks that failed in a row
}

// A timer holds back a run: until the pause after a fault is over, or the next look at the champion is due.
type timer struct {
	at     time.Time
	faults int       // in a row
	newest time.Time // the model's newest promotion then: a newer one is a reason to look at once
}

// A worker moves one run until it has to wait.
type worker struct {
	training bool
	newest   time.Time               // see timer
	cancel   context.CancelCauseFunc // of the training alone
	result   carried                 // valid once it has ended
}

// look starts workers for the runs that are due, tells those that train of a
// wish to cancel, and returns how long to wait before the next look.
func (l *loop) look(ctx context.Context) time.Duration {
	runs, err := l.r.o.Store.OpenRuns(ctx)
	if err != nil {
		l.faults++
		l.r.log.Error("open runs cannot be read", slog.String("error", err.Error()))
		return pause(l.faults, l.r.o.Rand())
	}
	l.faults = 0
	woke, now, next := l.r.takeWoken(), l.r.o.Now(), rescan
	open := make(map[string]bool, len(runs))
	newest := newestPromotions(runs)
	for _, run := range runs {
		open[run.ID] = true
		if w := l.workers[run.ID]; w != nil {
			if run.Wish == visutility.WishCancel {
				w.cancel(visutility.ErrCanceled)
			}
			continue
		}
		if _, ok := woke[run.ID]; ok || newest[run.Model].After(l.timers[run.ID].newest) && run.State == visutility.Watching {
			delete(l.timers, run.ID)
		}
		wait := l.due(run, now)
		if wait > 0 {
			next = min(next, wait)
			continue
		}
		if wait == 0 && l.room(run) {
			l.start(ctx, run, newest[run.Model])
		}
	}
	for id := range l.timers {
		if !open[id] {
			delete(l.timers, id)
		}
	}
	return next
}

// newestPromotions returns when each model's newest watched run was promoted.
func newestPromotions(runs []visutility.Run) map[string]time.Time {
	newest := make(map[string]time.Time)
	for _, run := range runs {
		if run.State == visutility.Watching && run.PromotedAt.After(newest[run.Model]) {
			newest[run.Model] = run.PromotedAt
		}
	}
	return newest
}

// due returns how long a run has to wait: 0 for not at all, -1 for a word from somebody.
func (l *loop) due(run visutility.Run, now time.Time) time.Duration {
	var at time.Time
	switch run.State {
	case visutility.Training:
		at = run.NextAt
	case visutility.AwaitingApproval:
		if run.Wish == "" {
			return -1
		}
	case visutility.Watching:
		at = run.WatchUntil
		if look := l.timers[run.ID].at; look.Before(at) {
			at = look
		}
	}
	if t := l.timers[run.ID]; t.faults > 0 {
		at = t.at
	} else if run.Wish != "" {
		at = time.Time{}
	}
	return max(0, at.Sub(now))
}

// launches tells whether a worker for the run would train.
func launches(run visutility.Run) bool {
	return (run.State == visutility.Pending || run.State == visutility.Training) && run.Wish != visutility.WishCancel
}

// room tells whether there is a place for the run. An attempt that is under way has one in any case.
func (l *loop) room(run visutility.Run) bool {
	switch {
	case !launches(run):
		return len(l.workers)-l.training < maxSteps
	case run.State == visutility.Training && run.NextAt.IsZero():
		return true
	}
	return l.training < l.r.o.MaxRuns
}

func (l *loop) start(ctx context.Context, run visutility.Run, newest time.Time) {
	train, cancel := context.WithCancelCause(ctx)
	w := &worker{training: launches(run), newest: newest, cancel: cancel}
	l.workers[run.ID] = w
	if w.training {
		l.training++
	}
	go func() {
		defer func() { l.r.done <- run.ID }()
		w.result = l.r.carry(ctx, train, run)
	}()
}

// ended takes a worker off the list and sets the run's timer.
func (l *loop) ended(id string) {
	w := l.workers[id]
	w.cancel(nil)
	delete(l.workers, id)
	if w.training {
		l.training--
	}
	faults := l.timers[id].faults
	delete(l.timers, id)
	if w.result.moved {
		faults = 0
	}
	t := timer{newest: w.newest}
	switch now := l.r.o.Now(); {
	case w.result.failed:
		t.faults = faults + 1
		t.at = now.Add(pause(t.faults, l.r.o.Rand()))
	case w.result.state == visutility.Watching:
		t.at = now.Add(watchEvery)
	default:
		return
	}
	l.timers[id] = t
}
