package engine_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/dispatch"
	"github.com/visutility/visutility/engine"
	"github.com/visutility/visutility/policy"
	"github.com/visutility/visutility/store"
)

// patience is how long a test waits for anything: far longer than it takes.
const patience = 30 * time.Second

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !done(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func parsed(t *testing.T, src string) []*policy.Policy {
	t.Helper()
	p, err := policy.Parse("p.yaml", []byte(src))
	if err != nil {
		t.Fatal(err)
	}
	return []*policy.Policy{p}
}

// trainers has a trainer that is done at once.
var trainers = map[string]visutility.Trainer{"at-once": visutility.TrainerFunc(func(context.Context, visutility.Job) (visutility.Artifact, error) {
	return visutility.Artifact{URI: "s3://models/new", Metrics: map[string]float64{"accuracy": 0.9}}, nil
})}

// counted sums up a counter over its labels.
func counted(t testing.TB, reg prometheus.Gatherer, name string) int64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			var sum float64
			for _, m := range f.GetMetric() {
				sum += m.GetCounter().GetValue()
			}
			return int64(sum)
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

// TestConservation publishes from many sides: with keys that repeat, of versions that were replaced,
// refused wholly. What was accepted is what was folded and what was dropped, to the event.
func TestConservation(t *testing.T) {
	const publishers, calls, perCall = 8, 40, 25
	reg := prometheus.NewRegistry()
	e, _ := running(t, engine.Options{
		Dir: t.TempDir(), Registerer: reg, Trainers: trainers,
		Policies: parsed(t, "models: [\"m*\"]\nretrain: {when: accuracy < 0.5, cooldown: 0s}\ntrain: {trainer: at-once}\n"),
	})
	supersede(t, e, "m0")
	before := counted(t, reg, "visutility_events_accepted_total")

	var stored, refused atomic.Int64
	var wg sync.WaitGroup
	for p := range publishers {
		wg.Go(func() {
			for c := range calls {
				var events []visutility.Event
				for i := range perCall {
					events = append(events, visutility.Event{
						Model: "m" + strconv.Itoa((p+i)%5), Metric: []string{"accuracy", "auc"}[i%2], Value: 0.4 + float64(c%4)/5, Version: []string{"", "v1"}[i%2],
					})
				}
				key := ""
				switch c % 4 {
				case 1: // the call and its repetition, by two publishers
					key = fmt.Sprintf("%d-%d", p/2, c)
				case 2: // one bad event spoils all
					events[perCall-1].Metric = ""
				}
				err := e.Publish(t.Context(), key, events)
				switch {
				case c%4 == 2 && errors.Is(err, visutility.ErrInvalid):
					refused.Add(perCall)
				case err != nil:
					t.Error(err)
				case c%4 != 1 || p%2 == 0:
					stored.Add(perCall)
				}
			}
		})
	}
	wg.Wait()
	eventually(t, "the events to be folded", func() bool {
		return counted(t, reg, "visutility_events_folded_total")+counted(t, reg, "visutility_events_dropped_total") >= before+stored.Load()
	})
	accepted, folded, dropped := counted(t, reg, "visutility_events_accepted_total"), counted(t, reg, "visutility_events_folded_total"), counted(t, reg, "visutility_events_dropped_total")
	if accepted != before+stored.Load() {
		t.Errorf("%d events are counted as accepted; %d were", accepted, before+stored.Load())
	}
	if accepted != folded+dropped {
		t.Errorf("accepted %d, but folded %d and dropped %d", accepted, folded, dropped)
	}
	if dropped == 0 || e.Folded() != accepted {
		t.Errorf("%d were dropped; %d are in the state of the models", dropped, e.Folded())
	}
	t.Logf("accepted %d = folded %d + dropped %d; refused %d", accepted, folded, dropped, refused.Load())
}

// supersede gives a model two versions, of which the second serves.
func supersede(t *testing.T, e *engine.Engine, model string) {
	t.Helper()
	for range 2 {
		d, err := e.Trigger(t.Context(), model, "", "ada", "")
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, "the run to succeed", func() bool {
			r, err := e.Store().Run(t.Context(), d.Run)
			if err != nil {
				t.Fatal(err)
			}
			return r.State == visutility.Succeeded
		})
		eventually(t, "the fold to know", func() bool {
			x, err := e.Explain(t.Context(), model)
			return err == nil && x.ActiveRun == ""
		})
	}
}

func status(e *engine.Engine, name string) dispatch.Status {
	for _, s := range e.Observers() {
		if s.Name == name {
			return s
		}
	}
	return dispatch.Status{}
}

