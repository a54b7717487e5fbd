package dispatch_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/dispatch"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A stage is a dispatcher at work in a bubble of time.
type stage struct {
	t         *testing.T
	bus       *memoryBus
	positions *memoryPositions
	*dispatch.Dispatcher
	log  *syncBuffer
	stop func() error // ends Run and returns what it returned
}

// A syncBuffer is a log that can be read while it is written.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// play runs a story with a running dispatcher over a log of some partitions.
func play(t *testing.T, partitions int, story func(t *testing.T, s *stage)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &stage{t: t, bus: newMemoryBus(partitions), positions: newMemoryPositions()}
		s.restart(nil)
		story(t, s)
		if err := s.stop(); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

// restart puts a new dispatcher, at work, in the place of a stopped one.
func (s *stage) restart(r prometheus.Registerer) {
	s.log = &syncBuffer{}
	s.Dispatcher = dispatch.New(dispatch.Options{
		Bus: s.bus, Positions: s.positions, Logger: slog.New(slog.NewTextHandler(s.log, nil)), Registerer: r,
	})
	ctx, cancel := context.WithCancel(s.t.Context())
	result := make(chan error, 1)
	go func() { result <- s.Run(ctx) }()
	s.stop = sync.OnceValue(func() error { cancel(); return <-result })
}

func (s *stage) attach(name string, o visutility.Observer) {
	s.t.Helper()
	if err := s.Attach(name, o, dispatch.AttachOptions{}); err != nil {
		s.t.Fatal(err)
	}
	synctest.Wait()
}

func (s *stage) status(name string) dispatch.Status {
	s.t.Helper()
	for _, st := range s.Status() {
		if st.Name == name {
			return st
		}
	}
	s.t.Fatalf("no status of %q", name)
	return dispatch.Status{}
}

// pass lets time pass.
func pass(d time.Duration) {
	time.Sleep(d) // of the bubble
	synctest.Wait()
}

func (s *stage) append(p, n int) {
	s.bus.append(p, n)
	synctest.Wait()
}

func want(t *testing.T, r *recorder, partition, from, to int) {
	t.Helper()
	var all []visutility.Position
	for p := from; p <= to; p++ {
		all = append(all, visutility.Position(p))
	}
	if diff := cmp.Diff(all, r.positions(partition)); diff != "" {
		t.Errorf("positions seen in partition %d (-want +got):\n%s", partition, diff)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range r.faults {
		t.Error(f)
	}
}

func TestEveryEntryInOrder(t *testing.T) {
	play(t, 3, func(t *testing.T, s *stage) {
		r := newRecorder(nil)
		s.append(0, 10)
		s.attach("a", r)
		s.append(0, 5)
		s.append(2, 7)
		want(t, r, 0, 1, 15)
		want(t, r, 1, 1, 0)
		want(t, r, 2, 1, 7)
		if got := s.status("a"); got.State != dispatch.Running || got.LagEntries != 0 || got.Events != 22 || got.Positions[2] != 7 {
			t.Errorf("status: %+v", got)
		}
	})
}

func TestAttachedBeforeRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stage{t: t, bus: newMemoryBus(1), positions: newMemoryPositions()}
		d := dispatch.New(dispatch.Options{Bus: s.bus, Positions: s.positions})
		r := newRecorder(nil)
		if err := d.Attach("a", r, dispatch.AttachOptions{}); err != nil {
			t.Fatal(err)
		}
		s.append(0, 4)
		ctx, cancel := context.WithCancel(t.Context())
		result := make(chan error)
		go func() { result <- d.Run(ctx) }()
		synctest.Wait()
		want(t, r, 0, 1, 4)
		cancel()
		if err := <-result; err != nil {
			t.Error(err)
		}
		if err := d.Run(t.Context()); !errors.Is(err, visutility.ErrConflict) {
			t.Errorf("second Run: %v", err)
		}
		if err := d.Attach("b", r, dispatch.AttachOptions{}); !errors.Is(err, visutility.ErrUnavailable) {
			t.Errorf("Attach after the end: %v", err)
		}
	})
}

