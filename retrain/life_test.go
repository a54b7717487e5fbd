package retrain

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/visutility/visutility"
)

// A fate is what happens to one run: drawn beforehand, so that a failure shrinks.
type fate struct {
	Rules    rules
	Outcomes []string // of the attempts: good, worse, fail, invalid, panic, endless
	Champion bool     // there is one
	Crashes  []crash  // one for each life of the process but the last
	Faults   []int    // calls of the registry, counted from the start, that fail
	Wishes   []wish
}

// A crash ends a life of the process at one of its effects, before or after it took place.
type crash struct {
	Effect int
	After  bool
	Down   time.Duration
}

type wish struct {
	At   time.Duration
	What string
}

var minutes = rapid.Map(rapid.IntRange(0, 300), func(n int) time.Duration { return time.Duration(n) * time.Minute })

var fates = rapid.Custom(func(t *rapid.T) fate {
	return fate{
		Rules:    rules{rapid.IntRange(0, 3).Draw(t, "retries"), rapid.Bool().Draw(t, "approval"), rapid.Bool().Draw(t, "rollback")},
		Outcomes: rapid.SliceOfN(rapid.SampledFrom([]string{"good", "good", "good", "worse", "fail", "fail", "invalid", "panic", "endless"}), 4, 4).Draw(t, "outcomes"),
		Champion: rapid.Bool().Draw(t, "champion"),
		Crashes: rapid.SliceOfN(rapid.Custom(func(t *rapid.T) crash {
			return crash{rapid.IntRange(0, 12).Draw(t, "effect"), rapid.Bool().Draw(t, "after"), minutes.Draw(t, "down")}
		}), 0, 8).Draw(t, "crashes"),
		Faults: rapid.SliceOfN(rapid.IntRange(0, 30), 0, 6).Draw(t, "faults"),
		Wishes: rapid.SliceOfN(rapid.Custom(func(t *rapid.T) wish {
			return wish{minutes.Draw(t, "at"), rapid.SampledFrom([]string{visutility.WishCancel, visutility.WishApprove, visutility.WishRollback, visutility.WishRollback}).Draw(t, "what")}
		}), 0, 4).Draw(t, "wishes"),
	}
})

// A world is what outlives the process: the store, the registry, and the system that trains.
type world struct {
	fate  fate
	store *fakeStore
	reg   *countingRegistry

	mu       sync.Mutex
	wrong    []string
	calls    int // of the registry
	launches map[string]int
	ends     map[string]time.Time // when the work of an attempt is done
}

func (w *world) blame(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wrong = append(w.wrong, fmt.Sprintf(format, args...))
}

// A process is one life: everything it does to the world goes through do, until it is dead.
type process struct {
	*world
	crash *crash // nil: lives on

	mu      sync.Mutex
	effects int
	died    chan struct{}
	dead    bool
}

var errDead = errors.New("the process is dead")

// do makes one effect, unless the process is dead or dies of it.
func (p *process) do(effect func() error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead {
		return errDead
	}
	n := p.effects
	p.effects++
	if p.crash == nil || n != p.crash.Effect {
		return effect()
	}
	p.dead = true
	close(p.died)
	if p.crash.After {
		_ = effect() // nobody hears of it
	}
	return errDead
}

// processStore is the store as a process sees it.
type processStore struct {
	*fakeStore
	p *process
}

func (s processStore) MoveRun(ctx context.Context, run visutility.Run, from visutility.RunState, note string, controls ...visutility.Control) error {
	return s.p.do(func() error { return s.fakeStore.MoveRun(ctx, run, from, note, controls...) })
}

func (s processStore) SaveProgress(ctx context.Context, id string, attempt int, progress float64, message string) error {
	return s.p.do(func() error { return s.fakeStore.SaveProgress(ctx, id, attempt, progress, message) })
}

// processRegistry is the registry as a process sees it; it is away at times.
type processRegistry struct {
	*countingRegistry
	p *process
}

func (r processRegistry) away() error {
	r.p.world.mu.Lock()
	defer r.p.world.mu.Unlock()
	r.p.calls++
	if slices.Contains(r.p.fate.Faults, r.p.calls-1) {
		return errors.New("the registry is away")
	}
	return nil
}

func (r processRegistry) Register(ctx context.Context, v visutility.Version) (got visutility.Version, err error) {
	err = r.p.do(func() error {
		if err := r.away(); err != nil {
			return err
		}
		got, err = r.countingRegistry.Register(ctx, v)
		return err
	})
	return got, err
}

func (r processRegistry) SetAlias(ctx context.Context, model, alias, to, from string) error {
	return r.p.do(func() error { return errors.Join(r.away(), r.countingRegistry.SetAlias(ctx, model, alias, to, from)) })
}

func (r processRegistry) Resolve(ctx context.Context, model, ref string) (visutility.Version, error) {
	if err := r.away(); err != nil {
		return visutility.Version{}, err
	}
	return r.countingRegistry.Resolve(ctx, model, ref)
}

