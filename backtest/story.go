package backtest

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/history"
	"github.com/visutility/visutility/policy"
)

// A story is one way to tell an episode.
type story struct {
	*account
	promoted *Promotion // with which it begins, nil: with the first event
	begin    int64
	policies []*policy.Policy
	set      *policy.Set
	reach    policy.Reach
	clocked  bool // time alone can change a verdict
	runs     []opened
	events   []sighting
	whole    int64 // from when on all events are told
	guessed  int   // seconds in which more happened than the history tells
	notes    []string
	rounded  int64 // to how many seconds times are rounded, 0: they are not

	test     testCase
	played   []visutility.Decision // what came of the test when it was played
	expected duration              // when the decision is
	text     string                // of the test
	result   Result                // what came of the text when it was played
}

// A sighting is an event as far as the history tells.
type sighting struct {
	at     int64 // a whole second
	series int   // index into Episode.Series
	value  float64
	count  uint64
}

// story tells the episode from the promotion so many before the last one on.
func (a *account) story(back int, much extent) (*story, error) {
	s := &story{account: a, begin: a.born}
	replaced := ""
	if back < len(a.Promotions) {
		s.promoted = &a.Promotions[back]
		s.begin, replaced = a.told(s.promoted.Time), s.promoted.Replaced
	}
	s.policies = a.Policies[:1:1]
	for _, r := range a.runs {
		if s.promoted != nil && r.CreatedAt.Before(s.promoted.Time) || much == justSeen && !a.matters(&r) {
			continue
		}
		s.runs = append(s.runs, r)
		s.involve(r.Policy)
	}
	var err error
	if s.set, err = replayable(s.policies); err != nil {
		return nil, err
	}
	prog := s.set.For(a.Decision.Model)
	if prog == nil {
		return nil, visutility.Invalidf("policies", "models", "policy %q is not for model %q", a.Decision.Policy, a.Decision.Model)
	}
	s.reach, s.clocked, s.whole = prog.Reach(), prog.Clocked(), s.begin
	s.sight(replaced, much == everyMetric)
	if much == justSeen {
		s.trim()
	}
	return s, nil
}

// same reports whether nothing more is told than by another story.
func (s *story) same(other *story) bool {
	return len(s.events) == len(other.events) && len(s.runs) == len(other.runs) && s.promoted == other.promoted
}

// involve adds the policy of a run.
func (s *story) involve(name string) {
	named := func(p *policy.Policy) bool { return p.Name == name }
	if i := slices.IndexFunc(s.Policies, named); i >= 0 && !slices.ContainsFunc(s.policies, named) {
		s.policies = append(s.policies, s.Policies[i])
	}
}

// breathe is how much longer than a guardrail says its runs are told, since it is not looked at all the time.
const breathe = time.Minute

// matters reports whether a run can have stood against the decision, or made a champion.
func (a *account) matters(r *opened) bool {
	end := a.ended(r)
	if end.IsZero() || !r.PromotedAt.IsZero() {
		return true
	}
	rules := &a.Policies[0].Retrain
	cooldown := max(rules.AfterSuccess, rules.AfterFailure, 10*time.Minute) // the least after many failures
	return !end.Before(a.Decision.Time.Add(-cooldown-breathe)) ||
		rules.Budget.Runs > 0 && !r.CreatedAt.Before(a.Decision.Time.Add(-rules.Budget.Per-breathe))
}

// sight takes in the events from the beginning of the story to the decision, in the order of time. Those of
// the replaced version did not count.
func (s *story) sight(replaced string, everyMetric bool) {
	until := s.at
	if everyMetric { // what no condition reads may be newer than what one has read
		until = max(until, s.moment)
		s.notes = append(s.notes, "metrics that no condition reads are told too: they count as new data")
	}
	for i, series := range s.Series {
		if !everyMetric && !slices.Contains(s.reach.Metrics, series.Metric) || replaced != "" && series.Version == replaced {
			continue
		}
		for _, p := range series.Points {
			if at := wholeSecond(p.Time); s.begin <= at && at <= until {
				s.events = append(s.events, s.unroll(p, at, i)...)
			}
		}
	}
	slices.SortStableFunc(s.events, func(x, y sighting) int { return cmp.Compare(x.at, y.at) })
}

// unroll makes events of what is kept of a second: its least, its greatest and its last value, as far as they
// differ. How the samples are spread over them is known only where there is one for each.
func (s *story) unroll(p history.Point, at int64, series int) []sighting {
	var values []float64
	for _, v := range []float64{p.Min, p.Max, p.Last} {
		if v != p.Last && !slices.Contains(values, v) {
			values = append(values, v)
		}
	}
	values = append(values, p.Last)
	n := uint64(len(values))
	count := max(uint64(p.Count), n)
	if n > 1 && count != n {
		s.guessed++
	}
	all := make([]sighting, n)
	for i, v := range values {
		all[i] = sighting{at, series, v, min(count/n, maxCount)}
	}
	all[n-1].count = min(count-(n-1)*(count/n), maxCount)
	return all
}

