package backtest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/policy"
)

// start is when stories begin that do not say. Windows are cut into panes by the calendar, which is all
// that depends on it.
var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// A Result is what came of one test.
type Result struct {
	File   string        `json:"file"`
	Name   string        `json:"name"`
	Passed bool          `json:"passed"`
	Took   time.Duration `json:"-"`
	// Diff are the expected and the actual decisions in the order of time, if the test failed: lines
	// that begin with "-" are expected and missing, with "+" they are not expected.
	Diff      []string              `json:"diff,omitempty"`
	Decisions []visutility.Decision `json:"decisions"`
}

// Run plays the tests of the suite whose name contains filter, in their order.
func (s *Suite) Run(filter string) []Result {
	var all []Result
	for i := range s.tests {
		if !strings.Contains(s.tests[i].Name, filter) {
			continue
		}
		began := time.Now()
		r := s.tests[i].run(s.set, s.tick)
		r.File, r.Took = s.File, time.Since(began)
		all = append(all, r)
	}
	return all
}

// run plays one test.
func (c *testCase) run(set *policy.Set, tick time.Duration) Result {
	r := Result{Name: c.Name, Decisions: []visutility.Decision{}}
	p := newPlayer(set, c.begin(), tick)
	p.decided = func(d *visutility.Decision) { r.Decisions = append(r.Decisions, *d) }
	p.end = c.ending
	for _, s := range c.Series {
		p.know(s.Model)
	}
	if c.Champion != nil {
		v := champion{version: c.Champion.Version, metrics: c.Champion.Metrics}
		p.champion[c.Champion.Model] = v
		p.put(visutility.Control{Kind: visutility.ControlPromoted, Model: c.Champion.Model, Version: v.version})
	}
	longest := 0
	for _, s := range c.Series {
		longest = max(longest, len(s.Values))
	}
	for i := range longest {
		c.play(p, i)
	}
	p.advance(c.last() + 1)
	r.Diff = compare(c.Expect, r.Decisions, c.begin())
	r.Passed = r.Diff == nil
	return r
}

// play folds the i-th value of every series, as one entry.
func (c *testCase) play(p *player, i int) {
	t := c.time(i)
	e := &p.entry
	for k := range c.Series {
		s := &c.Series[k]
		if i >= len(s.Values) || s.Values[i].none {
			continue
		}
		if len(e.Records) == 0 {
			p.advance(t) // for an entry only: the clock is not looked at otherwise
		}
		e.Series = append(e.Series, visutility.Series{Model: s.Model, Metric: s.Metric, Version: s.Version, Labels: visutility.MakeLabels(s.Labels)})
		e.Records = append(e.Records, visutility.Record{
			Series: uint32(len(e.Records)), Time: t, Value: s.Values[i].value, Count: s.count(i),
		})
	}
	if len(e.Records) > 0 {
		p.put()
	}
}

// count is the samples behind the i-th value.
func (s *seriesSpec) count(i int) int64 {
	if len(s.Counts) > 0 {
		return int64(s.Counts[i])
	}
	return int64(max(s.Count, 1))
}

// begin is when the story begins, in Unix milliseconds.
func (c *testCase) begin() int64 {
	if t := time.Time(c.Start); !t.IsZero() {
		return t.UnixMilli()
	}
	return start.UnixMilli()
}

// time is that of the i-th values.
func (c *testCase) time(i int) int64 {
	return c.begin() + (time.Duration(i) * time.Duration(c.Interval)).Milliseconds()
}

// last is when the story ends: with the last value, or the last thing expected.
func (c *testCase) last() int64 {
	end := int64(0)
	for _, s := range c.Series {
		end = max(end, c.time(len(s.Values)-1))
	}
	for _, x := range c.Expect {
		_, to := x.span(c.begin())
		end = max(end, to)
	}
	return end
}

// ending is what the test says of its n-th run.
func (c *testCase) ending(_ *visutility.Run, n int) ending {
	var s runSpec
	if len(c.Runs) > 0 {
		s = c.Runs[min(n, len(c.Runs)-1)]
	}
	if n >= len(c.Runs) {
		s.Version = "" // a version is made once
	}
	e := ending{state: visutility.RunState(s.Outcome), after: orDefault(s.After, time.Hour), version: s.Version, metrics: s.Metrics}
	if s.Outcome == 0 {
		e.state = visutility.Succeeded
	}
	return e
}

