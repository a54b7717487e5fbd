package drift_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/visutility/visutility/drift"
)

// fires reports whether a detector fires within n values.
func fires(d drift.Detector, state []uint64, n int, value func(i int) float64) bool {
	d.Init(state)
	for i := range n {
		if d.Add(state, value(i)) {
			return true
		}
	}
	return false
}

// TestEDetectorGuarantee: within n values the e-value, whose mean grows by at most 1 a value,
// reaches ARL with a probability of at most n/ARL (Doob), whatever the values are, if
// only their expectation given the past is at most the reference mean.
func TestEDetectorGuarantee(t *testing.T) {
	const streams, n, arl, mean = 2000, 300, 1500, 0.2
	r := rand.New(rand.NewPCG(5, 6))
	last := 0.0
	processes := map[string]func(i int) float64{
		"errors":       func(int) float64 { return float64(int(r.Float64() + mean)) },
		"uniform":      func(int) float64 { return 2 * mean * r.Float64() },
		"rare extreme": func(int) float64 { return float64(int(r.Float64()+mean/2)) + mean/2*r.Float64() },
		"dependent": func(i int) float64 { // the more errors before, the fewer now
			p := mean
			if i > 0 && last == 1 {
				p = mean / 3
			}
			last = float64(int(r.Float64() + p))
			return last
		},
		"drifting below": func(i int) float64 { return float64(int(r.Float64() + mean*float64(i)/n)) },
	}
	for name, value := range processes {
		for _, direction := range []drift.Direction{drift.Up, drift.Down, drift.Both} {
			if direction != drift.Up && (name == "dependent" || name == "drifting below") {
				continue // their expectation is below the mean: harm, downwards
			}
			d := drift.EDetector{Direction: direction, ARL: arl, Mean: mean}
			if name == "rare extreme" {
				d.Mean = mean/2 + mean/4
			}
			state, fired := make([]uint64, d.Words()), 0
			for range streams {
				if fires(d, state, n, value) {
					fired++
				}
			}
			if bound := binomialBound(streams, n/float64(arl)); fired > bound {
				t.Errorf("%s, %v: %d of %d streams fired, at most %d promised", name, direction, fired, streams, bound)
			}
		}
	}
}

// TestEDetectorRunLength: the promise in its own terms, with a reference that was learned.
func TestEDetectorRunLength(t *testing.T) {
	const streams, arl = 300, 400
	r := rand.New(rand.NewPCG(9, 9))
	for name, d := range map[string]drift.EDetector{
		"known":   {ARL: arl, Mean: 0.1},
		"learned": {ARL: arl, Baseline: 200},
		"blocks":  {ARL: arl, Mean: 0.1, Block: 8},
		"range":   {ARL: arl, Low: -5, High: 5, Mean: -4},
	} {
		state, sum := make([]uint64, d.Words()), 0.0
		scale, offset := 1.0, 0.0
		if name == "range" {
			scale, offset = 10, -5
		}
		for range streams {
			d.Init(state)
			n := 1
			for n < 100*arl && !d.Add(state, offset+scale*float64(int(r.Float64()+0.1))) {
				n++
			}
			sum += float64(n)
		}
		if mean := sum / streams; mean < arl {
			t.Errorf("%s: a false alarm every %.0f values, at least %d promised", name, mean, arl)
		} else {
			t.Logf("%s: a false alarm every %.0f values", name, mean)
		}
	}
}

// TestEDetectorOfClusters shows the limit of the guarantee: errors in clusters break its
// condition, and blocks longer than clusters restore it.
func TestEDetectorOfClusters(t *testing.T) {
	rate := func(block int) float64 {
		r := rand.New(rand.NewPCG(3, 4))
		d := drift.EDetector{Mean: 0.1, Block: block}
		state := make([]uint64, d.Words())
		d.Init(state)
		const events = 2_000_000
		alarms, bad := 0, false
		for range events {
			if bad {
				bad = r.Float64() >= 1./20
			} else {
				bad = r.Float64() < 1./180
			}
			x := 0.0
			if bad {
				x = 1
			}
			if d.Add(state, x) {
				alarms++
			}
		}
		return float64(alarms) / events * 1e5
	}
	one, some, long := rate(1), rate(24), rate(100)
	t.Logf("false alarms in 100,000 events: %.0f, %.1f in blocks of 24, %.1f of 100", one, some, long)
	if one < 200 || long > 15 {
		t.Errorf("false alarms in 100,000 events: %.0f, in blocks of 100 %.1f", one, long)
	}
}

// TestFalseAlarmRates holds the heuristics to rates a little above those that were measured: errors
// of probability 0.1, with nothing changed.
func TestFalseAlarmRates(t *testing.T) {
	const events = 300_000
	for name, most := range map[string]float64{ // in 100,000 events
		"page_hinkley": 3, "adwin": 1, "ddm": 8, "eddm": 160, "hddm_a": 2, "hddm_w": 1, "stepd": 70, "edetector": 10,
	} {
		d, err := drift.New(name, drift.Up, raw[name])
		if err != nil {
			t.Fatal(err)
		}
		alarms := len(firings(d, errorsWith(rand.New(rand.NewPCG(13, 17)), 0.1, events)))
		if bound := binomialBound(events, most/1e5); alarms > bound {
			t.Errorf("%s: %d false alarms in %d events, at most %d expected", name, alarms, events, bound)
		}
	}
}

