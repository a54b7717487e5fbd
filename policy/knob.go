package policy

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"cel.dev/cel-go/common/ast"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/drift"
)

// A Knob is a number or a duration of a policy that can be tried at other values: a threshold, a window, a parameter of a
// detector, a cooldown. See [Policy.Knobs] and [Policy.With].
type Knob struct {
	// Name is unique in the policy: of a detector's parameter "cusum.h", of a key of the file "cooldown" or
	// "budget.runs", of any other number what is written ("0.30", "24h"); where that stands twice, "0.30#2".
	Name string
	// Text is the value as written; for a parameter that is not written, its default.
	Text string
	// Span reports whether it is a duration.
	Span bool
	// Whole reports whether it must be a whole number.
	Whole bool
	// Role is what it does to how easily the policy fires, as far as that is plain.
	Role Role
	// Line and Column are where it is written, or would be.
	Line, Column int

	at, length      int    // bytes of the source that a new value replaces
	parameter       string // that is not written: a value comes with its name
	fresh           bool   // and there is no map yet for it to stand in
	when            bool   // part of retrain.when
	wrap, wrapUntil int    // a plain scalar, which a map would end, is put in quotes; 0, 0 for none
}

// A Role is what a knob does to how easily a policy fires.
type Role string

// The roles. The zero Role is any other.
const (
	Limit    Role = "limit"    // what has the scale of the metric is compared with it
	Margin   Role = "margin"   // it is added to, or taken from, what is compared
	Factor   Role = "factor"   // what is compared is multiplied or divided by it
	Distance Role = "distance" // a sum, or the statistic of a detector, has to come so far
)

// A rawKnob is a knob with its place in the text of a condition, in characters.
type rawKnob struct {
	Knob
	offset, size int
}

// Absent reports whether the knob is not written: it stands at its default.
func (k Knob) Absent() bool { return k.parameter != "" }

// InWhen reports whether the knob is part of retrain.when.
func (k Knob) InWhen() bool { return k.when }

// Knobs are the numbers that can be tried at other values, in the order of the file.
func (p *Policy) Knobs() []Knob { return slices.Clone(p.knobs) }

// With is the policy with other values at some of its knobs, by name: what [Parse] makes of the source in which
// they stand. A value must have the form of the present one, a number or a duration.
func (p *Policy) With(values map[string]string) (*Policy, error) {
	source, err := p.patched(values)
	if err != nil {
		return nil, err
	}
	return Parse(p.File, source)
}

// An edit replaces bytes of a source. Of those at one place the ones of a lower rank come first.
type edit struct {
	at, length int
	text       string
	rank       int
}

// patched is the source with other values at some knobs.
func (p *Policy) patched(values map[string]string) ([]byte, error) {
	for name, value := range values {
		i := slices.IndexFunc(p.knobs, func(k Knob) bool { return k.Name == name })
		if i < 0 {
			known := make([]string, len(p.knobs))
			for i := range p.knobs {
				known[i] = p.knobs[i].Name
			}
			return nil, fmt.Errorf("%w: %s has no number %q to vary; there are %s", visutility.ErrInvalid, p.File, name, strings.Join(known, ", "))
		}
		if err := p.knobs[i].check(value); err != nil {
			return nil, err
		}
	}
	var edits []edit
	for i := range p.knobs {
		k := &p.knobs[i]
		value, ok := values[k.Name]
		switch {
		case !ok:
			continue
		case k.parameter == "":
			edits = append(edits, edit{k.at, k.length, value, 1})
		case !k.fresh:
			edits = append(edits, edit{k.at, 0, k.parameter + ": " + value + ", ", 1})
		default:
			text := ", {" + k.parameter + ": " + value + "}"
			if i := slices.IndexFunc(edits, func(e edit) bool { return e.at == k.at && e.rank == 1 }); i >= 0 {
				edits[i].text = strings.TrimSuffix(edits[i].text, "}") + strings.Replace(text, "{", "", 1) // into the one map
			} else {
				edits = append(edits, edit{k.at, 0, text, 1})
			}
		}
		if k.wrapUntil > 0 && !slices.Contains(edits, edit{k.wrap, 0, "'", 0}) {
			edits = append(edits, edit{k.wrap, 0, "'", 0}, edit{k.wrapUntil, 0, "'", 2})
		}
	}
	slices.SortStableFunc(edits, func(a, b edit) int { return cmp.Or(b.at-a.at, b.rank-a.rank) }) // from the end, so that places stay
	source := slices.Clone(p.Source)
	for _, e := range edits {
		source = slices.Replace(source, e.at, e.at+e.length, []byte(e.text)...)
	}
	return source, nil
}

