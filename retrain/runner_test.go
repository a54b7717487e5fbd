package retrain

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/policy"
	"github.com/visutility/visutility/visutilitytest"
)

// scene is a runner with one run, in a bubble of fake time.
type scene struct {
	*testing.T
	store *fakeStore
	reg   *countingRegistry
	r     *Runner
}

// inBubble runs a test on a scene whose champion, v1, has a wmape of 0.4.
func inBubble(t *testing.T, rules rules, tr visutility.Trainer, test func(s *scene)) {
	t.Helper()
	inBubbleWith(t, rules, tr, nil, test)
}

func inBubbleWith(t *testing.T, rules rules, tr visutility.Trainer, change func(*Options, *scene), test func(s *scene)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &scene{T: t, store: newFakeStore(pending("r1", "bikes")), reg: &countingRegistry{}}
		s.reg.addChampion(t, "bikes", 0.4)
		o := options(s.store, s.reg, tr, rules.policy(t))
		if change != nil {
			change(&o, s)
		}
		r, stop := run(o)
		defer stop()
		s.r = r
		test(s)
	})
}

// after lets time pass and returns the run.
func (s *scene) after(d time.Duration) visutility.Run {
	<-time.After(d)
	synctest.Wait()
	return s.store.get("r1")
}

func (s *scene) state(want visutility.RunState) visutility.Run {
	s.Helper()
	r := s.store.get("r1")
	if r.State != want {
		s.Fatalf("the run is %s (%s), want %s", r.State, r.Error, want)
	}
	return r
}

func nop() visutility.Trainer {
	return visutilitytest.NopTrainer{Metrics: good().Metrics, ChampionMetrics: good().ChampionMetrics}
}

func TestTheWholeLife(t *testing.T) {
	inBubble(t, rules{approval: true, rollback: true}, nop(), func(s *scene) {
		s.after(time.Second)
		r := s.state(visutility.AwaitingApproval)
		if r.Version != "v2" || r.Champion != "v1" || r.Report == nil || !r.Report.Passed || r.Attempt != 1 || r.StartedAt.IsZero() {
			s.Errorf("the run is %+v", r)
		}
		v, err := s.reg.Resolve(s.Context(), "bikes", "v2")
		if err != nil || v.Run != "r1" || v.Decision != "d-r1" || v.Parent != "v1" || v.Metrics["wmape"] != 0.2 {
			s.Errorf("the version is %+v, %v", v, err)
		}
		s.store.wish("r1", visutility.WishApprove)
		s.after(time.Second)
		r = s.state(visutility.Watching)
		if !r.WatchUntil.Equal(r.PromotedAt.Add(time.Hour)) {
			s.Errorf("promoted at %s, watched until %s", r.PromotedAt, r.WatchUntil)
		}
		sameStrings(s, "announced", s.store.announced(), "promoted:v2", "ended:watching")
		if c := s.store.controls[0]; !c.Watch || c.Previous != "v1" || c.PreviousMetrics["wmape"] != 0.4 {
			s.Errorf("the promotion says %+v", c)
		}
		s.after(time.Until(r.WatchUntil) - time.Second)
		s.state(visutility.Watching)
		s.after(2 * time.Second)
		s.state(visutility.Succeeded)
		sameStrings(s, "announced", s.store.announced(), "promoted:v2", "ended:watching", "ended:succeeded")
		sameStrings(s, "alias", s.reg.moves, "v2")
	})
}

func TestRollback(t *testing.T) {
	inBubble(t, rules{rollback: true}, nop(), func(s *scene) {
		s.after(10 * time.Minute)
		s.state(visutility.Watching)
		s.store.wish("r1", visutility.WishRollback)
		s.after(time.Second)
		s.state(visutility.RolledBack)
		sameStrings(s, "alias", s.reg.moves, "v2", "v1")
		sameStrings(s, "announced", s.store.announced(), "promoted:v2", "ended:watching", "promoted:v1", "ended:rolled_back")
	})
}

