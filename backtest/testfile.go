package backtest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/prometheus/common/model"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/policy"
)

// A Suite is a checked file of tests, with the policies that it tests.
type Suite struct {
	File  string
	tests []testCase
	set   *policy.Set
	tick  time.Duration
}

// defaultTick is the server's.
const defaultTick = 10 * time.Second

// testFile is what a file of tests says.
type testFile struct {
	Policies []string   `yaml:"policies"`
	Interval duration   `yaml:"interval"` // between values; defaults to 1m
	Tick     duration   `yaml:"tick"`     // defaults to defaultTick
	Tests    []testCase `yaml:"tests"`
}

// A testCase is one story.
type testCase struct {
	Name     string        `yaml:"name"`
	Start    moment        `yaml:"start"`    // when the story begins; defaults to a midnight
	Interval duration      `yaml:"interval"` // defaults to the file's
	Champion *served       `yaml:"champion"` // at the beginning; defaults to none
	Series   []seriesSpec  `yaml:"series"`
	Runs     []runSpec     `yaml:"runs"` // in the order in which they are opened; the last one is repeated
	Expect   []expectation `yaml:"expect"`
}

// served is a version that serves when the story begins.
type served struct {
	Model   string             `yaml:"model"`
	Version string             `yaml:"version"`
	Metrics map[string]float64 `yaml:"metrics"`
}

type seriesSpec struct {
	Model   string            `yaml:"model"` // defaults to the policy's, if it has one
	Metric  string            `yaml:"metric"`
	Values  values            `yaml:"values"`
	Count   uint64            `yaml:"count"`  // samples behind each value; defaults to 1
	Counts  counts            `yaml:"counts"` // samples behind each value by itself, instead of Count
	Version string            `yaml:"version"`
	Labels  map[string]string `yaml:"labels"`
}

type runSpec struct {
	Outcome state              `yaml:"outcome"` // defaults to succeeded
	After   duration           `yaml:"after"`   // defaults to 1h
	Version string             `yaml:"version"` // defaults to a name of its own
	Metrics map[string]float64 `yaml:"metrics"` // what the challenger scored
}

// An expectation is of a decision at a time, or of none in a stretch of time. Fields that are
// not given may be anything.
type expectation struct {
	At             *duration  `yaml:"at"`
	NothingBetween []duration `yaml:"nothing_between"` // both ends included
	Model          string     `yaml:"model"`
	Policy         string     `yaml:"policy"`
	Outcome        *outcome   `yaml:"outcome"`
	Verdict        *verdict   `yaml:"verdict"`
	SuppressedBy   string     `yaml:"suppressed_by"`
}

// The types below read one word each, and know its place when it is wrong.
type (
	duration time.Duration
	moment   time.Time
	values   []sample
	counts   []uint64
	state    visutility.RunState
	outcome  visutility.Outcome
	verdict  visutility.Verdict
)

// A misplaced is a fault with its place.
type misplaced struct {
	line, column int
	message      string
}

func (e *misplaced) Error() string { return e.message }

func fault(n ast.Node, format string, args ...any) error {
	at := n.GetToken().Position
	return &misplaced{at.Line, at.Column, fmt.Sprintf(format, args...)}
}

// word is the text of a scalar.
func word(n ast.Node) (string, error) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, nil
	case *ast.LiteralNode:
		return n.Value.Value, nil
	case ast.ScalarNode:
		return n.GetToken().Value, nil
	}
	return "", fault(n, "is not a single value")
}

func (d *duration) UnmarshalYAML(n ast.Node) error {
	s, err := word(n)
	if err != nil {
		return err
	}
	parsed, err := model.ParseDuration(s)
	if err != nil {
		return fault(n, "%q is not a duration; write a number and a unit, such as 90s, 2h or 30d", s)
	}
	*d = duration(parsed)
	return nil
}

