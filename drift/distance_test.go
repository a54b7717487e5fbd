package drift_test

import (
	"errors"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/visutility/visutility/drift"
	"pgregory.net/rapid"
)

func near(a, b, relative float64) bool {
	return a == b || math.Abs(a-b) <= relative*max(math.Abs(a), math.Abs(b), 1e-12)
}

func must(d drift.Distance, err error) drift.Distance {
	if err != nil {
		panic(err)
	}
	return d
}

func TestSciPy(t *testing.T) {
	var all struct {
		Samples []struct {
			A, B        []float64
			KS          float64
			KSP         float64 `json:"ks_p"`
			Wasserstein float64
		}
		Histograms []struct {
			A, B          []float64
			ChiSquare     float64 `json:"chi_square"`
			ChiSquareP    float64 `json:"chi_square_p"`
			JensenShannon float64 `json:"jensen_shannon"`
			Wasserstein   float64
		}
	}
	readJSON(t, "testdata/scipy/vectors.json", &all)
	same := func(what string, i int, got, want float64) {
		t.Helper()
		if !near(got, want, 1e-9) {
			t.Errorf("%s of pair %d is %v, SciPy has %v", what, i, got, want)
		}
	}
	for i, s := range all.Samples {
		ks := must(drift.KS(s.A, s.B))
		same("KS", i, ks.Value, s.KS)
		same("p of KS", i, ks.P, s.KSP)
		same("Wasserstein", i, must(drift.Wasserstein(s.A, s.B)).Value, s.Wasserstein)
	}
	for i, h := range all.Histograms {
		chi := must(drift.ChiSquare(h.A, h.B))
		same("chi-square", i, chi.Value, h.ChiSquare)
		same("p of chi-square", i, chi.P, h.ChiSquareP)
		same("Jensen-Shannon", i, must(drift.JensenShannon(h.A, h.B)).Value, h.JensenShannon)
		places := make([]float64, len(h.A))
		for k := range places {
			places[k] = float64(k)
		}
		same("Wasserstein", i, must(drift.WassersteinHistogram(places, h.A, h.B)).Value, h.Wasserstein)
	}
}

// multinomial is a histogram of n values over bins that are equally likely.
func multinomial(r *rand.Rand, bins, n int) []float64 {
	h := make([]float64, bins)
	for range n {
		h[r.IntN(bins)]++
	}
	return h
}

// TestLevels: with nothing changed, p-values below 0.05 are about as rare as they say.
func TestLevels(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	const rounds, level = 2000, 0.05
	rejected := map[string]int{}
	tooFar, overCustom := 0, 0
	limit := drift.PSILimit(10, 50, 5000, level)
	for range rounds {
		reference, current := multinomial(r, 10, 5000), multinomial(r, 10, 200)
		for name, f := range map[string]func(a, b []float64) (drift.Distance, error){
			"psi": drift.PSI, "chi": drift.ChiSquare, "js": drift.JensenShannon, "ks": drift.KSHistogram,
		} {
			if must(f(reference, current)).P < level {
				rejected[name]++
			}
		}
		psi := must(drift.PSI(reference, multinomial(r, 10, 50))).Value
		if psi > limit {
			tooFar++
		}
		if psi > 0.1 {
			overCustom++
		}
	}
	for name, n := range rejected {
		share := float64(n) / rounds
		if share > 0.08 || name != "ks" && share < 0.03 {
			t.Errorf("%s: %.3f of the p-values are below %v", name, share, level)
		}
	}
	if share := float64(tooFar) / rounds; share > 0.12 {
		t.Errorf("PSILimit for 50 values is exceeded by %.3f, at most %v by design", share, level)
	}
	if share := float64(overCustom) / rounds; share < 0.8 {
		t.Errorf("PSI of 50 values exceeds 0.1 with probability %.2f: the documentation says 0.87", share)
	}
}

// TestPSIByHand: an empty bin counts as half a value on both sides, a bin that is empty on both not at all.
func TestPSIByHand(t *testing.T) {
	want := (1-0.8)*(math.Log(1)-math.Log(0.8)) + (0.05-0.25)*(math.Log(0.05)-math.Log(0.25))
	for _, c := range [][2][]float64{{{10, 0}, {8, 2}}, {{8, 2}, {10, 0}}, {{10, 0, 0}, {8, 0, 2}}} {
		if got := must(drift.PSI(c[0], c[1])).Value; math.Abs(got-want) > 1e-12 {
			t.Errorf("PSI(%v, %v) = %v, want %v", c[0], c[1], got, want)
		}
	}
}

// TestChiSquareLimitIsTheLevel: the limit for a p-value is the statistic that has it.
func TestChiSquareLimitIsTheLevel(t *testing.T) {
	d, err := drift.ChiSquare([]float64{10, 20, 30}, []float64{20, 20, 20})
	if err != nil {
		t.Fatal(err)
	}
	if got := drift.ChiSquareLimit(3, d.P); math.Abs(got-d.Value) > 1e-6*d.Value {
		t.Errorf("the limit for %v is %v, the statistic %v", d.P, got, d.Value)
	}
	if got := drift.ChiSquareLimit(2, 0.05); math.Abs(got-3.841459) > 1e-5 { // of every table
		t.Errorf("the limit of two bins at 5 %% is %v", got)
	}
}

