package backtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/history"
	"github.com/visutility/visutility/policy"
)

// accuracies are events of accuracy, in promtool's notation, so far apart.
func accuracies(t *testing.T, every time.Duration, text string) (events []visutility.Event) {
	t.Helper()
	all, err := parseValues(text)
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range all {
		if !v.none {
			events = append(events, visutility.Event{Model: "m", Metric: "accuracy", Value: v.value, Count: 1, Time: start.Add(time.Duration(i) * every)})
		}
	}
	return events
}

func named(t *testing.T, name, rule string) *policy.Policy {
	t.Helper()
	p, err := policy.Parse(name+".yaml", []byte("model: m\nretrain: "+rule+"\ntrain: {trainer: x}\n"))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// last is the newest decision that a policy took with an outcome.
func (l *life) last(t *testing.T, o visutility.Outcome) visutility.Decision {
	t.Helper()
	for _, d := range slices.Backward(l.decisions) {
		if d.Policy != "" && d.Outcome == o {
			return d
		}
	}
	t.Fatalf("nothing was %s", o)
	return visutility.Decision{}
}

func made(t *testing.T, e Episode) *DecisionTest {
	t.Helper()
	got, err := WriteTest(context.Background(), e)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// body is a test without its comments.
func body(test string) string {
	i := strings.Index(test, "policies:")
	return test[i:]
}

func TestStoriesAreShort(t *testing.T) {
	succeed := func(int) ending { return ending{state: visutility.Succeeded, after: 90 * time.Minute} }
	for _, test := range []struct {
		name, rule, champion, values string
		end                          func(int) ending
		outcome                      visutility.Outcome
		want                         string
	}{
		{"a threshold needs the value", `{when: accuracy < 0.8}`, "", "0.9x40 0.7", succeed, visutility.Fired, `
policies: [p.yaml]
interval: 1m
tests:
  - name: "fired, as decided on 2026-01-02T17:00:00Z"
    start: 2026-01-02T17:00:00Z
    series:
      - metric: accuracy
        values: '0.7'
    expect:
      - {at: 0s, outcome: fired, verdict: fire}
      - {nothing_between: [0s, 0s], outcome: fired}
`},
		{"a window with its baseline", `{when: 'avg(accuracy, "6h") < baseline.accuracy - 0.1'}`, "v1", "0.9x400 0.7x9", succeed, visutility.Fired, `
policies: [p.yaml]
interval: 1h
tests:
  - name: "fired, as decided on 2026-01-17T19:00:00Z"
    start: 2026-01-01T00:00:00Z
    champion: {version: v1}
    series:
      - metric: accuracy
        values: '0.9x9 _x387 0.9x3 0.7x2'
    expect:
      - {at: 16d19h, outcome: fired, verdict: fire}
      - {nothing_between: [0s, 16d19h], outcome: fired}
`},
		// The cooldown was begun by the run that made the champion, so the story begins before.
		{"a cooldown with what began it", `{when: accuracy < 0.8, cooldown: 12h}`, "v1", "0.9x40 0.7x5", succeed, visutility.Suppressed, `
policies: [p.yaml]
interval: 1h
tests:
  - name: "suppressed by cooldown, as decided on 2026-01-02T19:00:00Z"
    start: 2026-01-02T17:00:00Z
    champion: {version: v1}
    series:
      - metric: accuracy
        values: '0.7x2'
    runs:
      - {after: 1h30m, version: played-1}
    expect:
      - {at: 0s, outcome: fired}
      - {at: 2h, outcome: suppressed, suppressed_by: cooldown, verdict: fire}
      - {nothing_between: [0s, 2h], outcome: fired}
`},
		{"a number of events", `{when: 'm_of_n(accuracy < 0.8, 2, 3)'}`, "", "0.9x9 0.7 0.9 0.7 0.7", succeed, visutility.Fired, `
policies: [p.yaml]
interval: 1h
tests:
  - name: "fired, as decided on 2026-01-01T12:00:00Z"
    start: 2026-01-01T09:00:00Z
    series:
      - metric: accuracy
        values: '0.9 0.7 0.9 0.7'
    expect:
      - {at: 3h, outcome: fired, verdict: fire}
      - {nothing_between: [0s, 3h], outcome: fired}
`},
		// Age is counted from the promotion, at which there was no event.
		{"the age of a champion", `{when: 'age > duration("2h") && accuracy < 0.8'}`, "v1", "0.9x2 0.7x6", succeed, visutility.Fired, `
policies: [p.yaml]
interval: 1h30m
tests:
  - name: "fired, as decided on 2026-01-01T06:30:10Z"
    start: 2026-01-01T04:30:00Z
    champion: {version: played-1}
    series:
      - metric: accuracy
        values: '_ 0.7'
    expect:
      - {at: 2h10s, outcome: fired, verdict: fire}
      - {nothing_between: [0s, 2h10s], outcome: fired}
`},
		{"a rollback with the run that it takes back", `{when: accuracy < 0.8}
rollback: {when: accuracy < previous.accuracy - 0.05, within: 1d}`, "v1", "0.9x9 0.7x1 0.87 0.6", func(int) ending {
			return ending{state: visutility.Succeeded, after: 90 * time.Minute, metrics: map[string]float64{"accuracy": 0.88}}
		}, visutility.RollbackOrdered, `
policies: [p.yaml]
interval: 1h
tests:
  - name: "rollback, as decided on 2026-01-01T13:00:00Z"
    start: 2026-01-01T10:00:00Z
    champion: {version: v1, metrics: {accuracy: 0.91}}
    series:
      - metric: accuracy
        values: '0.7x1 0.87 0.6'
    runs:
      - {after: 1h30m, version: played-1, metrics: {accuracy: 0.88}}
    expect:
      - {at: 0s, outcome: fired}
      - {at: 3h, outcome: rollback, verdict: fire}
      - {nothing_between: [0s, 3h], outcome: fired}
`},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := live(t, []*policy.Policy{named(t, "p", test.rule)}, test.champion, accuracies(t, time.Hour, test.values), test.end)
			got := made(t, l.episode(l.last(t, test.outcome)))
			if diff := cmp.Diff(strings.TrimSpace(test.want), strings.TrimSpace(body(got.Test))); diff != "" || !got.Reproduced {
				t.Errorf("(-want +got):\n%s\n%s", diff, got.Test)
			}
		})
	}
}

