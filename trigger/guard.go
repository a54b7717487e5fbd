package trigger

import (
	"fmt"
	"time"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/policy"
)

// maxStarts bounds the starts remembered of a model, and so the largest budget.
const maxStarts = 1000

// A Guardrail is one reason not to retrain, with its state.
type Guardrail struct {
	Name   string    `json:"name"`
	Blocks bool      `json:"blocks"`
	Detail string    `json:"detail"`
	Until  time.Time `json:"until,omitzero"`
}

// guardrails returns the state of every guardrail of policy i, in the order in
// which they are consulted.
func (p *partition) guardrails(m *model, i int, now int64) []Guardrail {
	pol := m.prog.Policies()[i]
	gs := []Guardrail{
		m.pauseGuard(),
		m.activeGuard(),
		p.freshGuard(m),
		m.cooldownGuard(pol, now),
	}
	if pol.Retrain.Budget.Runs > 0 {
		gs = append(gs, m.budgetGuard(pol, now))
	}
	if g, ok := m.unlessGuard(i, now); ok {
		gs = append(gs, g)
	}
	return gs
}

// blocking is the first guardrail that stands against policy i, if any.
func (p *partition) blocking(m *model, i int, now int64) (Guardrail, bool) {
	for _, g := range p.guardrails(m, i, now) {
		if g.Blocks {
			return g, true
		}
	}
	return Guardrail{}, false
}

// pullBack moves anchors that lie in the future, because the clock was set back, to now,
// and reports whether there were any.
func (f *facts) pullBack(now int64) (any bool) {
	pull := func(anchor *int64) {
		if *anchor > now {
			*anchor, any = now, true
		}
	}
	pull(&f.LastSuccess)
	pull(&f.LastFailure)
	for i := range f.Starts {
		pull(&f.Starts[i])
	}
	return any
}

func (m *model) pauseGuard() Guardrail {
	g := Guardrail{Name: visutility.ByPause, Detail: "not paused"}
	if m.facts.Paused {
		g.Blocks, g.Detail = true, "paused"
		if m.facts.PausedBy != "" {
			g.Detail += " by " + m.facts.PausedBy
		}
		if m.facts.PausedReason != "" {
			g.Detail += ": " + m.facts.PausedReason
		}
	}
	return g
}

func (m *model) activeGuard() Guardrail {
	if m.facts.RollingBack {
		return Guardrail{Name: visutility.ByActiveRun, Blocks: true, Detail: "run " + m.facts.WatchedRun + " is being rolled back"}
	}
	if m.facts.ActiveRun == "" {
		return Guardrail{Name: visutility.ByActiveRun, Detail: "no run is under way"}
	}
	return Guardrail{Name: visutility.ByActiveRun, Blocks: true, Detail: "run " + m.facts.ActiveRun + " is under way"}
}

// freshGuard asks for new evidence: after a challenger that was rejected, or a run that somebody
// canceled, the same data would only lead to the same run again.
func (p *partition) freshGuard(m *model) Guardrail {
	if n, _ := m.events(&p.series); m.facts.Opened > 0 && n <= m.facts.Opened {
		return Guardrail{Name: visutility.ByNoNewData, Blocks: true, Detail: "nothing was measured since the last run was opened"}
	}
	return Guardrail{Name: visutility.ByNoNewData, Detail: "not waiting for new data"}
}

func (m *model) cooldownGuard(p *policy.Policy, now int64) Guardrail {
	g := Guardrail{Name: visutility.ByCooldown, Detail: "not cooling down"}
	for _, c := range []struct {
		since int64
		last  time.Duration
		after string
	}{
		{min(m.facts.LastSuccess, now), p.Retrain.AfterSuccess, "success"},
		{min(m.facts.LastFailure, now), max(p.Retrain.AfterFailure, breaker(m.facts.Failures)), "failure"},
	} {
		if until := c.since + c.last.Milliseconds(); c.since > 0 && until > now && (!g.Blocks || until > g.Until.UnixMilli()) {
			g.Blocks, g.Until = true, time.UnixMilli(until).UTC()
			g.Detail = fmt.Sprintf("cooling down for %s after a %s at %s", policy.FormatDuration(c.last), c.after, stamp(c.since))
		}
	}
	return g
}

// breaker is the least pause after so many failed runs in a row, whatever the policy says: one
// second, doubled each time, at most ten minutes. A trainer that cannot work must not be started for ever.
func breaker(failures int) time.Duration {
	if failures == 0 {
		return 0
	}
	return min(time.Second<<min(failures-1, 10), 10*time.Minute)
}

func (m *model) budgetGuard(p *policy.Policy, now int64) Guardrail {
	b := p.Retrain.Budget
	from := now - b.Per.Milliseconds()
	used, oldest := 0, int64(0)
	// The run that has to leave the period before another may start is the b.Runs-th from the end.
	for i := len(m.facts.Starts) - 1; i >= 0 && m.facts.Starts[i] > from; i-- {
		used++
		if used == b.Runs {
			oldest = min(m.facts.Starts[i], now)
		}
	}
	g := Guardrail{Name: visutility.ByBudget, Detail: fmt.Sprintf("%d of %d runs used in %s", used, b.Runs, policy.FormatDuration(b.Per))}
	if used >= b.Runs {
		g.Blocks, g.Until = true, time.UnixMilli(oldest+b.Per.Milliseconds()).UTC()
	}
	return g
}

func (m *model) unlessGuard(i int, now int64) (Guardrail, bool) {
	text := m.prog.Policies()[i].Retrain.Unless
	if text == "" {
		return Guardrail{}, false
	}
	g := Guardrail{Name: visutility.ByUnless, Detail: "unless " + text + ": does not hold"}
	if m.prog.Unless(m.state(), i, now) {
		g.Blocks, g.Detail = true, "unless "+text+": holds"
	}
	return g, true
}

func (p *partition) started(m *model, now int64) {
	m.facts.Opened, _ = m.events(&p.series)
	m.facts.Starts = append(m.facts.Starts, now)
	if n := len(m.facts.Starts); n > maxStarts {
		m.facts.Starts = m.facts.Starts[n-maxStarts:]
	}
}

func stamp(ms int64) string { return time.UnixMilli(ms).UTC().Format(time.RFC3339) }
