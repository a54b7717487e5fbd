package policy

import (
	"maps"
	"math"
	"slices"

	"github.com/visutility/visutility"
)

// A Program folds the events of a model into the verdicts of all policies that
// match it. Operators that several policies ask for are kept once.
//
// A Program is immutable and safe for concurrent use. What changes is the state:
// a slice of [Program.Words] words for each model, which the caller owns, may copy
// and store, and hands to every method. The same calls give the same words.
// Times are Unix milliseconds.
type Program struct {
	policies  []*Policy
	operators []*operator
	slots     []placedSlot
	machines  []machine
	whens     []int // machine of a policy's retrain.when, -1 for none
	rollbacks []int // machine of a policy's rollback.when, -1 for none
	unless    []*placedCondition
	metrics   map[string]int
	tables    []table // by metric
	ticks     table   // what time alone can change
	closings  table   // what the end of a run can change
	usedUp    []*operator
	words     int
	layout    []byte
	digest    string
}

// The words at the start of every state.
const (
	headClock     = iota // the model's clock: the newest event time
	headFirst            // event times since the promotion: the first …
	headLast             // … and the last; 0 when there was no event
	headFirstSeen        // when the model was first heard of, stored time
	headPromoted         // when the champion was promoted, stored time; 0 for none
	headStored           // when the newest entry was stored
	headBreached         // bit i: the verdict of policy i is not Hold
	headReverting        // bit i: the rollback condition of policy i holds
	headWords
)

// lineWords is a cache line. States are a multiple of it long.
const lineWords = 8

// A placedSlot is a slot with the place in the state where its value is put for conditions to read.
type placedSlot struct {
	*slot
	operator *operator // as placed, nil for none
	at       int
}

// A placedCondition is a condition over the slots of a program.
type placedCondition struct {
	*condition
	slots []int // its slots among the program's
	at    places
	fn    triFn
}

// A machine turns the truths of a condition into a verdict (retrain.when) or a
// flag (rollback.when). Its words: the verdict, and since when: the position and the time.
type machine struct {
	*placedCondition
	at       int
	active   int    // the word of the head in which its bit tells that its words are not zero
	look     uint64 // the bit of its policy
	hold     int64  // how long the condition must be true
	rollback bool
}

const (
	machineVerdict = iota
	machineSince
	machineSinceTime
	machineWords
)

// A table says what an event of one metric, or a tick, is to do, in this order.
type table struct {
	folds      []*operator
	reads      []reading
	tallies    []tallying
	lateReads  []reading // of tallies
	conditions []int     // machines of conditions that are more than one comparison
}

type tallying struct {
	operator *operator
	fn       triFn
}

// A reading is a slot to be read, with the conditions that do no more than
// compare it with a constant.
type reading struct {
	slot        *placedSlot
	keep        bool // other conditions read the value
	comparisons []comparison
	// A value between low and high makes all comparisons false. If moreover no bit of
	// these is set in the head, nothing happens: that is the case nearly always.
	low, high           float64
	breached, reverting uint64
}

type comparison struct {
	limit   float64
	op      operation
	machine int32
}

// add takes in a comparison.
func (r *reading) add(c comparison, m *machine) {
	r.comparisons = append(r.comparisons, c)
	switch c.op {
	case opLess:
		r.low = max(r.low, c.limit)
	case opLessEq:
		r.low = max(r.low, math.Nextafter(c.limit, math.Inf(1)))
	case opGreater:
		r.high = min(r.high, c.limit)
	case opGreaterEq:
		r.high = min(r.high, math.Nextafter(c.limit, math.Inf(-1)))
	default:
		r.low, r.high = math.Inf(1), math.Inf(-1) // no value is beyond suspicion
	}
	if m.rollback {
		r.reverting |= m.look
	} else {
		r.breached |= m.look
	}
}

// newProgram builds the program of policies, at most 64.
func newProgram(policies []*Policy) *Program {
	p := &Program{policies: policies, metrics: make(map[string]int)}
	b := builder{Program: p, operators: make(map[string]*operator), slots: make(map[string]int)}
	// Places: the head, which every event touches; then the operators, the
	// values and the machines.
	p.words = headWords
	var conditions []*placedCondition
	place := func(c *condition) *placedCondition {
		if c == nil {
			return nil
		}
		x := b.condition(c)
		conditions = append(conditions, x)
		return x
	}
	for i, pol := range policies {
		p.whens = append(p.whens, b.machine(i, place(pol.Retrain.when), pol.Retrain.For.Milliseconds(), false))
		p.unless = append(p.unless, place(pol.Retrain.unless))
		rollback := -1
		if pol.Rollback != nil {
			rollback = b.machine(i, place(pol.Rollback.when), 0, true)
		}
		p.rollbacks = append(p.rollbacks, rollback)
	}
	b.assignPlaces()
	for _, c := range conditions {
		b.bind(c)
	}
	b.makeTables()
	p.describe()
	return p
}