// span is when the expectation counts, in Unix milliseconds like the story's beginning.
func (x *expectation) span(begin int64) (from, to int64) {
	at := func(d duration) int64 { return begin + time.Duration(d).Milliseconds() }
	if x.At != nil {
		return at(*x.At), at(*x.At)
	}
	return at(x.NothingBetween[0]), at(x.NothingBetween[1])
}

// fits reports whether a decision is one that the expectation speaks of.
func (x *expectation) fits(d *visutility.Decision, begin int64) bool {
	from, to := x.span(begin)
	t := d.Time.UnixMilli()
	return from <= t && t <= to &&
		(x.Model == "" || x.Model == d.Model) &&
		(x.Policy == "" || x.Policy == d.Policy) &&
		(x.Outcome == nil || visutility.Outcome(*x.Outcome) == d.Outcome) &&
		(x.Verdict == nil || visutility.Verdict(*x.Verdict) == d.Verdict) &&
		(x.SuppressedBy == "" || x.SuppressedBy == d.SuppressedBy)
}

// A diffLine is a line of a diff, in the order of time.
type diffLine struct {
	at   int64
	sign string
	text string
}

// compare holds what was expected against what was decided. Each decision is what one expectation
// spoke of, at most; nothing_between speaks of those that are left. It returns nil when all is as expected.
func compare(expect []expectation, got []visutility.Decision, begin int64) []string {
	claimed := make([]bool, len(got))
	missing := make(map[int64]bool) // the times at which something is
	var lines []diffLine
	for i := range expect {
		x := &expect[i]
		if x.At == nil {
			continue
		}
		k := -1
		for j := range got {
			if !claimed[j] && x.fits(&got[j], begin) {
				k = j
				break
			}
		}
		if k >= 0 {
			claimed[k] = true
			continue
		}
		at, _ := x.span(begin)
		missing[at] = true
		lines = append(lines, diffLine{at, "-", x.String()})
	}
	bad := len(lines) > 0
	for j := range got {
		d := &got[j]
		sign := " "
		unwanted := slices.ContainsFunc(expect, func(x expectation) bool { return x.At == nil && x.fits(d, begin) })
		if !claimed[j] && (unwanted || missing[d.Time.UnixMilli()]) {
			sign, bad = "+", true
		}
		lines = append(lines, diffLine{d.Time.UnixMilli(), sign, describe(d)})
	}
	if !bad {
		return nil
	}
	slices.SortStableFunc(lines, func(a, b diffLine) int { return cmp.Compare(a.at, b.at) })
	all := make([]string, len(lines))
	for i, l := range lines {
		at := policy.FormatDuration(time.Duration(l.at-begin) * time.Millisecond)
		all[i] = fmt.Sprintf("%s %8s  %s", l.sign, at, l.text)
	}
	return all
}

// String says what is expected, in the words of [describe].
func (x *expectation) String() string {
	var parts []string
	switch {
	case x.Outcome != nil:
		parts = append(parts, visutility.Outcome(*x.Outcome).String())
	case x.SuppressedBy != "":
		parts = append(parts, visutility.Suppressed.String())
	}
	if x.SuppressedBy != "" {
		parts = append(parts, "by "+x.SuppressedBy)
	}
	if x.Verdict != nil {
		parts = append(parts, "verdict "+visutility.Verdict(*x.Verdict).String())
	}
	if len(parts) == 0 {
		parts = append(parts, "a decision")
	}
	if x.Policy != "" {
		parts = append(parts, "policy "+x.Policy)
	}
	if x.Model != "" {
		parts = append(parts, "model "+x.Model)
	}
	return strings.Join(parts, " ")
}

// describe says a decision in a line.
func describe(d *visutility.Decision) string {
	s := d.Outcome.String()
	if d.SuppressedBy != "" {
		s += " by " + d.SuppressedBy
	}
	return fmt.Sprintf("%s verdict %s policy %s model %s: %s", s, d.Verdict, d.Policy, d.Model, d.Reason)
}