// TestReplacedVersionsDoNotCount leaves out what was measured of the version before the champion.
func TestReplacedVersionsDoNotCount(t *testing.T) {
	events := accuracies(t, time.Hour, "0.9x2 0.7x9")
	for i := range events {
		if i%2 == 1 {
			events[i].Version = "v1"
		}
	}
	l := live(t, []*policy.Policy{named(t, "p", `{when: 'm_of_n(accuracy < 0.8, 2, 3)'}`)}, "v1", events, func(int) ending {
		return ending{state: visutility.Succeeded, after: 90 * time.Minute}
	})
	second := l.decisions[slices.IndexFunc(l.decisions, func(d visutility.Decision) bool { return d.Time.Equal(hour(8)) })]
	got := made(t, l.episode(second))
	if !got.Reproduced || strings.Contains(got.Test, "version: v1") || !strings.Contains(got.Test, "values: '0.7x1'") {
		t.Error(got.Test)
	}
}

// TestRunsLastAsLongAsTheyMattered has a run of a second stand against fires for hours: events came at once that were
// measured over a day.
func TestRunsLastAsLongAsTheyMattered(t *testing.T) {
	l := live(t, []*policy.Policy{named(t, "p", `{when: accuracy < 0.8}`)}, "", accuracies(t, time.Hour, "0.9x3 0.7 0.9 0.7 0.9 0.7"), func(int) ending {
		return ending{state: visutility.Failed, after: 100 * time.Hour}
	})
	begin := l.decisions[0].Time
	for i := range l.decisions {
		l.decisions[i].Time = begin.Add(time.Duration(i) * time.Millisecond).Add(50 * time.Hour)
	}
	for _, r := range l.runs {
		r.State, r.CreatedAt, r.EndedAt = visutility.Failed, begin.Add(50*time.Hour), begin.Add(50*time.Hour+time.Second)
	}
	d := l.last(t, visutility.Suppressed)
	d.SuppressedBy, d.Time = visutility.ByCooldown, begin.Add(50*time.Hour+2*time.Second)
	l.decisions = slices.DeleteFunc(l.decisions, func(x visutility.Decision) bool { return x.ID == d.ID })
	got := made(t, l.episode(d))
	if !strings.Contains(got.Test, "- {outcome: failed, after: 3h1s}") {
		t.Error(got.Test)
	}
}

func TestGrid(t *testing.T) {
	at := func(seconds ...int64) (events []sighting) {
		for _, s := range seconds {
			events = append(events, sighting{at: 1000 * s, count: 1})
		}
		return events
	}
	for want, events := range map[int64][]sighting{60: at(7), 6: at(7, 13, 37), 1: at(7, 8, 100), 86_400: at(7, 7+86_400)} {
		if g := finest(events[0].at, events); g.step != want {
			t.Errorf("%v has a step of %d s, want %d", events, g.step, want)
		}
	}
	g := grid{start: 7000, step: 10}
	for at, want := range map[int64]int64{7000: 0, 11_999: 0, 12_000: 1, 21_999: 1, 22_000: 2} {
		if got := g.place(at); got != want {
			t.Errorf("%d is at place %d, want %d", at, got, want)
		}
	}
	if lanes, cells := g.lanes(at(7, 9, 10, 27), 1); len(lanes[0]) != 3 || cells != 3+1+1 {
		t.Errorf("lanes %v, %d cells", lanes, cells)
	}
}