// A builder is what a Program needs only while it is made.
type builder struct {
	*Program
	operators map[string]*operator
	slots     map[string]int
	tallies   []tallying
	tallied   []*placedCondition // conditions of tallies, parallel
}

// condition enters the slots and operators of a condition.
func (b *builder) condition(c *condition) *placedCondition {
	x := &placedCondition{condition: c}
	for _, s := range c.slots {
		x.slots = append(x.slots, b.slot(s))
	}
	return x
}

func (b *builder) slot(s *slot) int {
	if i, ok := b.slots[s.key]; ok {
		return i
	}
	x := placedSlot{slot: s}
	if s.op != nil {
		x.operator = b.operator(s.op) // first: a tally's condition has slots of its own, to be read before
	}
	b.slots[s.key] = len(b.Program.slots)
	b.Program.slots = append(b.Program.slots, x)
	return b.slots[s.key]
}

func (b *builder) operator(o *operator) *operator {
	if have := b.operators[o.key]; have != nil {
		return have
	}
	placed := *o
	b.operators[o.key] = &placed
	b.Program.operators = append(b.Program.operators, &placed)
	if o.cond != nil {
		b.tallied = append(b.tallied, b.condition(o.cond))
		b.tallies = append(b.tallies, tallying{operator: &placed})
	}
	return &placed
}

func (b *builder) machine(policy int, c *placedCondition, hold int64, rollback bool) int {
	if c == nil {
		return -1
	}
	active := headBreached
	if rollback {
		active = headReverting
	}
	b.machines = append(b.machines, machine{placedCondition: c, active: active, look: 1 << policy, hold: hold, rollback: rollback})
	return len(b.machines) - 1
}

func (b *builder) assignPlaces() {
	for _, o := range b.Program.operators {
		o.at, o.words = b.words, o.size()
		b.words += o.words
	}
	for i := range b.Program.slots {
		b.Program.slots[i].at = b.words
		b.words++
	}
	for i := range b.machines {
		b.machines[i].at = b.words
		b.words += machineWords
	}
	b.words = (b.words + lineWords - 1) / lineWords * lineWords
	for i, c := range b.tallied {
		b.bind(c)
		b.tallies[i].fn = c.fn
	}
}

// bind makes native code of a condition, once its slots have their places.
func (b *builder) bind(c *placedCondition) {
	for _, i := range c.slots {
		c.at = append(c.at, b.Program.slots[i].at)
	}
	c.fn = c.root.truth(c.at)
}

func (b *builder) makeTables() {
	for _, s := range b.Program.slots {
		for _, m := range s.reads() {
			if _, ok := b.metrics[m]; !ok {
				b.metrics[m] = len(b.tables)
				b.tables = append(b.tables, table{})
			}
		}
	}
	for name, i := range b.metrics {
		b.tables[i] = b.table(func(c *condition) bool { return slices.Contains(c.metrics, name) })
		for _, o := range b.Program.operators {
			if o.metric == name && o.kind != previous {
				b.tables[i].folds = append(b.tables[i].folds, o)
			}
		}
	}
	b.ticks = b.table(func(c *condition) bool { return c.clocked })
	b.closings = b.table((*condition).usedUp)
	b.ticks.tallies, b.closings.tallies = nil, nil // they count events
	for _, o := range b.Program.operators {
		if o.usedUp() {
			b.Program.usedUp = append(b.Program.usedUp, o)
		}
	}
}

