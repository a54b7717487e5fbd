package backtest

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/policy"
)

// drawTest draws a test of model m or another one, with all that a test may say.
func drawTest(t *rapid.T) testCase {
	name := rapid.OneOf(
		rapid.SampledFrom([]string{"auc", "v1", "yes", "null", "1e5", "~", "- x", "a: b", "a #b", "{", "'", `"`, `\`, "Ω\u2028", "😀", "_", "0x1F", "2026-01-01", "on", " "}),
		rapid.StringN(1, 8, 40),
	).Filter(func(s string) bool {
		e := visutility.Event{Model: s, Metric: s}
		return len(e.Check(nil, "", start)) == 0
	})
	scores := rapid.MapOfN(name, rapid.Float64(), 0, 2)
	count := rapid.Uint64Range(2, maxCount)
	after := rapid.Map(rapid.Int64Range(1, 1e12), func(ms int64) duration { return duration(time.Duration(ms) * time.Millisecond) })
	c := testCase{
		Name: name.Draw(t, "name"), Start: moment(time.Unix(rapid.Int64Range(0, 4e9).Draw(t, "start"), 0).UTC()),
		Interval: duration(time.Duration(rapid.IntRange(1, 1e6).Draw(t, "interval")) * time.Second),
	}
	model := rapid.SampledFrom([]string{"m", "n"})
	if rapid.Bool().Draw(t, "champion") {
		c.Champion = &served{Model: model.Draw(t, "model"), Version: name.Draw(t, "version"), Metrics: scores.Draw(t, "scored")}
	}
	for range rapid.IntRange(1, 3).Draw(t, "series") {
		s := seriesSpec{Model: model.Draw(t, "model"), Metric: name.Draw(t, "metric"), Values: drawValues(t), Labels: rapid.MapOfN(name, name, 0, 2).Draw(t, "labels")}
		switch rapid.IntRange(0, 2).Draw(t, "counted") {
		case 0:
			s.Count, s.Version = count.Draw(t, "count"), name.Draw(t, "version")
		case 1:
			s.Counts = rapid.SliceOfN(count, len(s.Values), len(s.Values)).Draw(t, "counts")
		}
		c.Series = append(c.Series, s)
	}
	for range rapid.IntRange(0, 2).Draw(t, "runs") {
		r := runSpec{After: after.Draw(t, "after"), Metrics: scores.Draw(t, "scored")}
		if rapid.Bool().Draw(t, "failed") {
			r.Outcome = state(visutility.Failed)
		} else {
			r.Version = name.Draw(t, "version")
		}
		c.Runs = append(c.Runs, r)
	}
	at := after.Draw(t, "at")
	c.Expect = []expectation{
		{At: &at, Outcome: new(outcome(visutility.Suppressed)), SuppressedBy: "cooldown", Verdict: new(verdict(visutility.Fire)), Policy: name.Draw(t, "policy")},
		{NothingBetween: []duration{0, at}, Outcome: new(outcome(visutility.Fired))},
	}
	return c
}

// TestWrittenTestsReadTheSame reads back what was written of any test, whatever things are called.
func TestWrittenTestsReadTheSame(t *testing.T) {
	p := mustPolicy(t, "model: m\nretrain: {when: accuracy < 0.8}\ntrain: {trainer: x}\n")
	set, err := policy.NewSet(p)
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		c := drawTest(t)
		f := testFile{Policies: []string{"p.yaml", "a b.yaml"}, Interval: duration(time.Hour), Tick: duration(time.Minute), Tests: []testCase{c}}
		f.Tests[0].Interval = 0 // the file's
		c.Interval = f.Interval
		text := f.yaml("m")
		var names []string
		s, err := parseTests("t.yaml", []byte(text), func(n []string) (*policy.Set, error) { names = n; return set, nil })
		if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		same := cmp.Options{
			cmp.AllowUnexported(sample{}), cmpopts.EquateEmpty(),
			cmp.Comparer(func(a, b moment) bool { return time.Time(a).Equal(time.Time(b)) }),
		}
		if diff := cmp.Diff(c, s.tests[0], same); diff != "" {
			t.Fatalf("(-written +read):\n%s\n%s", diff, text)
		}
		if s.tick != time.Minute || cmp.Diff(f.Policies, names) != "" {
			t.Fatalf("tick %s, policies %q", s.tick, names)
		}
		for _, l := range strings.Split(text, "\n") {
			if strings.HasPrefix(l, "          ") && len(l) > lineWidth+40 {
				t.Fatalf("a line of %d characters: %s", len(l), l)
			}
		}
	})
}
