package backtest

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/calibrate"
	"github.com/visutility/visutility/policy"
)

// A Promise is what a policy is calibrated to keep, and for whom.
type Promise struct {
	// Model is whose history it is. Defaults to the one model of the data that the policy watches.
	Model string
	// Number is the knob that is set. Defaults to the one of the condition whose role is plain.
	Number string
	// Calibration are the promise itself and how to find what keeps it; Levels, WarmUp and Harm are filled in.
	Calibration calibrate.Options
}

// A Calibration is a policy that keeps a promise, and what is known of it.
type Calibration struct {
	Policy string `json:"policy"`
	Model  string `json:"model"`
	Metric string `json:"metric"`
	// Number is the knob that was set, from Was to Value.
	Number string `json:"number"`
	Was    string `json:"was"`
	Value  string `json:"value"`
	// Source is the policy file with the value.
	Source string `json:"source"`
	*calibrate.Report
	// History is what the calibrated policy would have done in all of the history, incidents too.
	History Plan `json:"history"`
}

// Calibrate finds the value of a number of the policy that keeps a promise on a model's own history. Where the history
// does not carry the promise the error is a [*calibrate.Refusal].
func Calibrate(ctx context.Context, o Options, p *policy.Policy, promise Promise, data *Data) (*Calibration, error) {
	if data.Events() == 0 {
		return nil, fmt.Errorf("%w: there are no events to learn from", visutility.ErrInvalid)
	}
	data.sort()
	r, err := newRule(p, promise, data)
	if err != nil {
		return nil, err
	}
	h, err := calibrate.NewHistory(data.points(r.model, r.metric, &r.count))
	if err != nil {
		return nil, err
	}
	r.step = h.Step.Milliseconds()
	values := h.Normal()
	mean, deviation := spreadOf(values)
	co := promise.Calibration
	co.WarmUp = r.warmUp()
	if p.Metrics[r.metric].Goal == policy.HigherIsBetter {
		co.Harm = calibrate.Down
	}
	if co.Levels, err = r.levels(mean, deviation, values); err != nil {
		return nil, err
	}
	report, err := calibrate.Calibrate(ctx, h, r, co)
	if err != nil {
		return nil, err
	}
	c := &Calibration{Policy: p.Name, Model: r.model, Metric: r.metric, Number: r.knob.Name, Was: r.knob.Text, Value: levelText(report.Level), Report: report}
	q, err := p.With(map[string]string{c.Number: c.Value})
	if err != nil {
		return nil, err
	}
	c.Source = string(q.Source)
	c.Assumptions = append(c.Assumptions, r.assumptions()...)
	past, err := Run(ctx, Options{Policies: []*policy.Policy{q}, TrainTime: o.TrainTime, Tick: o.Tick}, data.only(r.model))
	if err != nil {
		return nil, err
	}
	c.History = past.Plans[0]
	c.History.Decisions = nil
	return c, nil
}

// newRule finds the number, the model and the metric that are meant.
func newRule(p *policy.Policy, promise Promise, data *Data) (*rule, error) {
	metrics := p.Reads()
	switch {
	case p.Retrain.When == "":
		return nil, fmt.Errorf("%w: %s: the strategy of another program cannot be calibrated", visutility.ErrInvalid, p.File)
	case len(metrics) != 1:
		return nil, fmt.Errorf("%w: retrain.when reads %d metrics (%s); calibrate simulates one", visutility.ErrInvalid, len(metrics), strings.Join(metrics, ", "))
	case p.Clocked():
		return nil, fmt.Errorf("%w: retrain.when depends on the clock (absent, age, cron), which a simulated metric has not", visutility.ErrInvalid)
	case p.Metrics[metrics[0]].Goal == "":
		return nil, fmt.Errorf("%w: declare under metrics which way %s is better: a false retrain is one without harm", visutility.ErrInvalid, metrics[0])
	}
	r := &rule{policy: p, metric: metrics[0]}
	var err error
	if r.knob, err = numberOf(p, promise.Number); err != nil {
		return nil, err
	}
	r.model, err = data.modelOf(p, promise.Model)
	return r, err
}