func (m *moment) UnmarshalYAML(n ast.Node) error {
	s, err := word(n)
	if err != nil {
		return err
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil || t.Before(time.Unix(0, 0)) {
		return fault(n, "%q is not a time since 1970; write it as 2026-01-31T12:00:00Z", s)
	}
	*m = moment(t)
	return nil
}

func (v *values) UnmarshalYAML(n ast.Node) error {
	s, err := word(n)
	if err != nil {
		return err
	}
	if *v, err = parseValues(s); err != nil {
		return fault(n, "values: %v", err)
	}
	return nil
}

// maxCount bounds the samples behind a value: numbers above are not all told apart.
const maxCount = 1 << 53

func (c *counts) UnmarshalYAML(n ast.Node) error {
	s, err := word(n)
	if err != nil {
		return err
	}
	all, err := parseValues(s)
	if err != nil {
		return fault(n, "counts: %v", err)
	}
	*c = make(counts, len(all))
	for i, x := range all {
		switch {
		case x.none:
			(*c)[i] = 1
		case x.value < 1 || x.value > maxCount || x.value != math.Trunc(x.value):
			return fault(n, "counts: %v is not a whole number of samples from 1", x.value)
		default:
			(*c)[i] = uint64(x.value)
		}
	}
	return nil
}

func (v *state) UnmarshalYAML(n ast.Node) error {
	s, err := word(n)
	if err != nil {
		return err
	}
	switch err := (*visutility.RunState)(v).UnmarshalText([]byte(s)); {
	case err != nil, *v == state(visutility.RolledBack), !visutility.RunState(*v).Ended():
		return fault(n, "%q is no outcome of a run; it is succeeded, rejected, failed or canceled", s)
	}
	return nil
}

func (v *outcome) UnmarshalYAML(n ast.Node) error {
	s, err := word(n)
	if err == nil && (*visutility.Outcome)(v).UnmarshalText([]byte(s)) != nil {
		err = fault(n, "%q is no outcome of a decision; it is noted, fired, suppressed or rollback", s)
	}
	return err
}

func (v *verdict) UnmarshalYAML(n ast.Node) error {
	s, err := word(n)
	if err == nil && (*visutility.Verdict)(v).UnmarshalText([]byte(s)) != nil {
		err = fault(n, "%q is no verdict; it is hold, breach or fire", s)
	}
	return err
}

// ReadTests reads a file of tests and the policies that it names, which are found from the file's
// directory. Faults have file, line and column where there is one, and are [visutility.ErrInvalid].
func ReadTests(file string) (*Suite, error) {
	src, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading tests: %w", err)
	}
	return parseTests(file, src, func(names []string) (*policy.Set, error) { return readPolicies(filepath.Dir(file), names) })
}

// parseTests reads the text of a file of tests; policies finds those that it names.
func parseTests(file string, src []byte, policies func(names []string) (*policy.Set, error)) (*Suite, error) {
	var f testFile
	err := decodeYAML(file, src, &f)
	if err != nil {
		return nil, err
	}
	s := &Suite{File: file, tests: f.Tests, tick: orDefault(f.Tick, defaultTick)}
	if len(f.Policies) == 0 {
		return nil, invalid(file, "policies", "is missing: name the policy files that are tested")
	}
	if len(f.Tests) == 0 {
		return nil, invalid(file, "tests", "is missing: there is nothing to test")
	}
	if s.set, err = policies(f.Policies); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	alone := only(s.set)
	for i := range s.tests {
		c := &s.tests[i]
		if c.Name == "" {
			c.Name = fmt.Sprintf("test %d", i+1)
		}
		c.Interval = duration(orDefault(c.Interval, orDefault(f.Interval, time.Minute)))
		if field, message := c.check(alone); message != "" {
			return nil, invalid(file, fmt.Sprintf("tests[%d] (%s): %s", i, c.Name, field), message)
		}
	}
	return s, nil
}

func invalid(file, field, message string) error {
	return fmt.Errorf("%s: %w", file, visutility.Invalidf(field, "test", "%s", message))
}

func orDefault(d duration, def time.Duration) time.Duration {
	if d == 0 {
		return def
	}
	return time.Duration(d)
}

