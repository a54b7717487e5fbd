package backtest

import (
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/promql/parser"
	"pgregory.net/rapid"
)

// TestNotationIsPromtools holds the notation against Prometheus' own parser.
func TestNotationIsPromtools(t *testing.T) {
	for _, s := range []string{
		"1", "0.92x10 0.80x5 _x3", "-2+4x3", "1-2x4", "1x4", "1 _x3 2", "_", "_ _x2 1e-3x2", "1x0", ".5-.25x2", "+1+1x1", "-1.5-0.5x3", "1e2+1e1x2",
	} {
		_, want, err := parser.NewParser(parser.Options{}).ParseSeriesDesc("m " + s)
		if err != nil {
			t.Fatalf("%q: %v", s, err)
		}
		got, err := parseValues(s)
		if err != nil {
			t.Errorf("%q: %v", s, err)
			continue
		}
		if len(got) != len(want) {
			t.Errorf("%q has %d values, want %d", s, len(got), len(want))
			continue
		}
		for i := range got {
			if got[i].none != want[i].Omitted || !got[i].none && math.Abs(got[i].value-want[i].Value) > 1e-9 {
				t.Errorf("%q: value %d is %v, want %v", s, i, got[i], want[i])
			}
		}
	}
}

func TestNotationFaults(t *testing.T) {
	for s, want := range map[string]string{
		"":                       "no values",
		"  ":                     "no values",
		"1,2":                    `"1,2" is no value`,
		"1+2":                    `"1+2" is no value`,
		"NaN":                    `"NaN" is no value`,
		"x3":                     `"x3" is no value`,
		"_+1x3":                  `"_+1x3" is no value`,
		"1x-1":                   `"1x-1" is no value`,
		"1x99999999999":          "repeated too often",
		"1x2000000":              "repeated too often",
		"1x900000 1x900000":      "more than 1000000 values",
		"1e999":                  "out of range",
		"1e308+1e308x5":          "grows out of range",
		strings.Repeat("_x9", 2): "is no value",
	} {
		_, err := parseValues(s)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", s, err, want)
		}
	}
}

func TestNotationGaps(t *testing.T) {
	got, err := parseValues("1 _x2 2x1")
	if err != nil {
		t.Fatal(err)
	}
	want := []sample{{value: 1}, {none: true}, {none: true}, {value: 2}, {value: 2}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(sample{})); diff != "" {
		t.Error("(-want +got):\n", diff)
	}
}

// drawValues draws values with repetitions, steps and gaps, and of every size.
func drawValues(t *rapid.T) []sample {
	var all []sample
	number := rapid.OneOf(rapid.Float64(), rapid.Float64Range(-1, 1), rapid.Map(rapid.IntRange(-200, 200), func(i int) float64 { return float64(i) / 100 }), rapid.Just(math.Copysign(0, -1)))
	for range rapid.IntRange(1, 8).Draw(t, "stretches") {
		n := rapid.IntRange(1, 9).Draw(t, "length")
		a, b := number.Draw(t, "first"), number.Draw(t, "step")
		kind := rapid.IntRange(0, 4).Draw(t, "kind")
		for i := range n {
			s := sample{value: a}
			switch kind {
			case 0:
				s = sample{none: true}
			case 1:
				s.value = a + float64(i)*b
			case 2:
				s.value = (math.Round(a*100) + float64(i)*math.Round(b*100)) / 100 // as people count
			case 3:
				s.value = number.Draw(t, "value")
			}
			if s.value-s.value != 0 { // NaN or infinite
				s.value = math.MaxFloat64
			}
			all = append(all, s)
		}
	}
	return all
}

func TestNotationRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := drawValues(t)
		text := strings.Join(formatValues(want), " ")
		got, err := parseValues(text)
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if len(got) != len(want) {
			t.Fatalf("%q has %d values, want %d", text, len(got), len(want))
		}
		for i := range want {
			if got[i].none != want[i].none || math.Float64bits(got[i].value) != math.Float64bits(want[i].value) {
				t.Fatalf("%q: value %d is %v, want %v", text, i, got[i], want[i])
			}
		}
	})
}

func TestNotationIsShort(t *testing.T) {
	for _, s := range []string{"1", "0.92x29 0.8x11", "_x3 1 _ 2", "1+2x3", "0.9-0.01x12", "0.1 0.2 0.7", "-1-0.5x3 7x1", "1e-07+1e-08x4", "0.1+0.1x9"} {
		values, err := parseValues(s)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(formatValues(values), " "); got != s {
			t.Errorf("%q became %q", s, got)
		}
	}
}
