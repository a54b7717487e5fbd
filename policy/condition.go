package policy

import (
	"fmt"
	"slices"
	"sort"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
)

// A condition is a checked CEL expression over slots: the values of operators.
type condition struct {
	text    string // as written
	root    *expr
	slots   []*slot
	metrics []string // whose events can change it, sorted
	clocked bool     // time alone can change it
	knobs   []rawKnob
}

// key tells conditions apart: equal keys mean equal in every respect.
func (c *condition) key() string {
	keys := make([]string, len(c.slots))
	for i, s := range c.slots {
		keys[i] = s.key
	}
	return c.root.text + " | " + strings.Join(keys, " ")
}

// usedUp reports whether a training changes a value that the condition reads.
func (c *condition) usedUp() bool {
	return slices.ContainsFunc(c.slots, func(s *slot) bool { return s.op != nil && s.op.usedUp() })
}

// A scope says which names a condition may use.
type scope struct {
	metrics  map[string]Metric
	previous bool // previous.x is known: rollback.when
	gate     bool // only candidate.x and champion.x are: promote.when
}

// A mistake is an error at an offset, in characters, of a condition's text.
type mistake struct {
	offset              int
	message, suggestion string
}

func (m *mistake) Error() string { return m.message }

// A compiler turns one condition's text into a condition.
type compiler struct {
	env   *cel.Env
	scope scope
	text  []rune
	info  *ast.SourceInfo
	fac   ast.ExprFactory
	texts map[int64]string // of every sub-expression, by id, as written

	functions map[string]function
	knobs     []rawKnob
}

// compile parses, substitutes, checks and lowers a condition.
func compile(text string, sc scope) (*condition, []*mistake) {
	env, err := celEnv()
	if err != nil {
		return nil, []*mistake{{0, err.Error(), ""}}
	}
	parsed, issues := env.Parse(text)
	c := &compiler{env: env, scope: sc, text: []rune(text), fac: ast.NewExprFactory(), texts: make(map[int64]string), functions: makeFunctions()}
	if issues.Err() != nil {
		return nil, c.celMistakes(issues.Errors())
	}
	c.info = parsed.NativeRep().SourceInfo()
	root := parsed.NativeRep().Expr()
	c.unparse(root)
	cond, mistakes := c.condition(root, parsed)
	if cond != nil {
		cond.text, cond.knobs = text, c.knobs
	}
	return cond, mistakes
}

// unparse notes the text of every sub-expression before substitution changes it.
// What a macro expands to cannot be written; the macro itself can.
func (c *compiler) unparse(root ast.Expr) {
	ast.PostOrderVisit(root, ast.NewExprVisitor(func(e ast.Expr) {
		if text, err := cel.ExprToString(e, c.info); err == nil {
			c.texts[e.ID()] = text
		}
	}))
}

// condition makes a condition of an expression: of the whole, parsed, or of
// the argument of m_of_n, when parsed is nil.
func (c *compiler) condition(root ast.Expr, parsed *cel.Ast) (*condition, []*mistake) {
	s := &substitution{compiler: c, inside: parsed == nil, bound: make(map[string]int)}
	s.visit(root)
	if len(s.mistakes) > 0 {
		return nil, s.mistakes
	}
	text, at := c.texts[root.ID()], c.offset(root)
	if parsed == nil {
		// CEL checks whole texts only: the argument takes the place of the whole in a copy of it.
		parsed, _ = c.env.Parse(string(c.text))
		parsed.NativeRep().Expr().SetKindCase(root)
	}
	checked, issues := c.env.Check(parsed)
	if issues.Err() != nil {
		return nil, c.celMistakes(issues.Errors())
	}
	tree := checked.NativeRep()
	if message := notTruth(tree.GetType(tree.Expr().ID())); message != "" {
		return nil, []*mistake{{at, message, ""}}
	}
	l := lowering{compiler: c, tree: tree, slots: s.slots}
	lowered, err := l.lower(tree.Expr())
	if err != nil {
		return nil, []*mistake{{at, err.Error(), ""}}
	}
	lowered.text = text
	cond := &condition{text: text, root: lowered, slots: s.slots}
	for _, x := range s.slots {
		cond.clocked = cond.clocked || x.clocked()
		cond.metrics = append(cond.metrics, x.reads()...)
	}
	slices.Sort(cond.metrics)
	cond.metrics = slices.Compact(cond.metrics)
	return cond, nil
}

// notTruth says what is wrong with the type of a condition, "" for nothing.
func notTruth(t *types.Type) string {
	switch kindOf(t) {
	case truth:
		return ""
	case number:
		return "the condition is a number, not true or false; compare it with something"
	case span:
		return "the condition is a duration, not true or false; compare it with something"
	}
	return fmt.Sprintf("the condition is of type %s, not true or false", t)
}

