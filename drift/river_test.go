package drift_test

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"slices"
	"testing"

	"github.com/visutility/visutility/drift"
)

// riverVectors are testdata/river/vectors.json.
type riverVectors struct {
	Provenance string
	Streams    map[string][]float64
	Vectors    []struct {
		Detector   string
		Parameters map[string]float64
		Stream     string
		Fired      []int
		Windows    [][4]float64 // index, width, sum, variance
	}
}

func readJSON(t *testing.T, file string, into any) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, into); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

// firings is where a detector fires, if it is started afresh after each.
func firings(d drift.Detector, stream []float64) (fired []int) {
	state := make([]uint64, d.Words())
	d.Init(state)
	for i, x := range stream {
		if d.Add(state, x) {
			fired = append(fired, i)
			d.Init(state)
		}
	}
	return fired
}

// twoSided are the detectors that River runs for changes in both directions.
var twoSided = map[string]bool{"adwin": true, "kswin": true}

func TestRiver(t *testing.T) {
	var all riverVectors
	readJSON(t, "testdata/river/vectors.json", &all)
	if len(all.Vectors) < 90 {
		t.Fatalf("%d vectors are too few: %s", len(all.Vectors), all.Provenance)
	}
	for _, v := range all.Vectors {
		t.Run(fmt.Sprint(v.Detector, v.Parameters, v.Stream), func(t *testing.T) {
			direction := drift.Up
			if twoSided[v.Detector] {
				direction = drift.Both
			}
			if v.Detector == "adwin" {
				v.Parameters["baseline"] = 0
			}
			d, err := drift.New(v.Detector, direction, v.Parameters)
			if err != nil {
				t.Fatal(err)
			}
			want := v.Fired
			if hddmw, ok := d.(drift.HDDMW); ok {
				want = checkWeightedMeans(t, hddmw, all.Streams[v.Stream], v.Fired)
			}
			if got := firings(d, all.Streams[v.Stream]); !slices.Equal(got, want) {
				t.Errorf("fired at %v, River at %v", got, want)
			}
			if v.Detector == "adwin" {
				compareWindows(t, d.(drift.ADWIN), all.Streams[v.Stream], v.Windows)
			}
		})
	}
}

func compareWindows(t *testing.T, d drift.ADWIN, stream []float64, windows [][4]float64) {
	t.Helper()
	state, fired := make([]uint64, d.Words()), false
	for i, x := range stream {
		if fired {
			d.Init(state)
		}
		fired = d.Add(state, x)
		if len(windows) == 0 || windows[0][0] != float64(i) {
			continue
		}
		width, mean := d.Window(state)
		if want := windows[0]; float64(width) != want[1] || math.Abs(mean-want[2]/want[1]) > 1e-9 {
			t.Errorf("after value %d the window has %d values of mean %v, River's has %v of %v", i, width, mean, want[1], want[2]/want[1])
		}
		windows = windows[1:]
	}
	if len(windows) > 0 {
		t.Errorf("%d windows were not compared", len(windows))
	}
}

// checkWeightedMeans shows in what HDDMW differs from River on purpose. The bound of a weighted
// mean has the sum of its squared weights; one value has weight 1, so
// the sum is 1. River has λ² + (1−λ)², too narrow a bound. A model with River's
// sum has to fire where River does; with the right one, where HDDMW has to.
func checkWeightedMeans(t *testing.T, d drift.HDDMW, stream []float64, river []int) []int {
	t.Helper()
	lambda := d.Lambda
	if lambda == 0 {
		lambda = 0.05
	}
	if got := modelHDDMW(d, lambda*lambda+(1-lambda)*(1-lambda), stream); !slices.Equal(got, river) {
		t.Errorf("the model fires at %v, River at %v", got, river)
	}
	return modelHDDMW(d, 1, stream)
}

type weightedMean struct{ mean, squares float64 }

func modelHDDMW(d drift.HDDMW, first float64, stream []float64) (fired []int) {
	lambda, delta := d.Lambda, d.Delta
	if lambda == 0 {
		lambda = 0.05
	}
	if delta == 0 {
		delta = 0.001
	}
	add := func(w weightedMean, x float64) weightedMean {
		if w.squares == 0 {
			return weightedMean{x, first}
		}
		return weightedMean{lambda*x + (1-lambda)*w.mean, lambda*lambda + (1-lambda)*(1-lambda)*w.squares}
	}
	bound := func(squares float64) float64 { return math.Sqrt(squares * math.Log(1/delta) / 2) }
	var total, before, after weightedMean
	cut := math.Inf(1)
	for i, x := range stream {
		total = add(total, x)
		if upper := total.mean + bound(total.squares); upper < cut {
			cut, before, after = upper, total, weightedMean{}
			continue
		}
		after = add(after, x)
		if after.mean-before.mean > bound(before.squares+after.squares) {
			fired = append(fired, i)
			total, before, after, cut = weightedMean{}, weightedMean{}, weightedMean{}, math.Inf(1)
		}
	}
	return fired
}
