package calibrate

import (
	"math"
	"math/bits"
	"math/rand/v2"
	"slices"
)

// Novelties are what is new in each value of a history. New ones are drawn from them; but a
// history has not yet seen the worst that will come, so what is beyond the outermost ones is drawn
// from tails fitted to those. Without the tails, a threshold of the metric's own values was too
// nervous on two thirds of the histories, whatever the noise.
type novelties struct {
	sorted    []float64
	tail      int // how many on each side belong to a tail
	low, high pareto
}

// A pareto is a generalized Pareto distribution of how far values lie beyond start.
type pareto struct{ start, scale, shape float64 }

// The share of the novelties that each tail is fitted to, and how many that may be.
const tailShare, tailMost, tailLeast = 0.05, 500, 25

func distribution(all []float64) novelties {
	slices.Sort(all)
	n := len(all)
	d := novelties{sorted: all, tail: min(int(float64(n)*tailShare), tailMost)}
	if d.tail < tailLeast {
		d.tail = 0
		return d
	}
	beyond := make([]float64, d.tail)
	start := all[d.tail]
	for i := range beyond {
		beyond[i] = start - all[d.tail-1-i]
	}
	d.low = exceeding(start, beyond)
	start = all[n-d.tail-1]
	for i := range beyond {
		beyond[i] = all[n-d.tail+i] - start
	}
	d.high = exceeding(start, beyond)
	return d
}

// exceeding fits a distribution to values, in ascending order, by probability-weighted
// moments. Its mean is theirs, so that novelties stay centred.
//
// Source: J. R. M. Hosking and J. R. Wallis, Parameter and quantile estimation for the
// generalized Pareto distribution, Technometrics 29, 1987.
func exceeding(start float64, beyond []float64) pareto {
	var mean, weighted float64
	n := float64(len(beyond))
	for i, y := range beyond {
		mean += y / n
		weighted += y / n * (n - float64(i) - 0.65) / n
	}
	rest := mean - 2*weighted
	if mean <= 0 || rest <= 0 { // all alike: no tail to speak of
		return pareto{start: start, scale: mean}
	}
	return pareto{start: start, scale: 2 * mean * weighted / rest, shape: 2 - mean/rest}
}

// at is how far beyond start the share u of the values lies.
func (p pareto) at(u float64) float64 {
	if math.Abs(p.shape) < 1e-9 {
		return -p.scale * math.Log(u)
	}
	return p.scale / p.shape * (math.Pow(u, -p.shape) - 1)
}

// draw is a new one.
func (d *novelties) draw(r *rand.PCG) float64 {
	high, low := bits.Mul64(r.Uint64(), uint64(len(d.sorted)))
	pick := int(high)
	if pick >= d.tail && pick < len(d.sorted)-d.tail {
		return d.sorted[pick]
	}
	u := (float64(low>>11) + 0.5) / (1 << 53) // what the choice left of the word
	if pick < d.tail {
		return d.low.start - d.low.at(u)
	}
	return d.high.start + d.high.at(u)
}
