package calibrate

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestSearch: the level is that of sorting all that the replicates need, wherever it begins.
func TestSearch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 40).Draw(t, "levels")
		need := rapid.SliceOfN(rapid.IntRange(0, n), 1, 30).Draw(t, "need")
		allowed := rapid.IntRange(0, len(need)-1).Draw(t, "allowed")
		begin := rapid.IntRange(0, 2*n).Draw(t, "begin")
		asked := make(map[[2]int]bool)
		got := search(n, len(need), allowed, begin, func(replicate, level int) bool {
			if level < 0 || level >= n || asked[[2]int{replicate, level}] {
				t.Fatalf("asked for replicate %d at level %d, of %d, or asked again", replicate, level, n)
			}
			asked[[2]int{replicate, level}] = true
			return level < need[replicate]
		})
		slices.Sort(need)
		if want := need[len(need)-1-allowed]; got != want {
			t.Fatalf("found %d, want %d", got, want)
		}
	})
}
