package trigger

import (
	"fmt"
	"math/bits"
	"time"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/policy"
)

// look considers every policy of mask: what its verdict is now, whether that was
// said before, and what comes of it.
func (p *partition) look(m *model, mask uint64, at place, now int64) {
	for ; mask != 0; mask &= mask - 1 {
		i := bits.TrailingZeros64(mask)
		p.considerRollback(m, i, at, now)
		p.consider(m, i, at, now)
	}
}

func (p *partition) consider(m *model, i int, at place, now int64) {
	v, _, _ := m.verdict(i)
	name := m.prog.Policies()[i].Name
	before := m.said(name)
	if v != visutility.Fire {
		if v != before.Verdict {
			d := p.decision(m, i, at, now)
			d.Outcome, d.Reason = visutility.Noted, noted(before.Verdict, v, m, i)
			p.conclude(m, d, said{Verdict: v})
		}
		return
	}
	if m.facts.pullBack(now) {
		p.touch(m)
	}
	g, blocked := p.blocking(m, i, now)
	if !blocked {
		d := p.decision(m, i, at, now)
		d.Reason = "the condition holds: " + m.prog.Policies()[i].Retrain.When
		p.open(m, i, &d, at, now)
		p.conclude(m, d, said{Verdict: v})
		return
	}
	p.wait(m)
	word := said{Verdict: v, Guard: g.Name}
	if !g.Until.IsZero() {
		word.Until = g.Until.UnixMilli()
	}
	if before == word {
		return
	}
	d := p.decision(m, i, at, now)
	d.Outcome, d.SuppressedBy, d.Until = visutility.Suppressed, g.Name, g.Until
	d.Reason = "would retrain, but: " + g.Detail
	p.conclude(m, d, word)
}

// considerRollback orders the watched run back, once, when its condition holds.
func (p *partition) considerRollback(m *model, i int, at place, now int64) {
	f := &m.facts
	pol := m.prog.Policies()[i]
	if f.WatchedRun == "" || f.RollingBack || pol.Rollback == nil || !m.prog.Rollback(m.state(), i) {
		return
	}
	f.RollingBack = true
	p.touch(m)
	d := p.decision(m, i, at, now)
	d.ID = at.id("d", m.name, pol.Name+"\x00rollback")
	d.Outcome, d.Run = visutility.RollbackOrdered, f.WatchedRun
	d.Reason = "the new champion does worse: " + pol.Rollback.When
	p.out.rollbacks = append(p.out.rollbacks, f.WatchedRun)
	p.out.decide(m, d)
	f.LastDecision = d.ID
}

// decision fills in what every decision about policy i has.
func (p *partition) decision(m *model, i int, at place, now int64) visutility.Decision {
	pol := m.prog.Policies()[i]
	v, since, _ := m.verdict(i)
	if v == visutility.Hold || since == 0 {
		since = at.position
	}
	_, last := m.prog.Time(m.state())
	d := visutility.Decision{
		ID: at.id("d", m.name, pol.Name), Model: m.name, Policy: pol.Name, PolicyRevision: pol.Revision,
		Partition: at.partition, Position: at.position, Index: at.index, Since: since,
		Time: time.UnixMilli(now).UTC(), Verdict: v, Previous: m.said(pol.Name).Verdict,
		Evidence: m.prog.Explain(m.state(), i, now),
	}
	if last > 0 {
		d.EventTime = time.UnixMilli(last).UTC()
	}
	return d
}

// open opens a run for a decision.
func (p *partition) open(m *model, i int, d *visutility.Decision, at place, now int64) {
	pol := m.prog.Policies()[i]
	first, last := m.prog.Time(m.state())
	run := visutility.Run{
		ID: at.id("r", m.name, pol.Name), Model: m.name, Policy: pol.Name, PolicyRevision: pol.Revision,
		State: visutility.Pending, Decision: d.ID, Champion: m.facts.Champion, By: d.By,
		CreatedAt: time.UnixMilli(now).UTC(),
	}
	if last > 0 {
		run.Window = visutility.Window{From: time.UnixMilli(first).UTC(), To: time.UnixMilli(last).UTC()}
	}
	d.Outcome, d.Run = visutility.Fired, run.ID
	m.facts.ActiveRun = run.ID
	m.prog.Opened(m.state(), now)
	p.started(m, now)
	p.out.runs = append(p.out.runs, run)
}

