package backtest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/policy"
)

// outcomeOf says in a few words what was decided.
func outcomeOf(d *visutility.Decision) string {
	switch d.Outcome {
	case visutility.Suppressed:
		return "suppressed by " + d.SuppressedBy
	case visutility.Noted:
		return "noted " + d.Verdict.String()
	}
	return d.Outcome.String()
}

// finished is what the story has become, with comments.
func (s *story) finished() *DecisionTest {
	t := &DecisionTest{Reproduced: s.result.Passed, Warnings: append([]string{}, s.Warnings...)}
	for _, p := range s.policies {
		t.Policies = append(t.Policies, PolicyFile{p.File, p.Name, p.Revision, string(p.Source)})
	}
	notes := s.omissions()
	if !t.Reproduced {
		t.Warnings = slices.Concat([]string{s.difference()}, s.reasons(), notes, t.Warnings)
		notes = nil
	}
	var b strings.Builder
	comment := func(format string, args ...any) {
		b.WriteString("# " + strings.Join(strings.Fields(fmt.Sprintf(format, args...)), " ") + "\n")
	}
	d := &s.Decision
	comment("Decision %s on model %s, of %s: %s.", d.ID, d.Model, stamp(d.Time), outcomeOf(d))
	comment("%s", d.Reason)
	if s.promoted != nil {
		comment("The story begins with version %s, promoted on %s.", s.promoted.Version, stamp(s.promoted.Time))
	}
	for _, p := range s.policies {
		comment("%s is policy %s at revision %s.", p.File, p.Name, p.Revision)
	}
	for _, n := range notes {
		comment("Note: %s.", n)
	}
	for _, w := range t.Warnings {
		comment("Warning: %s.", w)
	}
	if !t.Reproduced {
		for _, l := range s.excerpt() {
			b.WriteString("#   " + oneLine(l) + "\n")
		}
	}
	t.Test = b.String() + s.text
	return t
}

// oneLine keeps a text from going on below a comment.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.In(r, unicode.Cc, unicode.Zl, unicode.Zp) {
			return ' '
		}
		return r
	}, s)
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// omissions are what was left out of the story, or changed.
func (s *story) omissions() []string {
	all := slices.Clone(s.notes)
	if s.rounded > 0 {
		all = append(all, "times are rounded to "+policy.FormatDuration(time.Duration(s.test.Interval)))
	}
	if s.tick() > cmp.Or(s.Tick, defaultTick) {
		all = append(all, "the story is long, so the clock is looked at every "+policy.FormatDuration(s.tick())+" only")
	}
	if m := s.Missing; !m.To.IsZero() && m.To.UnixMilli() > s.whole {
		from := ""
		if !m.From.IsZero() && s.begin < m.From.UnixMilli() {
			from = "from " + stamp(m.From) + " "
		}
		all = append(all, fmt.Sprintf("what was measured %suntil %s is left out, for there was too much of it", from, stamp(m.To)))
	}
	return all
}

// difference says what the test gives instead of the decision.
func (s *story) difference() string {
	d := &s.Decision
	text := fmt.Sprintf("played at once, the test does not give this decision: at %s it should be %s, verdict %s, ",
		policy.FormatDuration(time.Duration(s.expected)), outcomeOf(d), d.Verdict)
	var same, before *visutility.Decision
	for i := range s.played {
		x := &s.played[i]
		switch {
		case x.Policy != d.Policy:
		case s.alike(x):
			same = x
		case s.offset(x.Time.UnixMilli()) <= s.expected:
			before = x
		}
	}
	at := func(x *visutility.Decision) string {
		return policy.FormatDuration(time.Duration(s.offset(x.Time.UnixMilli())))
	}
	switch {
	case same != nil:
		return text + "and it is at " + at(same)
	case before != nil:
		return text + fmt.Sprintf("and the last that is decided is %s, verdict %s, at %s", outcomeOf(before), before.Verdict, at(before))
	}
	return text + "and nothing is decided up to then"
}

// reasons are why a story may not give the decision, as far as can be told.
func (s *story) reasons() (all []string) {
	add := func(when bool, format string, args ...any) {
		if when {
			all = append(all, fmt.Sprintf(format, args...))
		}
	}
	d := &s.Decision
	began := func(t time.Time) bool { return s.promoted == nil || !t.Before(s.promoted.Time) }
	paused, changed, byHand := d.SuppressedBy == visutility.ByPause, "", 0
	for _, x := range s.known {
		if !began(x.Time) {
			continue
		}
		paused = paused || x.SuppressedBy == visutility.ByPause
		if x.Policy == d.Policy && x.PolicyRevision != d.PolicyRevision {
			changed = x.PolicyRevision
		}
	}
	for _, r := range s.Runs {
		if r.By != "" && began(r.CreatedAt) && r.CreatedAt.Before(d.Time) {
			byHand++
		}
	}
	add(paused, "the model was paused, and a test plays no pause")
	add(byHand > 0, "runs were asked for by hand (%d), and a test asks for none", byHand)
	var lost []string
	for _, r := range s.runs {
		if !slices.ContainsFunc(s.policies, func(p *policy.Policy) bool { return p.Name == r.Policy }) {
			lost = append(lost, r.Policy)
		}
	}
	slices.Sort(lost)
	add(lost != nil, "runs were opened by policies that are not kept: %s", strings.Join(slices.Compact(lost), ", "))
	add(changed != "", "the policy was another (revision %s) when the story began", changed)
	add(s.clocked, "the policy looks at the clock (absent or age), which the server does at other moments than the test")
	late := time.Duration(d.Time.UnixMilli()-s.moment) * time.Millisecond
	add(late > near*time.Millisecond, "events were stored %s after they were measured; in a test each is stored when it was measured, and none comes late",
		policy.FormatDuration(late.Round(time.Second)))
	add(s.guessed > 0, "in %d seconds there was more than the history tells apart: of each it keeps the least, the greatest and the last value and all samples", s.guessed)
	if len(s.events) > 0 && s.promoted != nil {
		gap := time.Duration(s.events[0].at-s.begin) * time.Millisecond
		add(gap > day, "the first that the history has is of %s after the promotion", policy.FormatDuration(gap.Round(time.Second)))
	}
	add(all == nil, "the history keeps seconds: neither the order in them is known, nor what came late")
	return all
}

// around is how many lines of the difference are shown before and after the decision.
const around = 6

// excerpt is the part of what differs that is about the decision.
func (s *story) excerpt() []string {
	lines := s.result.Diff
	at := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, "-") })
	return lines[max(0, at-around):min(len(lines), at+around+1)]
}
