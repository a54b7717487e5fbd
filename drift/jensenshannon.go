package drift

import "math"

// JensenShannon is the Jensen–Shannon distance of two histograms over the same bins:
// the root of the divergence in bits, from 0 to 1 (no bin in common). Empty bins need no
// care. The p-value is asymptotic: near equality the divergence is an eighth of
// a chi-square statistic.
//
// Source: J. Lin, Divergence Measures Based on the Shannon Entropy, IEEE
// Transactions on Information Theory 37, 1991; D. Endres, J. Schindelin, 2003.
func JensenShannon(reference, current []float64) (Distance, error) {
	n, m, err := totals(reference, current)
	if err != nil {
		return Distance{}, err
	}
	nats, used := 0.0, 0
	for i := range reference {
		p, q := reference[i]/n, current[i]/m
		if p == 0 && q == 0 {
			continue
		}
		used++
		mid := (p + q) / 2
		if p > 0 {
			nats += p / 2 * math.Log(p/mid)
		}
		if q > 0 {
			nats += q / 2 * math.Log(q/mid)
		}
	}
	nats = max(nats, 0)
	return Distance{Value: math.Sqrt(min(nats/math.Ln2, 1)), P: chiSquareAbove(8*nats*n/(n+m)*m, used-1)}, nil
}
