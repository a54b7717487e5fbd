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
			if got := firings(d, all.Streams[v.Stream]); !slices.Equal(got, v.Fired) {
				t.Errorf("fired at %v, River at %v", got, v.Fired)
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
