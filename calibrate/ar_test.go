package calibrate

import (
	"math"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

// series of an autoregression with these coefficients, on normal noise.
func series(r *rand.Rand, n int, coefficients ...float64) []float64 {
	const settle = 500
	y := make([]float64, settle+n)
	for t := range y {
		y[t] = r.NormFloat64()
		for j, c := range coefficients {
			if t > j {
				y[t] += c * y[t-1-j]
			}
		}
	}
	return y[settle:]
}

// gaps takes a share of the values out, here and there.
func gaps(r *rand.Rand, values []float64, share float64) []float64 {
	for t := range values {
		if r.Float64() < share {
			values[t] = math.NaN()
		}
	}
	return values
}

func near(t *testing.T, what string, got, want, within float64) {
	t.Helper()
	if !(math.Abs(got-want) <= within) {
		t.Errorf("%s is %v, want %v ± %v", what, got, want, within)
	}
}

// TestCoefficients: an autoregression is found again, with gaps too. The error of a coefficient is about 1/√n.
func TestCoefficients(t *testing.T) {
	const n = 20_000
	for _, want := range [][]float64{{0.5}, {-0.7}, {0.95}, {0.5, 0.3}, {1.2, -0.6}, {0.4, 0, 0, -0.3}} {
		for _, missing := range []float64{0, 0.1} {
			r := rand.New(rand.NewPCG(1, 2))
			a := autoregress(gaps(r, series(r, n, want...), missing), 12, 1)
			if len(a.coefficients) < len(want) {
				t.Fatalf("%v with gaps of %v: %v", want, missing, a.coefficients)
			}
			for i, c := range a.coefficients {
				w := 0.0
				if i < len(want) {
					w = want[i]
				}
				near(t, "a coefficient", c, w, 0.04)
			}
			near(t, "the variance of what is new", a.variance, 1, 0.05)
		}
	}
}

// TestOrder: of 500 series each, Akaike's criterion should find the order in about 70 %, a greater one in most others, and
// hardly ever a smaller one.
func TestOrder(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for _, want := range [][]float64{{}, {0.5}, {0.5, 0.3}, {0.3, 0, 0.3}} {
		right, less := 0, 0
		const tries = 500
		for range tries {
			switch order := len(autoregress(series(r, 1440, want...), 12, 1).coefficients); {
			case order == len(want):
				right++
			case order < len(want):
				less++
			}
		}
		if right < tries*60/100 || less > tries/100 {
			t.Errorf("%v: the order is right in %d of %d, too small in %d", want, right, tries, less)
		}
	}
}

// TestClosedForms: what is known of AR(1) and AR(2) by formula.
func TestClosedForms(t *testing.T) {
	for _, phi := range []float64{-0.5, 0, 0.5, 0.8} {
		a := autoregression{coefficients: []float64{phi}, variance: 1, gain: 1 / (1 - phi*phi)}
		near(t, "persistence", a.persistence(), (1+phi)/(1-phi), 1e-12)
	}
	// The variance of AR(2) is (1-b)/((1+b)((1-b)²-a²)) of that of what is new.
	const a, b = 1.2, -0.6
	r := rand.New(rand.NewPCG(5, 6))
	fitted := autoregress(series(r, 200_000, a, b), 2, 1)
	near(t, "gain", fitted.gain, (1-b)/((1+b)*((1-b)*(1-b)-a*a)), 0.1)
	// Its memory fades by √0.6 a step, so the square of what is left is 0.0001 after some 18.
	if n := fitted.settles(); n < 12 || n > 40 {
		t.Errorf("it settles in %d steps", n)
	}
	if n := (&autoregression{gain: 1}).settles(); n != 1 {
		t.Errorf("nothing to settle takes %d steps", n)
	}
}

// TestEffectiveSize: means of n values of AR(1) vary as those of n(1-φ)/(1+φ) independent ones do.
func TestEffectiveSize(t *testing.T) {
	const n, phi = 2000, 0.8
	r := rand.New(rand.NewPCG(7, 8))
	m := fit(series(r, 100_000, phi), []season{flat}, 12)
	near(t, "effective size", m.effective(n), n*(1-phi)/(1+phi), 12)
	var squares float64
	const tries = 2000
	for range tries {
		x := mean(series(r, n, phi))
		squares += x * x / tries
	}
	near(t, "the variance of means", squares, m.deviation()*m.deviation()/m.effective(n), 0.1*squares)
}

// TestStationary: whatever the values, the fit can be simulated for ever.
func TestStationary(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(rapid.Float64Range(-1e3, 1e3), 600, 900).Draw(t, "values")
		for _, i := range rapid.SliceOfN(rapid.IntRange(0, len(values)-1), 0, 50).Draw(t, "missing") {
			values[i] = math.NaN()
		}
		if rapid.Bool().Draw(t, "walk") {
			for i := 1; i < len(values); i++ {
				if x := values[i] + values[i-1]; x == x {
					values[i] = x
				}
			}
		}
		m := fit(values, []season{flat}, 12)
		s := new(scratch)
		s.seed(1, histories, 0, 0)
		s.simulate(m, 2000, 0)
		limit := 1e3 * (math.Abs(m.at(0)) + m.deviation() + m.sorted[len(m.sorted)-1] - m.sorted[0])
		for _, x := range s.stream {
			if !(math.Abs(x) <= limit) {
				t.Fatalf("a simulated value is %v, where the deviation is %v", x, m.deviation())
			}
		}
	})
}

// TestSimulation: what is simulated has the moments and the cycle of what the model was fitted to.
func TestSimulation(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	values := series(r, 20_000, 0.6, 0.2)
	cycle := season{flat[0], {block: 1, period: 24}}
	for i := range values {
		values[i] = 10 + 2*values[i] + 3*math.Sin(2*math.Pi*float64(i)/24)
	}
	m := fit(values, []season{flat, cycle}, 12)
	s := new(scratch)
	s.seed(1, histories, 0, 0)
	s.simulate(m, 200_000, 12)
	profile, rest := describe(s.stream, cycle)
	near(t, "mean", mean(s.stream), mean(values), 0.2)
	near(t, "deviation", fit(s.stream, []season{cycle}, 12).deviation(), m.deviation(), 0.1)
	near(t, "lag 1", neighbours(rest), neighbours(m.rest), 0.02)
	for hour := range 24 {
		near(t, "an hour", profile.at(hour), m.at(hour+12), 0.3)
	}
}
