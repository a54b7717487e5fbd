package backtest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/history"
	"github.com/visutility/visutility/policy"
)

// A life is what happens to a model, played: what a server would know of it.
type life struct {
	policies   []*policy.Policy
	events     []visutility.Event
	decisions  []visutility.Decision
	runs       map[string]*visutility.Run
	promotions []Promotion
	scores     map[string]map[string]float64
}

// live plays events as they would be stored, at once, under policies; end says what becomes of runs.
func live(tb interface{ Fatal(...any) }, policies []*policy.Policy, champion string, events []visutility.Event, end func(n int) ending) *life {
	set, err := policy.NewSet(policies...)
	if err != nil {
		tb.Fatal(err)
	}
	l := &life{policies: policies, events: events, runs: make(map[string]*visutility.Run), scores: make(map[string]map[string]float64)}
	begin := events[0].Time.UnixMilli()
	p := newPlayer(set, begin, defaultTick)
	p.know("m")
	p.decided = func(d *visutility.Decision) { l.decisions = append(l.decisions, *d) }
	p.opened = func(r *visutility.Run) { l.runs[r.ID] = new(*r); l.runs[r.ID].Champion = p.champion["m"].version }
	p.end = func(_ *visutility.Run, n int) ending { return end(n) }
	p.moved = func(id string, to visutility.RunState, now int64) {
		r := l.runs[id]
		if r.State = to; to == visutility.Watching || to == visutility.Succeeded && r.PromotedAt.IsZero() {
			r.PromotedAt = utc(now)
			r.Version = p.champion["m"].version
			l.scores[r.Version] = p.champion["m"].metrics
		}
		if to.Ended() {
			r.EndedAt = utc(now)
		}
	}
	serves := champion // events may be of that version, or of the one that it replaced
	p.promoted = func(_ string, now int64) {
		next := p.champion["m"].version
		l.promotions = append(l.promotions, Promotion{Version: next, Replaced: serves, Time: utc(now)})
		serves = next
	}
	if champion != "" {
		p.champion["m"] = championScored(champion)
		l.scores[champion] = p.champion["m"].metrics
		l.promotions = append(l.promotions, Promotion{Version: champion, Time: utc(begin)})
		p.put(visutility.Control{Kind: visutility.ControlPromoted, Model: "m", Version: champion})
	}
	for i := 0; i < len(events); {
		t := events[i].Time.UnixMilli()
		p.advance(t)
		for ; i < len(events) && events[i].Time.UnixMilli() == t; i++ {
			e := &events[i]
			switch e.Version {
			case "serving":
				e.Version = serves
			case "replaced":
				e.Version = ""
				if n := len(l.promotions); n > 0 {
					e.Version = l.promotions[n-1].Replaced
				}
			}
			p.entry.Series = append(p.entry.Series, visutility.Series{Model: "m", Metric: e.Metric, Version: e.Version, Labels: visutility.MakeLabels(e.Labels)})
			p.entry.Records = append(p.entry.Records, visutility.Record{Series: uint32(len(p.entry.Records)), Time: t, Value: e.Value, Count: int64(e.Count)})
		}
		p.put()
	}
	p.advance(events[len(events)-1].Time.UnixMilli() + 1)
	return l
}

func championScored(version string) champion {
	return champion{version: version, metrics: map[string]float64{"accuracy": 0.91}}
}

// episode is what the server knows when a decision was taken.
func (l *life) episode(d visutility.Decision) Episode {
	e := Episode{Decision: d, Policies: slices.Clone(l.policies), Decisions: l.decisions, Scores: l.scores, Series: rolledUp(l.events)}
	slices.SortStableFunc(e.Policies, func(a, b *policy.Policy) int {
		return strings.Compare(fmt.Sprint(a.Name != d.Policy), fmt.Sprint(b.Name != d.Policy))
	})
	for _, r := range l.runs {
		e.Runs = append(e.Runs, *r)
	}
	for _, p := range slices.Backward(l.promotions) {
		if p.Time.Before(d.Time) {
			e.Promotions = append(e.Promotions, p)
		}
	}
	return e
}

// rolledUp is the history of events.
func rolledUp(events []visutility.Event) []history.Series {
	all := make(map[seriesKey]*history.Series)
	var order []seriesKey
	for _, e := range events {
		k := seriesKey{e.Model, e.Metric, e.Version, visutility.MakeLabels(e.Labels)}
		s := all[k]
		if s == nil {
			s = &history.Series{Metric: e.Metric, Version: e.Version, Labels: e.Labels}
			all[k], order = s, append(order, k)
		}
		at := e.Time.Truncate(time.Second)
		if n := len(s.Points); n > 0 && s.Points[n-1].Time.Equal(at) {
			p := &s.Points[n-1]
			p.Last, p.Min, p.Max, p.Count = e.Value, min(p.Min, e.Value), max(p.Max, e.Value), p.Count+int64(e.Count)
			continue
		}
		s.Points = append(s.Points, history.Point{Time: at, Last: e.Value, Min: e.Value, Max: e.Value, Count: int64(e.Count)})
	}
	series := make([]history.Series, len(order))
	for i, k := range order {
		series[i] = *all[k]
	}
	slices.SortStableFunc(series, func(a, b history.Series) int { return strings.Compare(a.Metric, b.Metric) })
	return series
}