func TestWatchEndsWithTheNextPromotion(t *testing.T) {
	for name, c := range map[string]struct {
		next visutility.RunState
		move func(s *scene) error
	}{
		"another version": {visutility.Succeeded, func(s *scene) error {
			v, err := s.reg.Register(s.Context(), visutility.Version{Model: "bikes"})
			return errors.Join(err, s.reg.SetAlias(s.Context(), "bikes", visutility.Champion, v.ID, "v2"))
		}},
		"back by hand": {visutility.RolledBack, func(s *scene) error {
			return s.reg.SetAlias(s.Context(), "bikes", visutility.Champion, "v1", "v2")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, rules{rollback: true}, nop(), func(s *scene) {
				s.after(time.Second)
				s.state(visutility.Watching)
				if err := c.move(s); err != nil {
					s.Fatal(err)
				}
				s.after(watchEvery + time.Second)
				s.state(c.next)
				sameStrings(s, "announced", s.store.announced(), "promoted:v2", "ended:watching", "ended:"+c.next.String())
				if n := len(s.reg.moves); n != 2 {
					s.Errorf("the alias moved %d times, want 2: ours and theirs", n)
				}
			})
		})
	}
}

// TestRollbackAgainstANewerPromotion: the order to roll back comes too late.
func TestRollbackAgainstANewerPromotion(t *testing.T) {
	inBubble(t, rules{rollback: true}, nop(), func(s *scene) {
		s.after(time.Second)
		v, err := s.reg.Register(s.Context(), visutility.Version{Model: "bikes"})
		if err := errors.Join(err, s.reg.SetAlias(s.Context(), "bikes", visutility.Champion, v.ID, "v2")); err != nil {
			s.Fatal(err)
		}
		s.store.wish("r1", visutility.WishRollback)
		s.after(time.Second)
		s.state(visutility.Succeeded)
		if got := s.reg.champion("bikes"); got != v.ID {
			s.Errorf("the champion is %s, want the newer %s", got, v.ID)
		}
	})
}

func TestRejected(t *testing.T) {
	worse := visutilitytest.NopTrainer{Metrics: map[string]float64{"wmape": 0.5}, ChampionMetrics: map[string]float64{"wmape": 0.4}}
	inBubble(t, rules{}, worse, func(s *scene) {
		s.after(time.Second)
		if r := s.state(visutility.Rejected); r.Report == nil || r.Report.Passed || r.Version != "" {
			s.Errorf("the run is %+v", r)
		}
		sameStrings(s, "announced", s.store.announced(), "ended:rejected")
	})
}

func TestChampionChangedMeanwhile(t *testing.T) {
	inBubble(t, rules{approval: true}, nop(), func(s *scene) {
		s.after(time.Second)
		s.state(visutility.AwaitingApproval)
		v, err := s.reg.Register(s.Context(), visutility.Version{Model: "bikes"})
		if err := errors.Join(err, s.reg.SetAlias(s.Context(), "bikes", visutility.Champion, v.ID, "v1")); err != nil {
			s.Fatal(err)
		}
		s.store.wish("r1", visutility.WishApprove)
		s.after(time.Second)
		if r := s.state(visutility.Failed); !strings.Contains(r.Error, "the champion changed meanwhile: v2 was held against v1, and v3 serves now") {
			s.Errorf("error %q", r.Error)
		}
	})
}

// tries notes when it is called, and fails.
type tries struct {
	mu    sync.Mutex
	times []time.Time
	err   error
}

func (f *tries) Train(context.Context, visutility.Job) (visutility.Artifact, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.times = append(f.times, time.Now())
	return visutility.Artifact{}, f.err
}

func TestRetriesWithGrowingPauses(t *testing.T) {
	tr := &tries{err: errors.New("no data")}
	inBubble(t, rules{retries: 3}, tr, func(s *scene) {
		r := s.after(time.Second)
		if r.State != visutility.Training || r.NextAt.IsZero() || !strings.Contains(r.Error, "attempt 1 of 4 failed: no data") {
			s.Errorf("after the first attempt: %+v", r)
		}
		s.after(time.Hour)
		r = s.state(visutility.Failed)
		if len(tr.times) != 4 || r.Attempt != 4 || !strings.Contains(r.Error, "attempt 4 of 4") {
			s.Fatalf("%d calls, run %+v", len(tr.times), r)
		}
		for i, want := range []time.Duration{7500 * time.Millisecond, 15 * time.Second, 30 * time.Second} {
			if got := tr.times[i+1].Sub(tr.times[i]); got != want {
				s.Errorf("pause %d: %s, want %s", i+1, got, want)
			}
		}
		sameStrings(s, "announced", s.store.announced(), "ended:failed")
	})
}