func TestNames(t *testing.T) {
	play(t, 1, func(t *testing.T, s *stage) {
		r := newRecorder(nil)
		for _, name := range []string{"", "a b", "-a", "ä", "a\n", strings.Repeat("x", 65)} {
			if err := s.Attach(name, r, dispatch.AttachOptions{}); !errors.Is(err, visutility.ErrInvalid) {
				t.Errorf("Attach %q: %v", name, err)
			}
		}
		if err := s.Attach("a", nil, dispatch.AttachOptions{}); !errors.Is(err, visutility.ErrInvalid) {
			t.Errorf("Attach nil: %v", err)
		}
		s.attach("a", r)
		if err := s.Attach("a", r, dispatch.AttachOptions{}); !errors.Is(err, visutility.ErrConflict) {
			t.Errorf("Attach twice: %v", err)
		}
		if err := s.Forget(t.Context(), "a"); !errors.Is(err, visutility.ErrConflict) {
			t.Errorf("Forget while attached: %v", err)
		}
		for what, err := range map[string]error{"Detach": s.Detach(t.Context(), "nobody"), "Release": s.Release("nobody")} {
			if !errors.Is(err, visutility.ErrNotFound) {
				t.Errorf("%s of nobody: %v", what, err)
			}
		}
	})
}

func TestSlowObserverDelaysNobody(t *testing.T) {
	play(t, 1, func(t *testing.T, s *stage) {
		slow := newRecorder(func(context.Context, visutility.Batch) error { time.Sleep(20 * time.Second); return nil })
		fast := newRecorder(nil)
		s.attach("slow", slow)
		s.attach("fast", fast)
		s.append(0, 30)
		want(t, fast, 0, 1, 30)
		want(t, slow, 0, 1, 0)
		pass(50 * time.Second)
		if got := s.status("slow"); got.LagEntries != 24 || got.LagSeconds != 50 || got.State != dispatch.Running {
			t.Errorf("status of the slow one: %+v", got)
		}
		pass(150 * time.Second)
		want(t, slow, 0, 1, 30)
		if got := s.status("slow"); got.LagEntries != 0 || got.LagSeconds != 0 {
			t.Errorf("status of the slow one at the end: %+v", got)
		}
	})
}

func TestPanickingObserverIsQuarantinedAndHeals(t *testing.T) {
	for _, kind := range []string{"plain", "positioner"} {
		t.Run(kind, func(t *testing.T) {
			play(t, 1, func(t *testing.T, s *stage) {
				var ill atomic.Bool
				ill.Store(true)
				r := newRecorder(func(_ context.Context, b visutility.Batch) error {
					if ill.Load() && b.Entries[0].Position >= 4 {
						panic("no idea what to do with this")
					}
					return nil
				})
				var o visutility.Observer = r
				if kind == "positioner" {
					o = positioner{r}
				}
				other := newRecorder(nil)
				s.attach("other", other)
				s.attach("ill", o)
				s.append(0, 9)
				want(t, r, 0, 1, 3)
				if got := s.status("ill"); got.State != dispatch.Retrying || got.Failures != 1 {
					t.Errorf("after the first panic: %+v", got)
				}
				pass(2 * time.Second)
				got := s.status("ill")
				if got.State != dispatch.Quarantined || got.Failures != 5 || got.Panics != 5 || !strings.Contains(got.LastError, "no idea") {
					t.Errorf("after five panics: %+v", got)
				}
				want(t, other, 0, 1, 9)

				pass(3 * time.Minute)
				if got := r.callCount(); got != 1+5+3 {
					t.Errorf("%d calls; one a minute while quarantined would make 9", got)
				}
				if n := strings.Count(s.log.String(), "quarantined"); n != 1 || !strings.Contains(s.log.String(), "dispatch_test.go") {
					t.Errorf("logged %d times; want once, with the stack:\n%s", n, s.log)
				}

				ill.Store(false)
				pass(time.Minute)
				want(t, r, 0, 1, 9)
				if got := s.status("ill"); got.State != dispatch.Running || got.Failures != 0 {
					t.Errorf("after it healed: %+v", got)
				}
			})
		})
	}
}

