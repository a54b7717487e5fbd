package backtest

import (
	"fmt"
	"slices"
	"time"

	"github.com/visutility/visutility/policy"
)

// maxCells bounds the places for values of all series of a test that is written. It bounds the memory that this takes.
const maxCells = 2_000_000

// coarse are the grids that times are rounded to where the finest would have too many places.
var coarse = []int64{
	2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 604_800, 2_419_200, 31_449_600,
}

// A grid gives each event a place: it starts at a time, in milliseconds, and has a step in seconds.
type grid struct{ start, step int64 }

func (g grid) place(at int64) int64 { return (at - g.start + 500*g.step) / (1000 * g.step) }

// finest is the coarsest grid on which all events lie exactly; a minute for a single time.
func finest(start int64, events []sighting) grid {
	step := int64(0)
	for _, e := range events {
		for a, b := (e.at-start)/1000, step; ; a, b = b, a%b {
			if b == 0 {
				step = a
				break
			}
		}
	}
	if step == 0 {
		step = 60
	}
	return grid{start, step}
}

// A lane is a series of the test. The events of one series that share a place are in lanes one after the other.
type lane struct {
	series int
	places int64 // up to its last event
}

// lanes are those that the events need on a grid, and how many places they have together.
func (g grid) lanes(events []sighting, series int) (all [][]lane, cells int64) {
	all = make([][]lane, series)
	g.each(events, series, func(e sighting, place int64, n int) {
		if n == len(all[e.series]) {
			all[e.series] = append(all[e.series], lane{series: e.series})
		}
		all[e.series][n].places = place + 1
	})
	for _, lanes := range all {
		for _, l := range lanes {
			cells += l.places
		}
	}
	return all, cells
}

// each tells the place of every event, and its number among those of its series there.
func (g grid) each(events []sighting, series int, tell func(e sighting, place int64, n int)) {
	last, next := slices.Repeat([]int64{-1}, series), make([]int, series)
	for _, e := range events {
		place := g.place(e.at)
		if place != last[e.series] {
			last[e.series], next[e.series] = place, 0
		}
		tell(e, place, next[e.series])
		next[e.series]++
	}
}

// fits reports whether the events can be written on a grid.
func (g grid) fits(events []sighting, series int) bool {
	all, cells := g.lanes(events, series)
	return cells <= maxCells && !slices.ContainsFunc(all, func(lanes []lane) bool {
		return slices.ContainsFunc(lanes, func(l lane) bool { return l.places > maxValues })
	})
}

// layOut gives the events their places in series.
func (s *story) layOut() error {
	g := finest(s.first(), s.events)
	if !g.fits(s.events, len(s.Series)) && s.closeGap() {
		g = finest(s.first(), s.events)
	}
	for i := 0; !g.fits(s.events, len(s.Series)); i++ {
		if i == len(coarse) {
			return fmt.Errorf("decision %s: its story of %d events does not fit into a test", s.Decision.ID, len(s.events))
		}
		if coarse[i] > g.step {
			g.step = coarse[i]
			s.rounded = g.step
		}
	}
	d := &s.Decision
	s.test = testCase{
		Name:  fmt.Sprintf("%s, as decided on %s", outcomeOf(d), d.Time.UTC().Format(time.RFC3339)),
		Start: moment(time.UnixMilli(g.start).UTC()), Interval: duration(time.Duration(g.step) * time.Second),
		Series: s.specs(g),
	}
	if s.promoted != nil && s.promoted.Version != "" {
		s.test.Champion = &served{Model: d.Model, Version: s.promoted.Version, Metrics: s.scores(s.promoted.Version)}
	}
	return nil
}

// first is when the story begins: with its first event, or where age or silence counts with what began it.
func (s *story) first() int64 {
	if len(s.events) > 0 && !s.clocked {
		return s.events[0].at
	}
	return s.begin / 1000 * 1000
}

// closeGap brings the first events of a champion nearer to the others, as far as no condition can tell.
func (s *story) closeGap() bool {
	if s.clocked {
		return false
	}
	widest, at := s.reach.Window.Milliseconds(), 0
	for i := 1; i < len(s.events); i++ {
		if gap := s.events[i].at - s.events[i-1].at; gap > widest {
			widest, at = gap, i
		}
	}
	if at == 0 || slices.ContainsFunc(s.runs, func(r opened) bool { return r.at < s.events[at].at }) {
		return false
	}
	by := (widest - s.reach.Window.Milliseconds()) / 1000 * 1000
	for i := range at {
		s.events[i].at += by
	}
	s.notes = append(s.notes, fmt.Sprintf("the first %d events come %s later than they did: for so long there was nothing that counts",
		at, policy.FormatDuration(time.Duration(by)*time.Millisecond)))
	return true
}

// specs are the series with the events in their places.
func (s *story) specs(g grid) []seriesSpec {
	lanes, _ := g.lanes(s.events, len(s.Series))
	specs := make([][]seriesSpec, len(lanes))
	for i, of := range lanes {
		h := &s.Series[i]
		for _, l := range of {
			spec := seriesSpec{
				Model: s.Decision.Model, Metric: h.Metric, Version: h.Version, Labels: h.Labels,
				Values: make(values, l.places), Counts: make(counts, l.places),
			}
			for k := range spec.Values {
				spec.Values[k].none = true
			}
			specs[i] = append(specs[i], spec)
		}
	}
	g.each(s.events, len(s.Series), func(e sighting, place int64, n int) {
		specs[e.series][n].Values[place] = sample{value: e.value}
		specs[e.series][n].Counts[place] = e.count
	})
	all := slices.Concat(specs...)
	for i := range all {
		all[i].evenCounts()
	}
	if len(all) == 0 { // nothing was measured, and that decided
		all = []seriesSpec{{Model: s.Decision.Model, Metric: s.reach.Metrics[0], Values: values{{none: true}}}}
	}
	return all
}

// evenCounts makes one count of many, where they are all the same. Where there is no value the count before goes on.
func (x *seriesSpec) evenCounts() {
	first := uint64(0)
	for i, n := range x.Counts {
		if n > 0 {
			if first == 0 {
				first = n
			}
			continue
		}
		if i > 0 {
			x.Counts[i] = x.Counts[i-1]
		}
	}
	for i := range x.Counts {
		if x.Counts[i] > 0 {
			break
		}
		x.Counts[i] = first
	}
	if !slices.ContainsFunc(x.Counts, func(n uint64) bool { return n != first }) {
		x.Count, x.Counts = first, nil
		if first == 1 {
			x.Count = 0 // as it is where nothing is said
		}
	}
}