// Train is the trainer as a process sees it: the work itself goes on without the process.
func (p *process) Train(ctx context.Context, job visutility.Job) (visutility.Artifact, error) {
	key := fmt.Sprintf("%s/%d", job.Run, job.Attempt)
	outcome := p.fate.Outcomes[(job.Attempt-1)%len(p.fate.Outcomes)]
	err := p.do(func() error {
		p.world.mu.Lock()
		defer p.world.mu.Unlock()
		if p.launches[key] == 0 && ctx.Err() == nil {
			p.launches[key]++
			p.ends[key] = time.Now().Add(30 * time.Minute)
		}
		return nil
	})
	if err != nil {
		return visutility.Artifact{}, err
	}
	if r := p.store.get(job.Run); r.State != visutility.Training || r.Attempt != job.Attempt || !r.NextAt.IsZero() {
		p.blame("%s is trained, and the store has attempt %d in state %s", key, r.Attempt, r.State)
	}
	p.world.mu.Lock()
	end := p.ends[key]
	p.world.mu.Unlock()
	done := time.After(time.Until(end))
	if outcome == "endless" {
		done = nil
	}
	job.Report(0.5, "half")
	select {
	case <-ctx.Done():
		return visutility.Artifact{}, context.Cause(ctx)
	case <-done:
	}
	switch outcome {
	case "panic":
		panic("boom")
	case "invalid":
		return visutility.Artifact{}, visutility.Invalidf("train", "syntax", "is wrong")
	case "good":
		return good(), nil
	case "worse":
		a := good()
		a.Metrics = map[string]float64{"wmape": 0.5}
		return a, nil
	}
	return visutility.Artifact{}, errors.New("failed")
}

// live runs processes, one after the other, until the run has ended and some hours beyond.
func (w *world) live(t *testing.T) {
	p := w.fate.Rules.policy(t)
	for i := 0; i <= len(w.fate.Crashes); i++ {
		life := &process{world: w, died: make(chan struct{})}
		if i < len(w.fate.Crashes) {
			life.crash = &w.fate.Crashes[i]
		}
		_, stop := run(options(processStore{w.store, life}, processRegistry{w.reg, life}, life, p))
		for hours, quiet := 0, 0; hours < 100 && quiet < 3 && !life.over(); hours++ {
			select {
			case <-life.died:
			case <-time.After(time.Hour):
				if w.store.get("r1").State.Ended() {
					quiet++
				}
			}
		}
		stop()
		if life.crash != nil && life.over() {
			<-time.After(life.crash.Down)
		}
	}
}

// over tells whether the process is dead.
func (p *process) over() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dead
}

// people wish what they wish, and in the end see to it that nothing waits for them.
func (w *world) people(done <-chan struct{}) {
	start := time.Now()
	for _, x := range w.fate.Wishes {
		select {
		case <-time.After(x.At - time.Since(start)):
		case <-done:
		}
		// A person who is told that it cannot be done now comes back, a few times.
		for range 100 {
			if w.store.wish("r1", x.What) || x.What == visutility.WishCancel {
				break
			}
			select {
			case <-time.After(5 * time.Minute):
			case <-done:
				return
			}
		}
	}
	for {
		select {
		case <-done:
			return
		case <-time.After(10 * time.Hour):
			w.store.wish("r1", visutility.WishApprove)
		}
	}
}

// check holds what became of the run against what must be.
func (w *world) check() {
	r := w.store.get("r1")
	if !r.State.Ended() {
		w.blame("the run is %s after days: %+v", r.State, r)
	}
	for _, step := range w.store.illegal {
		w.blame("illegal step %s", step)
	}
	for key, n := range w.launches {
		if n > 1 {
			w.blame("%s was launched %d times", key, n)
		}
	}
	if n := len(w.launches); n > w.fate.Rules.retries+1 {
		w.blame("%d attempts, %d allowed", n, w.fate.Rules.retries+1)
	}
	w.checkPromotion(r)
}

func (w *world) checkPromotion(r visutility.Run) {
	before, ours := 0, "v1"
	if w.fate.Champion {
		before, ours = 1, "v2"
	}
	versions := 0
	for range w.reg.Versions(context.Background(), "bikes") {
		versions++
	}
	watched := w.fate.Rules.rollback && w.fate.Champion
	var moves, told []string
	switch {
	case r.State == visutility.RolledBack:
		moves, told = []string{ours, "v1"}, []string{"promoted:" + ours, "ended:watching", "promoted:v1", "ended:rolled_back"}
	case r.State == visutility.Succeeded && watched:
		moves, told = []string{ours}, []string{"promoted:" + ours, "ended:watching", "ended:succeeded"}
	case r.State == visutility.Succeeded:
		moves, told = []string{ours}, []string{"promoted:" + ours, "ended:succeeded"}
	default:
		told = []string{"ended:" + r.State.String()}
	}
	if !slices.Equal(w.reg.moves, moves) {
		w.blame("run %s: the alias moved to %q, want %q", r.State, w.reg.moves, moves)
	}
	if got := w.store.announced(); !slices.Equal(got, told) {
		w.blame("run %s: announced %q, want %q", r.State, got, told)
	}
	// One may be left of a run that was canceled between the registry's word and the store's.
	if n := versions - before; n > 1 {
		w.blame("run %s: %d versions registered", r.State, n)
	}
}

// TestLifeWithCrashes lets a run live through crashes between any two effects, a registry that is
// away at times, trainers of all kinds, and people.
func TestLifeWithCrashes(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := &world{fate: fates.Draw(rt, "fate"), launches: make(map[string]int), ends: make(map[string]time.Time)}
		synctest.Test(t, func(t *testing.T) {
			w.store, w.reg = newFakeStore(pending("r1", "bikes")), &countingRegistry{}
			if w.fate.Champion {
				w.reg.addChampion(t, "bikes", 0.4)
			}
			done, quiet := make(chan struct{}), make(chan struct{})
			go func() { defer close(quiet); w.people(done) }()
			w.live(t)
			close(done)
			<-quiet
			w.check()
		})
		if len(w.wrong) > 0 {
			rt.Fatalf("steps %v\n%s", w.store.steps, strings.Join(w.wrong, "\n"))
		}
	})
}
