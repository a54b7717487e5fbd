package backtest

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/policy"
)

// maxTrials bounds the trials of one sweep.
const maxTrials = 1000

// A Trial is a policy with other values at its knobs, and what it would have done.
type Trial struct {
	Values map[string]string `json:"values"` // by knob
	// Same reports whether the policy is the one that was given.
	Same bool `json:"same,omitempty"`
	// When is the condition as the trial has it.
	When         string         `json:"when"`
	Runs         int            `json:"runs"`
	RunsPerMonth float64        `json:"runs_per_month"`
	Spend        float64        `json:"spend"`
	Suppressed   map[string]int `json:"suppressed"`
	Detection    *Detection     `json:"detection,omitempty"`
	// Unattended is how long models were in breach of the policy as given until a run that began in
	// that breach was over, in seconds; UnattendedShare is that as a part of all the time in breach.
	Unattended      float64 `json:"unattended_seconds"`
	UnattendedShare float64 `json:"unattended_share"`
	// Frontier reports whether no other trial has fewer runs and less time unattended.
	Frontier bool `json:"frontier"`
	// Source is the trial's policy file.
	Source string `json:"source"`
}

// A Sweep is what came of trying a policy with other values.
type Sweep struct {
	Policy string `json:"policy"`
	// InBreach is how long the models were in breach of the policy as given, had nothing been retrained, in seconds.
	InBreach float64  `json:"in_breach_seconds"`
	Trials   []Trial  `json:"trials"` // in the order of the axes
	Caveats  []string `json:"caveats"`
}

// Tune replays the past under a policy with every combination of the axes' values, beside the policy as it is. In breach
// is always meant by the policy as given: a trial that asks for less would otherwise look better for it.
func Tune(ctx context.Context, o Options, p *policy.Policy, axes []Axis, data *Data) (*Sweep, error) {
	trials, policies, err := combine(p, axes)
	if err != nil {
		return nil, err
	}
	set, err := replayable([]*policy.Policy{p})
	if err != nil {
		return nil, err
	}
	r, err := o.report(set, data)
	if err != nil {
		return nil, err
	}
	never := &replay{o: o, data: data, first: data.firsts(), set: set, scheduled: true, plan: Plan{Name: "never"}}
	replays := []*replay{never}
	for _, trial := range policies {
		set, err := replayable([]*policy.Policy{trial})
		if err != nil {
			return nil, err
		}
		replays = append(replays, &replay{o: o, data: data, first: never.first, set: set, brief: true, plan: Plan{Name: "policy"}})
	}
	if err := runAll(ctx, o, replays, int64(data.Events())); err != nil {
		return nil, err
	}
	for _, x := range replays {
		x.conclude(r)
	}
	s := &Sweep{Policy: p.Name, InBreach: never.plan.InBreach}
	for i, x := range replays[1:] {
		t := trials[i]
		t.Runs, t.RunsPerMonth, t.Spend = len(x.plan.Runs), x.plan.RunsPerMonth, x.plan.Spend
		t.Suppressed, t.Detection = x.plan.Suppressed, x.plan.Detection
		if t.Unattended = unattended(never.plan.breaches, x.plan.Runs); s.InBreach > 0 {
			t.UnattendedShare = t.Unattended / s.InBreach
		}
		s.Trials = append(s.Trials, t)
	}
	markFrontier(s.Trials)
	s.Caveats = append([]string{
		"Time unattended is counted until a run that began in the breach is over; one that began before it counts for nothing. Whether it helped is not in the data: later scores are the old model's, and so are the later runs.",
		"In breach is meant by the policy as given, whatever a trial asks for.",
	}, caveats(o, r, data, nil)[1:]...)
	return s, nil
}

// combine makes the policies of all combinations of values, that of the present values first.
func combine(p *policy.Policy, axes []Axis) ([]Trial, []*policy.Policy, error) {
	if len(axes) == 0 {
		return nil, nil, fmt.Errorf("%w: there is nothing to vary", visutility.ErrInvalid)
	}
	all := []map[string]string{{}}
	for _, a := range axes {
		var next []map[string]string
		for _, values := range all {
			for _, v := range a.Values {
				more := maps.Clone(values)
				more[a.Knob] = v
				next = append(next, more)
			}
		}
		if all = next; len(all) > maxTrials {
			return nil, nil, fmt.Errorf("%w: there are more than %d combinations to try", visutility.ErrInvalid, maxTrials)
		}
	}
	present := make(map[string]string)
	for _, k := range p.Knobs() {
		for _, a := range axes {
			if k.Name == a.Knob {
				present[k.Name] = k.Text
			}
		}
	}
	trials, policies := []Trial{{Values: present, Same: true, When: p.Retrain.When, Source: string(p.Source)}}, []*policy.Policy{p}
	for _, values := range all {
		q, err := p.With(values)
		if err != nil {
			return nil, nil, err
		}
		if string(q.Source) == string(p.Source) {
			continue
		}
		trials = append(trials, Trial{Values: values, When: q.Retrain.When, Source: string(q.Source)})
		policies = append(policies, q)
	}
	return trials, policies, nil
}

// unattended is how long breaches lasted until a run that began in them was over, in seconds.
func unattended(breaches map[string][]span, runs []Played) float64 {
	byModel := make(map[string][]Played)
	for _, r := range runs {
		byModel[r.Model] = append(byModel[r.Model], r)
	}
	var sum int64
	for model, spans := range breaches {
		for _, s := range spans {
			end := s.to
			for _, r := range byModel[model] {
				if s.within(r.Time.UnixMilli()) && r.State == visutility.Succeeded {
					end = min(end, r.Ended.UnixMilli())
				}
			}
			sum += end - s.from
		}
	}
	return float64(sum) / 1000
}

// markFrontier marks the trials that no other beats in both respects.
func markFrontier(trials []Trial) {
	order := make([]*Trial, len(trials))
	for i := range trials {
		order[i] = &trials[i]
	}
	slices.SortStableFunc(order, func(a, b *Trial) int {
		return cmp.Or(cmp.Compare(a.Runs, b.Runs), cmp.Compare(a.Unattended, b.Unattended))
	})
	best := order[0]
	for _, t := range order {
		if t == order[0] || t.Unattended < best.Unattended {
			t.Frontier, best = true, t
		}
	}
}
