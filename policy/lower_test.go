package policy

import (
	"fmt"
	"math"
	"testing"

	"cel.dev/cel-go/common/ast"
	"pgregory.net/rapid"

	"github.com/visutility/visutility"
)

// TestLoweredIsCEL holds native code, CEL and explanations together: for any
// condition over any values, known or not, the three agree.
func TestLoweredIsCEL(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := drawTruth(t, 4)
		cond, mistakes := compile(text, scope{metrics: testMetrics})
		if cond == nil {
			t.Fatalf("%s: %v", text, mistakes)
		}
		values := make([]float64, len(cond.slots))
		state := make([]uint64, len(cond.slots))
		at := make(places, len(cond.slots))
		for i, s := range cond.slots {
			values[i] = drawValue(t, s.typ)
			at[i] = i
			store(state, i, values[i])
		}
		want := floatTri(wholeCEL(t, text).eval1(values))
		if got := cond.root.truth(at)(state); got != want {
			t.Fatalf("%s over %v: native code says %v, CEL says %v", text, values, got, want)
		}
		explained, _ := evaluate(cond.root, func(i int) (float64, string, []visutility.Term) { return values[i], "", nil })
		if got := floatTri(explained); got != want {
			t.Fatalf("%s over %v: the explanation says %v, CEL says %v", text, values, got, want)
		}
	})
}

var testMetrics = map[string]Metric{"a": {}, "b": {}, "c": {}}

// wholeCEL leaves all of a condition to CEL.
func wholeCEL(t *rapid.T, text string) *interpreted {
	env, err := celEnv()
	if err != nil {
		t.Fatal(err)
	}
	parsed, issues := env.Parse(text)
	if issues.Err() != nil {
		t.Fatal(issues.Err())
	}
	tree := parsed.NativeRep()
	c := &compiler{env: env, scope: scope{metrics: testMetrics}, text: []rune(text), info: tree.SourceInfo(),
		fac: ast.NewExprFactory(), texts: map[int64]string{}, functions: makeFunctions()}
	s := &substitution{compiler: c, bound: map[string]int{}}
	s.visit(tree.Expr())
	checked, issues := env.Check(parsed)
	if issues.Err() != nil {
		t.Fatal(issues.Err())
	}
	l := lowering{compiler: c, tree: checked.NativeRep(), slots: s.slots}
	program, err := interpret(env, l.tree, l.tree.Expr(), false)
	if err != nil {
		t.Fatal(err)
	}
	return &interpreted{truth, l.tree.Expr(), l.reads(l.tree.Expr()), program}
}

func (x *interpreted) eval1(values []float64) float64 {
	v, _ := x.eval(func(i int) float64 { return values[i] })
	return v
}

func drawValue(t *rapid.T, k kind) float64 {
	switch k {
	case truth:
		return rapid.SampledFrom([]float64{0, 1, math.NaN()}).Draw(t, "truth")
	case span:
		return rapid.SampledFrom([]float64{0, 3_600_000, 7_200_000, math.NaN()}).Draw(t, "span")
	}
	return rapid.SampledFrom([]float64{0, 0.5, 1, 2, -1, 1e308, math.NaN()}).Draw(t, "number")
}

func drawTruth(t *rapid.T, depth int) string {
	if depth == 0 {
		return rapid.SampledFrom([]string{"true", "false", "(a < 1)", "(b >= 0.5)", `absent(a, "1h")`, "m_of_n(a < 1, 1, 2)", `(age > duration("1h"))`}).Draw(t, "leaf")
	}
	num := func() string { return drawNumber(t, depth-1) }
	sub := func() string { return drawTruth(t, depth-1) }
	switch rapid.IntRange(0, 8).Draw(t, "truth") {
	case 0, 1:
		return fmt.Sprintf("(%s %s %s)", num(), rapid.SampledFrom([]string{"<", "<=", ">", ">=", "==", "!="}).Draw(t, "op"), num())
	case 2:
		return fmt.Sprintf("(%s && %s)", sub(), sub())
	case 3:
		return fmt.Sprintf("(%s || %s)", sub(), sub())
	case 4:
		return fmt.Sprintf("!(%s)", sub())
	case 5:
		return fmt.Sprintf("(%s ? %s : %s)", sub(), sub(), sub())
	case 6:
		return fmt.Sprintf("quorum(%d, %s, %s, %s)", rapid.IntRange(1, 3).Draw(t, "quorum"), sub(), sub(), sub())
	case 7:
		return fmt.Sprintf("[%s, %s].exists(q, quorum(2, q, %s, %s))", sub(), sub(), sub(), sub())
	default:
		return fmt.Sprintf("(%s %s %s)", sub(), rapid.SampledFrom([]string{"==", "!="}).Draw(t, "op"), sub())
	}
}

func drawNumber(t *rapid.T, depth int) string {
	if depth <= 0 {
		return rapid.SampledFrom([]string{"a", "b", "c", "0", "1", "-1", "0.5", `avg(a, "1h")`, "max(b, 3)"}).Draw(t, "leaf")
	}
	sub := func() string { return drawNumber(t, depth-1) }
	switch rapid.IntRange(0, 5).Draw(t, "number") {
	case 0:
		return fmt.Sprintf("(%s ? %s : %s)", drawTruth(t, depth-1), sub(), sub())
	case 1:
		return fmt.Sprintf("-(%s)", sub())
	default:
		return fmt.Sprintf("(%s %s %s)", sub(), rapid.SampledFrom([]string{"+", "-", "*", "/"}).Draw(t, "op"), sub())
	}
}
