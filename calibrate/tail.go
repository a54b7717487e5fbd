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

// A pareto is a generalized Pareto distribution of how far values lie beyond start. Given as it is by its
// mean, novelties stay centred whatever the shape.
type pareto struct{ start, shape, mean float64 }

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
	low, high := make([]float64, d.tail), make([]float64, d.tail)
	from, to := all[d.tail], all[n-d.tail-1]
	for i := range d.tail {
		low[i], high[i] = from-all[d.tail-1-i], all[n-d.tail+i]-to
	}
	lowShape, highShape := shape(low), shape(high)
	least := max((lowShape+highShape)/2, leastShape)
	d.low = pareto{from, max(lowShape, least), mean(low)}
	d.high = pareto{to, max(highShape, least), mean(high)}
	return d
}

// leastShape is the shape of the tail of normal values that far out. So few values that a tail is fitted to
// may look lighter than it is; one that is taken for lighter than it is breaks the promise. So it is taken to be no
// lighter than this, nor than both tails are on average. On 1,440 independent values of seven distributions the
// bound for a threshold then was too low for 0 to 16 % of the samples, where 10 % are meant, and for 3 to 20 % without.
const leastShape = -0.1

// heaviest is the shape beyond which there would be no mean to give the distribution by.
const heaviest = 0.9

// shape is that of the distribution of values, in ascending order, by probability-weighted
// moments: 0 of an exponential one, more of heavier ones.
//
// Source: J. R. M. Hosking and J. R. Wallis, Parameter and quantile estimation for the
// generalized Pareto distribution, Technometrics 29, 1987.
func shape(beyond []float64) float64 {
	var weighted float64
	n := float64(len(beyond))
	for i, y := range beyond {
		weighted += y / n * (n - float64(i) - 0.65) / n
	}
	all := mean(beyond)
	if rest := all - 2*weighted; rest > 0 {
		return min(2-all/rest, heaviest)
	}
	return leastShape
}

func mean(values []float64) (m float64) {
	for i, v := range values {
		m += (v - m) / float64(i+1)
	}
	return m
}

// at is how far beyond start the share u of the values lies.
func (p pareto) at(u float64) float64 {
	scale := p.mean * (1 - p.shape)
	if math.Abs(p.shape) < 1e-9 {
		return -scale * math.Log(u)
	}
	return scale / p.shape * (math.Exp(-p.shape*math.Log(u)) - 1) // half the time of Pow
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