// TestRunsOfOtherPolicies tells the runs of a second policy, which stood against the first.
func TestRunsOfOtherPolicies(t *testing.T) {
	policies := []*policy.Policy{named(t, "low", `{when: accuracy < 0.8}`), named(t, "odd", `{when: accuracy < 0.85, for: 1h}`)}
	l := live(t, policies, "", accuracies(t, time.Hour, "0.9x3 0.83x2 0.7"), func(int) ending { return ending{state: visutility.Failed, after: 5 * time.Hour} })
	d := l.decisions[slices.IndexFunc(l.decisions, func(d visutility.Decision) bool { return d.Policy == "low" })]
	got := made(t, l.episode(d))
	if !got.Reproduced || !strings.Contains(got.Test, "policies: [low.yaml, odd.yaml]") || !strings.Contains(got.Test, "{at: 2h, policy: low, outcome: suppressed, suppressed_by: active_run, verdict: fire}") {
		t.Error(got.Test)
	}
	if len(got.Policies) != 2 || got.Policies[1].Name != "odd" || got.Policies[1].Source != string(policies[1].Source) {
		t.Errorf("%+v", got.Policies)
	}
	e := l.episode(d)
	e.Policies = e.Policies[:1]
	if got := made(t, e); got.Reproduced || !slices.Contains(got.Warnings, "runs were opened by policies that are not kept: odd") {
		t.Error(got.Test)
	}
}

// TestSecondsWithManyValues tells the least, the greatest and the last value of a second.
func TestSecondsWithManyValues(t *testing.T) {
	p := named(t, "p", `{when: accuracy < 0.5}`)
	at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	l := live(t, []*policy.Policy{p}, "", []visutility.Event{
		{Model: "m", Metric: "accuracy", Value: 0.7, Count: 1, Time: at(0)},
		{Model: "m", Metric: "accuracy", Value: 0.4, Count: 1, Time: at(60_100)},
		{Model: "m", Metric: "accuracy", Value: 0.9, Count: 2, Time: at(60_200)},
		{Model: "m", Metric: "accuracy", Value: 0.8, Count: 4, Time: at(60_300)},
	}, func(int) ending { return ending{after: time.Hour} })
	got := made(t, l.episode(l.last(t, visutility.Fired)))
	want := "      - metric: accuracy\n        count: 2\n        values: '0.4'\n      - metric: accuracy\n        count: 2\n        values: '0.9'\n      - metric: accuracy\n        count: 3\n        values: '0.8'\n"
	if !got.Reproduced || !strings.Contains(got.Test, want) {
		t.Error(got.Test)
	}
}

// TestWhatIsNotKnownIsSaid makes tests that do not give their decisions again, each for a reason.
func TestWhatIsNotKnownIsSaid(t *testing.T) {
	p := named(t, "p", `{when: accuracy < 0.8, cooldown: 12h}`)
	fresh := func() Episode {
		l := live(t, []*policy.Policy{p}, "v1", accuracies(t, time.Hour, "0.9x9 0.7x5"), func(int) ending { return ending{state: visutility.Rejected, after: 90 * time.Minute} })
		return l.episode(l.last(t, visutility.Suppressed))
	}
	for _, test := range []struct {
		name   string
		change func(e *Episode)
		want   []string
	}{
		{"a run by hand", func(e *Episode) { e.Runs[0].By = "ada" }, []string{
			"played at once, the test does not give this decision: at 1h30m it should be suppressed by cooldown, verdict fire, and it is at 1h",
			"runs were asked for by hand (1), and a test asks for none",
		}},
		{"another policy", func(e *Episode) {
			e.Runs = nil
			for i := range e.Decisions {
				if e.Decisions[i].ID != e.Decision.ID {
					e.Decisions[i].PolicyRevision = "older"
				}
			}
		}, []string{"the policy was another (revision older) when the story began"}},
		{"a pause", func(e *Episode) { e.Decision.SuppressedBy = visutility.ByPause }, []string{"the model was paused, and a test plays no pause"}},
		{"late events", func(e *Episode) {
			e.Runs = nil
			for i := range e.Decisions {
				e.Decisions[i].Time = e.Decisions[i].Time.Add(50 * time.Hour)
			}
			e.Decision.Time = e.Decision.Time.Add(50 * time.Hour)
		}, []string{"events were stored 2d2h after they were measured"}},
		{"a history that begins late", func(e *Episode) {
			e.Runs = nil
			e.Promotions[0].Time = e.Promotions[0].Time.Add(-48 * time.Hour)
		}, []string{"the first that the history has is of 2d"}},
		{"nothing in particular", func(e *Episode) { e.Runs, e.Decision.Reason = nil, "on\n- two\u2028lines" }, []string{"the history keeps seconds: neither the order in them is known, nor what came late"}},
		{"what was left out", func(e *Episode) {
			e.Runs = nil
			e.Missing = visutility.Window{From: start.Add(time.Hour), To: e.Decision.Time.Add(-time.Minute)}
			e.Warnings = []string{"the policy is that of today"}
		}, []string{"what was measured from 2026-01-01T01:00:00Z until ", "the policy is that of today"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			e := fresh()
			test.change(&e)
			got := made(t, e)
			if got.Reproduced {
				t.Fatalf("it does:\n%s", got.Test)
			}
			for _, want := range test.want {
				if !slices.ContainsFunc(got.Warnings, func(w string) bool { return strings.Contains(w, want) }) || !strings.Contains(got.Test, want) {
					t.Errorf("no %q in\n%s", want, got.Test)
				}
			}
			for _, l := range strings.Split(strings.TrimSuffix(got.Test, body(got.Test)), "\n") {
				if l != "" && !strings.HasPrefix(l, "# ") {
					t.Errorf("no comment: %q", l)
				}
			}
			if !strings.Contains(got.Test, "#   - ") {
				t.Errorf("it does not show what is missing:\n%s", got.Test)
			}
		})
	}
}

