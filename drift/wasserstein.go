package drift

import (
	"math"
	"slices"
)

// Wasserstein is the earth mover's distance of two samples, in their unit: how far
// a value has to be moved on average to make one sample of the other. It has no
// p-value of its own: use [Permutation]. Divide it by the reference's standard
// deviation to compare metrics; 0.1 of it is the custom limit, and as blind to sample
// sizes as that of [PSI].
//
// Source: L. V. Kantorovich, 1942; L. N. Vaserstein, 1969. In one dimension: the
// area between the distribution functions.
func Wasserstein(a, b []float64) (Distance, error) {
	if err := finite(a, b); err != nil {
		return Distance{}, err
	}
	a, b = slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
	n, m := float64(len(a)), float64(len(b))
	area, i, j := 0.0, 0, 0
	for x := min(a[0], b[0]); i < len(a) || j < len(b); {
		for i < len(a) && a[i] == x {
			i++
		}
		for j < len(b) && b[j] == x {
			j++
		}
		following := math.Inf(1)
		if i < len(a) {
			following = a[i]
		}
		if j < len(b) {
			following = min(following, b[j])
		}
		if i == len(a) && j == len(b) {
			break
		}
		area += math.Abs(float64(i)/n-float64(j)/m) * (following - x)
		x = following
	}
	return Distance{Value: area, P: math.NaN()}, nil
}

// WassersteinHistogram is the earth mover's distance of two histograms over the same bins,
// each taken to lie at its place: for instance the middle of the bin. Places ascend.
func WassersteinHistogram(places, reference, current []float64) (Distance, error) {
	n, m, err := totals(reference, current)
	if err != nil {
		return Distance{}, err
	}
	if len(places) != len(reference) || !slices.IsSorted(places) {
		return Distance{}, sampleErrorf("places must ascend, one for each of %d bins", len(reference))
	}
	if err := finite(places, places); err != nil {
		return Distance{}, err
	}
	area, ahead := 0.0, 0.0
	for i := range places[1:] {
		ahead += reference[i]/n - current[i]/m
		area += math.Abs(ahead) * (places[i+1] - places[i])
	}
	return Distance{Value: area, P: math.NaN()}, nil
}