// drawLife draws a life under one of several policies, whose model does better and worse by turns.
func drawLife(t *rapid.T) *life {
	rules := rapid.SampledFrom([]string{
		`{when: "accuracy < 0.8"}`,
		`{when: "accuracy < 0.8", cooldown: {after_success: 5h, after_failure: 90m}}`,
		`{when: "avg(accuracy, \"6h\") < baseline.accuracy - 0.05", for: 2h, cooldown: 3h}`,
		`{when: "m_of_n(accuracy < 0.8, 2, 4) || quantile(drift_score, 0.9, 12) > 0.7", budget: {runs: 2, per: 1d}}`,
		`{when: "absent(accuracy, \"2h\") || accuracy < 0.7", cooldown: 3h}`,
		`{when: "age > duration(\"6h\") && accuracy < 0.9", for: 30m, cooldown: 1h}`,
		`{when: "min(accuracy, 5) < 0.75 && count(accuracy, \"3h\") > 2", unless: "max(drift_score, \"4h\") > 0.9", cooldown: 2h}`,
	}).Draw(t, "retrain")
	var policies []*policy.Policy
	for i, rule := range append([]string{rules}, rapid.SliceOfN(rapid.SampledFrom([]string{`{when: "drift_score > 0.95", cooldown: 4h}`}), 0, 1).Draw(t, "other")...) {
		p, err := policy.Parse(fmt.Sprintf("p%d.yaml", i), fmt.Appendf(nil, "model: m\nretrain: %s\ntrain: {trainer: x}\n%s", rule,
			rapid.SampledFrom([]string{"", "rollback: {when: accuracy < previous.accuracy - 0.05, within: 10h}\n"}).Draw(t, "rollback")))
		if err != nil {
			t.Fatal(err)
		}
		policies = append(policies, p)
	}
	level, at := 0.9, start.Add(time.Duration(rapid.IntRange(0, 1_000_000).Draw(t, "begin"))*time.Second)
	step := time.Duration(rapid.SampledFrom([]int{60, 600, 1800}).Draw(t, "step")) * time.Second
	var events []visutility.Event
	for range rapid.IntRange(5, 80).Draw(t, "events") {
		level = min(0.95, max(0.6, level+rapid.Float64Range(-0.08, 0.07).Draw(t, "change")))
		at = at.Add(step * time.Duration(rapid.SampledFrom([]int{1, 1, 1, 2, 9}).Draw(t, "pause")))
		e := visutility.Event{Model: "m", Metric: "accuracy", Value: level, Time: at, Count: rapid.Uint64Range(1, 3).Draw(t, "count")}
		switch rapid.IntRange(0, 5).Draw(t, "kind") {
		case 0:
			e.Metric, e.Value = "drift_score", rapid.Float64Range(0, 1).Draw(t, "drift")
		case 1:
			e.Labels = map[string]string{"country": rapid.SampledFrom([]string{"DE", "FR"}).Draw(t, "country")}
		case 2:
			e.Version = rapid.SampledFrom([]string{"serving", "replaced"}).Draw(t, "version")
		case 3:
			e.Time = e.Time.Add(time.Duration(rapid.IntRange(0, 40).Draw(t, "jitter")) * time.Second)
		}
		events = append(events, e)
	}
	var ends []ending
	for range 20 {
		ends = append(ends, ending{
			state:   rapid.SampledFrom([]visutility.RunState{visutility.Succeeded, visutility.Succeeded, visutility.Failed, visutility.Rejected, visutility.Canceled}).Draw(t, "state"),
			after:   time.Duration(rapid.IntRange(60, 30_000).Draw(t, "takes")) * time.Second,
			metrics: map[string]float64{"accuracy": rapid.Float64Range(0.7, 0.95).Draw(t, "scored")},
		})
	}
	champion := rapid.SampledFrom([]string{"", "v0"}).Draw(t, "champion")
	return live(t, policies, champion, events, func(n int) ending { return ends[n%len(ends)] })
}

// TestDecisionsBecomeTests makes tests of the decisions of random lives. What the conditions saw is in
// the history, since no two events of a series share a second, so every one comes again.
func TestDecisionsBecomeTests(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := drawLife(t)
		for _, d := range l.decisions[max(0, len(l.decisions)-12):] { // those with the longest past
			if d.Policy == "" {
				continue // the first promotion
			}
			got, err := WriteTest(context.Background(), l.episode(d))
			if err != nil {
				t.Fatal(err)
			}
			if !got.Reproduced || len(got.Warnings) > 0 {
				t.Fatalf("%s verdict %s at %s does not come again:\n%s", outcomeOf(&d), d.Verdict, d.Time, got.Test)
			}
		}
	})
}
