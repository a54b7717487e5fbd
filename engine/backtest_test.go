package engine_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/backtest"
	"github.com/visutility/visutility/engine"
	"github.com/visutility/visutility/history"
)

var day1 = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// scores are events of a model, an hour apart.
func scores(model string, values ...float64) (events []visutility.Event) {
	for i, v := range values {
		events = append(events, visutility.Event{Model: model, Metric: visutility.Accuracy, Value: v, Time: day1.Add(time.Duration(i) * time.Hour), Count: 5})
	}
	return events
}

// kept waits until the history has all of the events.
func kept(t *testing.T, e *engine.Engine, events []visutility.Event) {
	t.Helper()
	if err := e.Publish(t.Context(), "", events); err != nil {
		t.Fatal(err)
	}
	want := make(map[string]int)
	for _, ev := range events {
		want[ev.Model]++
	}
	for model, n := range want {
		eventually(t, "the history of "+model, func() bool {
			found, _, err := e.History().Events(t.Context(), history.EventQuery{Model: model})
			if err != nil {
				t.Fatal(err)
			}
			_, err = e.Model(t.Context(), model) // stored by another observer
			return len(found) == n && err == nil
		})
	}
}

// TestBacktestOfTheHistory: what a backtest says of the engine's history is what it says of the same events in a file.
func TestBacktestOfTheHistory(t *testing.T) {
	inForce := parsed(t, "name: today\nmodels: ['m*']\nretrain: {when: accuracy < 0.5}\ntrain: {trainer: none}\n")
	tried := parsed(t, "name: new\nmodels: ['m*', x]\nretrain: {when: accuracy < 0.8, for: 1h}\ntrain: {trainer: none}\n")
	e, stop := running(t, engine.Options{Dir: t.TempDir(), Policies: inForce, MaxBacktest: 15})
	defer stop()
	events := slices.Concat(scores("m1", .9, .9, .7, .7, .4, .9), scores("m2", .9, .9, .9, .7, .7, .7, .7, .7), scores("other", .1))
	kept(t, e, events)

	ask := func(globs []string, from, to time.Time) *backtest.Report {
		t.Helper()
		r, err := e.Backtest(t.Context(), backtest.Options{Policies: tried, Cost: 2}, globs, from, to)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	got := ask(nil, time.Time{}, time.Time{})
	data := backtest.NewData()
	for _, ev := range events {
		if ev.Model != "other" {
			if err := data.Add(ev, false); err != nil {
				t.Fatal(err)
			}
		}
	}
	want, err := backtest.Run(t.Context(), backtest.Options{Policies: tried, Against: inForce, AgainstName: "running", Cost: 2}, data)
	if err != nil {
		t.Fatal(err)
	}
	opts := cmp.Options{cmpopts.IgnoreUnexported(backtest.Report{}, backtest.Plan{}), cmpopts.IgnoreFields(backtest.Report{}, "Caveats")}
	if diff := cmp.Diff(want, got, opts); diff != "" {
		t.Errorf("(-of events +of the history):\n%s", diff)
	}
	if len(got.Plans[0].Runs) == 0 || len(got.Plans[1].Runs) == 0 {
		t.Error("nothing would have been retrained: the test shows less than it should")
	}
	if !slices.ContainsFunc(got.Caveats, func(c string) bool { return strings.Contains(c, "last value") }) {
		t.Errorf("caveats %q", got.Caveats)
	}
	if r := ask([]string{"m2"}, day1.Add(time.Hour), day1.Add(5*time.Hour)); r.Events != 4 || r.Models != 1 {
		t.Errorf("%d events of %d models", r.Events, r.Models)
	}

	for name, ask := range map[string]func() error{
		"no such model": func() error {
			_, err := e.Backtest(t.Context(), backtest.Options{Policies: tried}, []string{"x"}, time.Time{}, time.Time{})
			return err
		},
		"nothing then": func() error {
			_, err := e.Backtest(t.Context(), backtest.Options{Policies: tried}, nil, time.Time{}, day1)
			return err
		},
		"too much": func() error {
			kept(t, e, scores("m3", .9, .9))
			_, err := e.Backtest(t.Context(), backtest.Options{Policies: tried}, nil, time.Time{}, time.Time{})
			return err
		},
	} {
		if err := ask(); !errors.Is(err, visutility.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestBacktestsAreFew: a third is refused while two are under way, and those end when nobody waits any more.
func TestBacktestsAreFew(t *testing.T) {
	silence := parsed(t, "model: m\nretrain: {when: 'absent(accuracy, \"1h\") && accuracy < 0.0001'}\ntrain: {trainer: none}\n")
	e, stop := running(t, engine.Options{Dir: t.TempDir()})
	defer stop()
	far := scores("m", .9, .9)
	far[0].Time = day1.AddDate(-50, 0, 0) // billions of ticks ago
	kept(t, e, far)
	try := func(ctx context.Context) error {
		_, err := e.Backtest(ctx, backtest.Options{Policies: silence, Tick: time.Second}, nil, time.Time{}, time.Time{})
		return err
	}
	ctx, leave := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	for range 2 {
		go func() { ended <- try(ctx) }()
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	eventually(t, "a refusal", func() bool { return errors.Is(try(gone), visutility.ErrOverloaded) })
	leave()
	for range 2 {
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
	if err := try(gone); !errors.Is(err, context.Canceled) {
		t.Errorf("when there is room again: %v", err)
	}
}
