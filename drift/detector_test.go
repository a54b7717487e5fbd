package drift_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"testing"

	"github.com/visutility/visutility/drift"
	"pgregory.net/rapid"
)

// each runs f for every detector of the table, in every direction it takes.
func each(f func(name string, d drift.Detector)) {
	for _, name := range slices.Sorted(maps.Keys(drift.Detectors)) {
		for direction := drift.Up; direction <= drift.Both; direction++ {
			if direction == drift.Both && !drift.Detectors[name].TwoSided {
				continue
			}
			d, err := drift.New(name, direction, short[name])
			if err != nil {
				panic(err)
			}
			f(fmt.Sprint(name, " ", direction), d)
		}
	}
}

// short are parameters with which a detector does all it can within some hundred values.
var short = map[string]map[string]float64{
	"ewma":         {"baseline": 20, "l": 2},
	"cusum":        {"baseline": 20, "h": 3},
	"page_hinkley": {"threshold": 2},
	"adwin":        {"baseline": 10, "clock": 3, "delta": 0.9, "rows": 5, "max_buckets": 2, "min_window": 2},
	"ddm":          {"drift": 1},
	"hddm_a":       {"delta": 0.4},
	"hddm_w":       {"delta": 0.4},
	"kswin":        {"window": 30, "stat": 10, "alpha": 0.1},
	"stepd":        {"window": 10, "alpha": 0.2},
	"edetector":    {"baseline": 20, "arl": 30, "confidence": 0.5, "block": 2},
}

// numbers are streams that jump between levels, with what is hard to bear among them.
func numbers() *rapid.Generator[[]float64] {
	return rapid.Custom(func(t *rapid.T) (stream []float64) {
		for range rapid.IntRange(1, 6).Draw(t, "segments") {
			level := rapid.SampledFrom([]float64{0, 0.1, 0.5, 0.9, 1, 5, -3}).Draw(t, "level")
			noise := rapid.SampledFrom([]float64{0, 0.3, 1}).Draw(t, "noise")
			for range rapid.IntRange(1, 60).Draw(t, "length") {
				stream = append(stream, level+noise*rapid.Float64Range(-1, 1).Draw(t, "off"))
			}
		}
		return stream
	})
}

// TestSnapshot: the words are the whole state. Copied elsewhere after any value
// they continue as the original does.
func TestSnapshot(t *testing.T) {
	each(func(name string, d drift.Detector) {
		fired := 0
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				stream := numbers().Draw(t, "stream")
				whole, part := make([]uint64, d.Words()), make([]uint64, d.Words()+2)
				d.Init(whole)
				for cut, x := range stream {
					copy(part[1:], whole)
					part[0], part[len(part)-1] = 42, 42
					a, b := d.Add(whole, x), d.Add(part[1:len(part)-1], x)
					if a != b || !slices.Equal(whole, part[1:len(part)-1]) || d.Value(whole) != d.Value(part[1:]) {
						t.Fatalf("after %d values the copy goes its own way", cut)
					}
					if part[0] != 42 || part[len(part)-1] != 42 {
						t.Fatal("the detector writes beyond its words")
					}
					if a {
						fired++
					}
				}
			})
			if fired == 0 {
				t.Error("the detector never fired: the test shows too little")
			}
		})
	})
}

// TestFreshAfterInit: nothing of the past survives Init.
func TestFreshAfterInit(t *testing.T) {
	each(func(name string, d drift.Detector) {
		rapid.Check(t, func(t *rapid.T) {
			used, fresh := make([]uint64, d.Words()), make([]uint64, d.Words())
			d.Init(used)
			for _, x := range numbers().Draw(t, "past") {
				d.Add(used, x)
			}
			d.Init(used)
			d.Init(fresh)
			if !slices.Equal(used, fresh) {
				t.Fatalf("%s: Init leaves traces", name)
			}
		})
	})
}

// TestValueTellsFiring: a detector fires exactly where its value reaches the limit.
func TestValueTellsFiring(t *testing.T) {
	each(func(name string, d drift.Detector) {
		rapid.Check(t, func(t *rapid.T) {
			state := make([]uint64, d.Words())
			d.Init(state)
			for i, x := range numbers().Draw(t, "stream") {
				fired := d.Add(state, x)
				if reached := d.Value(state) >= d.Limit(state); fired && !reached {
					t.Fatalf("%s fires at value %d with %v of %v", name, i, d.Value(state), d.Limit(state))
				}
			}
		})
	})
}