// decodeYAML decodes strictly: what it does not know is a fault.
func decodeYAML(file string, src []byte, into any) error {
	err := yaml.NewDecoder(bytes.NewReader(src), yaml.DisallowUnknownField()).Decode(into)
	if err == nil || errors.Is(err, io.EOF) { // an empty file says nothing
		return nil
	}
	line, column, message := 0, 0, err.Error()
	var y yaml.Error
	if m, ok := errors.AsType[*misplaced](err); ok {
		line, column, message = m.line, m.column, m.message
	} else if errors.As(err, &y) && y.GetToken() != nil {
		at := y.GetToken().Position
		line, column, message = at.Line, at.Column, y.GetMessage()
	}
	lines := strings.Split(string(src), "\n")
	if line < 1 || line > len(lines) {
		return fmt.Errorf("%s: %w: %s", file, visutility.ErrInvalid, message)
	}
	return fmt.Errorf("%s:%d:%d: %w: %s\n%4d | %s\n     | %*s", file, line, column, visutility.ErrInvalid, message, line, lines[line-1], max(column, 1), "^")
}

func readPolicies(dir string, files []string) (*policy.Set, error) {
	var all []*policy.Policy
	for _, name := range files {
		if !filepath.IsAbs(name) {
			name = filepath.Join(dir, name)
		}
		src, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("reading a policy: %w", err)
		}
		p, err := policy.Parse(name, src)
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return replayable(all)
}

// only is the model that the policies are for, "" when there may be several.
func only(set *policy.Set) string {
	name := ""
	for _, p := range set.Policies() {
		if len(p.Models) != 1 || strings.ContainsAny(p.Models[0], `*?[\`) || name != "" && name != p.Models[0] {
			return ""
		}
		name = p.Models[0]
	}
	return name
}

// check fills in the model where it goes without saying, and returns what is wrong, if anything.
func (c *testCase) check(model string) (field, message string) {
	const which = "is missing: the policies are for more than one model"
	if len(c.Series) == 0 {
		return "series", "is missing: without events nothing is decided"
	}
	for i := range c.Series {
		s, at := &c.Series[i], fmt.Sprintf("series[%d]", i)
		if s.Model == "" {
			s.Model = model
		}
		e := visutility.Event{Model: s.Model, Metric: s.Metric, Count: s.Count, Version: s.Version, Labels: s.Labels}
		switch faults := e.Check(nil, at+".", start); {
		case s.Model == "":
			return at + ".model", which
		case len(faults) > 0:
			return faults[0].Field, faults[0].Message
		case len(s.Values) == 0:
			return at + ".values", "is missing"
		case len(s.Counts) > 0 && s.Count > 0:
			return at + ".counts", "goes without count"
		case len(s.Counts) > 0 && len(s.Counts) != len(s.Values):
			return at + ".counts", fmt.Sprintf("has %d places and values has %d: one stands for each, _ where there is no value", len(s.Counts), len(s.Values))
		}
	}
	if c.Champion != nil {
		if c.Champion.Model == "" {
			c.Champion.Model = model
		}
		switch "" {
		case c.Champion.Model:
			return "champion.model", which
		case c.Champion.Version:
			return "champion.version", "is missing"
		}
	}
	if len(c.Expect) == 0 {
		return "expect", "is missing: say what is to be decided, or nothing_between"
	}
	for i, x := range c.Expect {
		at := fmt.Sprintf("expect[%d]", i)
		switch {
		case (x.At == nil) == (x.NothingBetween == nil):
			return at, "needs either at or nothing_between"
		case x.NothingBetween != nil && (len(x.NothingBetween) != 2 || x.NothingBetween[0] > x.NothingBetween[1]):
			return at + ".nothing_between", "is two times, the earlier first, such as [0s, 9h]"
		case x.SuppressedBy != "" && x.Outcome != nil && visutility.Outcome(*x.Outcome) != visutility.Suppressed:
			return at + ".suppressed_by", "goes with outcome suppressed only"
		}
	}
	return "", ""
}