// trim leaves out what the conditions could not see any more when the breach began, and at the opening of the
// runs, but for the first events of the champion, on which baselines stand.
func (s *story) trim() {
	from := min(s.at, s.breachBegan())
	for _, r := range s.runs {
		from = min(from, r.at)
	}
	low := from - s.reach.Window.Milliseconds()
	needed := make(map[string]int)
	for _, m := range s.reach.Metrics {
		needed[m] = s.reach.Events
	}
	for i := len(s.events) - 1; i >= 0; i-- {
		if m, e := s.Series[s.events[i].series].Metric, s.events[i]; e.at <= from && needed[m] > 0 {
			needed[m]--
			low = min(low, e.at)
		}
	}
	s.whole = max(s.begin, low)
	kept := s.events[:0]
	base := make(map[string]policy.BaselineReach)
	for _, e := range s.events {
		m := s.Series[e.series].Metric
		have, need := base[m], s.reach.Baselines[m]
		if have.Events < need.Events || have.Samples < need.Samples {
			base[m] = policy.BaselineReach{Events: have.Events + 1, Samples: have.Samples + int64(e.count)}
		} else if e.at < low {
			continue
		}
		kept = append(kept, e)
	}
	s.events = kept
}

// breachBegan is when the policy last began to be anything but content.
func (s *story) breachBegan() int64 {
	began := &s.Decision
	for i := len(s.known) - 1; i >= 0; i-- {
		x := &s.known[i]
		if began.Previous == visutility.Hold || s.promoted != nil && x.Time.Before(s.promoted.Time) {
			break
		}
		if x.Policy == s.Decision.Policy && x.Request == "" {
			began = x
		}
	}
	if began.EventTime.IsZero() {
		return s.told(began.Time)
	}
	return wholeSecond(began.EventTime)
}

// play lays the story out as a test, plays it, and reports whether the decision came again.
func (s *story) play() (bool, error) {
	if err := s.layOut(); err != nil {
		return false, err
	}
	s.test.Runs = s.endings()
	draft := s.test
	draft.Expect = []expectation{{At: new(s.offset(max(s.at, s.moment) + near))}} // so that it is played up to there
	s.played = draft.run(s.set, s.tick()).Decisions
	found := s.find()
	s.test.Expect = s.expectations(found)
	return found != nil, nil
}

// maxTicks bounds how often the clock is looked at in a story.
const maxTicks = 1_000_000

// tick is the server's, or longer in a very long story.
func (s *story) tick() time.Duration {
	long := time.Duration(max(s.at, s.moment)-s.test.begin()) * time.Millisecond
	return max(cmp.Or(s.Tick, defaultTick), (long / maxTicks).Truncate(time.Second))
}

// write writes the test, reads what was written and plays that: it is what counts.
func (s *story) write() error {
	file := testFile{Interval: s.test.Interval, Tests: []testCase{s.test}}
	for _, p := range s.policies {
		file.Policies = append(file.Policies, p.File)
	}
	if s.tick() != defaultTick {
		file.Tick = duration(s.tick())
	}
	s.text = file.yaml(only(s.set))
	suite, err := parseTests("test", []byte(s.text), func([]string) (*policy.Set, error) { return s.set, nil })
	if err != nil {
		return fmt.Errorf("reading the test that was written: %w", err)
	}
	s.result = suite.Run("")[0]
	return nil
}

// endings are what became of the runs.
func (s *story) endings() []runSpec {
	var specs []runSpec
	for i := range s.runs {
		r := &s.runs[i]
		end := s.ended(r)
		after := end.Sub(r.CreatedAt)
		if end.IsZero() { // still under way when the story ends
			after = time.Duration(max(s.at, s.moment)-r.at)*time.Millisecond + time.Hour
		}
		// What was decided before it ended must come before it ends, however late it was stored.
		for _, x := range s.known {
			if x.Time.After(r.CreatedAt) && !x.EventTime.IsZero() && (end.IsZero() || x.Time.Before(end)) {
				after = max(after, time.Duration(wholeSecond(x.EventTime)-r.at)*time.Millisecond+time.Second)
			}
		}
		if after > 10*time.Second {
			after = after.Round(time.Second)
		}
		spec := runSpec{After: duration(max(after.Truncate(time.Millisecond), time.Millisecond))}
		switch {
		case !r.PromotedAt.IsZero() || !r.State.Ended():
			spec.Version, spec.Metrics = r.Version, s.scores(r.Version)
		default:
			spec.Outcome = state(r.State)
		}
		specs = append(specs, spec)
	}
	return specs
}

// scores are what a version scored: on the hold-out of the run that replaced it, as far as that told.
func (s *story) scores(version string) map[string]float64 {
	if !slices.ContainsFunc(s.policies, func(p *policy.Policy) bool { return p.Rollback != nil }) {
		return nil // nobody asks
	}
	scores := make(map[string]float64)
	for name, v := range s.Scores[version] {
		scores[name] = v
	}
	for _, r := range s.runs {
		if r.Champion == version && !r.PromotedAt.IsZero() && r.Artifact != nil {
			for name, v := range r.Artifact.ChampionMetrics {
				scores[name] = v
			}
		}
	}
	return scores
}