// checkFinite adds a value and looks for what is not a finite number.
func checkFinite(t interface{ Fatalf(string, ...any) }, name string, d drift.Detector, state []uint64, x float64) {
	d.Add(state, x)
	if v := d.Value(state); math.IsNaN(v) || math.IsInf(v, 0) {
		t.Fatalf("%s: the value is %v after %v", name, v, x)
	}
	if v := d.Limit(state); math.IsNaN(v) || math.IsInf(v, 0) {
		t.Fatalf("%s: the limit is %v after %v", name, v, x)
	}
	for i, w := range state {
		if _, ok := d.(drift.KSWIN); ok && i == 1 {
			continue // the random numbers
		} else if _, ok := d.(drift.STEPD); ok && i >= 4 {
			continue // a word of bits
		}
		if w == math.MaxUint64 {
			continue // the mark of having fired
		}
		if v := math.Float64frombits(w); math.IsNaN(v) || math.IsInf(v, 0) {
			t.Fatalf("%s: word %d is %v after %v", name, i, v, x)
		}
	}
}

func TestStateStaysFinite(t *testing.T) {
	each(func(name string, d drift.Detector) {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				state := make([]uint64, d.Words())
				d.Init(state)
				special := rapid.SampledFrom([]float64{0, 1, math.MaxFloat64, -math.MaxFloat64, math.SmallestNonzeroFloat64, 1e100, -1e100, math.Copysign(0, -1)})
				for _, x := range rapid.SliceOfN(rapid.OneOf(special, rapid.Float64()), 1, 400).Draw(t, "stream") {
					checkFinite(t, name, d, state, x)
				}
			})
		})
	})
}

func FuzzAdd(f *testing.F) {
	for _, x := range []float64{0, 1, math.MaxFloat64, math.NaN(), math.Inf(-1)} {
		f.Add(binary.LittleEndian.AppendUint64(nil, math.Float64bits(x)))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		each(func(name string, d drift.Detector) {
			state := make([]uint64, d.Words())
			d.Init(state)
			for at := 0; at+8 <= len(b); at += 8 {
				for range 40 { // so that short inputs get past baselines and windows
					checkFinite(t, name, d, state, math.Float64frombits(binary.LittleEndian.Uint64(b[at:])))
				}
			}
		})
	})
}

func TestNaNIsIgnored(t *testing.T) {
	each(func(name string, d drift.Detector) {
		state := make([]uint64, d.Words())
		d.Init(state)
		for i := range 200 {
			d.Add(state, float64(i%7)/7)
		}
		before := slices.Clone(state)
		if d.Add(state, math.NaN()) || !slices.Equal(before, state) {
			t.Errorf("%s: NaN leaves a trace", name)
		}
	})
}

// TestConstantStream: values that never change are no change, and the first
// that differs is none yet.
func TestConstantStream(t *testing.T) {
	for name, kind := range drift.Detectors {
		for _, level := range []float64{0, 0.73, 1} {
			d, err := drift.New(name, drift.Up, nil)
			if err != nil {
				t.Fatal(err)
			}
			state := make([]uint64, d.Words())
			d.Init(state)
			for i := range 3000 {
				if d.Add(state, level) {
					t.Fatalf("%s (%s) fires at value %d of a constant %v", name, kind.Summary, i, level)
				}
			}
			// STEPD does, as documented: the normal approximation fails it.
			if d.Add(state, 1) && name != "stepd" {
				t.Errorf("%s fires at one value of 1 after 3,000 of %v", name, level)
			}
		}
	}
}

// TestDirection: harm fires, improvement does not; Down is Up of the opposite.
func TestDirection(t *testing.T) {
	for name, kind := range drift.Detectors {
		up, _ := drift.New(name, drift.Up, nil)
		down, _ := drift.New(name, drift.Down, nil)
		var worse, better []float64
		seed := uint64(11)
		for i := range 6000 {
			p := 0.2
			if i >= 3000 {
				p = 0.8
			}
			seed = seed*6364136223846793005 + 1442695040888963407
			x := 0.0
			if float64(seed>>11)/(1<<53) < p {
				x = 1
			}
			worse, better = append(worse, x), append(better, 1-x)
		}
		harm := firings(up, worse)
		after := slices.IndexFunc(harm, func(i int) bool { return i >= 3000 && i < 3300 })
		if after < 0 {
			t.Errorf("%s does not see 0.2 become 0.8: %v", name, harm)
		}
		if other := firings(down, better); !slices.Equal(harm, other) {
			t.Errorf("%s: Up fires at %v, Down on the opposite stream at %v", name, harm, other)
		}
		improvement := firings(up, better)
		if slices.ContainsFunc(improvement, func(i int) bool { return i >= 3000 && i < 3300 }) {
			t.Errorf("%s (%s) fires on an improvement: %v", name, kind.Summary, improvement)
		}
	}
}

