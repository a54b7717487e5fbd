package drift_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/visutility/visutility/drift"
)

// clippedNormal is the distribution function of a standard normal value clipped at ±c.
func clippedNormal(z, c float64) float64 {
	switch {
	case z >= c:
		return 1
	case z < -c:
		return 0
	}
	return math.Erfc(-z/math.Sqrt2) / 2
}

// cusumARL is the average run length of a one-sided CUSUM by a Markov chain over
// the values of its sum (D. Brook, D. A. Evans, Biometrika 59, 1972).
func cusumARL(k, h, clip, shift float64) float64 {
	const n = 150
	width := 2 * h / (2*n - 1)
	// (I − Q)·ARL = 1, solved by elimination; the diagonal dominates.
	a := make([][]float64, n)
	for i := range a {
		a[i] = make([]float64, n+1)
		a[i][n] = 1
		at := func(j float64) float64 { return clippedNormal((j-float64(i))*width+k-shift, clip) }
		for j := range n {
			p := at(float64(j)+0.5) - at(float64(j)-0.5)
			if j == 0 {
				p = at(0.5)
			}
			a[i][j] = -p
		}
		a[i][i]++
	}
	for c := range n {
		for r := range n {
			if r == c || a[r][c] == 0 {
				continue
			}
			f := a[r][c] / a[c][c]
			for j := c; j <= n; j++ {
				a[r][j] -= f * a[c][j]
			}
		}
	}
	return a[0][n] / a[0][0]
}

// ewmaARL is the same for an EWMA chart with its exact limits: the sum over t
// of the probability that it has not fired, over a grid of the average.
func ewmaARL(lambda, l, clip float64, direction drift.Direction) float64 {
	const n, steps = 400, 400
	sigma := math.Sqrt(lambda / (2 - lambda))
	low, high := -8*sigma, l*sigma
	if direction == drift.Both {
		low = -high
	}
	width := (high - low) / n
	middle := func(i int) float64 { return low + (float64(i)+0.5)*width }
	move := make([][]float64, n)
	for i := range move {
		move[i] = make([]float64, n)
		for j := range n {
			to := func(edge float64) float64 {
				return clippedNormal((low+edge*width-(1-lambda)*middle(i))/lambda, clip)
			}
			move[i][j] = to(float64(j)+1) - to(float64(j))
		}
	}
	now := make([]float64, n)
	now[int(-low/width)] = 1
	arl, alive, before := 1.0, 1.0, 1.0
	for t := 1; t <= steps; t++ {
		limit := l * sigma * math.Sqrt(1-math.Pow(1-lambda, 2*float64(t)))
		next := make([]float64, n)
		for i, p := range now {
			if p == 0 {
				continue
			}
			for j, q := range move[i] {
				next[j] += p * q
			}
		}
		before, alive = alive, 0
		for j := range next {
			if x := middle(j); x > limit || direction == drift.Both && x < -limit {
				next[j] = 0
			}
			alive += next[j]
		}
		now, arl = next, arl+alive
	}
	ratio := alive / before // constant by now: the rest is a geometric series
	return arl + alive*ratio/(1-ratio)
}

// simulatedARL is the mean run length over many streams of normal values, and its standard error.
func simulatedARL(d drift.Detector, shift float64, runs int) (arl, deviation float64) {
	r := rand.New(rand.NewPCG(7, 8))
	state := make([]uint64, d.Words())
	sum, squares := 0.0, 0.0
	for range runs {
		d.Init(state)
		n := 1.0
		for !d.Add(state, r.NormFloat64()+shift) {
			n++
		}
		sum, squares = sum+n, squares+n*n
	}
	arl = sum / float64(runs)
	return arl, math.Sqrt((squares/float64(runs) - arl*arl) / float64(runs))
}

func TestCUSUMRunLength(t *testing.T) {
	// 930.9 by Siegmund's approximation; tables have 465 for both sides.
	if arl := cusumARL(0.5, 5, 1e9, 0); math.Abs(arl-935) > 5 {
		t.Errorf("the chain gives %v for k 0.5, h 5: the oracle is broken", arl)
	}
	for _, c := range []struct{ k, h, clip, shift float64 }{
		{0.5, 5, 3, 0}, {0.5, 5, 1e9, 0}, {0.5, 4, 3, 0}, {0.25, 6, 3, 0}, {0.5, 5, 3, 1}, {1, 2, 2.5, 0},
	} {
		d := drift.CUSUM{K: c.k, H: c.h, Clip: c.clip, Sigma: 1}
		want := cusumARL(c.k, c.h, c.clip, c.shift)
		got, deviation := simulatedARL(d, c.shift, 1000)
		t.Logf("%+v: chain %.1f, simulated %.1f ± %.1f", c, want, got, deviation)
		if math.Abs(got-want) > 4.5*deviation+0.01*want {
			t.Errorf("%+v: simulated run length %.1f ± %.1f, by the chain %.1f", c, got, deviation, want)
		}
	}
}

func TestEWMARunLength(t *testing.T) {
	for _, c := range []struct {
		lambda, l, clip float64
		direction       drift.Direction
	}{
		{0.2, 3, 3, drift.Both}, {0.2, 3, 1e9, drift.Both}, {0.2, 3, 3, drift.Up}, {0.1, 2.7, 3, drift.Down}, {0.4, 2.5, 4, drift.Both},
	} {
		d := drift.EWMA{Direction: c.direction, Lambda: c.lambda, L: c.l, Clip: c.clip, Sigma: 1}
		want := ewmaARL(c.lambda, c.l, c.clip, c.direction)
		got, deviation := simulatedARL(d, 0, 1000)
		t.Logf("%+v: chain %.1f, simulated %.1f ± %.1f", c, want, got, deviation)
		if math.Abs(got-want) > 4.5*deviation+0.01*want {
			t.Errorf("%+v: simulated run length %.1f ± %.1f, by the chain %.1f", c, got, deviation, want)
		}
	}
}
