package policy

import (
	"fmt"
	"math"
	"slices"
	"sort"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/visutility/visutility"
)

type sample struct {
	t      int64
	v      float64
	weight int64
}

func drawSamples(t *rapid.T, most int64) []sample {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) sample {
		return sample{
			t:      epoch + rapid.Int64Range(0, most).Draw(t, "t"),
			v:      float64(rapid.IntRange(-40, 40).Draw(t, "v")) / 8, // sums of these are exact
			weight: rapid.Int64Range(1, 5).Draw(t, "weight"),
		}
	}), 1, 60).Draw(t, "samples")
}

var windowed = []struct {
	text  string
	naive func([]sample) float64
}{
	{"avg(x, %s)", func(s []sample) float64 { return naiveSum(s) / naiveCount(s) }},
	{"sum(x, %s)", naiveSum},
	{"count(x, %s)", naiveCount},
	{"min(x, %s)", func(s []sample) float64 {
		return slices.MinFunc(s, func(a, b sample) int { return int(8 * (a.v - b.v)) }).v
	}},
	{"max(x, %s)", func(s []sample) float64 {
		return slices.MaxFunc(s, func(a, b sample) int { return int(8 * (a.v - b.v)) }).v
	}},
	{"stddev(x, %s)", func(s []sample) float64 {
		mean, sum := naiveSum(s)/naiveCount(s), 0.0
		for _, x := range s {
			sum += float64(x.weight) * (x.v - mean) * (x.v - mean)
		}
		return math.Sqrt(sum / naiveCount(s))
	}},
	{"quantile(x, 0.3, %s)", func(s []sample) float64 { return naiveQuantile(s, 0.3) }},
	{"quantile(x, 1, %s)", func(s []sample) float64 { return naiveQuantile(s, 1) }},
}

func naiveSum(s []sample) (sum float64) {
	for _, x := range s {
		sum += x.v * float64(x.weight)
	}
	return sum
}

func naiveCount(s []sample) (n float64) {
	for _, x := range s {
		n += float64(x.weight)
	}
	return n
}

func naiveQuantile(s []sample, q float64) float64 {
	s = slices.Clone(s)
	sort.Slice(s, func(i, j int) bool { return s[i].v < s[j].v })
	below := 0.0
	for _, x := range s {
		if below += float64(x.weight); below >= q*naiveCount(s) {
			return x.v
		}
	}
	return math.NaN()
}

// foldAll folds samples of x and returns the value of an expression as it is then.
func foldAll(t rapid.TB, text string, samples []sample) float64 {
	p := programs(t, text+" > 1e9")
	state := fresh(p)
	for i, s := range samples {
		p.Observe(state, p.Metric("x"), s.t, math.MaxInt64, s.v, s.weight, visutility.Position(i+1), "")
	}
	term := p.Explain(state, 0, math.MaxInt64)[0].Terms[0]
	if v, ok := term.Value.(float64); ok {
		return v
	}
	return math.NaN()
}

// fresh is the state of a model never heard of.
func fresh(p *Program) []uint64 {
	state := make([]uint64, p.Words())
	p.Init(state)
	return state
}

var programCache = map[string]*Program{} // conditions compile in a tenth of a millisecond; rapid asks for thousands

func programs(t rapid.TB, when string) *Program {
	if p := programCache[when]; p != nil {
		return p
	}
	pol, err := Parse("p.yaml", []byte("model: m\nmetrics: {x: lower_is_better}\nretrain: {when: '"+when+"'}\ntrain: {run: train}\n"))
	if err != nil {
		t.Fatal(err)
	}
	set, err := NewSet(pol)
	if err != nil {
		t.Fatal(err)
	}
	programCache[when] = set.For("m")
	return programCache[when]
}

