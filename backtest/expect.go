package backtest

import (
	"time"

	"github.com/visutility/visutility"
)

// maxFires bounds the fires before the decision that a test lists.
const maxFires = 50

// offset is a time as it stands in the test.
func (s *story) offset(at int64) duration {
	return duration(time.Duration(at-s.test.begin()) * time.Millisecond)
}

// placed is where the story has a time: on the grid, if times are rounded.
func (s *story) placed(at int64) int64 {
	if s.rounded == 0 {
		return at
	}
	g := grid{s.test.begin(), s.rounded}
	return g.start + 1000*g.step*g.place(at)
}

// tolerance is how far from where it is expected a decision may be.
func (s *story) tolerance() int64 { return max(near, 1000*s.rounded) }

// expectations are the decision, as it was played if it was, and the fires before it where they were played as they were.
func (s *story) expectations(found *visutility.Decision) []expectation {
	d := &s.Decision
	at := s.placed(s.when(d))
	if found != nil {
		at = found.Time.UnixMilli()
	}
	s.expected = s.offset(at)
	x := expectation{At: &s.expected, Outcome: (*outcome)(&d.Outcome), Verdict: (*verdict)(&d.Verdict), SuppressedBy: d.SuppressedBy}
	if len(s.policies) > 1 {
		x.Policy = d.Policy
	}
	fires, ok := s.fires(at)
	if !ok {
		return []expectation{x}
	}
	return append(fires, x, expectation{NothingBetween: []duration{0, s.expected}, Outcome: new(outcome(visutility.Fired))})
}

// find looks for the decision among those that were played: at the time of its newest event, if that must have
// brought it about or may have; else about when it was stored.
func (s *story) find() *visutility.Decision {
	d := &s.Decision
	if d.Verdict != d.Previous && !d.EventTime.IsZero() {
		if x := s.nearest(s.placed(s.at), 0); x != nil || s.byEvent(d) {
			return x
		}
	}
	return s.nearest(s.placed(s.when(d)), s.tolerance())
}

// nearest is the decision nearest to a time, and not farther than so much, that says the same.
func (s *story) nearest(at, within int64) (found *visutility.Decision) {
	for i := range s.played {
		x := &s.played[i]
		off := x.Time.UnixMilli() - at
		if off = max(off, -off); s.alike(x) && off <= within && (found == nil || off < within) {
			found, within = x, off
		}
	}
	return found
}

// alike reports whether a decision says the same as the one that the test is about.
func (s *story) alike(x *visutility.Decision) bool {
	d := &s.Decision
	return x.Policy == d.Policy && x.Verdict == d.Verdict && x.Outcome == d.Outcome && x.SuppressedBy == d.SuppressedBy
}

// fires are the fires up to a time, if they are those of the runs and no more.
func (s *story) fires(until int64) (all []expectation, ok bool) {
	var played []*visutility.Decision
	for i := range s.played {
		x := &s.played[i]
		if x.Outcome == visutility.Fired && x.Time.UnixMilli() <= until && !(s.alike(x) && x.Time.UnixMilli() == until) {
			played = append(played, x)
		}
	}
	if len(played) != len(s.runs) || len(played) > maxFires {
		return nil, false
	}
	for i, x := range played {
		at, r := x.Time.UnixMilli(), &s.runs[i]
		if off := at - s.placed(r.at); x.Policy != r.Policy || max(off, -off) > s.tolerance() {
			return nil, false
		}
		fire := expectation{At: new(s.offset(at)), Outcome: new(outcome(visutility.Fired))}
		if len(s.policies) > 1 {
			fire.Policy = r.Policy
		}
		all = append(all, fire)
	}
	return all, true
}
