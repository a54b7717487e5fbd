package backtest

import (
	"cmp"
	"maps"
	"math"
	"slices"

	"github.com/visutility/visutility"
)

// A course is the events that are still to come under one plan: those of the data and, once a simulation has
// promoted a version, in the place of some of them those that this version would have had.
type course struct {
	data    *Data
	series  []visutility.Series // those of the data, then those of scores, in the order in which these came
	records []record            // the next first
	fed     int64               // the time of the last one taken
	scores  map[string]*scored  // by model; none: its events are the data's
}

// scored are the scores of one version, in a course.
type scored struct {
	*Data
	first uint32 // where their series begin in the course's
}

// newCourse is the data as it is. What serves in a simulation is decided there, so the versions that the
// past had say nothing: bare leaves them out.
func newCourse(data *Data, bare bool) *course {
	c := &course{data: data, series: data.series, records: data.records, fed: math.MinInt64, scores: make(map[string]*scored)}
	if bare {
		c.series = slices.Clone(data.series)
		for i := range c.series {
			c.series[i].Version = ""
		}
	}
	return c
}

// from is the earliest time of which all events are still to come, not before t.
func (c *course) from(t int64) int64 {
	if c.fed >= t {
		return c.fed + 1
	}
	return t
}

// turn has the events of a model be others, from a time on for which from has answered: scores take the place
// of the data's events of the metrics that they have. nil gives the model the data's own again.
func (c *course) turn(from int64, model string, scores *Data) {
	delete(c.scores, model)
	if scores != nil {
		c.scores[model] = &scored{scores, uint32(len(c.series))}
		c.series = append(c.series[:len(c.series):len(c.series)], scores.series...)
	}
	rest := c.records
	if k := after(rest, from); k < len(rest) {
		rest = rest[:k]
	}
	c.records = merged(slices.Clone(rest), c.unreplaced(from), c.replacing(from))
}

// after is the place of the first record of a time or later.
func after(records []record, from int64) int {
	k, _ := slices.BinarySearchFunc(records, from, func(r record, t int64) int { return cmp.Compare(r.time, t) })
	return k
}

// unreplaced are the data's events from a time on that nothing stands in for.
func (c *course) unreplaced(from int64) []record {
	hidden := make([]bool, len(c.data.series))
	for i := range c.data.series {
		s := &c.data.series[i]
		if x := c.scores[s.Model]; x != nil {
			hidden[i] = x.has(s.Metric)
		}
	}
	var kept []record
	for _, r := range c.data.records[after(c.data.records, from):] {
		if !hidden[r.series] {
			kept = append(kept, r)
		}
	}
	return kept
}

// replacing are the scores from a time on, in the order of time.
func (c *course) replacing(from int64) []record {
	var all []record
	for _, model := range slices.Sorted(maps.Keys(c.scores)) {
		x := c.scores[model]
		for _, r := range x.records[after(x.records, from):] {
			r.series += x.first
			all = append(all, r)
		}
	}
	slices.SortStableFunc(all, func(a, b record) int { return cmp.Compare(a.time, b.time) })
	return all
}

// merged appends the records of a and b, both in the order of time; a's come first where the times are the same.
func merged(to, a, b []record) []record {
	to = slices.Grow(to, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		if a[0].time <= b[0].time {
			to, a = append(to, a[0]), a[1:]
		} else {
			to, b = append(to, b[0]), b[1:]
		}
	}
	return append(append(to, a...), b...)
}

// has reports whether there are events of a metric.
func (d *Data) has(metric string) bool {
	return slices.ContainsFunc(d.series, func(s visutility.Series) bool { return s.Metric == metric })
}
