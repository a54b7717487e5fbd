package backtest

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/policy"
)

const (
	// maxEntry bounds the events of one entry, as ingest does.
	maxEntry = 1000
	// maxDecisions bounds the decisions that a report lists.
	maxDecisions = 10_000
	// glance is after how many events the context and the progress are looked at.
	glance = 1 << 16
)

// A replay plays the past under one plan.
type replay struct {
	o     Options
	data  *Data
	first map[string]int64
	set   *policy.Set
	// scheduled: the policies only watch, and each model is retrained so often.
	scheduled bool
	every     time.Duration
	brief     bool // no decisions are listed
	seen      func(events int)
	sim       *simulator // nil: runs are played
	course    *course

	plan   Plan
	at     map[string]int // run → place in plan.Runs
	breach map[string]*breach
}

// A breach is how a model stands with its policies, by their last decisions.
type breach struct {
	verdicts map[string]visutility.Verdict // without those that hold
	since    int64
	spans    []span
}

// run plays the whole past.
func (x *replay) run(ctx context.Context) (err error) {
	p := x.player()
	if x.sim != nil {
		defer func() { err = errors.Join(err, x.sim.close()) }()
		if err := x.sim.begin(ctx, p); err != nil {
			return err
		}
	}
	if err := x.feed(ctx, p); err != nil {
		return err
	}
	_, to := x.data.span()
	for _, b := range x.breach {
		if len(b.verdicts) > 0 {
			b.spans = append(b.spans, span{b.since, to})
		}
	}
	return nil
}

// player prepares a player that tells the replay what happens.
func (x *replay) player() *player {
	from, _ := x.data.span()
	x.at, x.breach = make(map[string]int), make(map[string]*breach)
	x.plan.Runs, x.plan.Suppressed = []Played{}, make(map[string]int)
	p := newPlayer(x.set, from, x.o.Tick)
	p.end = func(*visutility.Run, int) ending {
		if x.o.Rejected {
			return ending{state: visutility.Rejected, after: x.o.TrainTime}
		}
		return ending{state: visutility.Succeeded, after: x.o.TrainTime}
	}
	p.decided = x.decided
	p.opened = func(r *visutility.Run) {
		x.at[r.ID] = len(x.plan.Runs)
		x.plan.Runs = append(x.plan.Runs, Played{ID: r.ID, Model: r.Model, Policy: r.Policy, Time: r.CreatedAt, State: r.State})
	}
	p.moved = func(run string, to visutility.RunState, now int64) {
		r := &x.plan.Runs[x.at[run]]
		r.State = to
		if to.Ended() {
			r.Ended = utc(now)
		}
	}
	p.promoted = func(model string, now int64) {
		if b := x.breach[model]; b != nil && len(b.verdicts) > 0 {
			clear(b.verdicts)
			b.spans = append(b.spans, span{b.since, now})
		}
	}
	for _, model := range slices.Sorted(maps.Keys(x.first)) {
		p.know(model)
		if x.scheduled && x.set.For(model) != nil {
			x.schedule(p, model, x.first[model])
		}
	}
	return p
}

// schedule has the policies of a model watch only, by a pause, and asks for its runs by hand, as a
// scheduler would. Only a run under way stands against those.
func (x *replay) schedule(p *player, model string, first int64) {
	p.at(first, func() {
		p.put(visutility.Control{Kind: visutility.ControlPause, Model: model, By: "backtest"})
	})
	if x.every == 0 {
		return
	}
	var again func()
	again = func() {
		p.put(visutility.Control{Kind: visutility.ControlTrigger, Model: model, By: "backtest", Request: "schedule", Reason: "it is time"})
		p.at(p.now+x.every.Milliseconds(), again)
	}
	p.at(first+x.every.Milliseconds(), again)
}

// feed hands the events to the fold, those of one time in one entry, and plays to the end.
func (x *replay) feed(ctx context.Context, p *player) error {
	_, to := x.data.span()
	x.course = newCourse(x.data, x.sim != nil)
	p.halt = func() bool { return ctx.Err() != nil }
	for c, fed := x.course, 0; ; {
		t, more := to+1, len(c.records) > 0
		if more {
			t = c.records[0].time
		}
		if p.advance(t); p.stopped {
			return context.Cause(ctx)
		}
		if fed >= glance || p.turned || !more {
			if err := cmp.Or(context.Cause(ctx), x.fault()); err != nil {
				return err
			}
			x.seen(fed)
			fed = 0
		}
		if p.turned {
			p.turned = false
			continue
		}
		if !more {
			return nil
		}
		fed += x.put(p, t)
	}
}

// fault is what ended the simulation.
func (x *replay) fault() error {
	if x.sim == nil {
		return nil
	}
	return x.sim.err
}

// put folds the next events of time t, as many as fit into an entry.
func (x *replay) put(p *player, t int64) int {
	c, e, n := x.course, &p.entry, 0
	for ; n < len(c.records) && n < maxEntry && c.records[n].time == t; n++ {
		r := &c.records[n]
		e.Series = append(e.Series, c.series[r.series])
		e.Records = append(e.Records, visutility.Record{Series: uint32(len(e.Records)), Time: t, Value: r.value, Count: r.count})
	}
	if x.sim != nil {
		x.sim.tally.note(c.series, c.records[:n])
	}
	c.records, c.fed = c.records[n:], t
	p.put()
	return n
}

// decided counts a decision.
func (x *replay) decided(d *visutility.Decision) {
	b := x.breach[d.Model]
	if b == nil {
		b = &breach{verdicts: make(map[string]visutility.Verdict)}
		x.breach[d.Model] = b
	}
	now, before := d.Time.UnixMilli(), len(b.verdicts)
	if d.Verdict == visutility.Hold {
		delete(b.verdicts, d.Policy)
	} else {
		b.verdicts[d.Policy] = d.Verdict
	}
	switch {
	case before == 0 && len(b.verdicts) > 0:
		b.since = now
	case before > 0 && len(b.verdicts) == 0:
		b.spans = append(b.spans, span{b.since, now})
	}
	if d.Outcome == visutility.Fired {
		x.plan.Runs[x.at[d.Run]].Reason = d.Reason
	}
	if x.scheduled {
		return
	}
	if d.Outcome == visutility.Suppressed {
		x.plan.Suppressed[d.SuppressedBy]++
	}
	if x.brief {
		return
	}
	if len(x.plan.Decisions) < maxDecisions {
		x.plan.Decisions = append(x.plan.Decisions, *d)
	} else {
		x.plan.DecisionsOmitted++
	}
}

// conclude sums up what happened.
func (x *replay) conclude(r *Report) {
	p := &x.plan
	p.Policies = names(x.set)
	to := r.To.UnixMilli()
	var watched int64
	for m, first := range x.first {
		if x.set.For(m) != nil {
			watched += to - first
		}
	}
	p.breaches = make(map[string][]span)
	var sum int64
	for m, b := range x.breach {
		for _, s := range b.spans {
			sum += s.to - s.from
		}
		p.breaches[m] = b.spans
	}
	p.InBreach = float64(sum) / 1000
	if watched > 0 {
		p.BreachShare = float64(sum) / float64(watched)
	}
	if all := r.To.Sub(r.From); all > 0 {
		p.RunsPerMonth = float64(len(p.Runs)) / (all.Hours() / (30 * 24))
	}
	p.Spend = float64(len(p.Runs)) * x.o.Cost
	p.Months = months(r, p.Runs, x.o.Cost)
	p.Detection = detect(r.incidents, p.Runs)
	if x.sim != nil {
		x.sim.conclude(p)
	}
}
