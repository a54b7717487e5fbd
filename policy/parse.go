package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Parse checks a policy file and makes a policy of it. file names it in errors,
// and gives the policy its name and its directory; it is not opened.
// On error, an [Errors], there is no policy: nothing is half-applied.
func Parse(file string, src []byte) (*Policy, error) {
	s := newSource(file, src)
	root, fault := readYAML(s, src)
	if fault != nil {
		return nil, Errors{fault}
	}
	sum := sha256.Sum256(src)
	base := filepath.Base(file)
	d := &decoder{source: s}
	x := &draft{root: root, p: &Policy{
		Name:     strings.TrimSuffix(strings.TrimSuffix(base, ".yaml"), ".yml"),
		File:     file,
		Dir:      filepath.Dir(file),
		Revision: hex.EncodeToString(sum[:])[:12],
		Source:   slices.Clone(src),
		Metrics:  make(map[string]Metric),
		Retrain:  Retrain{AfterFailure: defaultAfterFailure},
		Train:    Train{Timeout: defaultTimeout},
	}}
	object(d, root, "a policy", policyFields(), x)
	x.finish(d)
	if len(d.errs) > 0 {
		slices.SortStableFunc(d.errs, func(a, b *Error) int {
			if a.Line != b.Line {
				return a.Line - b.Line
			}
			return a.Column - b.Column
		})
		return nil, d.errs
	}
	x.warn(d)
	x.collectKnobs(d)
	return x.p, nil
}

// The defaults.
const (
	defaultAfterFailure = time.Minute
	defaultTimeout      = 24 * time.Hour
	defaultWithin       = 7 * 24 * time.Hour
	defaultHeartbeat    = 10 * time.Minute
)

// A decoder collects faults while nodes become a policy.
type decoder struct {
	*source
	errs  Errors
	meant []string // the keys that misspelt ones were probably meant to be
}

func (d *decoder) fail(at pos, format string, args ...any) {
	d.errs = append(d.errs, d.errorf(at, format, args...))
}

// missing reports a key that is not there, unless it was misspelt: that was said.
func (d *decoder) missing(at pos, key, format string, args ...any) {
	if !slices.Contains(d.meant, key) {
		d.fail(at, format, args...)
	}
}

func (d *decoder) suggest(at pos, suggestion, format string, args ...any) {
	d.fail(at, format, args...)
	d.errs[len(d.errs)-1].Suggestion = suggestion
}

// A draft is a policy in the making, with the nodes that can only be
// understood when the whole file has been read.
type draft struct {
	p    *Policy
	root *node

	model, models, train       *node
	when, unless, gate, revert *node // the conditions
}

// A field is a key of a map in a policy file: the one source of what is
// accepted, of the error for what is not, and of the JSON Schema.
type field[T any] struct {
	key    string
	doc    string
	schema schema
	read   func(d *decoder, n *node, to *T)
}

// object reads a map with the given fields.
func object[T any](d *decoder, n *node, what string, fields []field[T], to *T) {
	if n.kind != mapNode {
		d.fail(n.at, "%s must be a map of keys, not %s", what, n.kind)
		return
	}
	keys := make([]string, len(fields))
	for i, f := range fields {
		keys[i] = f.key
	}
	for _, p := range n.pairs {
		i := slices.Index(keys, p.key)
		switch {
		case i < 0:
			suggestion := closest(p.key, keys)
			if strings.ContainsAny(p.key, "()<>") {
				d.fail(p.at, "%q is not a key; %s", p.key, quoteHint)
			} else if suggestion == "" {
				d.fail(p.at, "unknown key %q in %s; the keys are %s", p.key, what, strings.Join(keys, ", "))
			} else {
				d.suggest(p.at, suggestion, "unknown key %q in %s", p.key, what)
				d.meant = append(d.meant, suggestion)
			}
		case p.value.kind == nullNode:
			d.fail(p.at, "%q has no value", p.key)
		default:
			fields[i].read(d, p.value, to)
		}
	}
}

const (
	quoteHint = "between { and } a condition with a comma must stand in quotes"
	colonHint = "a condition with a colon must stand in quotes"
)

// text reads a value that is not empty.
func (d *decoder) text(n *node) (string, bool) {
	if n.kind != scalarNode {
		d.fail(n.at, "must be a text, not %s", n.kind)
		return "", false
	}
	if strings.TrimSpace(n.value) == "" {
		d.fail(n.at, "must not be empty")
		return "", false
	}
	return n.value, true
}

// texts reads a list of texts.
func (d *decoder) texts(n *node) []string {
	if n.kind != listNode || len(n.items) == 0 {
		d.fail(n.at, "must be a list of at least one text, not %s", n.kind)
		return nil
	}
	var all []string
	for _, item := range n.items {
		if s, ok := d.text(item); ok {
			all = append(all, s)
		}
	}
	return all
}