func TestReleaseTriesAtOnce(t *testing.T) {
	play(t, 1, func(t *testing.T, s *stage) {
		var well atomic.Bool
		r := newRecorder(func(context.Context, visutility.Batch) error {
			if well.Load() {
				return nil
			}
			return errors.New("disk full")
		})
		s.attach("a", r)
		s.append(0, 2)
		pass(5 * time.Second)
		calls := r.callCount()
		well.Store(true)
		if err := s.Release("a"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		want(t, r, 0, 1, 2)
		if got := r.callCount(); got != calls+1 {
			t.Errorf("%d calls after Release, want 1", got-calls)
		}
	})
}

func TestReleaseOfAWellObserverIsForgotten(t *testing.T) {
	play(t, 1, func(t *testing.T, s *stage) {
		r := newRecorder(func(context.Context, visutility.Batch) error { return errors.New("no") })
		s.attach("a", r)
		if err := s.Release("a"); err != nil {
			t.Fatal(err)
		}
		s.append(0, 1)
		if got := r.callCount(); got != 1 {
			t.Errorf("%d calls at once; the pause must not be skipped", got)
		}
	})
}

func TestObserverThatEndsItsGoroutine(t *testing.T) {
	play(t, 1, func(t *testing.T, s *stage) {
		calls := 0
		r := newRecorder(func(context.Context, visutility.Batch) error {
			if calls++; calls == 2 {
				runtime.Goexit()
			}
			return nil
		})
		s.attach("a", r)
		s.append(0, 9)
		pass(time.Second)
		want(t, r, 0, 1, 9)
	})
}

func TestHangingObserver(t *testing.T) {
	play(t, 2, func(t *testing.T, s *stage) {
		release := make(chan struct{})
		var heeded error
		r := newRecorder(func(ctx context.Context, b visutility.Batch) error {
			if b.Partition != 0 {
				return nil
			}
			select {
			case <-release: // the second try
				return nil
			default:
			}
			<-ctx.Done() // it heeds the end of the context, but not at once
			heeded = context.Cause(ctx)
			<-release
			return ctx.Err()
		})
		other := newRecorder(nil)
		s.attach("hung", r)
		s.attach("other", other)
		s.append(0, 5)
		s.append(1, 5)
		pass(29 * time.Second)
		if got := s.status("hung"); got.State != dispatch.Running {
			t.Errorf("after 29 s: %+v", got)
		}
		pass(2 * time.Second)
		if got := s.status("hung"); got.State != dispatch.Hung || got.LagEntries != 5 {
			t.Errorf("after 31 s: %+v", got)
		}
		if heeded == nil {
			t.Error("the context of the call has not ended")
		}
		want(t, r, 1, 1, 5) // its other partition goes on
		want(t, other, 0, 1, 5)
		pass(time.Hour)
		if got := r.callCount(); got != 1+2 {
			t.Errorf("%d calls; a hung one must not be called again", got)
		}
		close(release)
		pass(time.Second)
		want(t, r, 0, 1, 5)
		if got := s.status("hung"); got.State != dispatch.Running {
			t.Errorf("after it came back: %+v", got)
		}
	})
}

func TestDetachAndAttachAgainGoesOn(t *testing.T) {
	play(t, 2, func(t *testing.T, s *stage) {
		r := newRecorder(nil)
		s.attach("a", r)
		s.append(0, 4)
		s.append(1, 2)
		if err := s.Detach(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		if s.positions.at("a", 0) != 4 || s.positions.at("a", 1) != 2 {
			t.Errorf("saved positions: %v", s.positions.saved)
		}
		s.append(0, 3)
		want(t, r, 0, 1, 4)
		s.attach("a", r)
		want(t, r, 0, 1, 7)
		want(t, r, 1, 1, 2)

		if err := s.Detach(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		if err := s.Forget(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		afresh := newRecorder(nil)
		s.attach("a", afresh)
		want(t, afresh, 0, 1, 7)
	})
}

func TestFromNow(t *testing.T) {
	play(t, 1, func(t *testing.T, s *stage) {
		s.append(0, 6)
		r := newRecorder(nil)
		if err := s.Attach("a", r, dispatch.AttachOptions{FromNow: true}); err != nil {
			t.Fatal(err)
		}
		s.append(0, 2) // though the observer had no time to start
		want(t, r, 0, 7, 8)
		if err := s.stop(); err != nil {
			t.Fatal(err)
		}
		s.bus.append(0, 2)
		s.restart(nil)
		if err := s.Attach("a", r, dispatch.AttachOptions{FromNow: true}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		want(t, r, 0, 7, 10) // a position counts for more than FromNow
	})
}

func TestPositionsAreSavedAtMostOnceASecond(t *testing.T) {
	play(t, 1, func(t *testing.T, s *stage) {
		r := newRecorder(nil)
		s.attach("a", r)
		for range 100 {
			s.append(0, 1)
			pass(100 * time.Millisecond)
		}
		if n := s.positions.saves; n < 9 || n > 11 {
			t.Errorf("saved %d times in 10 s", n)
		}
		before := s.positions.saves
		pass(time.Hour)
		if n := s.positions.saves - before; n > 1 {
			t.Errorf("saved %d times while nothing happened", n)
		}
		s.positions.mu.Lock()
		s.positions.fail = errors.New("database is away")
		s.positions.mu.Unlock()
		s.append(0, 3)
		pass(10 * time.Second)
		if n := strings.Count(s.log.String(), "cannot save positions"); n != 1 {
			t.Errorf("logged %d times that positions cannot be saved:\n%s", n, s.log)
		}
		s.positions.mu.Lock()
		s.positions.fail = nil
		s.positions.mu.Unlock()
		pass(time.Second)
		if got := s.positions.at("a", 0); got != 103 {
			t.Errorf("saved position %d", got)
		}
	})
}

func TestShutdownFinishesTheBatchUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stage{t: t, bus: newMemoryBus(1), positions: newMemoryPositions()}
		s.restart(nil)
		r := newRecorder(func(ctx context.Context, _ visutility.Batch) error {
			select {
			case <-time.After(5 * time.Second):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		s.attach("a", r)
		s.append(0, 9)
		pass(time.Second)
		began := time.Now()
		if err := s.stop(); err != nil {
			t.Errorf("Run: %v", err)
		}
		if took := time.Since(began); took != 4*time.Second {
			t.Errorf("shutdown took %s", took)
		}
		want(t, r, 0, 1, 3)
		if got := s.positions.at("a", 0); got != 3 {
			t.Errorf("saved position %d", got)
		}
		r.before = nil
		s.restart(nil)
		s.attach("a", r)
		want(t, r, 0, 1, 9)
		if err := s.stop(); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

func TestShutdownLeavesAHungObserverBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stage{t: t, bus: newMemoryBus(2), positions: newMemoryPositions()}
		s.restart(nil)
		release := make(chan struct{})
		r := newRecorder(func(_ context.Context, b visutility.Batch) error {
			if b.Partition == 1 {
				<-release
			}
			return nil
		})
		s.attach("deaf", r)
		s.append(0, 3)
		s.append(1, 3)
		began := time.Now()
		err := s.stop()
		if err == nil || !strings.Contains(err.Error(), `"deaf"`) || !strings.Contains(err.Error(), "[1]") {
			t.Errorf("Run: %v", err)
		}
		if took := time.Since(began); took > 12*time.Second {
			t.Errorf("shutdown took %s", took)
		}
		if got := s.positions.at("deaf", 0); got != 3 {
			t.Errorf("saved position %d of the partition that was well", got)
		}
		close(release)
	})
}

func TestDetachOfAHungObserver(t *testing.T) {
	play(t, 1, func(t *testing.T, s *stage) {
		release := make(chan struct{})
		r := newRecorder(func(context.Context, visutility.Batch) error { <-release; return nil })
		s.attach("deaf", r)
		s.append(0, 1)
		if err := s.Detach(t.Context(), "deaf"); err == nil {
			t.Error("Detach of an observer in a call that does not end: no error")
		}
		if err := s.Attach("deaf", r, dispatch.AttachOptions{}); !errors.Is(err, visutility.ErrConflict) {
			t.Errorf("Attach while the old one is still called: %v", err)
		}
		close(release)
		synctest.Wait()
		s.attach("deaf", newRecorder(nil))
	})
}

func TestReadErrors(t *testing.T) {
	play(t, 1, func(t *testing.T, s *stage) {
		r := newRecorder(nil)
		s.attach("a", r)
		s.append(0, 4)
		s.bus.failNext(errors.New("connection reset"))
		synctest.Wait()
		if got := s.status("a"); got.State != dispatch.Retrying || !strings.Contains(got.LastError, "connection reset") {
			t.Errorf("status: %+v", got)
		}
		s.bus.append(0, 4)
		pass(time.Second)
		want(t, r, 0, 1, 8)
		if got := s.status("a"); got.State != dispatch.Running || got.Failures != 0 {
			t.Errorf("status: %+v", got)
		}
	})
}

func TestRetentionGapIsCountedAndSkipped(t *testing.T) {
	play(t, 1, func(t *testing.T, s *stage) {
		var well atomic.Bool
		r := newRecorder(func(_ context.Context, b visutility.Batch) error {
			if well.Load() || b.Entries[0].Position < 4 {
				return nil
			}
			return errors.New("not now")
		})
		s.attach("a", r)
		s.append(0, 20)
		pass(time.Minute)
		s.bus.drop(0, 10)
		well.Store(true)
		pass(2 * time.Minute)
		// The batch it held, 4 to 6, is delivered; 7 to 10 are gone.
		seen := r.positions(0)
		if len(seen) != 16 || seen[5] != 6 || seen[6] != 11 || seen[15] != 20 {
			t.Errorf("seen: %v", seen)
		}
		if got := s.status("a"); got.SkippedEntries != 4 || got.State != dispatch.Running {
			t.Errorf("status: %+v", got)
		}
		if !strings.Contains(s.log.String(), "skipped=4") {
			t.Errorf("log:\n%s", s.log)
		}

		late := newRecorder(nil) // what was dropped before it came is not missed
		s.attach("late", late)
		want(t, late, 0, 11, 20)
		if got := s.status("late"); got.SkippedEntries != 0 {
			t.Errorf("status: %+v", got)
		}
	})
}

func TestPositionPastTheEndIsRefused(t *testing.T) {
	play(t, 1, func(t *testing.T, s *stage) {
		s.positions.saved["a"] = map[int]visutility.Position{0: 100}
		r := newRecorder(nil)
		s.append(0, 5)
		s.attach("a", r)
		pass(time.Minute)
		if got := s.status("a"); got.State != dispatch.Retrying || !strings.Contains(got.LastError, "past the end") {
			t.Errorf("status: %+v", got)
		}
		want(t, r, 0, 1, 0)
	})
}

func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		registry := prometheus.NewPedanticRegistry()
		s := &stage{t: t, bus: newMemoryBus(2), positions: newMemoryPositions()}
		s.restart(registry)
		r := newRecorder(func(_ context.Context, b visutility.Batch) error {
			if b.Partition == 1 {
				return errors.New("no")
			}
			return nil
		})
		s.attach("a", r)
		s.append(0, 4)
		s.append(1, 7)
		pass(10 * time.Second)
		got := gather(t, registry)
		for name, want := range map[string]float64{
			"visutility_observer_lag_entries":           7,
			"visutility_observer_lag_seconds":           10,
			"visutility_observer_state quarantined":     1,
			"visutility_observer_state running":         0,
			"visutility_observer_failures_total":        5,
			"visutility_observer_panics_total":          0,
			"visutility_observer_batches_total":         2,
			"visutility_observer_events_total":          4,
			"visutility_observer_skipped_entries_total": 0,
		} {
			if got[name] != want {
				t.Errorf("%s = %v, want %v", name, got[name], want)
			}
		}
		if err := s.Detach(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		if left := gather(t, registry); len(left) > 0 {
			t.Errorf("metrics of a detached observer: %v", left)
		}
		if err := s.stop(); err != nil {
			t.Fatal(err)
		}
		s.restart(registry) // registers again
		synctest.Wait()
		if err := s.stop(); err != nil {
			t.Fatal(err)
		}
	})
}

// gather reads the metrics, by name and state.
func gather(t *testing.T, r *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				if l.GetName() == "state" {
					name += " " + l.GetValue()
				}
			}
			all[name] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	return all
}
