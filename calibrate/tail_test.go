package calibrate

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestShape: probability-weighted moments find the shape of what they are made for.
func TestShape(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, want := range []float64{-0.4, -0.1, 0, 0.2, 0.4} {
		p := pareto{shape: want, mean: 3}
		values := make([]float64, 100_000)
		for i := range values {
			values[i] = p.at(1 - r.Float64())
		}
		slices.Sort(values)
		near(t, "the mean", mean(values), 3, 0.1)
		near(t, "the shape", shape(values), want, 0.03)
	}
	if got := shape(make([]float64, 50)); got != leastShape {
		t.Errorf("values that are all alike have the shape %v", got)
	}
}

// TestTails: what is drawn is like what was seen, and reaches beyond it as rarely as it should.
func TestTails(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	seen := make([]float64, 10_000)
	for i := range seen {
		seen[i] = r.ExpFloat64() - 1
	}
	d := distribution(seen)
	source := rand.NewPCG(5, 6)
	const draws = 1_000_000
	all, beyond := make([]float64, draws), 0
	for i := range all {
		all[i] = d.draw(source)
		if all[i] > seen[len(seen)-1] {
			beyond++
		}
	}
	slices.Sort(all)
	near(t, "the mean", mean(all), mean(seen), 0.01)
	for _, share := range []float64{0.01, 0.1, 0.5, 0.9, 0.97} {
		near(t, "a quantile", all[int(share*draws)], seen[int(share*10_000)], 0.05)
	}
	near(t, "one in 100,000", all[draws-10], math.Log(draws/10)-1, 2.5)
	if beyond < 20 || beyond > 500 {
		t.Errorf("%d of %d are beyond the greatest of 10,000; 100 would be usual", beyond, draws)
	}
}
