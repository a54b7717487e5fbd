package trigger

import (
	"fmt"
	"slices"
	"time"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/policy"
)

// An Explanation says how a model stands with every policy that watches it,
// and why it is, or is not, retraining right now.
type Explanation struct {
	Model     string              `json:"model"`
	Paused    bool                `json:"paused"`
	Champion  string              `json:"champion"`
	ActiveRun string              `json:"active_run"`
	Watched   string              `json:"watched_run,omitempty"`
	Events    int64               `json:"events"`
	LastEvent time.Time           `json:"last_event,omitzero"`
	Policies  []PolicyExplanation `json:"policies"`
}

// A PolicyExplanation says how a model stands with one policy.
type PolicyExplanation struct {
	Policy   string             `json:"policy"`
	Revision string             `json:"revision"`
	Verdict  visutility.Verdict `json:"verdict"`
	// Since is the event time at which the breach began.
	Since      time.Time         `json:"since,omitzero"`
	Retraining bool              `json:"retraining"`
	Why        string            `json:"why"` // one sentence
	Terms      []visutility.Term `json:"terms"`
	Guardrails []Guardrail       `json:"guardrails"`
}

// Explain tells how a model stands. now is the time to hold guardrails against. It
// returns [visutility.ErrNotFound] for a model that never sent an event.
func (t *Trigger) Explain(name string, now time.Time) (Explanation, error) {
	return t.partition(name).explain(name, now)
}

func (p *partition) explain(name string, now time.Time) (Explanation, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	m := p.models[name]
	if m == nil {
		return Explanation{}, fmt.Errorf("model %q: %w: no event of it was ever accepted", name, visutility.ErrNotFound)
	}
	f := &m.facts
	x := Explanation{
		Model: name, Paused: f.Paused, Champion: f.Champion, ActiveRun: f.ActiveRun, Watched: f.WatchedRun,
		Policies: []PolicyExplanation{},
	}
	var stored int64
	if x.Events, stored = m.events(&p.series); stored > 0 {
		x.LastEvent = time.UnixMilli(stored).UTC()
	}
	if m.prog != nil {
		for i := range m.prog.Policies() {
			x.Policies = append(x.Policies, p.explainPolicy(m, i, now.UnixMilli()))
		}
	}
	return x, nil
}

func (p *partition) explainPolicy(m *model, i int, now int64) PolicyExplanation {
	pol := m.prog.Policies()[i]
	v, _, since := m.verdict(i)
	x := PolicyExplanation{
		Policy: pol.Name, Revision: pol.Revision, Verdict: v,
		Retraining: m.facts.ActiveRun != "",
		Terms:      m.prog.Explain(m.state(), i, now),
		Guardrails: p.guardrails(m, i, now),
	}
	if m.facts.WatchedRun == "" { // then nothing is rolled back, whatever the condition says
		x.Terms = slices.DeleteFunc(x.Terms, func(t visutility.Term) bool { return t.Name == "rollback.when" })
	}
	if v != visutility.Hold && since > 0 {
		x.Since = time.UnixMilli(since).UTC()
	}
	x.Why = m.why(i, v, x.Guardrails, x.Terms)
	return x
}

// why says in a sentence why policy i is, or is not, retraining the model.
func (m *model) why(i int, v visutility.Verdict, gs []Guardrail, terms []visutility.Term) string {
	pol := m.prog.Policies()[i]
	if m.facts.ActiveRun != "" {
		return "run " + m.facts.ActiveRun + " is under way"
	}
	for _, s := range m.ladder {
		if s.policy == i && s.broken != "" {
			return "its strategy " + pol.Retrain.Strategy + " " + s.broken + "; it is not asked again until the server starts anew with a mended one"
		}
	}
	switch v {
	case visutility.Breach:
		return fmt.Sprintf("not retraining: the condition holds, but not yet for %s: %s", policy.FormatDuration(pol.Retrain.For), pol.Retrain.When)
	case visutility.Fire:
		for _, g := range gs {
			if g.Blocks {
				s := "not retraining: the condition holds, but: " + g.Detail
				if !g.Until.IsZero() {
					s += ", until " + g.Until.Format(time.RFC3339)
				}
				return s
			}
		}
		return "about to retrain: " + pol.Retrain.When
	}
	for _, t := range terms {
		if t.Name == "when" && t.Value == nil {
			return "not retraining: there is not enough data to tell: " + pol.Retrain.When
		}
	}
	if pol.Retrain.When == "" && pol.Retrain.Strategy == "" {
		return "not retraining: the policy has no condition; a run is started by hand"
	}
	return "not retraining: the condition does not hold: " + pol.Retrain.When
}
