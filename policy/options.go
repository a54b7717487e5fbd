package policy

import (
	"slices"
	"strings"

	"cel.dev/cel-go/common/ast"
)

// Options are the parameters that a function of conditions may take as a map, its last argument:
// cusum(wmape, {k: 0.5, h: 5}).
type options struct{ given []option }

type option struct {
	name       string
	key, value ast.Expr
}

// get is the value of an option, nil when it is not given.
func (o options) get(name string) ast.Expr {
	for _, x := range o.given {
		if x.name == name {
			return x.value
		}
	}
	return nil
}

// place is the expression under which a fault of an option belongs.
func (o options) place(name string, otherwise ast.Expr) ast.Expr {
	for _, x := range o.given {
		if x.name == name {
			return x.key
		}
	}
	return otherwise
}

// options reads what follows the other arguments of a function: nothing, or a map of what it knows.
func (s *substitution) options(function string, rest []ast.Expr, known []string) (options, bool) {
	var o options
	if len(rest) == 0 {
		return o, true
	}
	if rest[0].Kind() != ast.MapKind {
		s.fail(rest[0], "", "%s takes its parameters as a map, such as {%s: …}; there are %s", function, known[0], strings.Join(known, ", "))
		return o, false
	}
	for _, entry := range rest[0].AsMap().Entries() {
		x := option{key: entry.AsMapEntry().Key(), value: entry.AsMapEntry().Value()}
		if x.key.Kind() == ast.IdentKind {
			x.name = x.key.AsIdent()
		} else {
			x.name, _ = literalText(x.key)
		}
		switch {
		case !slices.Contains(known, x.name):
			s.fail(x.key, closest(x.name, known), "%s has no parameter %q; there are %s", function, x.name, strings.Join(known, ", "))
			return o, false
		case o.get(x.name) != nil:
			s.fail(x.key, "", "%s: %s is given twice", function, x.name)
			return o, false
		}
		o.given = append(o.given, x)
	}
	return o, true
}

// numbers are the values of all options but those excepted.
func (s *substitution) numbers(function string, o options, except ...string) (map[string]float64, bool) {
	values := make(map[string]float64)
	for _, x := range o.given {
		if slices.Contains(except, x.name) {
			continue
		}
		v, ok := literalNumber(x.value)
		if !ok {
			s.fail(x.value, "", "%s: %s must be a number, written out", function, x.name)
			return nil, false
		}
		values[x.name] = v
	}
	return values, true
}

// whole is an option that is a whole number from least to most, or its default.
func (s *substitution) whole(function string, o options, name string, otherwise, least, most int64) (int64, bool) {
	x := o.get(name)
	if x == nil {
		return otherwise, true
	}
	v, ok := literalNumber(x)
	if !ok || v != float64(int64(v)) || v < float64(least) || v > float64(most) {
		s.fail(x, "", "%s: %s must be a whole number from %d to %d", function, name, least, most)
		return 0, false
	}
	return int64(v), true
}

// literalText is the value of a text written out.
func literalText(e ast.Expr) (string, bool) {
	if e.Kind() != ast.LiteralKind {
		return "", false
	}
	text, ok := e.AsLiteral().Value().(string)
	return text, ok
}
