package retrain

import "time"

const (
	firstPause = 10 * time.Second
	maxPause   = 10 * time.Minute
)

// pause is how long to wait after the n-th failure in a row, from 1: twice as long each time,
// from 10 s to 10 min, and a random part of it, r from [0, 1), so that what failed together is
// not tried again together. It is never less than half.
func pause(n int, r float64) time.Duration {
	d := maxPause
	if n < 8 { // beyond, it is more anyway
		d = min(firstPause<<(max(n, 1)-1), maxPause)
	}
	return d/2 + time.Duration(r*float64(d/2))
}
