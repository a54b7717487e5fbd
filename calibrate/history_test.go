package calibrate_test

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/visutility/visutility/calibrate"
)

var monday = time.Date(2026, 3, 2, 10, 0, 0, 0, time.UTC)

// after are points so long after monday, with the values 0, 1, 2 …
func after(times ...time.Duration) []calibrate.Point {
	points := make([]calibrate.Point, len(times))
	for i, d := range times {
		points[i] = calibrate.Point{Time: monday.Add(d).UnixMilli(), Value: float64(i)}
	}
	return points
}

func TestEqualSteps(t *testing.T) {
	const m, s = time.Minute, time.Second
	none := math.NaN()
	for _, c := range []struct {
		name   string
		points []calibrate.Point
		want   calibrate.History
	}{
		{"on time", after(0, m, 2*m, 3*m), calibrate.History{Start: monday, Step: m, Values: []float64{0, 1, 2, 3}}},
		{"a gap", after(0, m, 2*m, 3*m, 6*m), calibrate.History{Start: monday, Step: m, Values: []float64{0, 1, 2, 3, none, none, 4}}},
		{"two in a step", after(0, m, 2*m, 2*m+5*s, 3*m, 4*m), calibrate.History{Start: monday, Step: m, Values: []float64{0, 1, 2.5, 4, 5}}},
		{"a little early and late", after(0, m+s, 2*m-s, 3*m, 4*m+2*s, 5*m-2*s), calibrate.History{Start: monday, Step: m, Values: []float64{0, 1, 2, 3, 4, 5}}},
		{"a step of its own", after(0, 7*m, 14*m, 21*m), calibrate.History{Start: monday, Step: 7 * m, Values: []float64{0, 1, 2, 3}}},
		{"two at the same time", after(0, 0), calibrate.History{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := calibrate.NewHistory(c.points)
			if c.want.Step == 0 {
				if err == nil {
					t.Fatalf("no error, but %v", got)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if d := got.Start.Sub(c.want.Start).Abs(); d > 2*s {
				t.Errorf("it starts at %s", got.Start)
			}
			got.Start, c.want.Masked = c.want.Start, make([]bool, len(c.want.Values))
			if diff := cmp.Diff(&c.want, got, cmpopts.EquateNaNs()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestMaskedPoints(t *testing.T) {
	points := after(0, time.Hour, 2*time.Hour, 2*time.Hour+time.Minute, 3*time.Hour)
	points[3].Masked = true
	h, err := calibrate.NewHistory(points)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]bool{false, false, true, false}, h.Masked); diff != "" {
		t.Error(diff)
	}
}

func TestPointsThatAreNoHistory(t *testing.T) {
	with := func(points []calibrate.Point, change func([]calibrate.Point)) []calibrate.Point {
		change(points)
		return points
	}
	hours := after(0, time.Hour, 2*time.Hour, 3*time.Hour)
	for _, c := range []struct {
		reason calibrate.Reason
		says   string
		points []calibrate.Point
	}{
		{calibrate.TooFewPoints, "at least 1000", after(0)},
		{calibrate.OutOfOrder, "point 1 (2026-03-02T09:00:00Z)", after(0, -time.Hour)},
		{calibrate.NotFinite, "point 2 (2026-03-02T12:00:00Z) has the value NaN", with(after(0, time.Hour, 2*time.Hour), func(p []calibrate.Point) { p[2].Value = math.NaN() })},
		{calibrate.NotFinite, "+Inf", with(after(0, time.Hour), func(p []calibrate.Point) { p[1].Value = math.Inf(1) })},
		{calibrate.Irregular, "same time", after(0, 0, 0, time.Hour)},
		{calibrate.Irregular, "the year 9999", with(after(0, time.Hour), func(p []calibrate.Point) { p[1].Time = math.MaxInt64 })},
		{calibrate.Irregular, "the median interval is 1m0s", after(0, time.Minute, time.Hour, time.Hour+time.Minute, 2*time.Hour, 2*time.Hour+time.Minute)},
		{calibrate.Irregular, "500000 are allowed", append(hours, calibrate.Point{Time: monday.AddDate(4000, 0, 0).UnixMilli()})},
	} {
		_, err := calibrate.NewHistory(c.points)
		var refusal *calibrate.Refusal
		if !errors.As(err, &refusal) || refusal.Reason != c.reason || !strings.Contains(refusal.Message, c.says) {
			t.Errorf("%s, %q: %v", c.reason, c.says, err)
		}
	}
}

// TestResampling: points near equal times, some lost, come back where they were.
func TestResampling(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		step := time.Duration(rapid.IntRange(1, 100_000).Draw(t, "seconds")) * time.Second
		n := rapid.IntRange(10, 60).Draw(t, "steps")
		lost := rapid.SliceOfNDistinct(rapid.IntRange(1, n-2), 0, n/6, rapid.ID).Draw(t, "lost")
		// A step close to a common one is taken for it, so many steps would drift; 60 of 0.2 % too much do not.
		off := rapid.Int64Range(0, step.Milliseconds()/20).Draw(t, "off")
		missing := make(map[int]bool)
		for _, i := range lost {
			missing[i] = true
		}
		var points []calibrate.Point
		for i := range n {
			if !missing[i] {
				jitter := rapid.Int64Range(0, off).Draw(t, "jitter")
				points = append(points, calibrate.Point{Time: monday.Add(time.Duration(i)*step).UnixMilli() + jitter, Value: float64(i)})
			}
		}
		h, err := calibrate.NewHistory(points)
		if err != nil {
			t.Fatal(err)
		}
		total := 0.0
		for _, v := range h.Values {
			if v == v {
				total++
			}
		}
		if h.Step == step && (len(h.Values) != n || int(total) != len(points)) {
			t.Fatalf("%d points on %d steps became %d on %d, with a step of %s", len(points), n, int(total), len(h.Values), h.Step)
		}
		if h.Step == step {
			for i, v := range h.Values {
				if missing[i] != (v != v) || v == v && v != float64(i) {
					t.Fatalf("step %d has %v", i, v)
				}
			}
		}
	})
}
