package trigger

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/policy"
)

// warmTime bounds how long a change of policies waits for what was measured before. Models whose past
// has not been read by then start with empty windows, which is counted.
const warmTime = 5 * time.Second

// A Past reads what was measured of a model's metrics, from ≤ event time ≤ to, in the order of time; from is zero for since ever. whole is
// false when it does not have all of that, but the newest.
type Past func(ctx context.Context, model string, metrics []string, from, to time.Time) (events []visutility.Event, whole bool, err error)

// A cold model has a program with operators that saw nothing of what was measured before they were there.
type cold struct {
	model      string
	prog       *policy.Program
	layout     []byte // of the program before, nil for none
	from, to   int64  // the event time that they missed; from is 0 for since ever
	promotedAt int64
	superseded string // the version whose events do not count any more
	trained    bool   // a run was opened since the champion was new
}

// cold tells what a model misses once prog is its program in the place of one with that layout (nil for none), which first heard of
// the champion at that event time (0: not yet). ok is false when that is nothing.
func (p *partition) cold(m *model, prog *policy.Program, layout []byte, first int64) (c cold, ok bool) {
	if p.t.o.Past == nil || prog == nil || !prog.Cold(layout) {
		return c, false
	}
	c = cold{model: m.name, prog: prog, layout: layout, promotedAt: m.facts.PromotedAt, superseded: m.facts.Superseded}
	c.trained = m.facts.ActiveRun != "" || m.facts.LastFailure > m.facts.PromotedAt
	c.to = -1
	if c.from = c.promotedAt; first > 0 {
		c.from = first // which may be long before: the past can be played
	}
	for _, k := range m.series {
		c.to = max(c.to, p.series.at(k).lastTime)
	}
	return c, c.to >= c.from
}

// colds are the models that miss something under a set of policies, which is not in force yet.
func (p *partition) colds(set *policy.Set) (list []cold) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range p.models {
		next := set.For(m.name)
		if next == m.prog {
			continue
		}
		layout, first := []byte(nil), int64(0)
		if m.prog != nil {
			layout = m.prog.Layout()
			first, _ = m.prog.Time(m.state())
		}
		if c, ok := p.cold(m, next, layout, first); ok {
			list = append(list, c)
		}
	}
	return list
}

// Warm gives the models whose policies were changed while nothing ran what was measured before. Call it when the past is whole again after the
// restart. What is measured while it reads may be missing from the conditions that it fills.
func (t *Trigger) Warm(ctx context.Context) {
	for _, p := range t.parts {
		past := t.warm(ctx, p.missing())
		p.mu.Lock()
		for name, w := range past {
			m := p.models[name]
			m.warm(w)
			p.touch(m)
		}
		p.mu.Unlock()
	}
}

// Missed reports whether Warm has work.
func (t *Trigger) Missed() bool {
	return slices.ContainsFunc(t.parts, func(p *partition) bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.missed) > 0
	})
}

// missing are the models that missed something before the restart, and what up to now.
func (p *partition) missing() (list []cold) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, was := range p.missed {
		m := p.models[was.model]
		if c, ok := p.cold(m, m.prog, was.layout, was.from); ok && c.prog == was.prog && c.promotedAt == was.promotedAt {
			list = append(list, c)
		}
	}
	p.missed = nil
	return list
}

// A warmed is a past that was read, for a model that is cold.
type warmed struct {
	cold
	past policy.Past
}

// warm reads the past of models, by name. It holds no lock: the fold goes on meanwhile.
func (t *Trigger) warm(ctx context.Context, list []cold) map[string]warmed {
	done := make(map[string]warmed, len(list))
	var last error
	for i := range list {
		c := &list[i]
		if last = ctx.Err(); last != nil {
			break
		}
		past, err := t.past(ctx, c)
		if err != nil {
			last = err
			continue
		}
		done[c.model] = warmed{*c, past}
	}
	if n := len(list) - len(done); n > 0 {
		t.met.cold.Add(float64(n))
		t.log.Warn("what was measured before could not be read, or not in time: changed conditions of models start with empty windows",
			slog.Int("models", n), slog.Any("error", last))
	}
	return done
}

func (t *Trigger) past(ctx context.Context, c *cold) (policy.Past, error) {
	var from time.Time
	if c.from > 0 {
		from = time.UnixMilli(c.from)
	}
	events, whole, err := t.o.Past(ctx, c.model, c.prog.Metrics(), from, time.UnixMilli(c.to))
	if err != nil {
		return policy.Past{}, err
	}
	past := policy.Past{State: make([]uint64, c.prog.Words()), Whole: whole, Trained: c.trained}
	c.prog.Init(past.State)
	for i := range events {
		e := &events[i]
		k := c.prog.Metric(e.Metric)
		if k < 0 || e.Version != "" && e.Version == c.superseded {
			continue
		}
		at := e.Time.UnixMilli()
		c.prog.Observe(past.State, k, at, at, e.Value, int64(e.Count), 0, visutility.MakeLabels(e.Labels))
	}
	return past, nil
}

// warm fills what a model missed, unless it is another's by now or has another champion.
func (m *model) warm(w warmed) {
	if w.prog != nil && w.prog == m.prog && w.promotedAt == m.facts.PromotedAt {
		m.prog.Warm(m.state(), w.past, w.layout)
	}
}
