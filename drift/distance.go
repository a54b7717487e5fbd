package drift

import (
	"fmt"
	"math"
)

// A Distance is how far two samples lie apart, and whether chance explains it.
type Distance struct {
	// Value is the distance; 0 for equal samples.
	Value float64
	// P is the probability of that distance or a greater one if both samples come
	// from one distribution; NaN where no formula is known (see [Permutation]).
	P float64
}

// A SampleError says why two samples cannot be compared.
type SampleError struct{ Message string }

func (e *SampleError) Error() string { return "samples: " + e.Message }

func sampleErrorf(format string, args ...any) error {
	return &SampleError{Message: fmt.Sprintf(format, args...)}
}

// totals checks two histograms and returns what is in them.
func totals(reference, current []float64) (n, m float64, err error) {
	if len(reference) != len(current) {
		return 0, 0, sampleErrorf("histograms of %d and %d bins have no common bins", len(reference), len(current))
	}
	if len(reference) < 2 {
		return 0, 0, sampleErrorf("a histogram needs two bins or more, not %d", len(reference))
	}
	for i := range reference {
		for _, v := range [...]float64{reference[i], current[i]} {
			if !(v >= 0 && v <= maxInput) {
				return 0, 0, sampleErrorf("bin %d: a count must be a number of at least 0, not %v", i, v)
			}
		}
		n, m = n+reference[i], m+current[i]
	}
	if n == 0 || m == 0 {
		return 0, 0, sampleErrorf("a histogram is empty")
	}
	return n, m, nil
}

// finite checks two samples.
func finite(a, b []float64) error {
	if len(a) == 0 || len(b) == 0 {
		return sampleErrorf("a sample is empty")
	}
	for _, s := range [...][]float64{a, b} {
		for i, v := range s {
			if !(math.Abs(v) <= maxInput) {
				return sampleErrorf("value %d must be a number up to ±1e100, not %v", i, v)
			}
		}
	}
	return nil
}

// Permutation is the p-value of any distance between samples: the share of random
// divisions of all values into two samples of the same sizes that are at least as
// far apart, the true division counted among them. It is valid for any sample
// size if values are exchangeable: independent in time. rounds is the number of divisions, at least 1; the
// least p-value is 1/(rounds+1). The result depends on nothing but the arguments.
// distance must not keep or change what it is given.
func Permutation(distance func(a, b []float64) float64, a, b []float64, rounds int, seed uint64) (Distance, error) {
	if err := finite(a, b); err != nil {
		return Distance{}, err
	}
	if rounds < 1 {
		return Distance{}, sampleErrorf("rounds must be at least 1, not %d", rounds)
	}
	all := append(append(make([]float64, 0, len(a)+len(b)), a...), b...)
	value, reached := distance(a, b), 1
	for range rounds {
		for i := range len(a) { // the first of a random permutation
			j := i + int(below(&seed, uint64(len(all)-i)))
			all[i], all[j] = all[j], all[i]
		}
		if distance(all[:len(a)], all[len(a):]) >= value {
			reached++
		}
	}
	return Distance{Value: value, P: float64(reached) / float64(rounds+1)}, nil
}