// TestStandardizedADWIN: on its own scale ADWIN misses a shift of a metric that moves by
// hundredths; standardized it sees it.
func TestStandardizedADWIN(t *testing.T) {
	r := rand.New(rand.NewPCG(21, 22))
	var stream []float64
	for i := range 3000 {
		accuracy := 0.9 + 0.01*r.NormFloat64()
		if i >= 1500 {
			accuracy -= 0.01
		}
		stream = append(stream, accuracy)
	}
	if at := firings(drift.ADWIN{Direction: drift.Down}, stream); len(at) != 0 {
		t.Errorf("ADWIN sees a shift of 0.01 at %v: its documentation is wrong", at)
	}
	at := firings(drift.Standardized{Of: drift.ADWIN{Direction: drift.Down}}, stream)
	if len(at) != 1 || at[0] < 1500 || at[0] > 1650 {
		t.Errorf("standardized ADWIN fires at %v", at)
	}
}

// TestKSWINLevel: a single test has the level that it says, and it sees a change of
// spread, which leaves the mean alone.
func TestKSWINLevel(t *testing.T) {
	r := rand.New(rand.NewPCG(31, 32))
	for _, direction := range []drift.Direction{drift.Up, drift.Both} {
		d := drift.KSWIN{Direction: direction, Alpha: 0.05, Window: 90, Stat: 40}
		state, fired := make([]uint64, d.Words()), 0
		const streams = 3000
		for range streams {
			if fires(d, state, 90, func(int) float64 { return r.NormFloat64() }) {
				fired++
			}
		}
		if share := float64(fired) / streams; share > 0.065 || share < 0.02 {
			t.Errorf("%v: %.3f of the first tests reject", direction, share)
		}
	}
	d := drift.KSWIN{Direction: drift.Both, Alpha: 1e-4, Window: 300, Stat: 100}
	at := slices.Index([]bool{
		fires(d, make([]uint64, d.Words()), 1000, func(int) float64 { return r.NormFloat64() }),
		fires(d, make([]uint64, d.Words()), 1000, func(i int) float64 { return r.NormFloat64() * float64(1+i/500*4) }),
	}, true)
	if at != 1 {
		t.Errorf("KSWIN sees a change of spread where there is none, or does not see one: %d", at)
	}
}

// TestPageHinkleyNeedsItsMinimum: without the running minimum the sum has to climb out of a
// hole first. Both variants are run on a stream of River's vectors, so that an
// implementation that lost its minimum could not pass for right.
func TestPageHinkleyNeedsItsMinimum(t *testing.T) {
	var all riverVectors
	readJSON(t, "testdata/river/vectors.json", &all)
	stream := all.Streams["errors_doubled"]
	variant := func(minimum bool) (fired []int) {
		var n, mean, sum, least float64
		for i, x := range stream {
			n++
			mean += (x - mean) / n
			sum = 0.9999*sum + x - mean - 0.005
			if minimum {
				least = min(least, sum)
			}
			if n >= 30 && sum-least > 50 {
				fired = append(fired, i)
				n, mean, sum, least = 0, 0, 0, 0
			}
		}
		return fired
	}
	got := firings(drift.PageHinkley{}, stream)
	if !slices.Equal(got, variant(true)) {
		t.Errorf("fired at %v, with the minimum it is %v", got, variant(true))
	}
	if slices.Equal(got, variant(false)) {
		t.Errorf("fired at %v, as without the minimum", got)
	}
}

// TestSTEPD holds the statistic against the textbook's formula over plain slices.
func TestSTEPD(t *testing.T) {
	r := rand.New(rand.NewPCG(41, 42))
	for _, window := range []int{7, 30, 64, 100} {
		d := drift.STEPD{Window: window}
		state := make([]uint64, d.Words())
		d.Init(state)
		var stream []float64
		for i := range 3000 {
			x := float64(int(r.Float64() + 0.1 + 0.3*float64(i/1500)))
			stream = append(stream, x)
			fired := d.Add(state, x)
			if n := len(stream); n >= 2*window {
				sum := func(s []float64) (total float64) {
					for _, x := range s {
						total += x
					}
					return total
				}
				older, recent := sum(stream[:n-window]), sum(stream[n-window:])
				p, sizes := (older+recent)/float64(n), 1/float64(n-window)+1/float64(window)
				want := (recent/float64(window) - older/float64(n-window) - sizes/2) / math.Sqrt(p*(1-p)*sizes)
				if p > 0 && math.Abs(d.Value(state)-want) > 1e-9 {
					t.Fatalf("window %d, value %d: %v, want %v", window, i, d.Value(state), want)
				}
				if fired != (want > 2.747781385444993) { // the normal quantile of 0.997
					t.Fatalf("window %d, value %d: fired is %v at %v", window, i, fired, want)
				}
			}
			if fired {
				stream = nil
			}
		}
	}
}