// celMistakes translates CEL's errors.
func (c *compiler) celMistakes(errs []*common.Error) []*mistake {
	var all []*mistake
	for _, e := range errs {
		at := 0
		if e.Location != nil && e.Location.Line() > 0 {
			at = lineOffset(c.text, e.Location.Line()) + max(0, e.Location.Column())
		}
		message := e.Message
		if strings.HasPrefix(message, "Syntax error: ") {
			message, _, _ = strings.Cut(strings.TrimPrefix(message, "Syntax error: "), " expecting ")
			message = "is not a condition: " + strings.ReplaceAll(message, "'<EOF>'", "the end")
		}
		all = append(all, &mistake{at, overload(message), ""})
		if len(all) == 5 {
			break // one slip makes a parser stumble on and on
		}
	}
	sort.SliceStable(all, func(i, j int) bool { return all[i].offset < all[j].offset })
	return all
}

// overload says "found no matching overload for '_<_' applied to '(double, string)'" in plain words.
func overload(message string) string {
	rest, ok := strings.CutPrefix(message, "found no matching overload for '")
	if !ok {
		return message
	}
	name, rest, _ := strings.Cut(rest, "' applied to '")
	args := strings.NewReplacer("double", "number", "bool", "true or false", "google.protobuf.Duration", "duration").Replace(strings.TrimSuffix(rest, "'"))
	return fmt.Sprintf("%s cannot be applied to %s", strings.Trim(name, "_"), args)
}

// lineOffset is the offset of the start of a line, from 1, in a text.
func lineOffset(text []rune, line int) int {
	for i := 0; i < len(text) && line > 1; i++ {
		if text[i] == '\n' {
			if line--; line == 1 {
				return i + 1
			}
		}
	}
	return 0
}

// offset is the place of an expression in the text: of its first character for
// a name or a call, of the operator for an operation.
func (c *compiler) offset(e ast.Expr) int {
	r, ok := c.info.GetOffsetRange(e.ID())
	if !ok {
		return 0
	}
	at := int(r.Start)
	if e.Kind() == ast.CallKind { // CEL points at the parenthesis
		name := []rune(e.AsCall().FunctionName())
		for from := at; from >= max(0, at-len(name)-1); from-- {
			if from+len(name) <= len(c.text) && slices.Equal(c.text[from:from+len(name)], name) {
				return from
			}
		}
	}
	if e.Kind() == ast.SelectKind { // CEL points at the dot
		return c.offset(e.AsSelect().Operand())
	}
	return at
}

// A substitution replaces what reads the state by identifiers of slots.
type substitution struct {
	*compiler
	inside   bool // of m_of_n
	slots    []*slot
	bound    map[string]int // names bound by macros, with nesting
	mistakes []*mistake
}

func (s *substitution) fail(e ast.Expr, suggestion, format string, args ...any) {
	s.mistakes = append(s.mistakes, &mistake{s.offset(e), fmt.Sprintf(format, args...), suggestion})
}

func (s *substitution) visit(e ast.Expr) {
	switch e.Kind() {
	case ast.IdentKind:
		s.ident(e)
	case ast.LiteralKind:
		s.literal(e)
	case ast.SelectKind:
		s.selection(e)
	case ast.CallKind:
		s.call(e)
	case ast.ListKind:
		for _, x := range e.AsList().Elements() {
			s.visit(x)
		}
	case ast.ComprehensionKind:
		s.comprehension(e)
	default:
		s.fail(e, "", "maps and messages have no place in a condition")
	}
}

// literal turns integers into doubles: all numbers of a condition are.
func (s *substitution) literal(e ast.Expr) {
	if _, ok := literalNumber(e); ok {
		s.knob(e, "")
	}
	switch v := e.AsLiteral().(type) {
	case types.Int:
		e.SetKindCase(s.fac.NewLiteral(e.ID(), types.Double(v)))
	case types.Uint:
		e.SetKindCase(s.fac.NewLiteral(e.ID(), types.Double(v)))
	}
}

func (s *substitution) comprehension(e ast.Expr) {
	c := e.AsComprehension()
	s.visit(c.IterRange())
	s.visit(c.AccuInit())
	names := []string{c.IterVar(), c.IterVar2(), c.AccuVar()}
	for _, n := range names {
		s.bound[n]++
	}
	s.visit(c.LoopCondition())
	s.visit(c.LoopStep())
	s.visit(c.Result())
	for _, n := range names {
		s.bound[n]--
	}
}

func (s *substitution) ident(e ast.Expr) {
	name := e.AsIdent()
	switch {
	case s.bound[name] > 0:
	case s.scope.gate:
		s.fail(e, closest(name, []string{"candidate", "champion"}), "unknown name %q; promote.when compares candidate.<metric> with champion.<metric>", name)
	case name == "age":
		if s.inside {
			s.fail(e, "", "age changes with the clock; m_of_n counts events")
			return
		}
		s.replace(e, &slot{fn: fnAge, typ: span})
	default:
		if m, ok := s.metric(e, name); ok {
			s.replace(e, newLatest(name, m))
		}
	}
}

