package policy

import (
	"fmt"
	"strings"
	"time"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"

	"github.com/visutility/visutility/drift"
)

// A function is an operator as conditions call it.
type function struct {
	args     []string // what they are, for the error message
	optional []string // that may follow, in this order
	variadic bool     // the last of args may be repeated
	pure     bool     // reads nothing by itself: gates may call it
	build    func(s *substitution, e ast.Expr, args []ast.Expr)
}

// accepts reports whether a call may have so many arguments.
func (f function) accepts(n int) bool {
	return n >= len(f.args) && (f.variadic || n <= len(f.args)+len(f.optional))
}

func (f function) usage() string {
	number, list := fmt.Sprint(len(f.args)), strings.Join(f.args, ", ")
	switch {
	case f.variadic:
		number, list = "at least "+number, list+", …"
	case len(f.optional) > 0:
		number = fmt.Sprintf("%s to %d", number, len(f.args)+len(f.optional))
		list += ", [" + strings.Join(f.optional, "], [") + "]"
	}
	if number == "1" {
		return fmt.Sprintf("1 argument: (%s)", list)
	}
	return fmt.Sprintf("%s arguments: (%s)", number, list)
}

const windowUsage = `"24h" or 30`

var aggregates = map[string]reader{"avg": fnAvg, "min": fnMin, "max": fnMax, "sum": fnSum, "count": fnCount, "stddev": fnStddev}

// makeFunctions are the operators by name.
func makeFunctions() map[string]function {
	fs := map[string]function{
		"quantile":    {args: []string{"metric", "0.9", windowUsage}, build: (*substitution).quantile},
		"absent":      {args: []string{"metric", `"6h"`}, build: (*substitution).absent},
		"m_of_n":      {args: []string{"condition", "m", "n"}, build: (*substitution).mOfN},
		"quorum":      {args: []string{"how many", "condition"}, variadic: true, pure: true, build: (*substitution).quorum},
		"worst":       {args: []string{"metric", `"label"`}, optional: []string{windowUsage, "{parameter: value}"}, build: (*substitution).worst},
		"new_samples": {args: []string{"metric"}, build: (*substitution).newSamples},
		"excess":      {args: []string{"metric"}, optional: []string{"{tolerance: 0.01}"}, build: (*substitution).excess},
		"cron":        {args: []string{`"0 3 * * 1"`}, optional: []string{`"Europe/Berlin"`}, build: (*substitution).cron},
	}
	for name, fn := range aggregates {
		fs[name] = function{args: []string{"metric", windowUsage}, build: func(s *substitution, e ast.Expr, args []ast.Expr) {
			if name, m, ok := s.metricArg(args[0]); ok {
				if w, ok := s.windowArg(args[1]); ok {
					s.replace(e, newAggregate(fn, name, m, w, 0))
				}
			}
		}}
	}
	for name, kind := range drift.Detectors {
		fs[name] = function{args: []string{"metric"}, optional: []string{"{parameter: value}"}, build: func(s *substitution, e ast.Expr, args []ast.Expr) {
			s.detector(e, name, kind, args)
		}}
	}
	return fs
}

func (s *substitution) quantile(e ast.Expr, args []ast.Expr) {
	name, m, ok := s.metricArg(args[0])
	if !ok {
		return
	}
	q, ok := literalNumber(args[1])
	if !ok || q < 0 || q > 1 {
		s.fail(args[1], "", "the quantile must be a number from 0 to 1")
		return
	}
	s.knob(args[1], "")
	if w, ok := s.windowArg(args[2]); ok {
		s.replace(e, newAggregate(fnQuantile, name, m, w, q))
	}
}

func (s *substitution) absent(e ast.Expr, args []ast.Expr) {
	if s.inside {
		s.fail(e, "", "absent changes with the clock; m_of_n counts events")
		return
	}
	name, _, ok := s.metricArg(args[0])
	if !ok {
		return
	}
	w, ok := s.windowArg(args[1])
	if ok && w.n > 0 {
		s.fail(args[1], "", `absent takes a duration, such as "6h"`)
	} else if ok {
		s.replace(e, newAbsent(name, w.length))
	}
}