func TestInvalidIsNotRetried(t *testing.T) {
	tr := &tries{err: visutility.Invalidf("train.run", "empty", "names no program")}
	inBubble(t, rules{retries: 3}, tr, func(s *scene) {
		s.after(time.Hour)
		s.state(visutility.Failed)
		if len(tr.times) != 1 {
			s.Errorf("%d attempts, want 1", len(tr.times))
		}
	})
}

func TestPause(t *testing.T) {
	for n, want := range map[int]time.Duration{0: 10 * time.Second, 1: 10 * time.Second, 2: 20 * time.Second, 6: 320 * time.Second, 7: 10 * time.Minute, 8: 10 * time.Minute, 1 << 40: 10 * time.Minute} {
		if lo, hi := pause(n, 0), pause(n, math.Nextafter(1, 0)); lo != want/2 || hi <= lo || hi > want {
			t.Errorf("pause(%d): from %s to %s, want from %s to %s", n, lo, hi, want/2, want)
		}
	}
}

func TestTrainersThatMisbehave(t *testing.T) {
	nan := good()
	nan.Metrics = map[string]float64{"wmape": math.NaN()}
	for name, c := range map[string]struct {
		train visutility.TrainerFunc
		want  string
	}{
		"panics":          {func(context.Context, visutility.Job) (visutility.Artifact, error) { panic("boom") }, "the trainer panicked: boom"},
		"panics with nil": {func(context.Context, visutility.Job) (visutility.Artifact, error) { panic(error(nil)) }, "the trainer panicked"},
		"gives NaN":       {func(context.Context, visutility.Job) (visutility.Artifact, error) { return nan, nil }, "metrics.wmape: is NaN"},
		"respects its time": {func(ctx context.Context, _ visutility.Job) (visutility.Artifact, error) {
			<-ctx.Done()
			return visutility.Artifact{}, context.Cause(ctx)
		}, "longer than its timeout of 2h"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, rules{}, c.train, func(s *scene) {
				s.after(3 * time.Hour)
				if r := s.state(visutility.Failed); !strings.Contains(r.Error, c.want) {
					s.Errorf("error %q, want %q", r.Error, c.want)
				}
			})
		})
	}
}

// stuck ignores its context until it is let go.
func stuck(release <-chan struct{}) visutility.TrainerFunc {
	return func(context.Context, visutility.Job) (visutility.Artifact, error) {
		<-release
		return good(), nil
	}
}

func TestHangingTrainer(t *testing.T) {
	for name, c := range map[string]struct {
		wish bool
		wait time.Duration
		want visutility.RunState
	}{
		"canceled":  {true, 2 * time.Minute, visutility.Canceled},
		"timed out": {false, 2*time.Hour + 2*time.Minute, visutility.Failed},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				release := make(chan struct{})
				s := &scene{T: t, store: newFakeStore(pending("r1", "bikes")), reg: &countingRegistry{}}
				_, stop := run(options(s.store, s.reg, stuck(release), rules{}.policy(t)))
				s.after(time.Second)
				if c.wish {
					s.store.wish("r1", visutility.WishCancel)
				}
				s.after(c.wait)
				s.state(c.want)
				// Another model is not held up by it.
				s.store.open(pending("r2", "trains"))
				s.after(time.Second)
				if got := s.store.get("r2").State; got != visutility.Training {
					t.Errorf("the next run is %s", got)
				}
				s.store.wish("r2", visutility.WishCancel)
				close(release) // the late result of r1 is refused
				s.after(time.Second)
				s.state(c.want)
				stop()
			})
		})
	}
}

