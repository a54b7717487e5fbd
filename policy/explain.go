package policy

import (
	"fmt"
	"math"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"

	"github.com/visutility/visutility"
)

// Explain is every condition of policy i with the value of every part of it,
// at the stored time now: terms named "when", "unless" and "rollback.when", those
// that the policy has. It leaves the state as it is.
func (p *Program) Explain(state []uint64, i int, now int64) []visutility.Term {
	x := explainer{p, p.current(state, now), clock{}}
	x.at = clock{int64(x.state[headClock]), max(now, int64(x.state[headStored]))}
	var terms []visutility.Term
	add := func(name string, c *placedCondition) {
		if c == nil {
			return
		}
		t := x.condition(c.condition)
		t.Name = name
		terms = append(terms, t)
	}
	if m := p.whens[i]; m >= 0 {
		add("when", p.machines[m].placedCondition)
	}
	add("unless", p.unless[i])
	if m := p.rollbacks[i]; m >= 0 {
		add("rollback.when", p.machines[m].placedCondition)
	}
	return terms
}

// An explainer has the values of all slots at hand.
type explainer struct {
	*Program
	state []uint64
	at    clock
}

func (x *explainer) condition(c *condition) visutility.Term {
	return explain(c.root, func(i int) (float64, string, []visutility.Term) {
		s := x.find(c.slots[i].key)
		return load(x.state, s.at), x.note(s), x.inside(s)
	})
}

func (x *explainer) find(key string) *placedSlot {
	for i := range x.slots {
		if x.slots[i].key == key {
			return &x.slots[i]
		}
	}
	return nil // every condition's slots are the program's
}

// inside explains the condition that an m_of_n counts, as it is now.
func (x *explainer) inside(s *placedSlot) []visutility.Term {
	if s.fn != fnMOfN {
		return nil
	}
	return []visutility.Term{x.condition(s.op.cond)}
}

// note says what a slot's value stands on.
func (x *explainer) note(s *placedSlot) string {
	o := s.operator
	if o == nil {
		if s.fn == fnAge && x.state[headPromoted] == 0 {
			return "no champion was promoted yet"
		}
		return ""
	}
	w := x.state[o.at : o.at+o.words]
	switch o.kind {
	case seen:
		last := int64(w[0])
		if last == 0 {
			return "no event yet"
		}
		return "last event " + FormatDuration(time.Duration(x.at.stored-last)*time.Millisecond) + " ago"
	case baseline:
		return o.baselineNote(w)
	case previous:
		if w[0] == 0 {
			return "not known of the replaced champion"
		}
		return ""
	case alarm:
		return o.alarmNote(w, x.at.event)
	case samples:
		if w[samplesMark] == 0 {
			return "since the first event: nothing was trained yet"
		}
		return "since the last training was begun"
	case losses:
		return o.lossNote(w)
	case schedule:
		if due := o.due(x.state, w); due > 0 {
			return "due " + time.UnixMilli(due).UTC().Format(time.RFC3339)
		}
		return ""
	case segments:
		return o.segmentsNote(w, x.at)
	case tally:
		return fmt.Sprintf("held at %d of the last %d events", o.held(w), min(int(w[1]), o.n))
	}
	weight := o.weight(w)
	switch {
	case weight == 0 && o.kind == latest:
		return "no event yet"
	case weight < float64(s.min):
		return fmt.Sprintf("%v of %s", weight, plural(float64(s.min), "sample"))
	}
	return plural(weight, "sample")
}

func (o *operator) baselineNote(w []uint64) string {
	if o.baselineComplete(w) {
		return fmt.Sprintf("mean of the first %s", plural(float64(w[0]), "event"))
	}
	note := fmt.Sprintf("%d of %s", w[0], plural(float64(o.events), "event"))
	if weight := load(w, 2); weight < float64(o.samples) {
		note += fmt.Sprintf(", %v of %s", weight, plural(float64(o.samples), "sample"))
	}
	return note
}

func (o *operator) lossNote(w []uint64) string {
	switch {
	case o.ledger.constant:
		return fmt.Sprintf("against %.4g", o.ledger.level)
	case o.baselineComplete(w):
		return fmt.Sprintf("against %.4g, the %s", load(w, 1)/load(w, 2), o.baselineNote(w))
	}
	return "learning the baseline: " + o.baselineNote(w)
}

func plural(n float64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%.0f %ss", n, noun)
}

// weight is how many samples are behind the value of an operator on events.
func (o *operator) weight(w []uint64) float64 {
	switch o.kind {
	case latest, moments:
		return load(w, 2)
	case extremes, ring, histogramRing:
		return load(w, 3)
	case spread:
		var sum float64
		for i := 1; i < len(w); i += 3 {
			sum += load(w, i)
		}
		return sum
	default: // histogram
		var sum uint64
		for _, c := range buckets(w[histogramHead:]).totals() {
			sum += c
		}
		return float64(sum)
	}
}

