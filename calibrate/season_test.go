package calibrate

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// sunday is the last one before the first of March 2026, at ten in the evening.
var sunday = time.Date(2026, 2, 22, 22, 0, 0, 0, time.UTC)

func TestMeansOfPhases(t *testing.T) {
	// Four days of six hours each, and a gap.
	values := []float64{
		1, 2, 3, 4, 5, 6,
		3, 4, 5, 6, 7, 8,
		1, 2, math.NaN(), 4, 5, 6,
		3, 4, 5, 6, 7, 8,
	}
	p, rest := describe(values, season{flat[0], {block: 1, period: 6, shift: 2}})
	for hour, want := range []float64{2, 3, 13. / 3, 5, 6, 7} {
		near(t, "the mean of an hour", p.at(hour), want, 1e-12)
		near(t, "the same later", p.at(hour+60), want, 1e-12)
	}
	near(t, "the rest", rest[0], -1, 1e-12)
	if rest[14] == rest[14] {
		t.Errorf("a gap became %v", rest[14])
	}
}

// TestSumOfCycles: days and weekdays that are added are told apart, gaps or not.
func TestSumOfCycles(t *testing.T) {
	hour := func(i int) float64 { return math.Sin(2 * math.Pi * float64((i+22)%24) / 24) }
	weekday := func(i int) float64 { return []float64{0, 0, 0, 0, 0, -2, -3}[(i+22+6*24)/24%7] } // from Monday
	values := make([]float64, 8*168)
	for i := range values {
		values[i] = 5 + hour(i) + weekday(i)
	}
	gaps(rand.New(rand.NewPCG(1, 1)), values, 0.1)
	all := seasons(sunday, time.Hour, len(values), 0)
	if len(all) != 4 {
		t.Fatalf("%d seasons are tried", len(all))
	}
	p, _ := describe(values, all[2])
	for i := range 168 {
		near(t, "an hour of the week", p.at(i), 5+hour(i)+weekday(i), 0.01)
	}
}

// TestCyclesAreFound, and none where there is none. Of a few, Akaike's criterion takes one that is too rich.
func TestCyclesAreFound(t *testing.T) {
	weekend := func(i int) float64 {
		if (i+22+6*24)/24%7 >= 5 {
			return -1
		}
		return 0
	}
	for _, c := range []struct {
		name   string
		add    func(i int) float64
		season int // of those tried
	}{
		{"none", func(int) float64 { return 0 }, 0},
		{"day", func(i int) float64 { return math.Sin(2 * math.Pi * float64(i) / 24) }, 1},
		{"day and weekend", func(i int) float64 { return math.Sin(2*math.Pi*float64(i)/24) + weekend(i) }, 2},
		{"busy Monday mornings", func(i int) float64 {
			if (i+22+6*24)%168/6 == 1 {
				return 8
			}
			return math.Sin(2 * math.Pi * float64(i) / 24)
		}, 3},
	} {
		r := rand.New(rand.NewPCG(3, 3))
		tried := seasons(sunday, time.Hour, 1440, 0)
		found := 0
		const tries = 200
		for range tries {
			values := series(r, 1440, 0.5)
			for i := range values {
				values[i] += c.add(i)
			}
			if got := fit(values, tried, 12).season; got.parameters() == tried[c.season].parameters() {
				found++
			}
		}
		if found < tries*90/100 {
			t.Errorf("%s: right in %d of %d", c.name, found, tries)
		}
	}
}

func TestSeasonsThatFit(t *testing.T) {
	for _, c := range []struct {
		step time.Duration
		n    int
		want time.Duration
		all  []int // parameters
	}{
		{time.Hour, 1440, 0, []int{1, 24, 30, 168}},
		{time.Hour, 1440, -1, []int{1}},
		{time.Hour, 1440, day, []int{24}},
		{time.Hour, 1440, week, []int{30, 168}},
		{time.Hour, 1440, 8 * time.Hour, []int{8}},
		{7 * time.Hour, 1440, 0, []int{1, 24}}, // a week is 24 steps
		{5 * time.Hour, 1440, 0, []int{1}},
		{day, 1000, 0, []int{1, 7}},
		{time.Hour, 600, 0, []int{1, 24}}, // not four weeks
	} {
		all := seasons(sunday, c.step, c.n, c.want)
		if len(all) != len(c.all) {
			t.Errorf("%v: %d seasons, want %v", c, len(all), c.all)
			continue
		}
		for i, s := range all {
			if s.parameters() != c.all[i] {
				t.Errorf("%v: season %d has %d parameters, want %v", c, i, s.parameters(), c.all)
			}
		}
	}
}