func TestNothingIsAllocated(t *testing.T) {
	each(func(name string, d drift.Detector) {
		state := make([]uint64, d.Words())
		d.Init(state)
		i := 0
		if n := testing.AllocsPerRun(500, func() { d.Add(state, float64(i%5)/5); d.Value(state); i++ }); n != 0 {
			t.Errorf("%s allocates %v times an event", name, n)
		}
	})
}

// TestDefaults: the defaults that the table tells are those that the detectors have.
func TestDefaults(t *testing.T) {
	for name, kind := range drift.Detectors {
		told := map[string]float64{}
		for _, p := range kind.Parameters {
			if p.Default != 0 {
				told[p.Name] = p.Default
			}
		}
		silent, err := drift.New(name, drift.Up, nil)
		if err != nil {
			t.Fatal(err)
		}
		explicit, err := drift.New(name, drift.Up, told)
		if err != nil {
			t.Fatal(err)
		}
		a, b := make([]uint64, silent.Words()), make([]uint64, explicit.Words())
		silent.Init(a)
		explicit.Init(b)
		seed := uint64(5)
		for i := range 20_000 {
			seed = seed*6364136223846793005 + 1442695040888963407
			x := float64(seed>>11) / (1 << 53)
			if i/2000%2 == 1 {
				x = math.Sqrt(x)
			}
			if fired := silent.Add(a, x); fired != explicit.Add(b, x) || silent.Limit(a) != explicit.Limit(b) || !slices.Equal(a, b) {
				t.Fatalf("%s: the table's defaults part from the detector's at value %d", name, i)
			}
		}
	}
}

func TestParameterErrors(t *testing.T) {
	for _, c := range []struct {
		detector, parameter string
		direction           drift.Direction
		values              map[string]float64
	}{
		{"adwim", "", drift.Up, nil},
		{"adwin", "dleta", drift.Up, map[string]float64{"dleta": 1}},
		{"adwin", "delta", drift.Up, map[string]float64{"delta": 1}},
		{"adwin", "clock", drift.Up, map[string]float64{"clock": 1.5}},
		{"adwin", "clock", drift.Up, map[string]float64{"clock": 0}},
		{"adwin", "baseline", drift.Up, map[string]float64{"baseline": 1}},
		{"adwin", "rows", drift.Up, map[string]float64{"rows": 60}},
		{"cusum", "k", drift.Up, map[string]float64{"k": -1}},
		{"cusum", "k", drift.Up, map[string]float64{"k": 4}},
		{"cusum", "h", drift.Up, map[string]float64{"h": math.Inf(1)}},
		{"cusum", "mean", drift.Up, map[string]float64{"mean": 1}},
		{"cusum", "sigma", drift.Up, map[string]float64{"sigma": -1}},
		{"ewma", "lambda", drift.Up, map[string]float64{"lambda": 1.1}},
		{"ewma", "l", drift.Up, map[string]float64{"l": math.NaN()}},
		{"page_hinkley", "alpha", drift.Up, map[string]float64{"alpha": 2}},
		{"ddm", "direction", drift.Both, nil},
		{"eddm", "beta", drift.Up, map[string]float64{"beta": 1}},
		{"hddm_a", "direction", drift.Direction(9), nil},
		{"hddm_w", "delta", drift.Up, map[string]float64{"delta": -0.1}},
		{"kswin", "window", drift.Up, map[string]float64{"window": 50}},
		{"kswin", "stat", drift.Up, map[string]float64{"stat": 300}},
		{"stepd", "alpha", drift.Up, map[string]float64{"alpha": 0.6}},
		{"edetector", "arl", drift.Up, map[string]float64{"arl": 1}},
		{"edetector", "arl", drift.Up, map[string]float64{"arl": 100, "block": 100}},
		{"edetector", "high", drift.Up, map[string]float64{"low": 2}},
		{"edetector", "mean", drift.Up, map[string]float64{"mean": 1}},
		{"edetector", "tolerance", drift.Up, map[string]float64{"tolerance": 1}},
	} {
		_, err := drift.New(c.detector, c.direction, c.values)
		var parameter *drift.ParameterError
		if !errors.As(err, &parameter) || parameter.Detector != c.detector || parameter.Parameter != c.parameter {
			t.Errorf("%s %v: %v does not name %q", c.detector, c.values, err, c.parameter)
		}
	}
	if err := (drift.Standardized{}).Validate(); err == nil {
		t.Error("Standardized takes no detector")
	}
}