func (s *substitution) mOfN(e ast.Expr, args []ast.Expr) {
	if s.inside {
		s.fail(e, "", "m_of_n cannot stand inside m_of_n")
		return
	}
	n, okN := literalNumber(args[2])
	m, okM := literalNumber(args[1])
	switch {
	case !okN || n != float64(int(n)) || n < 1 || n > maxTally:
		s.fail(args[2], "", "m_of_n needs a whole number n from 1 to %d", maxTally)
		return
	case !okM || m != float64(int(m)) || m < 1:
		s.fail(args[1], "", "m_of_n needs a whole number m of at least 1")
		return
	case m > n:
		s.fail(args[1], "", "m is %v and n is %v: a condition cannot hold %v times of %v", m, n, m, n)
		return
	}
	s.knob(args[1], "").Whole = true
	s.knob(args[2], "").Whole = true
	cond, mistakes := s.condition(args[0], nil)
	if cond == nil {
		s.mistakes = append(s.mistakes, mistakes...)
		return
	}
	if len(cond.metrics) == 0 {
		s.fail(args[0], "", "the condition of m_of_n reads no metric, so no event would count")
		return
	}
	s.replace(e, newMOfN(cond, int(m), int(n)))
}

// metricArg is a metric as an argument: its name, in quotes if it is not a word.
func (s *substitution) metricArg(e ast.Expr) (string, Metric, bool) {
	name := ""
	switch e.Kind() {
	case ast.IdentKind:
		name = e.AsIdent()
	case ast.LiteralKind:
		name, _ = e.AsLiteral().Value().(string)
	}
	if name == "" || s.bound[name] > 0 {
		s.fail(e, "", "here must stand the name of a metric")
		return "", Metric{}, false
	}
	m, ok := s.metric(e, name)
	return name, m, ok
}

// A window is a length of time or a number of events.
type window struct {
	length time.Duration
	n      int
}

func (w window) String() string {
	if w.n > 0 {
		return fmt.Sprint(w.n)
	}
	return FormatDuration(w.length)
}

// The bounds of windows: by time at least panes of 100 ms, and no longer than ten years.
const (
	minWindow      = 1200 * time.Millisecond
	maxWindow      = 10 * 365 * 24 * time.Hour
	maxCountWindow = 10_000
)

func (s *substitution) windowArg(e ast.Expr) (window, bool) {
	text, isText := literalText(e)
	if !isText {
		n, ok := literalNumber(e)
		if !ok || n != float64(int(n)) || n < 1 || n > maxCountWindow {
			s.fail(e, "", `a window is a duration such as "24h", or a whole number of events from 1 to %d`, maxCountWindow)
			return window{}, false
		}
		s.knob(e, "").Whole = true
		return window{n: int(n)}, true
	}
	d, err := ParseDuration(text)
	switch {
	case err != nil:
		s.fail(e, "", "%v", err)
		return window{}, false
	case d < minWindow || d > maxWindow:
		s.fail(e, "", "a window must be between %s and %s long", FormatDuration(minWindow), FormatDuration(maxWindow))
		return window{}, false
	}
	s.knob(e, "")
	return window{length: d}, true
}

// literalNumber is the value of a number written out, with its sign.
func literalNumber(e ast.Expr) (float64, bool) {
	switch e.Kind() {
	case ast.LiteralKind:
		switch v := e.AsLiteral().(type) {
		case types.Int:
			return float64(v), true
		case types.Uint:
			return float64(v), true
		case types.Double:
			return float64(v), true
		}
	case ast.CallKind:
		if c := e.AsCall(); c.FunctionName() == operators.Negate && len(c.Args()) == 1 {
			v, ok := literalNumber(c.Args()[0])
			return -v, ok
		}
	}
	return 0, false
}
