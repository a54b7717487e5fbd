package drift_test

import "math"

// binomialBound is a count that a binomial variable exceeds with a probability below one in
// a million, by Chernoff's bound.
func binomialBound(n int, p float64) int {
	mean := float64(n) * p
	k := mean
	for ; k < float64(n); k++ {
		if q := k / float64(n); k > mean && float64(n)*(q*math.Log(q/p)+(1-q)*math.Log((1-q)/(1-p))) > math.Log(1e6) {
			break
		}
	}
	return int(k)
}
