package policy

import (
	"fmt"
	"math"
	"testing"

	"pgregory.net/rapid"
)

// TestClashIsRight: what is said never to hold holds for no values, drawn from what the metrics can be.
func TestClashIsRight(t *testing.T) {
	clashes := 0
	rapid.Check(t, func(t *rapid.T) {
		comparison := func() string {
			return fmt.Sprintf("%s %s %s", rapid.SampledFrom([]string{"a", "b", "accuracy"}).Draw(t, "metric"),
				rapid.SampledFrom([]string{"<", "<=", ">", ">=", "==", "!="}).Draw(t, "op"), rapid.SampledFrom([]string{"-1", "0", "0.5", "1", "2"}).Draw(t, "limit"))
		}
		text := fmt.Sprintf("%s && (%s || %s) && %s", comparison(), comparison(), drawTruth(t, 2), comparison())
		cond, mistakes := compile(text, scope{metrics: testMetrics})
		if cond == nil {
			t.Fatalf("%s: %v", text, mistakes)
		}
		never := clashOf(claim{cond.root, cond.slots, true})
		always := clashOf(claim{cond.root, cond.slots, false})
		if never == nil && always == nil {
			return
		}
		clashes++
		state := make([]uint64, len(cond.slots))
		at := make(places, len(cond.slots))
		for range 50 {
			for i, s := range cond.slots {
				at[i] = i
				store(state, i, drawValue(t, s.typ))
				if v := load(state, i); !s.reach().contains(v) {
					store(state, i, math.NaN())
				}
			}
			switch got := cond.root.truth(at)(state); {
			case never != nil && got == yes:
				t.Fatalf("%s: said never to hold (%s), and does", text, never.text)
			case always != nil && got == no:
				t.Fatalf("%s: said always to hold, and does not", text)
			}
		}
	})
	if clashes == 0 {
		t.Error("no condition was said never to hold")
	}
}
