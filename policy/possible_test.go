package policy

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

// TestClashIsRight: what is said never to hold holds for no values, drawn from what the metrics can be.
func TestClashIsRight(t *testing.T) {
	clashes := 0
	rapid.Check(t, func(t *rapid.T) {
		text := drawTruth(t, 4)
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
