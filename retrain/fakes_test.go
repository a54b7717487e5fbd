package retrain

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/policy"
	"github.com/visutility/visutility/visutilitytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeStore keeps runs in memory under the rules of the real one.
type fakeStore struct {
	mu       sync.Mutex
	runs     map[string]visutility.Run
	order    []string
	steps    []visutility.RunState // that were come to, over all runs
	controls []visutility.Control
	changed  map[chan struct{}]struct{}
	progress []float64
	illegal  []string
}

func newFakeStore(runs ...visutility.Run) *fakeStore {
	s := &fakeStore{runs: make(map[string]visutility.Run), changed: make(map[chan struct{}]struct{})}
	for _, r := range runs {
		s.open(r)
	}
	return s
}

func (s *fakeStore) open(r visutility.Run) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.runs[r.ID], s.order = r, append(s.order, r.ID)
	s.poke()
}

func (s *fakeStore) poke() {
	for ch := range s.changed {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
}

func (s *fakeStore) get(id string) visutility.Run {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.runs[id]
}

func (s *fakeStore) Run(_ context.Context, id string) (visutility.Run, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.runs[id]
	if !ok {
		return r, visutility.ErrNotFound
	}
	return r, nil
}

func (s *fakeStore) OpenRuns(context.Context) (open []visutility.Run, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range s.order {
		if r := s.runs[id]; !r.State.Ended() {
			open = append(open, r)
		}
	}
	return open, nil
}

func (s *fakeStore) MoveRun(_ context.Context, run visutility.Run, from visutility.RunState, _ string, controls ...visutility.Control) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.runs[run.ID]
	if old.State != from {
		return fmt.Errorf("run is %s: %w", old.State, visutility.ErrConflict)
	}
	if run.State != from && !from.CanBecome(run.State) {
		s.illegal = append(s.illegal, fmt.Sprint(from, " to ", run.State))
		return visutility.ErrConflict
	}
	run.Wish = old.Wish
	if run.State != from {
		s.steps = append(s.steps, run.State)
		if !mayWish(run.Wish, run.State) {
			run.Wish = ""
		}
	}
	s.runs[run.ID] = run
	s.controls = append(s.controls, controls...)
	s.poke()
	return nil
}

func mayWish(wish string, st visutility.RunState) bool {
	switch wish {
	case visutility.WishCancel:
		return st.CanBecome(visutility.Canceled)
	case visutility.WishApprove:
		return st == visutility.AwaitingApproval
	case visutility.WishRollback:
		return st == visutility.Watching
	}
	return false
}

// wish notes a wish if the state allows it.
func (s *fakeStore) wish(id, wish string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.runs[id]
	if !mayWish(wish, r.State) || r.Wish == visutility.WishCancel {
		return false
	}
	r.Wish = wish
	s.runs[id] = r
	s.poke()
	return true
}

func (s *fakeStore) SaveProgress(_ context.Context, id string, attempt int, progress float64, message string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.runs[id]
	if r.State != visutility.Training || r.Attempt != attempt {
		return visutility.ErrConflict
	}
	r.Progress, r.Message = progress, message
	s.runs[id] = r
	s.progress = append(s.progress, progress)
	s.poke()
	return nil
}

func (s *fakeStore) Decision(_ context.Context, id string) (visutility.Decision, error) {
	return visutility.Decision{ID: id, Reason: "wmape > 0.3"}, nil
}

func (s *fakeStore) Watch() (<-chan struct{}, func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ch := make(chan struct{}, 1)
	s.changed[ch] = struct{}{}
	return ch, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.changed, ch)
	}
}

// announced returns the controls, in short: "ended:failed", "promoted:v2".
func (s *fakeStore) announced() (short []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.controls {
		switch c.Kind {
		case visutility.ControlEnded:
			short = append(short, "ended:"+c.State.String())
		case visutility.ControlPromoted:
			short = append(short, "promoted:"+c.Version)
		}
	}
	return short
}

// countingRegistry counts how often an alias was really moved.
type countingRegistry struct {
	visutilitytest.InMemoryRegistry
	mu    sync.Mutex
	moves []string
}

func (r *countingRegistry) SetAlias(ctx context.Context, model, alias, to, from string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	now, err := r.Resolve(ctx, model, alias)
	if err != nil && !errors.Is(err, visutility.ErrNotFound) {
		return err
	}
	if err := r.InMemoryRegistry.SetAlias(ctx, model, alias, to, from); err != nil {
		return err
	}
	if now.ID != to {
		r.moves = append(r.moves, to)
	}
	return nil
}

// addChampion registers a version that no run made and has it serve.
func (r *countingRegistry) addChampion(tb testing.TB, model string, wmape float64) {
	tb.Helper()
	v, err := r.Register(tb.Context(), visutility.Version{Model: model, Metrics: map[string]float64{"wmape": wmape}})
	if err == nil {
		err = r.InMemoryRegistry.SetAlias(tb.Context(), model, visutility.Champion, v.ID, "")
	}
	if err != nil {
		tb.Fatal(err)
	}
}

func (r *countingRegistry) champion(model string) string {
	v, err := r.Resolve(context.Background(), model, visutility.Champion)
	if err != nil {
		return ""
	}
	return v.ID
}

// rules are the parts of a policy that make a difference to a run.
type rules struct {
	retries            int
	approval, rollback bool
}

func (r rules) policy(tb testing.TB) *policy.Policy {
	tb.Helper()
	text := "models: [\"*\"]\nmetrics: {wmape: lower_is_better}\nretrain: {when: wmape > 0.3}\n" +
		fmt.Sprintf("train: {trainer: fake, retries: %d, timeout: 2h}\n", r.retries) +
		"promote:\n  when: candidate.wmape < champion.wmape\n"
	if r.approval {
		text += "  approval: required\n"
	}
	if r.rollback {
		text += "rollback: {when: wmape > previous.wmape, within: 1h}\n"
	}
	p, err := policy.Parse("bikes.yaml", []byte(text))
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

// options wires a runner over the fakes.
func options(s Store, reg visutility.Registry, tr visutility.Trainer, p *policy.Policy) Options {
	return Options{
		Store: s, Registry: reg, Dir: "runs",
		Policy:  func(context.Context, string, string) (*policy.Policy, error) { return p, nil },
		Trainer: func(*policy.Policy) (visutility.Trainer, error) { return tr, nil },
		Rand:    func() float64 { return 0.5 },
		Logger:  slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
}

func pending(id, model string) visutility.Run {
	return visutility.Run{ID: id, Model: model, Policy: "bikes", Decision: "d-" + id, CreatedAt: time.Now()}
}

// run has a runner at work until the test ends it.
func run(o Options) (r *Runner, stop func()) {
	r = New(o)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = r.Run(ctx) // always nil
	}()
	return r, func() { cancel(); <-done }
}

// good is what a training that worked leaves.
func good() visutility.Artifact {
	return visutility.Artifact{URI: "s3://bikes", Metrics: map[string]float64{"wmape": 0.2}, ChampionMetrics: map[string]float64{"wmape": 0.4}}
}

func sameStrings(tb testing.TB, what string, got []string, want ...string) {
	tb.Helper()
	if !slices.Equal(got, want) {
		tb.Errorf("%s: %q, want %q", what, got, want)
	}
}
