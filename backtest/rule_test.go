package backtest

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/calibrate"
	"github.com/visutility/visutility/policy"
)

// wander is a metric that remembers, with a shift now and then.
func wander(seed uint64, hours int) []float64 {
	rng := rand.New(rand.NewPCG(seed, 1))
	values, x := make([]float64, hours), 0.0
	for i := range values {
		x = 0.6*x + 0.01*rng.NormFloat64()
		values[i] = 0.9 + x
		if i%500 > 440 {
			values[i] -= 0.04
		}
	}
	return values
}

func hourlyPast(t testing.TB, values []float64, incident func(i int) bool) *Data {
	t.Helper()
	d := NewData()
	for i, v := range values {
		if err := d.Add(visutility.Event{Model: "m", Metric: "accuracy", Value: v, Count: 50, Time: hour(i)}, incident != nil && incident(i)); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

// TestRuleIsTheFold: calibration counts the retrains that a backtest has. (Where values are missing the clock may let a
// run through in between; a rule waits for the next value.)
func TestRuleIsTheFold(t *testing.T) {
	for _, c := range []struct {
		retrain, knob string
		levels        []float64
	}{
		{"{when: 'cusum(accuracy, {baseline: 50})', cooldown: 30h}", "cusum.h", []float64{2, 5, 9.5}},
		{"{when: accuracy < 0.87, cooldown: 12h}", "0.87", []float64{0.85, 0.88, 0.9}},
		{"{when: 'avg(accuracy, \"12h\") < baseline.accuracy - 0.02', for: 3h, cooldown: 1d}", "0.02", []float64{0.01, 0.03}},
		{"{when: 'm_of_n(accuracy < 0.88, 2, 3)', cooldown: 2d}", "0.88", []float64{0.87, 0.89}},
	} {
		p := mustPolicy(t, "model: m\nretrain: "+c.retrain+"\ntrain: {run: a}\n")
		knob, err := numberOf(p, c.knob)
		if err != nil {
			t.Fatal(err)
		}
		for _, level := range c.levels {
			values := wander(uint64(1000*level), 2000)
			r := &rule{policy: p, knob: knob, model: "m", metric: "accuracy", step: time.Hour.Milliseconds(), count: 50}
			found := make([]int, 2000)
			found = found[:r.Retrains(level, values, found)]
			q, err := p.With(map[string]string{knob.Name: levelText(level)})
			if err != nil {
				t.Fatal(err)
			}
			report, err := Run(t.Context(), Options{Policies: []*policy.Policy{q}, TrainTime: time.Millisecond}, hourlyPast(t, values, nil))
			if err != nil {
				t.Fatal(err)
			}
			var want []int
			for _, run := range report.Plans[0].Runs {
				want = append(want, int(run.Time.Sub(start).Hours()))
			}
			if diff := cmp.Diff(want, found); diff != "" || len(want) == 0 {
				t.Errorf("%s at %v: (-backtest +rule):\n%s", c.retrain, level, diff)
			}
		}
	}
}

func TestCalibrate(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	values, x := make([]float64, 24*45), 0.0
	for i := range values {
		x = 0.3*x + 0.01*rng.NormFloat64()
		values[i] = 0.9 + x
		if i >= 600 && i < 620 {
			values[i] -= 0.2
		}
	}
	data := hourlyPast(t, values, func(i int) bool { return i >= 600 && i < 620 })
	p := mustPolicy(t, "model: m\nretrain: {when: 'avg(accuracy, 12) < 0.8', cooldown: 1d}\ntrain: {run: a}\n")
	promise := Promise{Calibration: calibrate.Options{Outer: 10, Inner: 20, Seed: 5}}
	c, err := Calibrate(t.Context(), Options{}, p, promise, data)
	if err != nil {
		t.Fatal(err)
	}
	if c.Number != "0.8" || c.Was != "0.8" || c.Metric != "accuracy" || c.Level < 0.86 || c.Level > 0.9 {
		t.Errorf("%s of %s goes from %s to %s", c.Number, c.Metric, c.Was, c.Value)
	}
	if !strings.Contains(c.Source, "avg(accuracy, 12) < "+c.Value) {
		t.Errorf("the policy reads\n%s", c.Source)
	}
	if len(c.History.Runs) == 0 || !c.History.Runs[0].Incident {
		t.Errorf("the incident is not found: %+v", c.History.Runs)
	}
	if c.Delays[0].Change >= 0 {
		t.Errorf("harm to an accuracy is a change of %v", c.Delays[0].Change)
	}
}

func TestCalibrateRefuses(t *testing.T) {
	data := hourlyPast(t, wander(1, 100), nil)
	for retrain, want := range map[string]string{
		"when: accuracy < 0.8 && recall < 0.5":             "reads 2 metrics",
		"when: accuracy < 0.8 && absent(accuracy, \"1h\")": "depends on the clock",
		"when: psi > 0.5":                         "which way psi is better",
		"when: accuracy < 0.8 || cusum(accuracy)": "name one: 0.8, cusum.h",
		"when: adwin(accuracy)":                   "no number that says how easily",
		"when: accuracy < 0.8":                    "the history is",
		"strategy: own":                           "strategy",
	} {
		p := mustPolicy(t, fmt.Sprintf("model: m\nmetrics: {psi: {min_samples: 2}}\nretrain:\n  %s\ntrain: {run: a}\n", retrain))
		if _, err := Calibrate(t.Context(), Options{}, p, Promise{}, data); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %q", retrain, err, want)
		}
	}
	p := mustPolicy(t, "models: ['*']\nretrain: {when: accuracy < 0.8}\ntrain: {run: a}\n")
	if err := data.Add(visutility.Event{Model: "n", Metric: "accuracy", Value: 1, Time: hour(200)}, false); err != nil {
		t.Fatal(err)
	}
	if _, err := Calibrate(t.Context(), Options{}, p, Promise{}, data); err == nil || !strings.Contains(err.Error(), `2 models`) {
		t.Errorf("two models: %v", err)
	}
	if _, err := Calibrate(t.Context(), Options{}, p, Promise{Model: "o"}, data); err == nil || !strings.Contains(err.Error(), `no model "o"`) {
		t.Errorf("a model that is not there: %v", err)
	}
}