// conclude records a decision and remembers what was said.
func (p *partition) conclude(m *model, d visutility.Decision, s said) {
	m.say(d.Policy, s)
	m.facts.LastDecision = d.ID
	p.touch(m)
	p.out.decide(m, d)
}

// wait puts a model with a suppressed fire on the list that the clock looks at.
func (p *partition) wait(m *model) {
	if !m.waiting {
		m.waiting = true
		p.waiting = append(p.waiting, m)
	}
}

// manual answers somebody who asks for a run. Only an active run stands against it.
func (p *partition) manual(m *model, c *visutility.Control, at place, now int64) {
	i := m.policyIndex(c.Policy)
	if i < 0 {
		d := visutility.Decision{
			ID: at.id("d", m.name, c.Policy), Model: m.name, Policy: c.Policy, Partition: at.partition, Position: at.position,
			Index: at.index, Since: at.position, Time: time.UnixMilli(now).UTC(), Outcome: visutility.Suppressed,
			By: c.By, Request: c.Request, Reason: fmt.Sprintf("no policy %q is in force for the model", c.Policy),
		}
		p.out.decide(m, d)
		p.out.answer(c.Request, &d)
		return
	}
	d := p.decision(m, i, at, now)
	d.By, d.Request = c.By, c.Request
	if g := m.activeGuard(); g.Blocks {
		d.Outcome, d.SuppressedBy, d.Reason = visutility.Suppressed, g.Name, "asked for by hand, but: "+g.Detail
	} else {
		d.Reason = "asked for by hand"
		if c.Reason != "" {
			d.Reason += ": " + c.Reason
		}
		p.open(m, i, &d, at, now)
	}
	m.facts.LastDecision = d.ID
	p.out.decide(m, d)
	p.out.answer(c.Request, &d)
}

// promotedByHand records that somebody, and not a run, moved the champion.
func (p *partition) promotedByHand(m *model, c *visutility.Control, at place, now int64) {
	if c.Run != "" {
		return
	}
	reason := "the champion was moved by hand"
	if c.By != "" {
		reason += ", by " + c.By
	} else if c.Reason != "" {
		reason = "the champion moved outside of VisuTility: " + c.Reason
	}
	if c.Previous != "" {
		reason += ", from " + c.Previous
	}
	d := visutility.Decision{
		ID: at.id("d", m.name, "promoted"), Model: m.name, Partition: at.partition, Position: at.position, Index: at.index,
		Since: at.position, Time: time.UnixMilli(now).UTC(), Outcome: visutility.Noted,
		By: c.By, Request: c.Request, Reason: reason + " to " + c.Version,
	}
	m.facts.LastDecision = d.ID
	p.out.decide(m, d)
}

// policyIndex finds a policy of the model by name; "" is the first.
func (m *model) policyIndex(name string) int {
	if m.prog == nil {
		return -1
	}
	for i, pol := range m.prog.Policies() {
		if name == "" || pol.Name == name {
			return i
		}
	}
	return -1
}

// noted says a change of verdict in a sentence.
func noted(from, to visutility.Verdict, m *model, i int) string {
	when := m.prog.Policies()[i].Retrain.When
	switch {
	case to == visutility.Hold:
		return "recovered: the condition no longer holds: " + when
	case from == visutility.Fire:
		return "eased: the condition holds again only since a moment: " + when
	default:
		return fmt.Sprintf("the condition holds; it must for %s: %s", policy.FormatDuration(m.prog.Policies()[i].Retrain.For), when)
	}
}
