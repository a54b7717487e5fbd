package policy

import (
	"math"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
)

// A tri is a truth value of Kleene's logic.
type tri uint8

const (
	unknown tri = iota
	no
	yes
)

func triOf(b bool) tri {
	if b {
		return yes
	}
	return no
}

// float is the truth as slots hold it.
func (t tri) float() float64 {
	switch t {
	case yes:
		return 1
	case no:
		return 0
	}
	return math.NaN()
}

func floatTri(v float64) tri {
	if v != v {
		return unknown
	}
	return triOf(v != 0)
}

// An expr is a lowered expression: what native code is made of.
type expr struct {
	op   operation
	kind kind   // of the value
	text string // as the user wrote it
	at   int    // where in the condition's text, in characters
	args []*expr
	slot int     // of opSlot: index into the condition's slots
	num  float64 // of opLiteral

	interpreted *interpreted // of opInterpreted
	traced      *interpreted // the same, tracking the state of its parts
	tree        *ast.AST     // the checked tree it is part of
	texts       map[int64]string
}

type operation uint8

const (
	opLiteral operation = iota
	opSlot
	opInterpreted
	opNeg
	opAdd
	opSub
	opMul
	opDiv
	opLess
	opLessEq
	opGreater
	opGreaterEq
	opEq
	opNotEq
	opNot
	opAnd
	opOr
	opIf
	opQuorum
)

// maxQuorum bounds the conditions of a quorum.
const maxQuorum = 16

var operations = map[string]operation{
	operators.Negate: opNeg, operators.Add: opAdd, operators.Subtract: opSub, operators.Multiply: opMul, operators.Divide: opDiv,
	operators.Less: opLess, operators.LessEquals: opLessEq, operators.Greater: opGreater, operators.GreaterEquals: opGreaterEq,
	operators.Equals: opEq, operators.NotEquals: opNotEq,
	operators.LogicalNot: opNot, operators.LogicalAnd: opAnd, operators.LogicalOr: opOr, operators.Conditional: opIf,
	"quorum": opQuorum,
}

// A lowering turns the checked tree of one condition into expressions.
type lowering struct {
	*compiler
	tree  *ast.AST
	slots []*slot
}

func (l *lowering) lower(e ast.Expr) (*expr, error) {
	x := &expr{kind: kindOf(l.tree.GetType(e.ID())), text: l.texts[e.ID()], at: l.offset(e)}
	switch e.Kind() {
	case ast.LiteralKind:
		if x.num = floatOf(e.AsLiteral()); x.kind != foreign {
			return x, nil
		}
	case ast.IdentKind:
		if i, ok := slotIndex(e.AsIdent()); ok && i < len(l.slots) {
			x.op, x.slot = opSlot, i
			return x, nil
		}
	case ast.CallKind:
		if d, ok := durationLiteral(e.AsCall()); ok {
			x.num = d
			return x, nil
		}
		if ok, err := l.call(x, e.AsCall()); ok || err != nil {
			return x, err
		}
	}
	return x, l.interpret(x, e)
}

// durationLiteral is the milliseconds of duration("…"), which CEL has no literal for.
func durationLiteral(c ast.CallExpr) (float64, bool) {
	if c.FunctionName() != "duration" || len(c.Args()) != 1 || c.Args()[0].Kind() != ast.LiteralKind {
		return 0, false
	}
	text, ok := c.Args()[0].AsLiteral().Value().(string)
	if !ok {
		return 0, false
	}
	d, err := ParseDuration(text)
	return float64(d.Milliseconds()), err == nil
}

// call lowers a call, if native code can do what it does.
func (l *lowering) call(x *expr, c ast.CallExpr) (bool, error) {
	op, ok := operations[c.FunctionName()]
	if !ok || x.kind == foreign {
		return false, nil
	}
	for _, a := range c.Args() {
		if kindOf(l.tree.GetType(a.ID())) == foreign {
			return false, nil
		}
	}
	if arithmetic := op >= opNeg && op <= opDiv; arithmetic && x.kind != number {
		return false, nil // durations may overflow in CEL: leave them to it
	}
	ordered := op >= opLess && op <= opNotEq
	for _, a := range c.Args() {
		arg, err := l.lower(a)
		if err != nil {
			return false, err
		}
		if ordered && op <= opGreaterEq && arg.kind == truth {
			return false, nil // false < true is nothing that native code should know
		}
		x.args = append(x.args, arg)
	}
	x.op = op
	return true, nil
}

// interpret leaves an expression to CEL.
func (l *lowering) interpret(x *expr, e ast.Expr) error {
	x.op, x.args = opInterpreted, nil
	x.tree, x.texts = l.tree, l.texts
	reads := l.reads(e)
	for _, r := range []struct {
		to    **interpreted
		track bool
	}{{&x.interpreted, false}, {&x.traced, true}} {
		program, err := interpret(l.env, l.tree, e, r.track)
		if err != nil {
			return err
		}
		*r.to = &interpreted{x.kind, e, reads, program}
	}
	return nil
}

// reads are the slots in an expression.
func (l *lowering) reads(e ast.Expr) []*expr {
	var found []*expr
	seen := make(map[int]bool)
	ast.PostOrderVisit(e, ast.NewExprVisitor(func(e ast.Expr) {
		if e.Kind() != ast.IdentKind {
			return
		}
		if i, ok := slotIndex(e.AsIdent()); ok && i < len(l.slots) && !seen[i] {
			seen[i] = true
			found = append(found, &expr{op: opSlot, kind: l.slots[i].typ, slot: i, text: l.slots[i].text})
		}
	}))
	return found
}