// TestBadObservers lets one observer panic and one hang beside the fold, while others come and go.
func TestBadObservers(t *testing.T) {
	e, _ := running(t, engine.Options{
		Dir: t.TempDir(), Trainers: trainers,
		Policies: parsed(t, "models: [\"m*\"]\nretrain: {when: accuracy < 0.5}\ntrain: {trainer: at-once}\n"),
	})
	held := make(chan struct{})
	let := sync.OnceFunc(func() { close(held) })
	t.Cleanup(let) // before the engine stops
	for name, o := range map[string]visutility.ObserverFunc{
		"panics": func(context.Context, visutility.Batch) error { panic("no") },
		"hangs":  func(context.Context, visutility.Batch) error { <-held; return nil },
	} {
		if err := e.Attach(name, o); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.Attach("hangs", visutility.ObserverFunc(nil)); !errors.Is(err, visutility.ErrConflict) {
		t.Errorf("attaching a second observer of that name: %v", err)
	}

	var all []visutility.Event
	for i := range 50 {
		ev := visutility.Event{Model: "m" + strconv.Itoa(i), Metric: "accuracy", Value: 0.1}
		all = append(all, ev)
		if err := e.Publish(t.Context(), "", []visutility.Event{ev}); err != nil {
			t.Fatal(err)
		}
		// One comes while events come, sees all of them, and goes.
		if i%10 == 5 {
			var seen atomic.Int64
			if err := e.Attach("guest", visutility.ObserverFunc(func(_ context.Context, b visutility.Batch) error {
				for range b.Events() {
					seen.Add(1)
				}
				return nil
			})); err != nil {
				t.Fatal(err)
			}
			want := int64(10)
			if i == 5 {
				want = 6
			}
			eventually(t, "the guest to see what it had not", func() bool { return seen.Load() >= want })
			if err := e.Detach(t.Context(), "guest"); err != nil {
				t.Fatal(err)
			}
			if seen.Load() != want {
				t.Errorf("the guest saw %d events since its last visit, want %d", seen.Load(), want)
			}
		}
	}
	eventually(t, "a decision about every model", func() bool {
		ds, _, err := e.Store().Decisions(t.Context(), store.DecisionFilter{Outcome: "fired", Page: store.Page{Limit: 1000}})
		return err == nil && len(ds) == len(all)
	})
	eventually(t, "the panicking one to be quarantined", func() bool { return status(e, "panics").State == dispatch.Quarantined })
	if s := status(e, "panics"); s.Panics == 0 || !strings.Contains(s.LastError, "no") {
		t.Errorf("the panicking observer: %+v", s)
	}
	if s := status(e, "hangs"); s.Events != 0 || s.LagEntries == 0 {
		t.Errorf("the hanging observer: %+v; it should lag", s)
	}
	if s := status(e, "trigger"); s.State != dispatch.Running || s.LagEntries != 0 {
		t.Errorf("the fold: %+v", s)
	}
	let()
	eventually(t, "the hanging one to catch up", func() bool { return status(e, "hangs").Events >= uint64(len(all)) })
	for _, name := range []string{"panics", "hangs"} {
		if err := e.Detach(t.Context(), name); err != nil {
			t.Error(err)
		}
		if status(e, name).Name != "" {
			t.Errorf("%s is shown although it is gone", name)
		}
	}
	if err := e.Detach(t.Context(), "panics"); !errors.Is(err, visutility.ErrNotFound) {
		t.Errorf("detaching twice: %v", err)
	}
}

// TestOneEngineADirectory opens a directory that another engine has.
func TestOneEngineADirectory(t *testing.T) {
	dir := t.TempDir()
	_, stop := running(t, engine.Options{Dir: dir})
	second := func() error {
		e, err := engine.Open(t.Context(), engine.Options{Dir: dir, Logger: slog.New(slog.DiscardHandler)})
		if err == nil {
			err = e.Close()
		}
		return err
	}
	if err := second(); !errors.Is(err, visutility.ErrConflict) || !strings.Contains(err.Error(), fmt.Sprintf("process %d", os.Getpid())) {
		t.Errorf("a second engine on the directory: %v; want ErrConflict with the pid %d", err, os.Getpid())
	}
	stop()
	if err := second(); err != nil {
		t.Errorf("after the first has gone: %v", err)
	}
}

// TestFencedEngine has another owner take over the database behind the back of a running engine: it may
// store nothing any more, and stops.
func TestFencedEngine(t *testing.T) {
	dir := t.TempDir()
	e, err := engine.Open(t.Context(), engine.Options{
		Dir: dir, Logger: slog.New(slog.DiscardHandler), Trainers: trainers,
		Policies: parsed(t, "model: m\nretrain: {when: accuracy < 0.5}\ntrain: {trainer: at-once}\n"),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	bad := []visutility.Event{{Model: "m", Metric: "accuracy", Value: 0.1}}
	if err := e.Publish(ctx, "", []visutility.Event{{Model: "m", Metric: "accuracy", Value: 0.9}}); err != nil {
		t.Fatal(err)
	}
	folded(t, e, 1)

	other, err := store.Open(ctx, store.Options{Path: filepath.Join(dir, "state.db")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Acquire(ctx, 8, "another"); err != nil {
		t.Fatal(err)
	}
	if err := e.Publish(ctx, "", bad); err != nil && !errors.Is(err, visutility.ErrUnavailable) {
		t.Error(err)
	}
	if err := <-done; !errors.Is(err, store.ErrFenced) {
		t.Errorf("the fenced engine ended with %v, want ErrFenced", err)
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	runs, _, err := other.Runs(t.Context(), store.RunFilter{Page: store.Page{Limit: 10}})
	if err != nil || len(runs) != 0 {
		t.Errorf("the fenced engine stored %d runs: %v", len(runs), err)
	}
	if err := other.Close(); err != nil {
		t.Error(err)
	}
	// What it was told is in the log all the same: the next owner decides about it.
	next, _ := running(t, engine.Options{Dir: dir, Trainers: trainers, Policies: parsed(t, "model: m\nretrain: {when: accuracy < 0.5}\ntrain: {trainer: at-once}\n")})
	eventually(t, "the next owner to decide", func() bool {
		ds, _, err := next.Store().Decisions(t.Context(), store.DecisionFilter{Outcome: "fired", Page: store.Page{Limit: 10}})
		return err == nil && len(ds) == 1
	})
}