// duration reads a duration of at least least.
func (d *decoder) duration(n *node, least time.Duration) (time.Duration, bool) {
	s, ok := d.text(n)
	if !ok {
		return 0, false
	}
	v, err := ParseDuration(s)
	switch {
	case err != nil:
		d.fail(n.at, "%v", err)
		return 0, false
	case v < least:
		d.fail(n.at, "must be at least %s", FormatDuration(least))
		return 0, false
	}
	return v, true
}

// integer reads a whole number between bounds.
func (d *decoder) integer(n *node, least, most int64) (int64, bool) {
	var v int64
	ok := n.kind == scalarNode
	switch t := n.typed.(type) {
	case int64:
		v = t
	case uint64:
		v = int64(min(t, 1<<62))
	default:
		ok = false
	}
	if !ok || v < least || v > most {
		d.fail(n.at, "must be a whole number from %d to %d", least, most)
		return 0, false
	}
	return v, true
}

func (d *decoder) number(n *node) (float64, bool) {
	if n.kind == scalarNode {
		switch t := n.typed.(type) {
		case int64:
			return float64(t), true
		case uint64:
			return float64(t), true
		case float64:
			return t, true
		}
	}
	d.fail(n.at, "must be a number")
	return 0, false
}

func (d *decoder) boolean(n *node) bool {
	b, ok := n.typed.(bool)
	if !ok {
		d.fail(n.at, "must be true or false")
	}
	return b
}

// oneOf reads a word out of a few.
func (d *decoder) oneOf(n *node, words ...string) string {
	s, ok := d.text(n)
	if ok && !slices.Contains(words, s) {
		d.suggest(n.at, closest(s, words), "must be %s, not %q", strings.Join(words, " or "), s)
	}
	return s
}

// any is a value as encoding/json would give it.
func (n *node) any() any {
	switch n.kind {
	case listNode:
		all := make([]any, len(n.items))
		for i, item := range n.items {
			all[i] = item.any()
		}
		return all
	case mapNode:
		m := make(map[string]any, len(n.pairs))
		for _, p := range n.pairs {
			m[p.key] = p.value.any()
		}
		return m
	}
	return n.typed
}

var nameForm = regexp.MustCompile(`^[\p{L}\p{N}][\p{L}\p{N}._-]{0,127}$`)

// finish checks what concerns more than one key, and compiles the conditions.
func (x *draft) finish(d *decoder) {
	if x.root.kind != mapNode {
		return // said already
	}
	p, root := x.p, x.root
	if !nameForm.MatchString(p.Name) {
		d.fail(root.at, "%q cannot name a policy (letters, digits, '.', '_' and '-', at most 128); give one with name:", p.Name)
	}
	x.finishModels(d)
	if r := root.get("retrain"); r == nil {
		d.missing(root.at, "retrain", "retrain is missing: it says when to retrain")
	} else if r.kind == mapNode && (r.get("when") == nil) == (r.get("strategy") == nil) {
		d.missing(r.at, "when", "retrain needs either when or strategy")
	}
	x.finishTrain(d)
	if rb := root.get("rollback"); rb != nil && rb.kind == mapNode && rb.get("when") == nil {
		d.missing(rb.at, "when", "rollback.when is missing: it says when a promoted version is taken back")
	}
	p.Retrain.when, p.Retrain.When = x.condition(d, x.when, scope{}, true)
	p.Retrain.unless, p.Retrain.Unless = x.condition(d, x.unless, scope{}, false)
	p.Promote.gate, p.Promote.When = x.condition(d, x.gate, scope{gate: true}, false)
	if p.Rollback != nil {
		p.Rollback.when, p.Rollback.When = x.condition(d, x.revert, scope{previous: true}, true)
	}
	x.sane(d)
}

// condition compiles a condition, if there is one. One that moves a verdict must
// read something that moves.
func (x *draft) condition(d *decoder, n *node, sc scope, moves bool) (*condition, string) {
	if n == nil {
		return nil, ""
	}
	sc.metrics = x.p.Metrics
	c, mistakes := compile(strings.TrimRight(n.value, " \t\r\n"), sc)
	for _, m := range mistakes {
		d.suggest(d.locate(n, m.offset), m.suggestion, "%s", m.message)
	}
	if c == nil {
		return nil, ""
	}
	if moves && len(c.metrics) == 0 && !c.clocked {
		d.fail(n.at, "the condition reads no metric and not the clock, so nothing would ever evaluate it")
	}
	c.learn(x.p.Metrics)
	return c, strings.Join(strings.Fields(n.value), " ")
}

// learn adds the canonical metrics that a condition reads to those declared.
func (c *condition) learn(metrics map[string]Metric) {
	for _, s := range c.slots {
		if s.fn == fnMOfN {
			s.op.cond.learn(metrics)
		} else if _, ok := metrics[s.metric]; !ok && s.metric != "" {
			metrics[s.metric] = Metric{Goal: canonical[s.metric], Baseline: Baseline{Events: defaultBaselineEvents}}
		}
	}
}