// numFn and triFn are native code: they read slot values from the words of a state.
type (
	numFn func(s []uint64) float64
	triFn func(s []uint64) tri
)

// at gives the place in the state of a condition's slots.
type places []int

func load(s []uint64, at int) float64 { return math.Float64frombits(s[at]) }

// number makes native code of an expression that is a number or a span.
func (x *expr) number(at places) numFn {
	switch x.op {
	case opLiteral:
		v := x.num
		return func([]uint64) float64 { return v }
	case opSlot:
		i := at[x.slot]
		return func(s []uint64) float64 { return load(s, i) }
	case opInterpreted:
		return x.interpreted.native(at)
	case opNeg:
		a := x.args[0].number(at)
		return func(s []uint64) float64 { return -a(s) }
	case opIf:
		c, a, b := x.args[0].truth(at), x.args[1].number(at), x.args[2].number(at)
		return func(s []uint64) float64 {
			switch c(s) {
			case yes:
				return a(s)
			case no:
				return b(s)
			}
			return math.NaN()
		}
	}
	a, b := x.args[0].number(at), x.args[1].number(at)
	switch x.op { // NaN spreads by itself
	case opAdd:
		return func(s []uint64) float64 { return a(s) + b(s) }
	case opSub:
		return func(s []uint64) float64 { return a(s) - b(s) }
	case opMul:
		return func(s []uint64) float64 { return a(s) * b(s) }
	default:
		return func(s []uint64) float64 { return a(s) / b(s) }
	}
}

// truth makes native code of an expression that is true or false.
func (x *expr) truth(at places) triFn {
	switch x.op {
	case opLiteral:
		v := triOf(x.num != 0)
		return func([]uint64) tri { return v }
	case opSlot:
		i := at[x.slot]
		return func(s []uint64) tri { return floatTri(load(s, i)) }
	case opInterpreted:
		f := x.interpreted.native(at)
		return func(s []uint64) tri { return floatTri(f(s)) }
	case opNot:
		a := x.args[0].truth(at)
		return func(s []uint64) tri { return a(s).not() }
	case opAnd, opOr:
		return x.junction(at)
	case opQuorum:
		return x.quorum(at)
	case opIf:
		c, a, b := x.args[0].truth(at), x.args[1].truth(at), x.args[2].truth(at)
		return func(s []uint64) tri {
			switch c(s) {
			case yes:
				return a(s)
			case no:
				return b(s)
			}
			return unknown
		}
	}
	a, b := x.args[0].float(at), x.args[1].float(at)
	op := x.op
	return func(s []uint64) tri { return compare(op, a(s), b(s)) }
}

// float makes native code of any expression; a truth is 1, 0 or NaN.
func (x *expr) float(at places) numFn {
	if x.kind != truth {
		return x.number(at)
	}
	f := x.truth(at)
	return func(s []uint64) float64 { return f(s).float() }
}

func (t tri) not() tri {
	switch t {
	case yes:
		return no
	case no:
		return yes
	}
	return unknown
}

// junction is && and ||: the one is the other with everything negated.
func (x *expr) junction(at places) triFn {
	a, b := x.args[0].truth(at), x.args[1].truth(at)
	decides := no
	if x.op == opOr {
		decides = yes
	}
	return func(s []uint64) tri {
		l := a(s)
		if l == decides {
			return l
		}
		r := b(s)
		if r == decides || l != unknown {
			return r
		}
		return unknown
	}
}

// quorum counts: it holds when enough conditions do, fails when the others are too few, and is else unknown.
func (x *expr) quorum(at places) triFn {
	need := x.args[0].number(at)
	conditions := make([]triFn, len(x.args)-1)
	for i, a := range x.args[1:] {
		conditions[i] = a.truth(at)
	}
	return func(s []uint64) tri {
		held, open := 0, 0
		for _, c := range conditions {
			switch c(s) {
			case yes:
				held++
			case unknown:
				open++
			}
		}
		return reached(need(s), held, open)
	}
}

// reached is the truth of a quorum of which so many conditions hold, and so many are unknown.
func reached(need float64, held, open int) tri {
	switch {
	case float64(held) >= need:
		return yes
	case float64(held+open) < need:
		return no
	}
	return unknown
}

// compare is the comparison of two values, unknown if either is.
func compare(op operation, a, b float64) tri {
	if a != a || b != b {
		return unknown
	}
	switch op {
	case opLess:
		return triOf(a < b)
	case opLessEq:
		return triOf(a <= b)
	case opGreater:
		return triOf(a > b)
	case opGreaterEq:
		return triOf(a >= b)
	case opEq:
		return triOf(a == b)
	}
	return triOf(a != b)
}

// native lets CEL evaluate amid native code. It allocates, and is the one thing that does.
func (x *interpreted) native(at places) numFn {
	return func(s []uint64) float64 {
		v, _ := x.eval(func(slot int) float64 { return load(s, at[slot]) })
		return v
	}
}

// simple reports whether the expression is a comparison of a slot with a
// constant, and which: those are evaluated by a table scan.
func (x *expr) simple() (slot int, op operation, limit float64, ok bool) {
	if x.op < opLess || x.op > opNotEq {
		return 0, 0, 0, false
	}
	a, b := x.args[0], x.args[1]
	switch {
	case a.op == opSlot && b.op == opLiteral:
		return a.slot, x.op, b.num, true
	case a.op == opLiteral && b.op == opSlot:
		flipped := x.op
		switch x.op {
		case opLess:
			flipped = opGreater
		case opLessEq:
			flipped = opGreaterEq
		case opGreater:
			flipped = opLess
		case opGreaterEq:
			flipped = opLessEq
		}
		return b.slot, flipped, a.num, true
	}
	return 0, 0, 0, false
}