// TestPSILimitIsTheLevel: the limit for a p-value is the index that has it.
func TestPSILimitIsTheLevel(t *testing.T) {
	for _, c := range [][2][]float64{{{30, 30, 40}, {25, 30, 20}}, {{100, 200, 300, 400}, {10, 12, 30, 61}}} {
		n, m := 0.0, 0.0
		for i := range c[0] {
			n, m = n+c[0][i], m+c[1][i]
		}
		d := must(drift.PSI(c[0], c[1]))
		if got := drift.PSILimit(len(c[0]), n, m, d.P); math.Abs(got-d.Value) > 1e-6*d.Value {
			t.Errorf("the limit for %v is %v, the index with that p-value is %v", d.P, got, d.Value)
		}
	}
}

// TestKSHistogramIsKS: over bins that tell all values apart, the histogram's test is that of the samples: the same
// distance, and nearly the same p-value, once exact and once asymptotic.
func TestKSHistogramIsKS(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	const bins = 400
	for _, c := range []struct{ shift, n, m int }{{0, 600, 900}, {15, 600, 900}, {40, 600, 900}, {30, 20, 24}, {40, 12, 60}, {25, 40, 40}} {
		shift, n, m := c.shift, c.n, c.m
		a, b := make([]float64, bins), make([]float64, bins)
		var as, bs []float64
		for range n {
			k := r.IntN(bins - 40)
			a[k]++
			as = append(as, float64(k))
		}
		for range m {
			k := r.IntN(bins-40) + shift
			b[k]++
			bs = append(bs, float64(k))
		}
		h, s := must(drift.KSHistogram(a, b)), must(drift.KS(as, bs))
		if !near(h.Value, s.Value, 1e-12) {
			t.Errorf("shift %d: the distance of the histograms is %v, that of the samples %v", shift, h.Value, s.Value)
		}
		if math.Abs(h.P-s.P) > 0.02+0.1*s.P || s.P > 1e-9 && math.Abs(math.Log(h.P/s.P)) > 0.5 {
			t.Errorf("shift %d: p of the histograms is %v, of the samples %v", shift, h.P, s.P)
		}
	}
}

func TestPermutation(t *testing.T) {
	distance := func(a, b []float64) float64 { return must(drift.Wasserstein(a, b)).Value }
	r := rand.New(rand.NewPCG(3, 4))
	draw := func(mean float64) []float64 {
		s := make([]float64, 25)
		for i := range s {
			s[i] = mean + r.NormFloat64()
		}
		return s
	}
	const rounds, level = 200, 0.1
	rejected := 0
	for i := range rounds {
		if must(drift.Permutation(distance, draw(0), draw(0), 99, uint64(i))).P <= level {
			rejected++
		}
	}
	if bound := binomialBound(rounds, level); rejected > bound {
		t.Errorf("%d of %d equal pairs are said to differ, at most %d expected", rejected, rounds, bound)
	}
	if p := must(drift.Permutation(distance, draw(0), draw(2), 99, 1)).P; p != 0.01 {
		t.Errorf("p is %v for samples far apart, want the least possible, 0.01", p)
	}
}

func TestDistancesKeepTheirRange(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bins := rapid.IntRange(2, 12).Draw(t, "bins")
		counts := rapid.SliceOfN(rapid.Float64Range(0, 1e12), bins, bins)
		a, b := counts.Draw(t, "a"), counts.Draw(t, "b")
		a[0]++
		b[bins-1]++
		for name, f := range map[string]func(a, b []float64) (drift.Distance, error){
			"psi": drift.PSI, "chi": drift.ChiSquare, "js": drift.JensenShannon, "ks": drift.KSHistogram,
		} {
			d, back, same := must(f(a, b)), must(f(b, a)), must(f(a, a))
			if !(d.Value >= 0) || math.IsInf(d.Value, 0) || !(d.P >= 0 && d.P <= 1) {
				t.Fatalf("%s: %+v", name, d)
			}
			if !near(d.Value, back.Value, 1e-6) {
				t.Fatalf("%s is not symmetric: %v and %v", name, d, back)
			}
			if same.Value > 1e-6 || same.P < 0.999 {
				t.Fatalf("%s of a histogram and itself: %+v", name, same)
			}
		}
		values := rapid.SliceOfN(rapid.Float64Range(-1e100, 1e100), 1, 40)
		x, y := values.Draw(t, "x"), values.Draw(t, "y")
		for _, d := range []drift.Distance{must(drift.KS(x, y)), must(drift.Wasserstein(x, y))} {
			if !(d.Value >= 0) || math.IsInf(d.Value, 0) || d.P < 0 || d.P > 1 {
				t.Fatalf("%+v", d)
			}
		}
	})
}

func TestDistancesRefuse(t *testing.T) {
	good := []float64{1, 2, 3}
	for name, bad := range map[string][]float64{
		"empty": {}, "short": {1, 2}, "zero": {0, 0, 0}, "negative": {1, -1, 2}, "NaN": {1, math.NaN(), 2}, "infinite": {1, math.Inf(1), 2},
	} {
		for i, f := range []func(a, b []float64) (drift.Distance, error){drift.PSI, drift.ChiSquare, drift.JensenShannon, drift.KSHistogram} {
			var sample *drift.SampleError
			if _, err := f(good, bad); !errors.As(err, &sample) {
				t.Errorf("%d, %s: %v", i, name, err)
			}
		}
	}
	if _, err := drift.KS(good, []float64{math.NaN()}); err == nil {
		t.Error("KS takes NaN")
	}
	if _, err := drift.Wasserstein(nil, good); err == nil {
		t.Error("Wasserstein takes nothing")
	}
	if _, err := drift.WassersteinHistogram([]float64{1, 0, 2}, good, good); err == nil {
		t.Error("WassersteinHistogram takes places that do not ascend")
	}
	if _, err := drift.Permutation(nil, good, good, 0, 1); err == nil {
		t.Error("Permutation takes no rounds")
	}
}
