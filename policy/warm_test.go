package policy

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/visutility/visutility"
)

// TestWarmIsAsIfInForce: operators that come to a state and are warmed have the words that they would have had they been
// there all along; all others keep theirs.
func TestWarmIsAsIfInForce(t *testing.T) {
	const half = "model: m\nmetrics: {auc: {goal: higher_is_better, min_samples: 3, baseline: {events: 4}}, x: lower_is_better}\nretrain: {when: 'avg(auc, \"1h\") < baseline.auc - 0.02 && max(x, \"30m\") > 0.1'}\ntrain: {run: train}\n"
	all, watched := mustSet(t, everything).For("m"), mustSet(t, half).For("m")
	rapid.Check(t, func(t *rapid.T) {
		was := (*Program)(nil)
		var layout []byte
		if rapid.Bool().Draw(t, "watched before") {
			was = watched
			layout = was.Layout()
		}
		past := Past{Whole: rapid.Bool().Draw(t, "whole"), Trained: rapid.Bool().Draw(t, "trained")}
		before, always, state := []uint64(nil), fresh(all), fresh(all)
		if was != nil {
			before = fresh(was)
		}
		for i, s := range drawSteps(t) {
			if s.kind > 6 {
				continue
			}
			// Stored as it is measured, as the past is told.
			now := epoch + int64(i)*60_000
			s.late, s.kind = 0, 0
			s.apply(all, always, now, visutility.Position(i+1))
			if was != nil && was.Metric(s.metricIs) >= 0 {
				s.apply(was, before, now, visutility.Position(i+1))
			}
		}
		if was != nil {
			if err := all.Migrate(state, layout, slices.Clone(before)); err != nil {
				t.Fatal(err)
			}
		}
		cold := slices.Clone(state)
		past.State = slices.Clone(always)
		all.Warm(state, past, layout)
		for _, o := range all.operators {
			words := func(state []uint64) string { return fmt.Sprint(state[o.at : o.at+o.words]) }
			shared := strings.Contains(string(layout), fmt.Sprintf("%q", o.key))
			want := always
			if shared || !past.fills(o) {
				want = cold
			}
			if words(state) != words(want) {
				t.Errorf("%s: %s, want %s", o.key, words(state), words(want))
			}
		}
		if layout == nil && (state[headFirst] != always[headFirst] || state[headLast] != always[headLast] || state[headClock] != always[headClock]) {
			t.Errorf("the span is %v, want %v", state[:headWords], always[:headWords])
		}
		for _, m := range all.machines {
			if state[m.at] != cold[m.at] {
				t.Error("a verdict was taken over")
			}
		}
	})
}

func TestCold(t *testing.T) {
	with := func(when string) *Program { return mustSet(t, policyText(when)).For("m") }
	long := with(`avg(accuracy, "24h") < 0.8`)
	for when, cold := range map[string]bool{
		`avg(accuracy, "24h") < 0.9`:                                   false,
		`avg(accuracy, "12h") < 0.8`:                                   true,
		`avg(accuracy, "24h") < 0.8 && absent(accuracy, "1h")`:         false, // nobody listened
		`avg(accuracy, "24h") < 0.8 || cron("0 3 * * 1")`:              false,
		`avg(accuracy, "24h") < 0.8 || adwin(accuracy)`:                true,
		`avg(accuracy, "24h") < 0.8 || accuracy < 0.1`:                 true,
		`avg(accuracy, "24h") < baseline.accuracy && f1_score < 0.825`: true,
	} {
		if got := with(when).Cold(long.Layout()); got != cold {
			t.Errorf("%s: %v", when, got)
		}
		if !with(when).Cold(nil) {
			t.Errorf("%s: without a policy before nothing is cold", when)
		}
	}
	if long.Cold([]byte("x")) {
		t.Error("a layout that cannot be read")
	}
}
