package calibrate

import "math"

// An autoregression says how a value follows from the ones before it: the sum of
// coefficients times them, and something new.
type autoregression struct {
	coefficients []float64 // of the value 1, 2, … steps before
	variance     float64   // of what is new
	gain         float64   // of the values, as a multiple of that
	score        float64   // the criterion by which the order was chosen; less is better
}

// autoregress fits an autoregression to values around 0 by Burg's method, which always gives a
// stationary one, and goes on to the order, of those up to most, that Akaike's criterion, corrected for the size of
// the sample, prefers. Where a value is NaN, what would need it is left out, so that gaps
// cost information but lead to no bias. spent is how many parameters have been fitted before.
//
// Source: J. P. Burg, Maximum entropy spectral analysis, 1967; segments: de Waele and
// Broersen, The Burg algorithm for segments, IEEE Trans. Signal Processing 48, 2000.
func autoregress(values []float64, most, spent int) autoregression {
	forward, backward := append([]float64(nil), values...), append([]float64(nil), values...)
	n, squares := 0, 0.0
	for _, v := range values {
		if v == v {
			n++
			squares += v * v
		}
	}
	now := autoregression{variance: squares / float64(n), gain: 1}
	now.score = criterion(n, now.variance, spent)
	best := now
	for order := 1; order <= most; order++ {
		k, ok := reflection(forward, backward, order)
		if !ok {
			break
		}
		now.coefficients = extend(now.coefficients, k)
		now.variance *= 1 - k*k
		now.gain /= 1 - k*k
		now.score = criterion(n, now.variance, spent+order)
		if now.score < best.score {
			best = now
		}
	}
	return best
}

// leastPairs is how often a value and all those before it that it may follow from must have been
// measured. Where there are many gaps, this keeps the order low.
const leastPairs = minPoints / 2

// exact is the part of the variance below which a prediction leaves nothing but rounding.
const exact = 1e-9

// reflection is the coefficient that makes the errors of predicting forwards and backwards the
// least, and takes it out of them; not ok when there is nothing left to predict, or to learn it from.
func reflection(forward, backward []float64, order int) (k float64, ok bool) {
	var product, power float64
	pairs := 0
	for t := order; t < len(forward); t++ {
		f, b := forward[t], backward[t-1]
		if p := f * b; p == p {
			product += p
			power += f*f + b*b
			pairs++
		}
	}
	if pairs < leastPairs || power == 0 {
		return 0, false
	}
	k = 2 * product / power
	if 1-k*k < exact {
		return 0, false
	}
	for t := len(forward) - 1; t >= order; t-- { // from the end: backward[t-1] is still the old one
		f, b := forward[t], backward[t-1]
		forward[t], backward[t] = f-k*b, b-k*f
	}
	return k, true
}

// extend is Levinson's recursion: the coefficients of the next order.
func extend(coefficients []float64, k float64) []float64 {
	next := make([]float64, len(coefficients)+1)
	for i, c := range coefficients {
		next[i] = c - k*coefficients[len(coefficients)-1-i]
	}
	next[len(coefficients)] = k
	return next
}

func criterion(n int, variance float64, parameters int) float64 {
	free := n - parameters - 2
	if free <= 0 {
		return math.Inf(1)
	}
	return float64(n)*math.Log(variance) + 2*float64(parameters+1)*float64(n)/float64(free)
}

// innovations are what was new in the values, centred; where a value before is missing, there are none.
// They are widened for the parameters that were fitted.
func (a *autoregression) innovations(values []float64, spent int) []float64 {
	order := len(a.coefficients)
	all, mean := make([]float64, 0, len(values)), 0.0
	for t := order; t < len(values); t++ {
		e := values[t]
		for j, c := range a.coefficients {
			e -= c * values[t-1-j]
		}
		if e == e {
			all = append(all, e)
			mean += e
		}
	}
	n := float64(len(all))
	mean /= n
	wider := math.Sqrt(n / max(n-float64(spent+order), 1))
	for i := range all {
		all[i] = (all[i] - mean) * wider
	}
	return all
}

// settles is after how many steps a simulation has forgotten how it began: what is new has then had
// nearly all of the effect that it will ever have.
func (a *autoregression) settles() int {
	const nearly, most = 0.9999, 20_000
	order := len(a.coefficients)
	effect := make([]float64, order, order+1)
	effect = append(effect, 1)
	sum := 1.0
	for n := 1; ; n++ {
		if sum >= nearly*a.gain || n == most {
			return n + order
		}
		next := 0.0
		for j, c := range a.coefficients {
			next += c * effect[len(effect)-1-j]
		}
		effect = append(effect, next)
		sum += next * next
	}
}

// persistence is the sum of the correlations at all distances, in both directions: how many values
// tell as much about the mean as one that is independent.
func (a *autoregression) persistence() float64 {
	left := 1.0
	for _, c := range a.coefficients {
		left -= c
	}
	return 1 / (left * left * a.gain)
}
