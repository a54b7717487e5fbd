package history

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"github.com/visutility/visutility"
)

// The steps that a chart may have: round for people.
var steps = [...]time.Duration{
	time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 15 * time.Second, 30 * time.Second,
	time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 15 * time.Minute, 30 * time.Minute,
	time.Hour, 2 * time.Hour, 3 * time.Hour, 6 * time.Hour, 12 * time.Hour,
	day, 2 * day, 7 * day, 14 * day, 28 * day, 364 * day,
}

const day = 24 * time.Hour

// stepFor returns a step, not shorter than asked and of whole seconds, with which a range of milliseconds (both included) has
// no more than so many points.
func stepFor(mint, maxt int64, asked time.Duration, points int) int64 {
	fits := func(step int64) bool { return floorDiv(maxt, step)-floorDiv(mint, step) < int64(points) }
	step := 1000 * max(1, int64((asked+time.Second-1)/time.Second))
	if fits(step) {
		return step
	}
	for _, s := range steps {
		if s := s.Milliseconds(); s > step && fits(s) {
			return s
		}
	}
	for step = max(step, steps[len(steps)-1].Milliseconds()); !fits(step); step *= 2 {
	}
	return step
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// A summary adds rows up to points, of any number of series over the same steps. Times are in milliseconds.
type summary struct {
	origin    int64 // the beginning of the first step
	step      int64
	buckets   int
	limit     int  // of timelines
	sparse    bool // steps without rows take no memory
	timelines map[visutility.Series]*timeline
}

func newSummary(mint, maxt int64, q Query) *summary {
	step := stepFor(mint, maxt, q.Step, q.Points)
	first := floorDiv(mint, step)
	return &summary{
		origin:    first * step,
		step:      step,
		buckets:   int(floorDiv(maxt, step)-first) + 1,
		limit:     q.Limit,
		timelines: make(map[visutility.Series]*timeline),
	}
}

// A timeline is one series of a summary.
type timeline struct {
	origin, step int64
	buckets      []bucket
	places       map[int64]int // of the steps in buckets, if the timeline is sparse
	steps        int
}

// at is the bucket of the i-th step, nil outside. It is good until the next call.
func (t *timeline) at(i int64) *bucket {
	if i < 0 || i >= int64(t.steps) {
		return nil
	}
	if t.places == nil {
		return &t.buckets[i]
	}
	k, ok := t.places[i]
	if !ok {
		k = len(t.buckets)
		t.places[i] = k
		t.buckets = append(t.buckets, emptyBucket)
	}
	return &t.buckets[k]
}

// A bucket adds up the rows of one step. Parts arrive in any order, except that rows of one second come by their times.
type bucket struct {
	second, slot   int64 // of last
	last, min, max float64
	count          float64
	set            bool
}

var emptyBucket = bucket{second: math.MinInt64, min: math.Inf(1), max: math.Inf(-1)}

func (s *summary) timeline(key visutility.Series) (*timeline, error) {
	key.Model = ""
	t := s.timelines[key]
	if t == nil {
		if len(s.timelines) == s.limit {
			return nil, visutility.Invalidf("metric", "too_many", "more than %d series match: name a metric, or a higher limit", s.limit)
		}
		t = &timeline{origin: s.origin, step: s.step, steps: s.buckets}
		if s.sparse {
			t.places = make(map[int64]int)
		} else {
			t.buckets = slices.Repeat([]bucket{emptyBucket}, s.buckets)
		}
		s.timelines[key] = t
	}
	return t, nil
}

// setLast takes a value as the last unless it has a later one. Slots go round: the later of two is
// the one less than half a round ahead.
func (b *bucket) setLast(second, slot int64, v float64) {
	if second > b.second || second == b.second && (slot-b.slot+slots)%slots < slots/2 {
		b.second, b.slot, b.last = second, slot, v
	}
}

// addRow adds a row that is not in the database.
func (t *timeline) addRow(r row, slot int64) {
	b := t.at(floorDiv(1000*r.second-t.origin, t.step))
	if b == nil {
		return
	}
	b.set = true
	b.min, b.max, b.count = min(b.min, r.min), max(b.max, r.max), b.count+float64(r.count)
	b.setLast(r.second, slot, r.last)
}

// read adds the samples of one part of the rows.
func (t *timeline) read(stat string, it chunkenc.Iterator) {
	var b *bucket
	end := int64(math.MinInt64) // of b
	for it.Next() == chunkenc.ValFloat {
		at, v := it.At()
		if at >= end {
			i := floorDiv(at-t.origin, t.step)
			next := t.at(i)
			if next == nil {
				continue
			}
			b = next
			b.set = true
			end = t.origin + (i+1)*t.step
		}
		switch stat {
		case statLast:
			second := floorDiv(at, 1000)
			b.setLast(second, at-1000*second, v)
		case statMin:
			b.min = min(b.min, v)
		case statMax:
			b.max = max(b.max, v)
		case statCount:
			b.count += v
		}
	}
}

// series returns what has been added up.
func (s *summary) series() []Series {
	var list []Series
	for key, t := range s.timelines {
		points := t.points()
		if len(points) == 0 {
			continue
		}
		list = append(list, Series{
			Metric: key.Metric, Version: key.Version, Labels: key.Labels.Map(),
			Step: time.Duration(s.step) * time.Millisecond, Points: points,
		})
	}
	slices.SortFunc(list, func(a, b Series) int {
		return cmp.Or(cmp.Compare(a.Metric, b.Metric), cmp.Compare(a.Version, b.Version),
			cmp.Compare(visutility.MakeLabels(a.Labels), visutility.MakeLabels(b.Labels)))
	})
	return list
}

func (t *timeline) points() []Point {
	if t.places != nil {
		points := make([]Point, 0, len(t.buckets))
		for _, i := range slices.Sorted(maps.Keys(t.places)) {
			points = append(points, t.point(i, &t.buckets[t.places[i]]))
		}
		return points
	}
	n := 0
	for i := range t.buckets {
		if t.buckets[i].set {
			n++
		}
	}
	points := make([]Point, 0, n)
	for i := range t.buckets {
		if b := &t.buckets[i]; b.set {
			points = append(points, t.point(int64(i), b))
		}
	}
	return points
}

func (t *timeline) point(i int64, b *bucket) Point {
	return Point{
		Time: time.UnixMilli(t.origin + i*t.step).UTC(),
		Last: b.last, Min: b.min, Max: b.max, Count: wholeCount(b.count),
	}
}

// wholeCount is a sum of counts as an integer, at most MaxInt64.
func wholeCount(v float64) int64 {
	if v >= math.MaxInt64 {
		return math.MaxInt64
	}
	return int64(v)
}
