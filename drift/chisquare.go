package drift

import "math"

// ChiSquare is Pearson's test of homogeneity of two histograms over the same bins.
// Counts are numbers of samples. The p-value is asymptotic: five expected samples a bin are
// enough. Bins that are empty on both sides do not count.
//
// Source: K. Pearson, 1911.
func ChiSquare(reference, current []float64) (Distance, error) {
	n, m, err := totals(reference, current)
	if err != nil {
		return Distance{}, err
	}
	sum, used := 0.0, 0
	up, down := math.Sqrt(m/n), math.Sqrt(n/m)
	for i := range reference {
		if all := reference[i] + current[i]; all > 0 {
			used++
			off := up*reference[i] - down*current[i]
			sum += off / all * off
		}
	}
	return Distance{Value: sum, P: chiSquareAbove(sum, used-1)}, nil
}

// ChiSquareLimit is the statistic that two samples of one distribution exceed with
// probability alpha, over that many bins that are not empty on both sides.
func ChiSquareLimit(bins int, alpha float64) float64 { return chiSquareQuantile(alpha, bins-1) }