// numberOf is the knob of that name, or the only one that could be meant.
func numberOf(p *policy.Policy, name string) (policy.Knob, error) {
	var plain []policy.Knob
	for _, k := range p.Knobs() {
		if k.Name == name {
			return k, nil
		}
		if k.Role != "" && !k.Span && k.InWhen() {
			plain = append(plain, k)
		}
	}
	var names []string
	for _, k := range plain {
		names = append(names, k.Name)
	}
	switch {
	case name != "":
		return policy.Knob{}, fmt.Errorf("%w: %q is no number of the policy; there are %s", visutility.ErrInvalid, name, strings.Join(knobNames(p), ", "))
	case len(plain) == 0:
		return policy.Knob{}, fmt.Errorf("%w: retrain.when has no number that says how easily it fires", visutility.ErrInvalid)
	case len(plain) > 1:
		return policy.Knob{}, fmt.Errorf("%w: retrain.when has several numbers that say how easily it fires; name one: %s", visutility.ErrInvalid, strings.Join(names, ", "))
	}
	return plain[0], nil
}

// modelOf is that model, or the only one of the data that the policy watches.
func (d *Data) modelOf(p *policy.Policy, name string) (string, error) {
	var watched []string
	for i := range d.series {
		if m := d.series[i].Model; p.Matches(m) && !slices.Contains(watched, m) {
			watched = append(watched, m)
		}
	}
	slices.Sort(watched)
	switch {
	case name != "" && !slices.Contains(watched, name):
		return "", fmt.Errorf("%w: the data has no model %q that policy %s watches", visutility.ErrInvalid, name, p.Name)
	case name != "":
		return name, nil
	case len(watched) == 0:
		return "", fmt.Errorf("%w: the data has no model that policy %s watches", visutility.ErrInvalid, p.Name)
	case len(watched) > 1:
		return "", fmt.Errorf("%w: the data has %d models that policy %s watches; name one, such as %q: each has a history of its own", visutility.ErrInvalid, len(watched), p.Name, watched[0])
	}
	return watched[0], nil
}

// points are the measurements of a metric; count becomes the mean number of samples behind one.
func (d *Data) points(model, metric string, count *int64) []calibrate.Point {
	var points []calibrate.Point
	var sum float64
	for i := range d.records {
		x := &d.records[i]
		if s := &d.series[x.series]; s.Model == model && s.Metric == metric {
			points = append(points, calibrate.Point{Time: x.time, Value: x.value, Masked: x.incident})
			sum += float64(x.count)
		}
	}
	*count = max(int64(math.Round(sum/max(float64(len(points)), 1))), 1)
	return points
}

// only is the part of the data that is about one model.
func (d *Data) only(model string) *Data {
	part := &Data{series: d.series, index: d.index, marked: d.marked, sorted: true}
	for i := range d.records {
		if d.series[d.records[i].series].Model == model {
			part.records = append(part.records, d.records[i])
		}
	}
	return part
}

// spreadOf is the mean and the standard deviation of values, without those that are NaN.
func spreadOf(values []float64) (mean, deviation float64) {
	n, squares := 0.0, 0.0
	for _, v := range values {
		if v == v {
			n++
			off := v - mean
			mean += off / n
			squares += off * (v - mean)
		}
	}
	return mean, math.Sqrt(squares / max(n, 1))
}

// assumptions are those of the rule, beside those of the simulation.
func (r *rule) assumptions() []string {
	says := []string{fmt.Sprintf("Every value stands on %d samples, their mean in the history.", r.count)}
	if r.policy.Retrain.AfterSuccess > 0 {
		says = append(says, fmt.Sprintf("Each retrain is promoted at once, and the next one waits for the cooldown of %s.", policy.FormatDuration(r.policy.Retrain.AfterSuccess)))
	} else {
		says = append(says, "Each retrain is promoted at once, and the policy starts afresh.")
	}
	if r.policy.Retrain.Budget.Runs > 0 || r.policy.Retrain.Unless != "" {
		says = append(says, "Budget and unless would prevent some of the false retrains; that is not counted on.")
	}
	return says
}
