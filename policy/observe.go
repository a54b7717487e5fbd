package policy

import "github.com/visutility/visutility"

// Observe folds one event of metric (a number from [Program.Metric]): its time t, its
// value v, the number n of samples behind it, its labels; now is when its entry was stored and pos where. An event from the future counts as of now.
//
// Bit i of look is set when somebody should look at policy i: its verdict
// changed, or is Fire, or its rollback condition holds or has just ceased to. Observe does not allocate,
// unless a condition needs CEL at run time.
func (p *Program) Observe(state []uint64, metric int, t, now int64, v float64, n int64, pos visutility.Position, labels visutility.Labels) (look uint64) {
	state = state[:p.words]
	p.hear(state, now)
	t = max(1, min(t, now))
	if t > int64(state[headClock]) {
		state[headClock] = uint64(t)
	}
	if t > int64(state[headLast]) {
		state[headLast] = uint64(t)
	}
	if first := int64(state[headFirst]); t < first || first == 0 {
		state[headFirst] = uint64(t)
	}
	at := clock{int64(state[headClock]), int64(state[headStored])}
	tab := &p.tables[metric]
	weight := float64(n)
	for _, o := range tab.folds {
		o.fold(state, at, t, v, weight, labels)
	}
	return p.evaluate(state, tab, at, pos)
}

// Touch loads what [Program.Observe] will need of state for an event of metric, and returns a
// number without meaning. Called for a number of models first, it lets the processor fetch their states
// side by side instead of one after the other.
func (p *Program) Touch(state []uint64, metric int) (sum uint64) {
	const line = 64 / 8 // words
	sum = state[headStored]
	for _, o := range p.tables[metric].folds {
		for i := o.at; i < o.at+min(o.words, 4*line); i += line {
			sum += state[i]
		}
	}
	return sum
}

// Tick tells that it is now, with no event: conditions that depend on the
// clock are evaluated. look is as in [Program.Observe]; where it is 0, nothing was done to
// the state that [Program.Hear] would not do.
func (p *Program) Tick(state []uint64, now int64, pos visutility.Position) (look uint64) {
	state = state[:p.words]
	p.hear(state, now)
	return p.evaluate(state, &p.ticks, clock{int64(state[headClock]), int64(state[headStored])}, pos)
}

// Opened tells that a run was opened, at the stored time now: the data up to here are those that it trains on.
func (p *Program) Opened(state []uint64, now int64) {
	for _, o := range p.usedUp {
		o.opened(state[o.at:o.at+o.words], now)
	}
}

// Closed tells that the run last opened is over; learned, that it led to a challenger (which was rejected: of one
// that was promoted [Program.Promoted] tells). What a training uses up, alarms and counts since the last
// one, then starts afresh, and the conditions that read it are evaluated again; otherwise all stays as it is.
func (p *Program) Closed(state []uint64, learned bool, now int64, pos visutility.Position) {
	state = state[:p.words]
	p.hear(state, now)
	for _, o := range p.usedUp {
		o.closed(state[o.at:o.at+o.words], learned)
	}
	p.evaluate(state, &p.closings, clock{int64(state[headClock]), int64(state[headStored])}, pos)
}

// Hear tells that it is now, as Tick does, but looks at no condition: verdicts stay as they are.
func (p *Program) Hear(state []uint64, now int64) {
	state = state[:p.words]
	p.hear(state, now)
	at := clock{int64(state[headClock]), int64(state[headStored])}
	for _, reads := range [][]reading{p.ticks.reads, p.ticks.lateReads} {
		for i := range reads {
			r := &reads[i]
			if v := r.slot.read(state, r.slot.operator, at); r.keep {
				store(state, r.slot.at, v)
			}
		}
	}
}

// hear notes the time at which an entry was stored. It never goes back.
func (p *Program) hear(state []uint64, now int64) {
	if now > int64(state[headStored]) {
		state[headStored] = uint64(now)
	}
	if state[headFirstSeen] == 0 {
		state[headFirstSeen] = state[headStored]
	}
}

// evaluate brings the values of slots up to date and runs the conditions of a table.
func (p *Program) evaluate(state []uint64, tab *table, at clock, pos visutility.Position) (look uint64) {
	for i := range tab.reads {
		look |= p.read(state, &tab.reads[i], at, pos)
	}
	for i := range tab.tallies {
		tab.tallies[i].operator.count(state, tab.tallies[i].fn(state))
	}
	for i := range tab.lateReads {
		look |= p.read(state, &tab.lateReads[i], at, pos)
	}
	for _, i := range tab.conditions {
		m := &p.machines[i]
		if truth := m.fn(state); truth == yes || state[m.active]&m.look != 0 {
			look |= m.step(state, truth, at, pos)
		}
	}
	return look
}

// read reads a slot and runs the comparisons of its value.
func (p *Program) read(state []uint64, r *reading, at clock, pos visutility.Position) (look uint64) {
	v := r.slot.read(state, r.slot.operator, at)
	if r.keep {
		store(state, r.slot.at, v)
	}
	if v >= r.low && v <= r.high && state[headBreached]&r.breached == 0 && state[headReverting]&r.reverting == 0 {
		return 0
	}
	for i := range r.comparisons {
		c := &r.comparisons[i]
		m := &p.machines[c.machine]
		if truth := compare(c.op, v, c.limit); truth == yes || state[m.active]&m.look != 0 {
			look |= m.step(state, truth, at, pos)
		}
	}
	return look
}

// step moves a machine by the truth of its condition. The time that a breach
// lasts is time covered by data: it is measured on the model's clock, at events. A condition
// that depends on the clock is measured in stored time, since there may be no events.
func (m *machine) step(state []uint64, truth tri, at clock, pos visutility.Position) (look uint64) {
	w := state[m.at : m.at+machineWords]
	before := visutility.Verdict(w[machineVerdict])
	verdict := before
	switch truth {
	case no:
		verdict = visutility.Hold
		clear(w)
		state[m.active] &^= m.look
	case yes:
		time := at.event
		if m.clocked {
			time = at.stored
		}
		if before == visutility.Hold {
			w[machineSince], w[machineSinceTime] = uint64(pos), uint64(time)
		}
		verdict = visutility.Breach
		if time-int64(w[machineSinceTime]) >= m.hold {
			verdict = visutility.Fire
		}
		w[machineVerdict] = uint64(verdict)
		state[m.active] |= m.look
	}
	if verdict != before || verdict == visutility.Fire {
		return m.look
	}
	return 0
}
