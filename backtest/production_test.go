package backtest_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/backtest"
	"github.com/visutility/visutility/engine"
	"github.com/visutility/visutility/policy"
	"github.com/visutility/visutility/store"
)

// TestBacktestEqualsProduction sends random events of many models through a running engine and
// through a replay: the decisions are the same to the byte, but for what depends on when the log
// stored the events. The runs of both never end.
func TestBacktestEqualsProduction(t *testing.T) {
	const models, hours = 150, 60
	policies := windowed(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	events := randomEvents(rand.New(rand.NewPCG(seed, 1)), models, hours)
	want, got := decided(t, produced(t, policies, events)), replayedDecisions(t, policies, events)
	if len(want) == 0 {
		t.Fatal("nothing was decided")
	}
	outcomes, deciders := make(map[visutility.Outcome]int), make(map[string]int)
	for _, d := range want {
		outcomes[d.Outcome]++
		deciders[d.Policy]++
	}
	t.Logf("%d events, decisions: %v by %v", len(events), outcomes, deciders)
	for _, p := range policies {
		if deciders[p.Name] == 0 {
			t.Errorf("policy %s decided nothing", p.Name)
		}
	}
	a, b := canonical(t, want), canonical(t, got)
	if a != b {
		t.Errorf("(-production +backtest):\n%s", gocmp.Diff(a, b))
	}
}

// TestProductionBecomesTests makes a test of every fire and every suppression that a running engine came to.
func TestProductionBecomesTests(t *testing.T) {
	const models, hours = 40, 60
	policies := windowed(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	e := produced(t, policies, randomEvents(rand.New(rand.NewPCG(seed, 2)), models, hours))
	n := 0
	for _, d := range decided(t, e) {
		if d.Outcome != visutility.Fired && d.Outcome != visutility.Suppressed {
			continue
		}
		n++
		var made *backtest.DecisionTest
		eventually(t, "the history to come to the decision", func() (err error) {
			made, err = e.DecisionTest(t.Context(), d.ID)
			if err != nil && !errors.Is(err, visutility.ErrUnavailable) {
				t.Fatal(err)
			}
			return err
		})
		if !made.Reproduced {
			t.Errorf("%s of policy %s about %s does not come again:\n%s", d.Outcome, d.Policy, d.Model, made.Test)
		}
	}
	if n == 0 {
		t.Fatal("nothing was decided")
	}
	t.Logf("%d decisions", n)
}

// windowed are policies whose conditions events alone can change: two for most models.
func windowed(t *testing.T) (policies []*policy.Policy) {
	for i, retrain := range []string{
		`{when: "accuracy < 0.8"}`,
		`{when: "avg(accuracy, \"6h\") < baseline.accuracy - 0.05", for: 2h}`,
		`{when: "m_of_n(accuracy < 0.8, 2, 4) || quantile(drift_score, 0.9, 12) > 0.7", cooldown: 1h}`,
		`{when: "stddev(accuracy, 8) > 0.08 && count(drift_score, \"12h\") > 20.0", budget: {runs: 1, per: 1d}}`,
		`{when: "quorum(2, adwin(accuracy, {grace: 5, clock: 4, baseline: 12}), cusum(accuracy, {baseline: 12, hold: \"9h\"}), page_hinkley(accuracy, {threshold: 0.1}), kswin(drift_score, {window: 12, stat: 4, alpha: 0.1}))"}`,
		`{when: "worst(accuracy, \"country\", \"12h\", {min_samples: 30}) < 0.8 || worst(accuracy, \"country\", 3) < 0.7", for: 1h}`,
		`{when: "excess(accuracy, {tolerance: 0.01}) > 40 || new_samples(drift_score) > 500", cooldown: 1h}`,
	} {
		policies = append(policies, parsed(t, fmt.Sprintf("name: p%d\nmodels: ['m*%d']\nretrain: %s\ntrain: {trainer: none}\n", i, i, retrain)),
			parsed(t, fmt.Sprintf("name: q%d\nmodels: ['m*%d']\nretrain: %s\ntrain: {trainer: none}\n", i, i+3, retrain)))
	}
	return policies
}

func parsed(t *testing.T, src string) *policy.Policy {
	t.Helper()
	p, err := policy.Parse("p.yaml", []byte(src))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// eventually repeats what may fail at first.
func eventually(t *testing.T, what string, try func() error) {
	t.Helper()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	deadline := time.After(30 * time.Second)
	for {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-again.C:
		case <-deadline:
			t.Fatalf("waited in vain for %s: %v", what, err)
		}
	}
}

// randomEvents are scores that wander, in the order of time, with late ones and repeated times in between.
func randomEvents(rng *rand.Rand, models, hours int) []visutility.Event {
	level := make([]float64, models)
	for i := range level {
		level[i] = 0.9
	}
	var events []visutility.Event
	for h := range hours {
		for m := range models {
			level[m] = min(0.95, max(0.6, level[m]+0.04*rng.NormFloat64()))
			e := visutility.Event{Model: fmt.Sprintf("m%d", m), Metric: "accuracy", Value: level[m], Time: time.Date(2026, 1, 1, h, 0, 0, 0, time.UTC), Count: uint64(1 + rng.IntN(100))}
			switch rng.IntN(4) {
			case 0:
				e.Metric, e.Value = "drift_score", rng.Float64()
			case 1:
				e.Labels = map[string]string{"country": []string{"DE", "FR"}[rng.IntN(2)]}
			}
			events = append(events, e)
		}
	}
	return events
}

// produced is an engine that has folded the events.
func produced(t *testing.T, policies []*policy.Policy, events []visutility.Event) *engine.Engine {
	endless := visutility.TrainerFunc(func(ctx context.Context, _ visutility.Job) (visutility.Artifact, error) {
		<-ctx.Done()
		return visutility.Artifact{}, context.Cause(ctx)
	})
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	e, err := engine.Open(ctx, engine.Options{
		Dir: t.TempDir(), Policies: policies, Logger: slog.New(slog.DiscardHandler),
		Trainers: map[string]visutility.Trainer{"none": endless},
	})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	for chunk := range slices.Chunk(events, 777) {
		if err := e.Publish(ctx, "", chunk); err != nil {
			t.Fatal(err)
		}
	}
	// A model is listed when all that its partition was sent before is folded and stored: so enough
	// models, about which nothing is decided, that every partition has one.
	var last []visutility.Event
	for i := range 64 {
		last = append(last, visutility.Event{Model: fmt.Sprintf("last-%d", i), Metric: "accuracy", Value: 1})
	}
	if err := e.Publish(ctx, "", last); err != nil {
		t.Fatal(err)
	}
	for _, l := range last {
		eventually(t, "the engine to fold the events", func() error {
			_, err := e.Model(ctx, l.Model)
			if err != nil && !errors.Is(err, visutility.ErrNotFound) {
				t.Fatal(err)
			}
			return err
		})
	}
	return e
}

// decided are the decisions of an engine.
func decided(t *testing.T, e *engine.Engine) (all []visutility.Decision) {
	t.Helper()
	for cursor, more := "", true; more; more = cursor != "" {
		ds, next, err := e.Store().Decisions(t.Context(), store.DecisionFilter{Page: store.Page{Limit: 200, Cursor: cursor}})
		if err != nil {
			t.Fatal(err)
		}
		all, cursor = append(all, ds...), next
	}
	return all
}

// replayedDecisions are those of a replay of the events.
func replayedDecisions(t *testing.T, policies []*policy.Policy, events []visutility.Event) []visutility.Decision {
	data := backtest.NewData()
	for _, e := range events {
		if err := data.Add(e, false); err != nil {
			t.Fatal(err)
		}
	}
	r, err := backtest.Run(t.Context(), backtest.Options{Policies: policies, TrainTime: 10_000 * time.Hour}, data)
	if err != nil {
		t.Fatal(err)
	}
	if r.Plans[0].DecisionsOmitted > 0 {
		t.Fatal("more decisions than a report lists")
	}
	return r.Plans[0].Decisions
}

// canonical writes decisions as JSON, one a line, without what depends on when the log stored
// the events: places in the log, what is derived from them, and the time.
func canonical(t *testing.T, ds []visutility.Decision) string {
	t.Helper()
	slices.SortStableFunc(ds, func(a, b visutility.Decision) int {
		return cmp.Or(cmp.Compare(a.Model, b.Model), cmp.Compare(a.Policy, b.Policy), a.EventTime.Compare(b.EventTime), cmp.Compare(a.Outcome, b.Outcome))
	})
	runs := make(map[string]string)
	for _, d := range ds {
		if d.Run != "" {
			runs[d.Run] = "run of " + d.Model
		}
	}
	var b strings.Builder
	for _, d := range ds {
		d.ID, d.Position, d.Index, d.Partition, d.Since, d.Time = "", 0, 0, 0, 0, time.Time{}
		d.Run = runs[d.Run]
		for id, name := range runs {
			d.Reason = strings.ReplaceAll(d.Reason, id, name)
		}
		line, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		b.Write(line)
		b.WriteByte('\n')
	}
	return b.String()
}
