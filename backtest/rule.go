package backtest

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"sync"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/policy"
)

// A rule is a policy with one of its numbers left open, over streams of its one metric at equal steps. It is a
// [calibrate.Rule]: the very program of production decides, and after each retrain it starts afresh as after a
// promotion. Of the guardrails the cooldown after a success counts.
type rule struct {
	policy *policy.Policy
	knob   policy.Knob
	model  string
	metric string
	step   int64 // ms
	count  int64 // samples behind each value

	programs sync.Map // level → *policy.Program
}

// program is that of the policy at a level.
func (r *rule) program(level float64) (*policy.Program, error) {
	if p, ok := r.programs.Load(level); ok {
		return p.(*policy.Program), nil
	}
	q, err := r.policy.With(map[string]string{r.knob.Name: levelText(level)})
	if err != nil {
		return nil, err
	}
	set, err := policy.NewSet(q)
	if err != nil {
		return nil, err
	}
	p := set.For(r.model)
	if p == nil {
		return nil, fmt.Errorf("%w: policy %s does not watch model %q", visutility.ErrInvalid, r.policy.Name, r.model)
	}
	r.programs.Store(level, p)
	return p, nil
}

// Retrains counts the retrains over a stream, of which each starts the policy afresh, and puts their places in found
// until it is full. NaN is no value. Levels that make no policy were sorted out before.
func (r *rule) Retrains(level float64, stream []float64, found []int) int {
	p, err := r.program(level)
	if err != nil {
		return 0
	}
	state := make([]uint64, p.Words())
	p.Init(state)
	metric, cooldown := p.Metric(r.metric), r.policy.Retrain.AfterSuccess.Milliseconds()
	n, last := 0, int64(math.MinInt64/2)
	for i, v := range stream {
		if v != v || n == len(found) {
			continue
		}
		now := int64(i+1) * r.step
		p.Observe(state, metric, now, now, v, r.count, visutility.Position(i+1), "")
		if verdict, _, _ := p.Verdict(state, 0); verdict == visutility.Fire && now-last >= cooldown {
			found[n], last = i, now
			n++
			p.Promoted(state, now, nil)
		}
	}
	return n
}

// levelText writes a level to four digits, as levels are made.
func levelText(v float64) string {
	rounded, _ := strconv.ParseFloat(strconv.FormatFloat(v, 'g', 4, 64), 64) // what was written can be read
	return strconv.FormatFloat(rounded, 'f', -1, 64)
}

// How the levels of a number are spread.
const (
	levelCount   = 300
	spreadSigmas = 12   // of the metric, for limits and margins
	leastFactor  = 1e-4 // of the present or default value, for distances
	mostFactor   = 1e3
	maxWarmUp    = 5000
)

// levels are what the number may be set to, from nervous to calm, on the scale of a metric with that mean and deviation.
func (r *rule) levels(mean, deviation float64, history []float64) ([]float64, error) {
	now, err := strconv.ParseFloat(r.knob.Text, 64)
	if err != nil {
		return nil, fmt.Errorf("%w: %s is no number", visutility.ErrInvalid, r.knob.Name)
	}
	low, high := mean-spreadSigmas*deviation, mean+spreadSigmas*deviation
	byFactor := false
	switch r.knob.Role {
	case policy.Limit:
	case policy.Margin:
		low, high = 0, spreadSigmas*deviation
	case policy.Factor:
		low, high = 0, 3
	case policy.Distance:
		low, high, byFactor = leastFactor*math.Abs(now), mostFactor*math.Abs(now), true
	default:
		return nil, fmt.Errorf("%w: calibrate finds a limit, a margin, a factor, or how far a statistic has to come; %s is none of these", visutility.ErrInvalid, r.knob.Name)
	}
	var all []float64
	for i := range levelCount {
		x := float64(i) / (levelCount - 1)
		v := low + (high-low)*x
		if byFactor {
			v = low * math.Pow(high/low, x)
		}
		v, _ = strconv.ParseFloat(levelText(v), 64)
		if n := len(all); n > 0 && all[n-1] == v {
			continue
		}
		if _, err := r.program(v); err == nil {
			all = append(all, v)
		}
	}
	if len(all) < 2 {
		return nil, fmt.Errorf("%w: no other value of %s makes a policy", visutility.ErrInvalid, r.knob.Name)
	}
	found := make([]int, len(history))
	nervous, calm := r.Retrains(all[0], history, found), r.Retrains(all[len(all)-1], history, found)
	switch cmp.Compare(nervous, calm) {
	case 0:
		return nil, fmt.Errorf("%w: %s makes no difference on this history: from %s to %s the policy would retrain %d times", visutility.ErrInvalid,
			r.knob.Name, levelText(all[0]), levelText(all[len(all)-1]), calm)
	case -1:
		slices.Reverse(all)
	}
	return all, nil
}

// warmUp is how many values the policy learns from before it can fire: as many as the longest of its windows and
// baselines, and at least a hundred.
func (r *rule) warmUp() int {
	most := 100
	for _, k := range r.policy.Knobs() {
		v, err := number(k.Text, k)
		switch {
		case err != nil:
		case k.Span:
			most = max(most, int(v*1000)/int(r.step))
		case k.Whole:
			most = max(most, int(v))
		}
	}
	return min(most, maxWarmUp)
}