// metric looks up a metric that a condition names.
func (s *substitution) metric(e ast.Expr, name string) (Metric, bool) {
	if m, ok := s.scope.metrics[name]; ok {
		return m, true
	}
	if goal, ok := canonical[name]; ok {
		return Metric{Goal: goal, Baseline: Baseline{Events: defaultBaselineEvents}}, true
	}
	known := make([]string, 0, len(s.scope.metrics)+len(canonical))
	for k := range s.scope.metrics {
		known = append(known, k)
	}
	for k := range canonical {
		known = append(known, k)
	}
	slices.Sort(known)
	s.fail(e, closest(name, known), "unknown metric %q; declare it under metrics", name)
	return Metric{}, false
}

// selection replaces baseline.x, previous.x, candidate.x and champion.x.
func (s *substitution) selection(e ast.Expr) {
	sel := e.AsSelect()
	if sel.Operand().Kind() != ast.IdentKind || s.bound[sel.Operand().AsIdent()] > 0 {
		s.visit(sel.Operand())
		return
	}
	s.field(e, sel.Operand(), sel.FieldName())
}

// field replaces of.name.
func (s *substitution) field(e, of ast.Expr, name string) {
	owner := of.AsIdent()
	known := []string{"baseline"}
	switch {
	case s.scope.gate:
		known = []string{"candidate", "champion"}
	case s.scope.previous:
		known = []string{"baseline", "previous"}
	}
	if !slices.Contains(known, owner) {
		if owner == "previous" {
			s.fail(of, "", "previous.%s is known only in rollback.when", name)
			return
		}
		s.fail(of, closest(owner, known), "unknown name %q before .%s", owner, name)
		return
	}
	m, ok := s.metric(e, name)
	if !ok {
		if r, found := s.info.GetOffsetRange(e.ID()); found { // the caret belongs under the field
			s.mistakes[len(s.mistakes)-1].offset = min(int(r.Start)+1, len(s.text))
		}
		return
	}
	switch owner {
	case "baseline":
		if m.Baseline.Constant {
			e.SetKindCase(s.fac.NewLiteral(e.ID(), types.Double(m.Baseline.Value)))
			return
		}
		s.replace(e, newBaseline(name, m))
	case "previous":
		s.replace(e, newPrevious(name))
	case "candidate":
		s.replace(e, &slot{fn: fnCandidate, metric: name})
	case "champion":
		s.replace(e, &slot{fn: fnChampion, metric: name})
	}
}

// replace puts a slot's identifier in the place of an expression.
func (s *substitution) replace(e ast.Expr, x *slot) {
	x.text = s.texts[e.ID()]
	x.setKey()
	i := slices.IndexFunc(s.slots, func(y *slot) bool { return y.key == x.key })
	if i < 0 {
		if len(s.slots) == maxSlots {
			s.fail(e, "", "the condition reads more than %d values", maxSlots)
			return
		}
		i = len(s.slots)
		s.slots = append(s.slots, x)
	}
	e.SetKindCase(s.fac.NewIdent(e.ID(), slotName(x.typ, i)))
}

// call replaces the operators' functions, and durations by their value.
func (s *substitution) call(e ast.Expr) {
	c := e.AsCall()
	name := c.FunctionName()
	if f, ok := s.functions[name]; ok && !c.IsMemberFunction() {
		switch {
		case s.scope.gate && !f.pure:
			s.fail(e, "", "%s reads events, and promote.when sees none; it compares candidate.<metric> with champion.<metric>", name)
		case !f.accepts(len(c.Args())):
			s.fail(e, "", "%s takes %s", name, f.usage())
		default:
			f.build(s, e, c.Args())
		}
		return
	}
	args := c.Args()
	switch {
	case name == "duration" && len(args) == 1 && args[0].Kind() == ast.LiteralKind:
		text, ok := args[0].AsLiteral().Value().(string)
		if !ok {
			s.fail(e, "", `duration takes a text, such as duration("30d")`)
			return
		}
		d, err := ParseDuration(text)
		if err != nil {
			s.fail(args[0], "", "%v", err)
			return
		}
		s.knob(args[0], "")
		args[0].SetKindCase(s.fac.NewLiteral(args[0].ID(), types.String(d.String()))) // CEL knows no days
		return
	case name == operators.Index && len(args) == 2 && args[0].Kind() == ast.IdentKind && args[1].Kind() == ast.LiteralKind:
		if field, ok := args[1].AsLiteral().Value().(string); ok && s.bound[args[0].AsIdent()] == 0 {
			s.field(e, args[0], field)
			return
		}
	case !s.env.HasFunction(name):
		s.unknownFunction(e, name)
		return
	}
	if c.IsMemberFunction() {
		s.visit(c.Target())
	}
	for i, a := range args {
		if name == operators.Index && i == 1 && a.Kind() == ast.LiteralKind {
			continue // a place in a list stays an integer
		}
		s.visit(a)
	}
}

func (s *substitution) unknownFunction(e ast.Expr, name string) {
	known := make([]string, 0, len(s.functions))
	for f := range s.functions {
		known = append(known, f)
	}
	for f := range s.env.Functions() {
		if !strings.ContainsAny(f, "_@") {
			known = append(known, f)
		}
	}
	slices.Sort(known)
	s.fail(e, closest(name, known), "unknown function %q", name)
}
