package calibrate

import (
	"slices"
	"time"
)

// A cycle is a pattern that comes back: a layer of means. The first layer of every season
// is the mean of all.
type cycle struct {
	block  int // steps that share a mean
	period int // blocks until it begins anew
	shift  int // steps from the beginning of a period to the first value
}

func (c cycle) phase(i int) int { return (i + c.shift) / c.block % c.period }

// A season is a sum of cycles.
type season []cycle

var flat = season{{block: 1, period: 1}}

func (s season) parameters() int {
	n := 1
	for _, c := range s {
		n += c.period - 1
	}
	return n
}

// length is how many steps the season takes; 1 for none.
func (s season) length() int {
	last := s[len(s)-1]
	return last.block * last.period
}

// A profile is a season that has been fitted: what it adds to the value at each step, until it begins anew.
type profile struct {
	season season
	curve  []float64
}

// sweeps is how often the means of one cycle are fitted to what the others leave; gaps
// make them depend on each other, a little.
const sweeps = 3

// describe fits a season, and returns what is left of the values as well.
func describe(values []float64, s season) (profile, []float64) {
	p := profile{season: s, curve: make([]float64, s.length())}
	rest := slices.Clone(values)
	passes := 1
	if len(s) > 2 {
		passes = sweeps
	}
	for range passes {
		for _, c := range s {
			means := c.means(rest)
			for t := range rest {
				rest[t] -= means[c.phase(t)]
			}
			for t := range p.curve {
				p.curve[t] += means[c.phase(t)]
			}
		}
	}
	return p, rest
}

// means of the values by phase; 0 where there are none.
func (c cycle) means(values []float64) []float64 {
	means, counts := make([]float64, c.period), make([]float64, c.period)
	for t, v := range values {
		if v == v {
			k := c.phase(t)
			counts[k]++
			means[k] += (v - means[k]) / counts[k]
		}
	}
	return means
}

// at is what the season adds to the value at a step.
func (p *profile) at(t int) float64 { return p.curve[t%len(p.curve)] }

const (
	day  = 24 * time.Hour
	week = 7 * day
)

// minCycles is how often a cycle must have come back to be learned.
const minCycles = 4

// seasons are what may be tried for n values, in the order of their size.
func seasons(start time.Time, step time.Duration, n int, want time.Duration) []season {
	if want < 0 {
		return []season{flat}
	}
	of := func(d time.Duration) cycle {
		into := start.UnixMilli()%d.Milliseconds() + step.Milliseconds()/2
		return cycle{block: 1, period: int(d / step), shift: int(into / step.Milliseconds())}
	}
	with := func(cycles ...cycle) season { return append(flat[:1:1], cycles...) }
	fits := func(d time.Duration) bool { return d%step == 0 && d/step >= 2 && n >= minCycles*int(d/step) }
	weekdays := func() cycle { return cycle{block: int(day / step), period: 7, shift: of(week).shift} }
	switch {
	case want == week && fits(day):
		return []season{with(of(day), weekdays()), with(of(week))}
	case want > 0:
		return []season{with(of(want))}
	}
	all := []season{flat}
	if fits(day) {
		all = append(all, with(of(day)))
	}
	if fits(week) && fits(day) {
		all = append(all, with(of(day), weekdays()))
	}
	if fits(week) {
		all = append(all, with(of(week)))
	}
	return all
}