// TestLateResultIsRefused has the run go on to its next attempt in other hands while the first is under way.
func TestLateResultIsRefused(t *testing.T) {
	var s *scene
	tr := visutility.TrainerFunc(func(ctx context.Context, job visutility.Job) (visutility.Artifact, error) {
		if job.Attempt == 2 {
			<-ctx.Done()
			return visutility.Artifact{}, context.Cause(ctx)
		}
		r := s.store.get("r1")
		r.Attempt = 2
		return good(), s.store.MoveRun(ctx, r, visutility.Training, "")
	})
	inBubbleWith(t, rules{retries: 1}, tr, func(_ *Options, here *scene) { s = here }, func(s *scene) {
		s.after(time.Hour)
		if r := s.state(visutility.Training); r.Attempt != 2 || r.Artifact != nil {
			s.Errorf("the run is %+v", r)
		}
	})
}

func TestCancelWhileTraining(t *testing.T) {
	var cause error
	tr := visutility.TrainerFunc(func(ctx context.Context, _ visutility.Job) (visutility.Artifact, error) {
		<-ctx.Done()
		cause = context.Cause(ctx)
		return visutility.Artifact{}, cause
	})
	inBubble(t, rules{retries: 5}, tr, func(s *scene) {
		s.after(time.Minute)
		s.state(visutility.Training)
		s.store.wish("r1", visutility.WishCancel)
		s.after(time.Second)
		s.state(visutility.Canceled)
		if !errors.Is(cause, visutility.ErrCanceled) {
			s.Errorf("the trainer was told %v", cause)
		}
		sameStrings(s, "announced", s.store.announced(), "ended:canceled")
	})
}

func TestCancelWhileWaiting(t *testing.T) {
	for name, c := range map[string]struct {
		rules rules
		tr    visutility.Trainer
		in    visutility.RunState
	}{
		"for the next attempt": {rules{retries: 5}, visutilitytest.NopTrainer{Err: errors.New("no")}, visutility.Training},
		"for approval":         {rules{approval: true}, nop(), visutility.AwaitingApproval},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, c.rules, c.tr, func(s *scene) {
				s.after(time.Second)
				s.state(c.in)
				s.store.wish("r1", visutility.WishCancel)
				s.after(time.Second)
				s.state(visutility.Canceled)
			})
		})
	}
}

func TestShutdownLeavesTheTraining(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var jobs []string
		tr := visutility.TrainerFunc(func(ctx context.Context, job visutility.Job) (visutility.Artifact, error) {
			mu.Lock()
			jobs = append(jobs, fmt.Sprintf("%s/%d", job.Run, job.Attempt))
			first := len(jobs) == 1
			mu.Unlock()
			if first {
				<-ctx.Done()
				return visutility.Artifact{}, context.Cause(ctx)
			}
			return good(), nil
		})
		s := &scene{T: t, store: newFakeStore(pending("r1", "bikes")), reg: &countingRegistry{}}
		o := options(s.store, s.reg, tr, rules{}.policy(t))
		_, stop := run(o)
		s.after(time.Minute)
		stop()
		if r := s.state(visutility.Training); r.Attempt != 1 || !r.NextAt.IsZero() || r.Error != "" {
			t.Errorf("left as %+v", r)
		}
		_, stop = run(o)
		defer stop()
		s.after(time.Second)
		s.state(visutility.Succeeded)
		sameStrings(t, "calls", jobs, "r1/1", "r1/1") // the same attempt: an attachment
	})
}

func TestMaxRunsInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var order []string
		now, most := 0, 0
		tr := visutility.TrainerFunc(func(_ context.Context, job visutility.Job) (visutility.Artifact, error) {
			mu.Lock()
			order = append(order, job.Run)
			now++
			most = max(most, now)
			mu.Unlock()
			<-time.After(time.Hour)
			mu.Lock()
			now--
			mu.Unlock()
			return good(), nil
		})
		s := newFakeStore()
		var want []string
		for i := range 9 {
			id := fmt.Sprintf("r%d", i)
			want = append(want, id)
			s.open(pending(id, id))
		}
		o := options(s, &countingRegistry{}, tr, rules{}.policy(t))
		o.MaxRuns = 2
		_, stop := run(o)
		defer stop()
		<-time.After(30 * time.Minute)
		synctest.Wait()
		if got := s.get("r2").State; got != visutility.Pending {
			t.Errorf("the third run is %s while two train", got)
		}
		<-time.After(6 * time.Hour)
		synctest.Wait()
		if most != 2 {
			t.Errorf("%d trainings at once, want 2", most)
		}
		// The two of a pair start together: their order among themselves is not said.
		for i := 0; i+1 < len(order); i += 2 {
			slices.Sort(order[i : i+2])
		}
		sameStrings(t, "order", order, want...)
	})
}

