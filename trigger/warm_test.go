package trigger

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/policy"
)

// TestUnreadPastIsCounted, and only where a condition would have begun with it.
func TestUnreadPastIsCounted(t *testing.T) {
	s := newStory(t)
	s.past = "broken"
	put := func(when string, cold float64) {
		t.Helper()
		p, err := policy.Parse("p.yaml", []byte("model: m\nretrain: {when: '"+when+"'}\ntrain: {run: train}\n"))
		if err != nil {
			t.Fatal(err)
		}
		if s.set, err = policy.NewSet(p); err != nil {
			t.Fatal(err)
		}
		if s.tr == nil {
			s.open(t)
		} else {
			s.tr.SetPolicies(s.set)
		}
		if got := testutil.ToFloat64(s.tr.met.cold); got != cold {
			t.Errorf("%s: %g models are cold, want %g", when, got, cold)
		}
	}
	put("accuracy < 0.1", 0)
	if err := s.tr.Observe(t.Context(), visutility.Batch{Entries: []visutility.Entry{{
		Position: 1, Stored: epoch0, Series: []visutility.Series{{Model: "m", Metric: "accuracy"}}, Records: []visutility.Record{{Time: epoch0, Value: 0.9, Count: 1}},
	}}}); err != nil {
		t.Fatal(err)
	}
	put("accuracy < 0.2", 0)                             // the same operator
	put(`accuracy < 0.2 && absent(accuracy, "1h")`, 0)   // nobody listened for it before
	put(`avg(accuracy, "1h") < 0.2`, 1)                  // new
	put(`avg(accuracy, "1h") < 0.2 || accuracy < 0`, 2)  // and again
	put(`avg(accuracy, "1h") < 0.25 || accuracy < 0`, 2) // another limit
	s.past = "whole"
	put(`avg(accuracy, 3) < 0.25`, 2)
}