func (k *Knob) check(value string) error {
	if k.Span {
		if _, err := ParseDuration(value); err != nil {
			return fmt.Errorf("%w: %s: %v", visutility.ErrInvalid, k.Name, err)
		}
		return nil
	}
	v, err := strconv.ParseFloat(value, 64)
	switch {
	case err != nil || numberForm.FindString(value) != value:
		return fmt.Errorf("%w: %s: %q is not a number", visutility.ErrInvalid, k.Name, value)
	case k.Whole && v != float64(int64(v)):
		return fmt.Errorf("%w: %s: must be a whole number, not %s", visutility.ErrInvalid, k.Name, value)
	}
	return nil
}

var (
	numberForm = regexp.MustCompile(`^[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?`)
	textForm   = regexp.MustCompile(`^(?:"[^"\\]*"|'[^'\\]*')`)
)

// knob notes that a literal can be varied, under a name or that of its own text, and returns the note to be completed.
func (s *substitution) knob(e ast.Expr, name string) *rawKnob {
	r, ok := s.info.GetOffsetRange(e.ID())
	if !ok || int(r.Start) > len(s.text) {
		return new(rawKnob)
	}
	k := rawKnob{offset: int(r.Start)}
	rest := string(s.text[k.offset:])
	if text := textForm.FindString(rest); text != "" {
		k.Text, k.Span = text[1:len(text)-1], true
		k.offset++
	} else if k.Text = numberForm.FindString(rest); k.Text == "" {
		return new(rawKnob) // not written out
	}
	k.size = utf8.RuneCountInString(k.Text)
	k.Name = name
	s.knobs = append(s.knobs, k)
	return &s.knobs[len(s.knobs)-1]
}

// optionKnobs notes the options of a function that are numbers.
func (s *substitution) optionKnobs(function string, o options, whole bool) {
	for _, x := range o.given {
		s.knob(x.value, function+"."+x.name).Whole = whole
	}
}

// limits are the parameters of detectors that say how far their statistic has to come.
var limits = map[string]string{"cusum": "h", "ewma": "l", "page_hinkley": "threshold", "ddm": "drift", "edetector": "arl"}

// detectorKnobs notes the parameters of a detector, those that are not written too.
func (s *substitution) detectorKnobs(metric ast.Expr, name string, kind drift.Kind, o options) {
	for _, p := range kind.Parameters {
		var k *rawKnob
		if x := o.get(p.Name); x != nil {
			k = s.knob(x, name+"."+p.Name)
		} else if p.Default != 0 {
			k = s.absentKnob(metric, name, p, o)
		} else {
			continue
		}
		if k.Whole = p.Whole; limits[name] == p.Name {
			k.Role = Distance
		}
	}
}

// absentKnob notes a parameter that is not written: it would stand first in the map, or in one after the metric.
func (s *substitution) absentKnob(metric ast.Expr, name string, p drift.Parameter, o options) *rawKnob {
	k := rawKnob{Knob: Knob{Name: name + "." + p.Name, Text: strconv.FormatFloat(p.Default, 'g', -1, 64), parameter: p.Name}}
	at := metric
	if len(o.given) > 0 {
		at = o.given[0].key
	}
	r, ok := s.info.GetOffsetRange(at.ID())
	if !ok {
		return new(rawKnob)
	}
	k.offset = int(r.Start)
	if len(o.given) == 0 {
		k.offset, k.fresh = k.offset+len([]rune(s.texts[metric.ID()])), true
	}
	s.knobs = append(s.knobs, k)
	return &s.knobs[len(s.knobs)-1]
}

// conditionKnobs finds the places in the source of the knobs of a condition.
func (x *draft) conditionKnobs(d *decoder, n *node, c *condition) {
	for _, r := range c.knobs {
		at := d.locate(n, r.offset)
		k := r.Knob
		if k.Role == "" {
			k.Role = c.roleOf(r.offset)
		}
		k.Line, k.Column, k.when = at.line, at.col, n == x.when
		var ok bool
		if k.at, ok = d.byteAt(at); !ok {
			continue
		}
		if r.size > 0 {
			k.length = len(k.Text)
			if !strings.HasPrefix(string(x.p.Source[k.at:]), k.Text) {
				continue // written with escapes
			}
		} else if !x.insertable(d, n, &k) {
			continue
		}
		x.addKnob(k)
	}
}