func TestProgressIsStoredNowAndThen(t *testing.T) {
	tr := visutility.TrainerFunc(func(_ context.Context, job visutility.Job) (visutility.Artifact, error) {
		for i := range 1000 { // ten seconds
			<-time.After(10 * time.Millisecond)
			job.Report(float64(i)/500, "")
		}
		return good(), nil
	})
	inBubble(t, rules{}, tr, func(s *scene) {
		s.after(5500 * time.Millisecond)
		if r := s.state(visutility.Training); r.Progress < 0.9 || r.Progress > 1 {
			s.Errorf("progress %v", r.Progress)
		}
		s.after(time.Minute)
		if n := len(s.store.progress); n < 8 || n > 11 {
			s.Errorf("stored %d times in ten seconds", n)
		}
		if r := s.state(visutility.Succeeded); r.Progress != 1 {
			s.Errorf("progress %v at the end", r.Progress)
		}
	})
}

// flakyRegistry fails a number of calls first.
type flakyRegistry struct {
	visutility.Registry
	left int
	err  error
}

func (f *flakyRegistry) Register(ctx context.Context, v visutility.Version) (visutility.Version, error) {
	if f.left > 0 {
		f.left--
		return v, f.err
	}
	return f.Registry.Register(ctx, v)
}

func TestRegistryIsAway(t *testing.T) {
	trained := 0
	inBubbleWith(t, rules{}, visutility.TrainerFunc(func(context.Context, visutility.Job) (visutility.Artifact, error) {
		trained++
		return good(), nil
	}), func(o *Options, _ *scene) {
		o.Registry = &flakyRegistry{Registry: o.Registry, left: 8, err: errors.New("connection refused")}
	}, func(s *scene) {
		s.after(time.Minute)
		if r := s.state(visutility.Registering); !strings.Contains(r.Error, "connection refused") {
			s.Errorf("the run does not say why it waits: %q", r.Error)
		}
		s.after(2 * time.Hour)
		if r := s.state(visutility.Succeeded); r.Error != "" {
			s.Errorf("error %q", r.Error)
		}
		if trained != 1 {
			s.Errorf("trained %d times: a version that cannot be registered is not lost", trained)
		}
	})
}

func TestRegistryRefuses(t *testing.T) {
	inBubbleWith(t, rules{}, nop(), func(o *Options, _ *scene) {
		o.Registry = &flakyRegistry{Registry: o.Registry, left: 1, err: visutility.Invalidf("artifact", "missing", "does not exist")}
	}, func(s *scene) {
		s.after(time.Minute)
		s.state(visutility.Failed)
	})
}

func TestNoPolicyNoTrainer(t *testing.T) {
	for name, change := range map[string]func(*Options, *scene){
		"policy": func(o *Options, _ *scene) {
			o.Policy = func(context.Context, string, string) (*policy.Policy, error) { return nil, visutility.ErrNotFound }
		},
		"trainer": func(o *Options, _ *scene) {
			o.Trainer = func(*policy.Policy) (visutility.Trainer, error) { return nil, visutility.ErrNotFound }
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubbleWith(t, rules{}, nop(), change, func(s *scene) {
				s.after(time.Second)
				if r := s.state(visutility.Failed); !strings.Contains(r.Error, name) {
					s.Errorf("error %q", r.Error)
				}
				sameStrings(s, "announced", s.store.announced(), "ended:failed")
			})
		})
	}
}

func TestMetrics(t *testing.T) {
	reg := prometheus.NewRegistry()
	inBubbleWith(t, rules{}, nop(), func(o *Options, _ *scene) { o.Registerer = reg }, func(s *scene) {
		s.after(time.Second)
		s.state(visutility.Succeeded)
		if got := testutil.ToFloat64(s.r.metrics.transitions.WithLabelValues("succeeded")); got != 1 {
			s.Errorf("transitions to succeeded: %v", got)
		}
		if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
			s.Errorf("metrics: %v %v", problems, err)
		}
	})
}
