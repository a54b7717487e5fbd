package bikedemand

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func unobserved(int) error { return nil }

// someRows have a step, a slope, a column that says nothing and a constant one.
func someRows(n int) (rows [][]float64, y []float64) {
	rng := rand.New(rand.NewPCG(7, 7))
	for range n {
		row := []float64{rng.Float64(), float64(rng.IntN(5)), rng.NormFloat64(), 3}
		target := 2 * row[0]
		if row[1] >= 3 {
			target += 10
		}
		rows = append(rows, row)
		y = append(y, target)
	}
	return rows, y
}

func TestBoostingLearnsStepsAndSlopes(t *testing.T) {
	rows, y := someRows(2000)
	m, err := grow(rows, y, 100, 0.1, unobserved)
	if err != nil {
		t.Fatal(err)
	}
	worst := 0.0
	for i := range rows {
		worst = max(worst, math.Abs(m.Predict(rows[i])-y[i]))
	}
	if worst > 0.2 {
		t.Errorf("the worst prediction is off by %.3f, on targets from 0 to 12", worst)
	}
	for _, tree := range m.Trees {
		for _, n := range tree {
			if n.Feature == 3 {
				t.Fatal("a constant column was split")
			}
		}
	}
}

func TestTheSameRowsGiveTheSameTrees(t *testing.T) {
	rows, y := someRows(500)
	a, _ := grow(rows, y, 20, 0.1, unobserved)
	b, _ := grow(rows, y, 20, 0.1, unobserved)
	if diff := cmp.Diff(a, b); diff != "" {
		t.Error(diff)
	}
}

// What a builder takes off its residuals, by bin, is what the finished tree
// predicts, by threshold.
func TestThresholdsAgreeWithBins(t *testing.T) {
	rows, y := someRows(500)
	rows[0][0], rows[1][0] = math.Inf(-1), math.MaxFloat64
	b := newBuilder(rows, y, 0.3)
	m := &Trees{Base: b.base}
	for range 10 {
		m.Trees = append(m.Trees, b.tree())
	}
	for i := range rows {
		if got, want := m.Predict(rows[i]), y[i]-b.residual[i]; math.Abs(got-want) > 1e-9 {
			t.Fatalf("row %d: the trees predict %v, training counted on %v", i, got, want)
		}
	}
}

func TestBrokenTreesAreRefused(t *testing.T) {
	leaf := Node{Feature: -1}
	for name, tree := range map[string]Tree{
		"empty":           {},
		"unknown feature": {{Feature: 4, Left: 1, Right: 2}, leaf, leaf},
		"loop":            {{Feature: 0, Left: 0, Right: 1}, leaf},
		"out of bounds":   {{Feature: 0, Left: 1, Right: 3}, leaf, leaf},
	} {
		if err := (&Trees{Trees: []Tree{tree}}).check(4); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if err := (&Trees{Trees: []Tree{{{Feature: 0, Left: 1, Right: 2}, leaf, leaf}}}).check(4); err != nil {
		t.Error(err)
	}
}

func TestModelFile(t *testing.T) {
	s := Generate(generatedSeed)
	hours := s.Hours[:24*28]
	m, err := fit(s.Digest, hours, unobserved)
	if err != nil {
		t.Fatal(err)
	}
	b, err := m.encode()
	if err != nil {
		t.Fatal(err)
	}
	back, err := decodeModel(b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(m, back); diff != "" {
		t.Error(diff)
	}
	for name, file := range map[string]string{
		"not a model file": strings.Replace(string(b), "model 1", "model 2", 1),
		"decode":           string(b[:len(b)/2]),
	} {
		if _, err := decodeModel([]byte(file)); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("error %v, want one with %q", err, name)
		}
	}
	m.Features = []string{"moon"}
	b, _ = m.encode()
	if _, err := decodeModel(b); err == nil || !strings.Contains(err.Error(), "moon") {
		t.Errorf("error %v, want one about the features", err)
	}
}

func BenchmarkFit26Weeks(b *testing.B) {
	s := Generate(generatedSeed)
	for b.Loop() {
		if _, err := fit(s.Digest, s.Hours[:trainWeeks*7*24], unobserved); err != nil {
			b.Fatal(err)
		}
	}
}