// A slotTeller tells the value of a slot, a note on it, and the terms below it.
type slotTeller func(i int) (value float64, note string, below []visutility.Term)

// explain makes the term of an expression.
func explain(e *expr, slot slotTeller) visutility.Term {
	_, t := evaluate(e, slot)
	return t
}

// evaluate walks an expression the way native code runs it, but visits every
// part. The value of a truth is 1, 0 or NaN.
func evaluate(e *expr, slot slotTeller) (float64, visutility.Term) {
	t := visutility.Term{Expr: e.text}
	var v float64
	switch e.op {
	case opLiteral:
		v = e.num
	case opSlot:
		v, t.Note, t.Terms = slot(e.slot)
	case opInterpreted:
		v, t.Terms = evaluateByCEL(e, slot)
	default:
		args := make([]float64, len(e.args))
		for i, a := range e.args {
			var term visutility.Term
			args[i], term = evaluate(a, slot)
			if a.op != opLiteral || strings.HasPrefix(a.text, "baseline") { // a number explains itself
				t.Terms = append(t.Terms, term)
			}
		}
		v = apply(e, args)
	}
	t.Value = present(e.kind, v)
	return v, t
}

// apply is an operation on values.
func apply(e *expr, args []float64) float64 {
	at := make(places, len(args))
	shallow := *e
	shallow.args = make([]*expr, len(args))
	state := make([]uint64, len(args))
	for i, a := range e.args {
		at[i] = i
		shallow.args[i] = &expr{op: opSlot, kind: a.kind, slot: i}
		store(state, i, args[i])
	}
	return shallow.float(at)(state)
}

// present is a value as terms show it: a number, a bool, a duration as text, nil for unknown.
func present(k kind, v float64) any {
	switch {
	case math.IsNaN(v):
		return nil
	case k == truth:
		return v != 0
	case k == span:
		return FormatDuration(time.Duration(v) * time.Millisecond)
	case math.IsInf(v, 0):
		return fmt.Sprint(v) // JSON has no number for it
	}
	return v
}

// evaluateByCEL is the value of an expression that CEL evaluates, and the terms of its parts.
func evaluateByCEL(e *expr, slot slotTeller) (float64, []visutility.Term) {
	v, details := e.traced.eval(func(i int) float64 {
		v, _, _ := slot(i)
		return v
	})
	var terms []visutility.Term
	if details != nil {
		for _, part := range parts(e.traced.root) {
			terms = append(terms, e.part(part, details, slot)...)
		}
	}
	return v, terms
}

// part makes the terms of a part of an expression that CEL evaluated: one, or none for what explains itself.
func (e *expr) part(x ast.Expr, details *cel.EvalDetails, slot slotTeller) []visutility.Term {
	t := visutility.Term{Expr: e.texts[x.ID()]}
	switch x.Kind() {
	case ast.LiteralKind:
		return nil
	case ast.IdentKind:
		i, ok := slotIndex(x.AsIdent())
		if !ok {
			return nil
		}
		v, note, below := slot(i)
		t.Value, t.Note, t.Terms = present(kindOf(e.tree.GetType(x.ID())), v), note, below
		return []visutility.Term{t}
	}
	if v, ok := details.State().Value(x.ID()); ok {
		t.Value = presentCEL(kindOf(e.tree.GetType(x.ID())), v)
	}
	for _, p := range parts(x) {
		t.Terms = append(t.Terms, e.part(p, details, slot)...)
	}
	return []visutility.Term{t}
}

// presentCEL is a value of CEL as terms show it.
func presentCEL(k kind, v ref.Val) any {
	switch v := v.(type) {
	case types.Int:
		return float64(v)
	case types.String:
		return string(v)
	case traits.Lister:
		var items []string
		for it := v.Iterator(); it.HasNext() == types.True; {
			items = append(items, fmt.Sprint(it.Next().Value()))
		}
		return "[" + strings.Join(items, ", ") + "]"
	}
	if k == foreign {
		return nil
	}
	return present(k, floatOf(v))
}

// parts are the sub-expressions that have one value each: not the body of a macro.
func parts(x ast.Expr) []ast.Expr {
	switch x.Kind() {
	case ast.CallKind:
		c := x.AsCall()
		if c.IsMemberFunction() {
			return append([]ast.Expr{c.Target()}, c.Args()...)
		}
		return c.Args()
	case ast.ListKind:
		return x.AsList().Elements()
	case ast.ComprehensionKind:
		return parts(x.AsComprehension().IterRange())
	}
	return nil
}