// TestLongStories are rounded, or have their gap closed, so that they fit.
func TestLongStories(t *testing.T) {
	const year = 365 * 24 * time.Hour
	for _, test := range []struct{ rule, note string }{
		{`{when: 'avg(accuracy, "2h") < baseline.accuracy - 0.1', for: 10s}`, "the first 10 events come "},
		{`{when: 'avg(accuracy, "2h") < baseline.accuracy - 0.1 && age > duration("1d")', for: 10s}`, "times are rounded to "},
	} {
		events := accuracies(t, time.Second, "0.9x10")
		for i := range 9000 {
			v := 0.9
			if i > 4000 {
				v = 0.7
			}
			events = append(events, visutility.Event{Model: "m", Metric: "accuracy", Value: v, Count: 1, Time: start.Add(year + time.Duration(i)*time.Second)})
		}
		l := live(t, []*policy.Policy{named(t, "p", test.rule)}, "v1", events, func(int) ending { return ending{after: time.Hour} })
		got := made(t, l.episode(l.last(t, visutility.Fired)))
		if !strings.Contains(got.Test, test.note) {
			t.Errorf("no %q in\n%.2000s", test.note, got.Test)
		}
	}
}

func TestWhatIsNoTest(t *testing.T) {
	p := named(t, "p", `{when: accuracy < 0.8}`)
	d := visutility.Decision{ID: "d1", Model: "m", Policy: "p", Time: start, EventTime: start, Outcome: visutility.Fired, Verdict: visutility.Fire}
	series := []history.Series{{Metric: "accuracy", Points: []history.Point{{Time: start, Last: 0.7, Min: 0.7, Max: 0.7, Count: 1}}}}
	strategy, err := policy.Parse("p.yaml", []byte("model: m\nretrain: {strategy: own}\ntrain: {trainer: x}\n"))
	if err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(e *Episode){
		"was made by hand": func(e *Episode) { e.Decision.Request = "r" },
		"decision d1 was made by hand (it was moved)": func(e *Episode) { e.Decision.Policy, e.Decision.Reason = "", "it was moved" },
		"must come first":                           func(e *Episode) { e.Policies = nil },
		"the history has no metrics of model":       func(e *Episode) { e.Series = nil },
		"is not for model":                          func(e *Episode) { e.Decision.Model = "n" },
		`strategy "own" is part of another program`: func(e *Episode) { e.Policies = []*policy.Policy{strategy} },
	} {
		e := Episode{Decision: d, Policies: []*policy.Policy{p}, Series: series}
		change(&e)
		_, err := WriteTest(t.Context(), e)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
		if kind := visutility.ErrInvalid; !errors.Is(err, kind) && !(strings.Contains(want, "history") && errors.Is(err, visutility.ErrNotFound)) {
			t.Errorf("%v is no known kind of error", err)
		}
	}
	ctx, stop := context.WithCancelCause(t.Context())
	stop(errors.New("enough"))
	if _, err := WriteTest(ctx, Episode{Decision: d, Policies: []*policy.Policy{p}, Series: series}); fmt.Sprint(err) != "enough" {
		t.Errorf("%v", err)
	}
}