// TestWindowOracle compares windows with a naive implementation that keeps all events.
func TestWindowOracle(t *testing.T) {
	const width = 5 * 60_000 // of a pane of an hour
	for _, w := range windowed {
		t.Run(w.text, rapid.MakeCheck(func(t *rapid.T) {
			samples := drawSamples(t, 3*3_600_000)
			newest := slices.MaxFunc(samples, func(a, b sample) int { return int(a.t - b.t) }).t
			var inside []sample
			for _, s := range samples {
				if s.t/width > newest/width-panes {
					inside = append(inside, s)
				}
			}
			agree(t, w.text, foldAll(t, fmt.Sprintf(w.text, `"1h"`), samples), w.naive(inside))

			n := rapid.IntRange(1, 20).Draw(t, "n")
			agree(t, w.text, foldAll(t, fmt.Sprintf(w.text, fmt.Sprint(n)), samples), w.naive(samples[max(0, len(samples)-n):]))
		}))
	}
}

// agree allows quantiles the error of values of both signs up to 5.
func agree(t *rapid.T, what string, got, want float64) {
	t.Helper()
	allowed := 1e-9
	if strings.HasPrefix(what, "quantile") {
		allowed = max(0.032*math.Abs(want), 5.0/128)
	}
	if !(math.Abs(got-want) <= allowed) {
		t.Fatalf("got %v, want %v", got, want)
	}
}

// TestOrderDoesNotMatter folds the same events in another order: inside a window the value is the same.
func TestOrderDoesNotMatter(t *testing.T) {
	for _, w := range windowed {
		t.Run(w.text, rapid.MakeCheck(func(t *rapid.T) {
			samples := drawSamples(t, 55*60_000)
			shuffled := rapid.Permutation(samples).Draw(t, "shuffled")
			text := fmt.Sprintf(w.text, `"1h"`)
			if a, b := foldAll(t, text, samples), foldAll(t, text, shuffled); math.Abs(a-b) > 1e-12*math.Abs(a) {
				t.Fatalf("%s: %v in one order, %v in another", text, a, b)
			}
		}))
	}
}

// TestQuantileError holds the histogram to the error its comment promises.
func TestQuantileError(t *testing.T) {
	for _, c := range []struct{ factor, relative, absolute float64 }{
		{1.9, 0.004, 0}, {3.9, 0.008, 0}, {15, 0.016, 0}, {240, 0.032, 0}, {1e9, 0.032, 1.0 / 2000}, {-1, 0.032, 1.0 / 128}, {0, 0.032, 1.0 / 2000},
	} {
		t.Run(fmt.Sprint(c.factor), rapid.MakeCheck(func(t *rapid.T) {
			base := rapid.Float64Range(0.001, 1000).Draw(t, "base")
			values := rapid.SliceOfN(rapid.Float64Range(min(base, base*c.factor), max(base, base*c.factor)), 1, 50).Draw(t, "values")
			q := rapid.Float64Range(0.01, 1).Draw(t, "q")
			b := make(buckets, bucketWords)
			var samples []sample
			greatest := 0.0
			for _, v := range values {
				b.add(v, 1, -1)
				samples = append(samples, sample{v: v, weight: 1})
				greatest = max(greatest, math.Abs(v))
			}
			got, want := histogramValue(b, q, 0), naiveQuantile(samples, q)
			if math.Abs(got-want) > max(c.relative*math.Abs(want), c.absolute*greatest, 3e-11) {
				t.Fatalf("quantile %v of %v: %v, want %v", q, values, got, want)
			}
		}))
	}
}

// TestRoundingDoesNotPileUp runs a window for a long time over values that do not add up exactly.
func TestRoundingDoesNotPileUp(t *testing.T) {
	for _, text := range []string{`sum(x, "1h")`, "sum(x, 60)"} {
		var samples []sample
		for i := range int64(20_000) {
			samples = append(samples, sample{epoch + i*60_000, 0.1 + 1e6*float64(i%2), 1})
		}
		for i := range samples[len(samples)-120:] {
			samples[len(samples)-120+i].v = 0.1
		}
		got := foldAll(t, text, samples)
		if n := math.Round(got / 0.1); math.Abs(got-0.1*n) > 1e-12 || n < 55 {
			t.Errorf("%s = %v", text, got)
		}
	}
}
