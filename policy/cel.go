package policy

import (
	"fmt"
	"math"
	"sync"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/interpreter"
)

// The limits of a condition: what a hostile one can cost.
const (
	maxSlots      = 64      // values a condition reads
	maxText       = 16_384  // characters
	maxExpression = 2_000   // sub-expressions
	maxRecursion  = 64      // depth while parsing
	maxCost       = 100_000 // of one evaluation by CEL, in its own unit
)

// A kind is the type of an expression, as far as lowering is concerned.
type kind uint8

const (
	number  kind = iota // float64; NaN is unknown
	truth               // tri
	span                // a duration, as a float64 of milliseconds; NaN is unknown
	foreign             // anything else: only CEL can handle it
)

func kindOf(t *types.Type) kind {
	switch t.Kind() {
	case types.DoubleKind:
		return number
	case types.BoolKind:
		return truth
	case types.DurationKind:
		return span
	}
	return foreign
}

// slotName is the identifier that stands for a slot in the checked expression.
func slotName(k kind, i int) string { return fmt.Sprintf("%c_%d", "nts"[k], i) }

// slotIndex is the inverse of slotName.
func slotIndex(name string) (int, bool) {
	var k rune
	var i int
	if n, err := fmt.Sscanf(name, "%c_%d", &k, &i); n != 2 || err != nil || i < 0 || i >= maxSlots {
		return 0, false
	}
	return i, slotName(number, i) == name || slotName(truth, i) == name || slotName(span, i) == name
}

// celEnv is the environment of all conditions: the standard library, the macros
// over lists, and an identifier for each slot a condition may have.
var celEnv = sync.OnceValues(func() (*cel.Env, error) {
	options := []cel.EnvOption{
		cel.StdLib(),
		cel.ClearMacros(),
		cel.Macros(cel.AllMacro, cel.ExistsMacro, cel.ExistsOneMacro, cel.MapMacro, cel.FilterMacro),
		cel.EnableMacroCallTracking(),
		cel.CrossTypeNumericComparisons(true),
		cel.ParserExpressionSizeLimit(maxText),
		cel.ExpressionNodeLimit(maxExpression),
		cel.ParserRecursionLimit(maxRecursion),
		cel.RegexProgramSizeLimit(1000),
	}
	for i := range maxSlots {
		options = append(options,
			cel.Variable(slotName(number, i), cel.DoubleType),
			cel.Variable(slotName(truth, i), cel.BoolType),
			cel.Variable(slotName(span, i), cel.DurationType))
	}
	options = append(options, quorumFunction())
	return cel.NewCustomEnv(options...)
})

// quorumFunction is quorum as CEL evaluates it, where native code does not: with what is unknown among
// its arguments, as && and || have it.
func quorumFunction() cel.EnvOption {
	var overloads []cel.FunctionOpt
	for n := 1; n <= maxQuorum; n++ {
		args := []*cel.Type{cel.DoubleType}
		for range n {
			args = append(args, cel.BoolType)
		}
		overloads = append(overloads, cel.Overload(fmt.Sprintf("quorum_%d", n), args, cel.BoolType,
			cel.OverloadIsNonStrict(), cel.FunctionBinding(evalQuorum)))
	}
	return cel.Function("quorum", overloads...)
}

func evalQuorum(args ...ref.Val) ref.Val {
	held, open := 0, 0
	var untold ref.Val
	for _, a := range args[1:] {
		switch {
		case types.IsError(a):
			return a
		case types.IsUnknown(a):
			open++
			untold = a
		case a == types.True:
			held++
		}
	}
	need, ok := args[0].(types.Double)
	if !ok {
		return args[0]
	}
	switch reached(float64(need), held, open) {
	case yes:
		return types.True
	case no:
		return types.False
	}
	return untold
}

// An interpreted expression is one that CEL evaluates, over slot values.
type interpreted struct {
	kind    kind
	root    ast.Expr
	reads   []*expr // the slots it reads
	program cel.Program
}

// interpret plans a checked expression for evaluation by CEL. The state of
// every sub-expression is tracked if asked, for explanations.
func interpret(env *cel.Env, tree *ast.AST, root ast.Expr, track bool) (cel.Program, error) {
	flags := cel.OptPartialEval
	if track {
		flags |= cel.OptTrackState | cel.OptExhaustiveEval
	}
	part := ast.NewCheckedAST(ast.NewAST(root, tree.SourceInfo()), tree.TypeMap(), tree.ReferenceMap())
	return env.PlanProgram(part, cel.EvalOptions(flags), cel.CostLimit(maxCost), cel.CustomDecoratorV2(notANumberIsUnknown))
}

// eval evaluates over the slot values that value gives, and returns the
// result as a float64: of a truth 1 or 0, of a span milliseconds, NaN for unknown.
// Whatever fails (a cost limit, an index out of range) is unknown.
func (x *interpreted) eval(value func(slot int) float64) (float64, *cel.EvalDetails) {
	vars := make(map[string]any, len(x.reads))
	var unknown []*cel.AttributePatternType
	for _, r := range x.reads {
		name := slotName(r.kind, r.slot)
		if v := value(r.slot); math.IsNaN(v) {
			unknown = append(unknown, cel.AttributePattern(name))
		} else {
			vars[name] = celValue(r.kind, v)
		}
	}
	activation, err := cel.PartialVars(vars, unknown...)
	if err != nil {
		return math.NaN(), nil
	}
	out, details, err := x.program.Eval(activation)
	if err != nil {
		return math.NaN(), details
	}
	return floatOf(out), details
}

func celValue(k kind, v float64) ref.Val {
	switch k {
	case truth:
		return types.Bool(v != 0)
	case span:
		return types.Duration{Duration: time.Duration(v) * time.Millisecond}
	}
	return types.Double(v)
}

// floatOf is the inverse of celValue; what it does not know is NaN.
func floatOf(v ref.Val) float64 {
	switch v := v.(type) {
	case types.Bool:
		if v {
			return 1
		}
		return 0
	case types.Double:
		return float64(v)
	case types.Int:
		return float64(v)
	case types.Duration:
		return float64(v.Duration) / float64(time.Millisecond)
	}
	return math.NaN()
}

// notANumberIsUnknown makes the result of a calculation unknown when it is NaN,
// as it is in native code.
func notANumberIsUnknown(i interpreter.InterpretableV2) (interpreter.InterpretableV2, error) {
	if _, ok := i.(interpreter.InterpretableCall); !ok {
		return i, nil
	}
	return nanGuard{i}, nil
}

type nanGuard struct{ interpreter.InterpretableV2 }

func (g nanGuard) Eval(a interpreter.Activation) ref.Val { return g.guard(g.InterpretableV2.Eval(a)) }

func (g nanGuard) Exec(f *interpreter.ExecutionFrame) ref.Val {
	return g.guard(g.InterpretableV2.Exec(f))
}

func (g nanGuard) guard(v ref.Val) ref.Val {
	if d, ok := v.(types.Double); ok && math.IsNaN(float64(d)) {
		return types.NewUnknown(g.ID(), nil)
	}
	return v
}
