package drift

import "math"

// normalQuantile is the quantile of the standard normal distribution.
func normalQuantile(p float64) float64 { return -math.Sqrt2 * math.Erfcinv(2*p) }

// chiSquareAbove is P(X > x) of the chi-square distribution.
func chiSquareAbove(x float64, freedom int) float64 {
	if freedom < 1 || x <= 0 {
		return 1
	}
	return gammaAbove(float64(freedom)/2, x/2)
}

// chiSquareQuantile is the x with chiSquareAbove(x, freedom) = above.
func chiSquareQuantile(above float64, freedom int) float64 {
	low, high := 0.0, 1.0
	for high < 1e12 && chiSquareAbove(high, freedom) > above {
		low, high = high, 2*high
	}
	for range 100 {
		if mid := (low + high) / 2; chiSquareAbove(mid, freedom) > above {
			low = mid
		} else {
			high = mid
		}
	}
	return high
}

// gammaAbove is the regularized upper incomplete gamma function Q(a, x): by its
// series where that converges fast, elsewhere by its continued fraction in the form of
// Legendre, evaluated after Lentz.
func gammaAbove(a, x float64) float64 {
	const steps, precision, tiny = 10_000, 1e-15, 1e-300
	lg, _ := math.Lgamma(a)
	scale := math.Exp(a*math.Log(x) - x - lg)
	if x < a+1 {
		term := 1 / a
		sum := term
		for n := 1.0; n < steps && term > sum*precision; n++ {
			term *= x / (a + n)
			sum += term
		}
		return min(max(1-sum*scale, 0), 1)
	}
	b := x + 1 - a
	c, d := 1/tiny, 1/b
	fraction := d
	for n := 1.0; n < steps; n++ {
		an := n * (a - n)
		b += 2
		d = 1 / avoidZero(b+an*d, tiny)
		c = avoidZero(b+an/c, tiny)
		fraction *= c * d
		if math.Abs(c*d-1) < precision {
			break
		}
	}
	return min(max(scale*fraction, 0), 1)
}

func avoidZero(v, tiny float64) float64 {
	if math.Abs(v) < tiny {
		return tiny
	}
	return v
}

// ksEqualSizes is the exact probability, for continuous distributions, that two
// samples of n values each have a distance of k/n or more (Gnedenko, Korolyuk,
// 1951). One-sided: that the one runs ahead of the other by as much.
func ksEqualSizes(n, k int, twoSided bool) float64 {
	if k <= 0 {
		return 1
	}
	// The i-th term is C(2n, n−ik)/C(2n, n).
	term := func(offset int) float64 {
		p := 1.0
		for j := range offset {
			p *= float64(n-j) / float64(n+offset-j)
		}
		return p
	}
	if !twoSided {
		if k > n {
			return 0
		}
		return term(k)
	}
	sum, sign := 0.0, 2.0
	for offset := k; offset <= n; offset += k {
		sum += sign * term(offset)
		sign = -sign
	}
	return min(sum, 1)
}
