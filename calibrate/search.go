package calibrate

// search finds the first of n levels at which no more than allowed of the replicates break the
// promise, n if there is none. breaks says whether one does; it is asked as little as can be:
// what breaks it at a level does so at every more nervous one. Begin near the answer.
func search(n, replicates, allowed, begin int, breaks func(replicate, level int) bool) int {
	broken, kept := make([]int, replicates), make([]int, replicates) // the last level known to, the first known not to
	for i := range kept {
		broken[i], kept[i] = -1, n
	}
	holds := func(level int) bool {
		bad := 0
		for i := range replicates {
			if broken[i] < level && kept[i] > level {
				if breaks(i, level) {
					broken[i] = level
				} else {
					kept[i] = level
				}
			}
			if broken[i] >= level {
				if bad++; bad > allowed {
					return false
				}
			}
			if bad+replicates-1-i <= allowed {
				return true
			}
		}
		return true
	}
	low, high := -1, n // fails at low, holds at high
	for at, width := min(begin, n-1), 1; high-low > 1; {
		if holds(at) {
			high = at
		} else {
			low = at
		}
		switch width *= 2; {
		case low < 0 && at-width > 0:
			at -= width
		case high == n && at+width < n:
			at += width
		default:
			at = low + (high-low)/2
		}
	}
	return high
}
