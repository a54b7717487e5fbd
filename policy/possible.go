package policy

import (
	"fmt"
	"maps"
	"math"
	"slices"
)

// What values can be, as far as it is known without any event: enough to find conditions that can never hold.

// A span of values, both ends included. An open end is the next number: comparisons are of floating point.
type reach struct{ low, high float64 }

var anything = reach{math.Inf(-1), math.Inf(1)}

func (r reach) empty() bool { return !(r.low <= r.high) }

func (r reach) and(o reach) reach { return reach{max(r.low, o.low), min(r.high, o.high)} }

func (r reach) contains(v float64) bool { return r.low <= v && v <= r.high }

// reachOf is what a metric can be: the canonical scores are parts of one.
func reachOf(metric string) reach {
	switch canonical[metric] {
	case HigherIsBetter:
		return reach{0, 1}
	case LowerIsBetter:
		return reach{0, math.Inf(1)}
	}
	return anything
}

// reach is what the value of a slot can be.
func (s *slot) reach() reach {
	switch s.fn {
	case fnCount, fnStddev, fnAge, fnNewSamples, fnExcess:
		return reach{0, math.Inf(1)}
	case fnSum:
		if reachOf(s.metric).low < 0 {
			return anything
		}
		return reach{0, math.Inf(1)}
	}
	if s.typ == truth {
		return reach{0, 1}
	}
	return reachOf(s.metric)
}

// A claim is that an expression over slots holds, or does not.
type claim struct {
	e     *expr
	slots []*slot
	holds bool
}

// A world is what slots can be, by key, while some claims hold.
type world map[string]reach

func (w world) of(s *slot) reach {
	if r, ok := w[s.key]; ok {
		return r
	}
	return s.reach()
}

// parts are the claims that must all be so for c to be; nil when it is one claim, or a choice of several.
func (c claim) parts() []claim {
	switch {
	case c.e.op == opNot:
		return []claim{{c.e.args[0], c.slots, !c.holds}}
	case c.e.op == opAnd && c.holds, c.e.op == opOr && !c.holds:
		return []claim{{c.e.args[0], c.slots, c.holds}, {c.e.args[1], c.slots, c.holds}}
	}
	return nil
}

// A clash is why claims cannot all be so.
type clash struct {
	at   claim // under which it is shown
	text string
}

// clashOf finds out whether claims exclude each other; nil when it cannot tell that they do. It errs on the side of nil.
func clashOf(claims ...claim) *clash { return make(world).clash(claims...) }

// clash is clashOf in a world, which it leaves as it is.
func (w world) clash(claims ...claim) *clash {
	var flat []claim
	for len(claims) > 0 {
		c := claims[0]
		claims = claims[1:]
		if parts := c.parts(); parts != nil {
			claims = append(parts, claims...)
		} else {
			flat = append(flat, c)
		}
	}
	w = maps.Clone(w)
	narrowed := make(map[string]claim) // by whom
	for _, c := range flat {
		s, r, ok := c.narrows()
		if !ok {
			continue
		}
		before := w.of(s)
		if w[s.key] = before.and(r); w[s.key].empty() {
			if by, ok := narrowed[s.key]; ok {
				return &clash{c, fmt.Sprintf("%s and %s exclude each other", by.text(), c.text())}
			}
			return &clash{c, fmt.Sprintf("%s is %s", s.text, before)}
		}
		narrowed[s.key] = c
	}
	for _, c := range flat {
		if !c.possible(w) {
			return &clash{c, c.text() + " cannot hold"}
		}
	}
	return nil
}

func (c claim) text() string {
	if c.holds {
		return c.e.text
	}
	return "!(" + c.e.text + ")"
}

func (r reach) String() string {
	switch {
	case math.IsInf(r.high, 1):
		return fmt.Sprintf("at least %v", r.low)
	case math.IsInf(r.low, -1):
		return fmt.Sprintf("at most %v", r.high)
	}
	return fmt.Sprintf("from %v to %v", r.low, r.high)
}

// narrows is what the claim says of a slot: it compares it with a number, or it is a slot that is true or false.
func (c claim) narrows() (*slot, reach, bool) {
	if c.e.op == opSlot && c.e.kind == truth {
		v := triOf(c.holds).float()
		return c.slots[c.e.slot], reach{v, v}, true
	}
	i, op, limit, ok := c.e.simple()
	if !ok {
		return nil, reach{}, false
	}
	if !c.holds {
		op = opposite(op)
	}
	s, r := c.slots[i], anything
	switch op {
	case opLess:
		r.high = math.Nextafter(limit, math.Inf(-1))
	case opLessEq:
		r.high = limit
	case opGreater:
		r.low = math.Nextafter(limit, math.Inf(1))
	case opGreaterEq:
		r.low = limit
	case opEq:
		r = reach{limit, limit}
	default:
		return nil, reach{}, false
	}
	return s, r, true
}

func opposite(op operation) operation {
	switch op {
	case opLess:
		return opGreaterEq
	case opLessEq:
		return opGreater
	case opGreater:
		return opLessEq
	case opGreaterEq:
		return opLess
	case opEq:
		return opNotEq
	}
	return opEq
}

// possible reports whether the claim can be so in a world.
func (c claim) possible(w world) bool {
	e := c.e
	switch e.op {
	case opLiteral:
		return (e.num != 0) == c.holds
	case opOr, opAnd: // as a choice: parts has taken the other case apart
		return slices.ContainsFunc(e.args, func(a *expr) bool { return w.clash(claim{a, c.slots, c.holds}) == nil })
	case opQuorum:
		if !c.holds {
			return true
		}
		n := 0
		for _, a := range e.args[1:] {
			if w.clash(claim{a, c.slots, true}) == nil {
				n++
			}
		}
		return float64(n) >= e.args[0].num
	}
	if e.op < opLess || e.op > opNotEq || e.args[0].kind == truth {
		return true
	}
	a, b := e.args[0].reach(c.slots, w), e.args[1].reach(c.slots, w)
	op := e.op
	if !c.holds {
		op = opposite(op)
	}
	switch op {
	case opLess:
		return a.low < b.high
	case opLessEq:
		return a.low <= b.high
	case opGreater:
		return a.high > b.low
	case opGreaterEq:
		return a.high >= b.low
	case opEq:
		return !a.and(b).empty()
	}
	return !(a.low == a.high && a == b)
}

// reach is what a number can be in a world.
func (e *expr) reach(slots []*slot, w world) reach {
	switch e.op {
	case opLiteral:
		return reach{e.num, e.num}
	case opSlot:
		return w.of(slots[e.slot])
	case opNeg:
		r := e.args[0].reach(slots, w)
		return reach{-r.high, -r.low}
	case opAdd, opSub:
		a, b := e.args[0].reach(slots, w), e.args[1].reach(slots, w)
		if e.op == opSub {
			b = reach{-b.high, -b.low}
		}
		return reach{a.low + b.low, a.high + b.high}.orUnknown()
	}
	return anything
}

func (r reach) orUnknown() reach {
	if math.IsNaN(r.low) || math.IsNaN(r.high) {
		return anything
	}
	return r
}