// roleOf is the role of the number that is written at an offset.
func (c *condition) roleOf(offset int) Role {
	if e, ok := c.root.above(offset); ok {
		return e.role(c.slots)
	}
	for _, s := range c.slots {
		if s.fn == fnMOfN {
			if role := s.op.cond.roleOf(offset); role != "" {
				return role
			}
		}
	}
	return ""
}

// above finds the operation that the literal at an offset is an operand of.
func (e *expr) above(offset int) (*expr, bool) {
	for _, a := range e.args {
		if a.op == opLiteral && a.at == offset {
			return e, true
		}
		if found, ok := a.above(offset); ok {
			return found, true
		}
	}
	return nil, false
}

// role is what an operation makes of a number that is one of its operands.
func (e *expr) role(slots []*slot) Role {
	switch {
	case e.op == opAdd || e.op == opSub:
		return Margin
	case e.op == opMul || e.op == opDiv:
		return Factor
	case e.op < opLess || e.op > opNotEq:
		return ""
	}
	for _, a := range e.args {
		if a.op != opSlot {
			continue
		}
		switch slots[a.slot].fn {
		case fnSum, fnCount, fnStddev, fnNewSamples, fnExcess:
			return Distance
		}
	}
	return Limit
}

// insertable prepares a plain scalar for text that would end it: it is put in quotes. It is not ok where the
// scalar is written otherwise than it reads.
func (x *draft) insertable(d *decoder, n *node, k *Knob) bool {
	from, ok := d.byteAt(n.at)
	if !ok {
		return false
	}
	rest := string(x.p.Source[from:])
	switch rest[0] {
	case '"', '\'', '|', '>':
		return true
	}
	if !strings.HasPrefix(rest, n.value) || strings.Contains(n.value, "'") {
		return false
	}
	k.wrap, k.wrapUntil = from, from+len(n.value)
	return true
}

// scalarKnob notes the value of a key.
func (x *draft) scalarKnob(d *decoder, name string, n *node, span bool) {
	if n == nil || n.kind != scalarNode {
		return
	}
	at := n.at
	from, ok := d.byteAt(at)
	if !ok {
		return
	}
	if q := x.p.Source[from]; q == '"' || q == '\'' {
		from, at.col = from+1, at.col+1
	}
	if !strings.HasPrefix(string(x.p.Source[from:]), n.value) {
		return
	}
	x.addKnob(Knob{Name: name, Text: n.value, Span: span, Whole: !span, Line: at.line, Column: at.col, at: from, length: len(n.value)})
}

// addKnob gives a knob a name of its own.
func (x *draft) addKnob(k Knob) {
	if k.Name == "" {
		k.Name = k.Text
	}
	name := k.Name
	for i := 2; slices.ContainsFunc(x.p.knobs, func(o Knob) bool { return o.Name == k.Name }); i++ {
		k.Name = fmt.Sprintf("%s#%d", name, i)
	}
	x.p.knobs = append(x.p.knobs, k)
}

// collectKnobs notes everything that can be varied.
func (x *draft) collectKnobs(d *decoder) {
	for _, c := range []struct {
		n *node
		c *condition
	}{{x.when, x.p.Retrain.when}, {x.unless, x.p.Retrain.unless}} {
		if c.c != nil {
			x.conditionKnobs(d, c.n, c.c)
		}
	}
	r := x.root.get("retrain")
	if r == nil {
		return
	}
	x.scalarKnob(d, "for", r.get("for"), true)
	if c := r.get("cooldown"); c != nil {
		x.scalarKnob(d, "cooldown", c, true)
		x.scalarKnob(d, "cooldown.after_success", c.get("after_success"), true)
		x.scalarKnob(d, "cooldown.after_failure", c.get("after_failure"), true)
	}
	if b := r.get("budget"); b != nil {
		x.scalarKnob(d, "budget.runs", b.get("runs"), false)
		x.scalarKnob(d, "budget.per", b.get("per"), true)
	}
	slices.SortStableFunc(x.p.knobs, func(a, b Knob) int { return a.at - b.at })
}

// byteAt is the offset in bytes of a place in the source.
func (s *source) byteAt(at pos) (int, bool) {
	if at.line < 1 || at.line > len(s.lines) {
		return 0, false
	}
	n := 0
	for _, line := range s.lines[:at.line-1] {
		n += len(line) + 1
	}
	col := 1
	for i := range s.lines[at.line-1] {
		if col == at.col {
			return n + i, true
		}
		col++
	}
	return n + len(s.lines[at.line-1]), col == at.col
}
