package drift

import "math"

// PSI is the population stability index of two histograms over the same bins: the
// symmetric Kullback–Leibler divergence, Σ (p−q)·ln(p/q). Counts are numbers of
// samples; half a sample is added to each bin that is empty on one side
// only, since the index has no value there.
//
// Its custom limits, 0.1 and 0.25 for ten bins, are blind to sample sizes: two
// samples of one distribution exceed 0.1 in 87 % of cases and 0.25 in 28 % if one has 50
// values. So take P, or compare with [PSILimit]. P is asymptotic (the index times
// nm/(n+m) is chi-square with bins−1 degrees of freedom; its mean is about
// (bins−1)(1/n+1/m)): some five expected samples a bin are enough.
//
// Source: S. Kullback, R. A. Leibler, 1951; B. Yurdakul, Statistical Properties of
// Population Stability Index, 2018.
func PSI(reference, current []float64) (Distance, error) {
	n, m, err := totals(reference, current)
	if err != nil {
		return Distance{}, err
	}
	sum, used := 0.0, 0
	for i := range reference {
		a, b := reference[i], current[i]
		if a == 0 && b == 0 {
			continue
		}
		used++
		if a == 0 || b == 0 {
			a, b = a+0.5, b+0.5
		}
		// Logarithms of each, since the ratio may leave the range of numbers.
		sum += (a/n - b/m) * (math.Log(a) - math.Log(n) - math.Log(b) + math.Log(m))
	}
	return Distance{Value: sum, P: chiSquareAbove(sum*n/(n+m)*m, used-1)}, nil
}

// PSILimit is the index that two samples, of n and m values, of one distribution
// exceed with probability alpha, over that many bins.
func PSILimit(bins int, n, m, alpha float64) float64 {
	return chiSquareQuantile(alpha, bins-1) * (1/n + 1/m)
}
