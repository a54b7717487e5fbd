package drift

import (
	"math"
	"slices"
)

// KS is the test of Kolmogorov and Smirnov for two samples: the greatest
// difference of their distribution functions, from 0 to 1. The p-value is exact up
// to a million of pairs of values, else asymptotic; both are for continuous
// distributions, and too great (never too small) if values repeat.
//
// Source: N. Smirnov, 1939; exact, by counting lattice paths, J. Hodges, 1958; the
// correction of the asymptote, M. Stephens, 1970.
func KS(a, b []float64) (Distance, error) {
	if err := finite(a, b); err != nil {
		return Distance{}, err
	}
	a, b = slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
	n, m := len(a), len(b)
	steps := 0 // the distance in units of 1/(nm)
	for i, j := 0, 0; i < n && j < m; {
		x := min(a[i], b[j])
		for i < n && a[i] == x {
			i++
		}
		for j < m && b[j] == x {
			j++
		}
		steps = max(steps, abs(i*m-j*n))
	}
	value := float64(steps) / (float64(n) * float64(m))
	switch {
	case n == m && steps%n == 0:
		return Distance{Value: value, P: ksEqualSizes(n, steps/n, true)}, nil
	case float64(n)*float64(m) <= 1e6:
		return Distance{Value: value, P: ksPaths(n, m, steps)}, nil
	}
	return Distance{Value: value, P: ksAsymptotic(value, float64(n), float64(m))}, nil
}

// KSHistogram is the test for two histograms over the same bins, in order of the
// values. It sees the distributions at the edges only, so its p-value is too great, never too small.
func KSHistogram(reference, current []float64) (Distance, error) {
	n, m, err := totals(reference, current)
	if err != nil {
		return Distance{}, err
	}
	value, ahead := 0.0, 0.0
	for i := range reference {
		ahead += reference[i]/n - current[i]/m
		value = max(value, math.Abs(ahead))
	}
	return Distance{Value: value, P: ksAsymptotic(value, n, m)}, nil
}

func abs(i int) int { return max(i, -i) }

// ksPaths is the probability that a random path from (0, 0) to (n, m) meets a point
// where |i·m − j·n| is at least steps. It adds up the paths that do, from the
// points where they first do: no digits are lost to 1 − p.
func ksPaths(n, m, steps int) float64 {
	if steps == 0 {
		return 1
	}
	// met[j] is the share of the paths to (i, j) that met such a point.
	met := make([]float64, m+1)
	for i := range n + 1 {
		for j := range m + 1 {
			switch {
			case abs(i*m-j*n) >= steps:
				met[j] = 1
			case i == 0 && j == 0:
				met[j] = 0
			case i == 0:
				met[j] = met[j-1]
			case j == 0:
				// met[0] is that of the point before
			default:
				// A path to (i, j) comes from (i-1, j) with probability i/(i+j).
				before := float64(i) / float64(i+j)
				met[j] = before*met[j] + (1-before)*met[j-1]
			}
		}
	}
	return met[m]
}

// ksAsymptotic is the tail of Kolmogorov's distribution.
func ksAsymptotic(value, n, m float64) float64 {
	root := math.Sqrt(n / (n + m) * m)
	x := (root + 0.12 + 0.11/root) * value
	if x < 0.3 {
		return 1 // to nine digits; the series converges slowly there
	}
	sum, sign := 0.0, 2.0
	for k := 1.0; k <= 100; k++ {
		term := math.Exp(-2 * k * k * x * x)
		sum += sign * term
		if term < 1e-17*sum {
			break
		}
		sign = -sign
	}
	return min(max(sum, 0), 1)
}