// table lists what the conditions that concern an occasion need.
func (b *builder) table(concerned func(*condition) bool) table {
	var t table
	readings := make([]*reading, len(b.Program.slots)) // nil: not needed
	need := func(slot int) *reading {
		if readings[slot] == nil {
			readings[slot] = &reading{slot: &b.Program.slots[slot], low: math.Inf(-1), high: math.Inf(1)}
		}
		return readings[slot]
	}
	keep := func(slots []int) {
		for _, s := range slots {
			need(s).keep = true
		}
	}
	for i, tallied := range b.tallied {
		if concerned(tallied.condition) {
			t.tallies = append(t.tallies, b.tallies[i])
			keep(tallied.slots)
		}
	}
	for i := range b.machines {
		m := &b.machines[i]
		if !concerned(m.condition) {
			continue
		}
		if s, op, limit, ok := m.root.simple(); ok {
			need(m.slots[s]).add(comparison{limit: limit, op: op, machine: int32(i)}, m)
		} else {
			keep(m.slots)
			t.conditions = append(t.conditions, i)
		}
	}
	for _, r := range readings {
		switch {
		case r == nil:
		case r.slot.fn == fnMOfN:
			t.lateReads = append(t.lateReads, *r)
		default:
			t.reads = append(t.reads, *r)
		}
	}
	return t
}

// Policies are the policies of the program; the index of one is the i of the other methods.
func (p *Program) Policies() []*Policy { return p.policies }

// Words is the length of a state.
func (p *Program) Words() int { return p.words }

// Init makes a state that of a model never heard of.
func (p *Program) Init(state []uint64) {
	clear(state[:p.words])
	for _, o := range p.operators {
		o.init(state[o.at : o.at+o.words])
	}
}

// Metric is the number under which events of a metric are observed, -1 when no policy reads it.
func (p *Program) Metric(name string) int {
	if i, ok := p.metrics[name]; ok {
		return i
	}
	return -1
}

// Metrics are the names of the metrics that the policies read, sorted.
func (p *Program) Metrics() []string { return slices.Sorted(maps.Keys(p.metrics)) }

// Clocked reports whether time alone can change a verdict, so that [Program.Tick] has work.
func (p *Program) Clocked() bool { return len(p.ticks.reads) > 0 }

// Time is the span of event time since the last promotion; zeros when there was no event.
func (p *Program) Time(state []uint64) (first, last int64) {
	return int64(state[headFirst]), int64(state[headLast])
}

// Promoted tells of a new champion, at the stored time now: windows, baselines
// and verdicts start afresh, age begins. previous are the replaced champion's measurements.
func (p *Program) Promoted(state []uint64, now int64, previousMetrics map[string]float64) {
	p.hear(state, now)
	state[headFirst], state[headLast], state[headPromoted] = 0, 0, uint64(now)
	state[headBreached], state[headReverting] = 0, 0
	for i := range p.machines {
		clear(state[p.machines[i].at : p.machines[i].at+machineWords])
	}
	for _, o := range p.operators {
		w := state[o.at : o.at+o.words]
		if o.survives() {
			o.closed(w, true)
			continue
		}
		o.init(w)
		if v, ok := previousMetrics[o.metric]; ok && o.kind == previous {
			state[o.at] = 1
			store(state, o.at+1, v)
		}
	}
}

// Verdict is the verdict of policy i: what it is and, unless it is Hold, since which
// entry and which time (event time; stored time where the condition depends on the
// clock). A policy without a condition holds.
func (p *Program) Verdict(state []uint64, i int) (v visutility.Verdict, since visutility.Position, sinceTime int64) {
	if p.whens[i] < 0 {
		return visutility.Hold, 0, 0
	}
	w := state[p.machines[p.whens[i]].at:]
	return visutility.Verdict(w[machineVerdict]), visutility.Position(w[machineSince]), int64(w[machineSinceTime])
}

// Rollback reports whether the rollback condition of policy i holds.
func (p *Program) Rollback(state []uint64, i int) bool {
	return p.rollbacks[i] >= 0 && state[p.machines[p.rollbacks[i]].at] != 0
}

// Unless reports whether the unless condition of policy i holds at the stored time now.
// It leaves the state as it is.
func (p *Program) Unless(state []uint64, i int, now int64) bool {
	if p.unless[i] == nil {
		return false
	}
	return p.unless[i].fn(p.current(state, now)) == yes
}

// current is a copy of the state with the values of all slots as they are now.
func (p *Program) current(state []uint64, now int64) []uint64 {
	s := slices.Clone(state[:p.words])
	at := clock{int64(s[headClock]), max(now, int64(s[headStored]))}
	for i := range p.slots {
		x := &p.slots[i]
		store(s, x.at, x.slot.read(s, x.operator, at))
	}
	return s
}
