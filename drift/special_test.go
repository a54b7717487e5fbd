package drift

import (
	"encoding/json"
	"math"
	"os"
	"testing"
)

func TestChiSquareTails(t *testing.T) {
	var all struct {
		Tails []struct {
			X, P    float64
			Freedom int
		} `json:"chi_square_tails"`
	}
	b, err := os.ReadFile("testdata/scipy/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &all); err != nil || len(all.Tails) == 0 {
		t.Fatal(err, "no tails")
	}
	for _, v := range all.Tails {
		got := chiSquareAbove(v.X, v.Freedom)
		if math.Abs(got-v.P) > 1e-10*max(v.P, 1e-3) {
			t.Errorf("P(X > %v) with %d degrees of freedom is %v, SciPy has %v", v.X, v.Freedom, got, v.P)
		}
		if back := chiSquareQuantile(got, v.Freedom); got > 1e-12 && got < 0.999 && math.Abs(back-v.X) > 1e-6*v.X {
			t.Errorf("the quantile of %v is %v, not %v", got, back, v.X)
		}
	}
}

// TestKSPaths: counting paths and the closed form for equal sizes agree, and both
// approach the asymptote.
func TestKSPaths(t *testing.T) {
	for _, n := range []int{1, 2, 5, 30} {
		for k := 1; k <= n; k++ {
			if a, b := ksEqualSizes(n, k, true), ksPaths(n, n, k*n); math.Abs(a-b) > 1e-12 {
				t.Errorf("n %d, k %d: %v and %v", n, k, a, b)
			}
		}
	}
	if a, b := ksPaths(600, 800, 600*800/10), ksAsymptotic(0.1, 600, 800); math.Abs(a-b) > 0.05*a {
		t.Errorf("exact %v, asymptotic %v", a, b)
	}
}

// TestUpperMean: the bound fails no more often than it says, and is exact where a
// formula is known: without any harm in n values it is 1 − δ^(1/n).
func TestUpperMean(t *testing.T) {
	if got, want := upperMean(0, 100, 0.05), 1-math.Pow(0.05, 0.01); math.Abs(got-want) > 1e-12 {
		t.Errorf("bound %v, want %v", got, want)
	}
	const n, p, delta, rounds = 200, 0.1, 0.05, 4000
	random, failed := uint64(1), 0
	for range rounds {
		sum := 0.0
		for range n {
			if below(&random, 10) == 0 {
				sum++
			}
		}
		if upperMean(sum/n, n, delta) < p {
			failed++
		}
	}
	if share := float64(failed) / rounds; share > delta {
		t.Errorf("the bound failed in %.3f of cases, at most %v promised", share, delta)
	}
}
