package quality

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"sort"
	"time"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/drift"
	"github.com/visutility/visutility/quality/internal/pb"
)

const (
	maxCategories = 100 // of a feature; the others count as one
	groups        = 10  // of a reference's numbers, of about equal size
	driftPrefix   = "drift."
	scoreColumn   = "probability_drift" // of scores
	answerColumn  = "prediction_drift"  // of what is predicted
	otherCategory = "\x00"              // occurs in no category
)

// A column is the values of a feature in a cohort.
type column struct {
	Numbers    *sketch
	Categories map[string]float64
}

func (c *column) add(a visutility.Answer) {
	if a.Class == "" {
		if c.Numbers == nil {
			c.Numbers = new(newSketch())
		}
		c.Numbers.add(a.Number)
		return
	}
	if c.Categories == nil {
		c.Categories = map[string]float64{}
	}
	if _, known := c.Categories[a.Class]; !known && len(c.Categories) >= maxCategories {
		a.Class = otherCategory
	}
	c.Categories[a.Class]++
}

// observe counts a prediction in its cohort, and its features.
func (j *Joiner) observe(m *model, c *cohort, p *pb.Prediction, e entry) {
	c.predicted++
	answer := visutility.Answer{Class: p.Class, Number: p.Number}
	if e.class >= 0 {
		answer.Class = c.classes[e.class]
	}
	if e.class != scoreAlone {
		j.column(c, answerColumn, answer)
	}
	if p.Score != nil {
		j.column(c, scoreColumn, visutility.Answer{Number: logit(*p.Score)})
	}
	for _, f := range p.Features {
		j.column(c, driftPrefix+f.Name, visutility.Answer{Class: f.Category, Number: f.Number})
	}
}

func (j *Joiner) column(c *cohort, name string, a visutility.Answer) {
	x := c.columns[name]
	if x == nil {
		if j.columns >= j.limits.Columns {
			j.drop(dropFeature, 1)
			return
		}
		x = &column{}
		c.columns[name] = x
		j.columns++
	}
	x.add(a)
}

// A reference is what a cohort's features were when its version was new.
type reference struct {
	Columns map[string]*standard
	Seen    int64 // the end of the last window held against it
}

// A standard is a feature of a reference: how many numbers are up to each edge, and of
// which category there are how many.
type standard struct {
	Edges      []float64
	Numbers    []float64 // one more than edges: the last are those above
	Categories map[string]float64
	// Either tells that numbers and categories are the same values: what they are held against says what they are.
	Either bool
}

// reference is that of a cohort, made if need be.
func (m *model) reference(s series) *reference {
	r := m.refs[s]
	if r != nil {
		return r
	}
	if len(m.refs) >= maxReferences {
		oldest := slices.MinFunc(slices.Collect(maps.Keys(m.refs)), func(a, b series) int {
			return cmp.Or(cmp.Compare(m.refs[a].Seen, m.refs[b].Seen), cmp.Compare(a.Version, b.Version), cmp.Compare(a.Labels, b.Labels))
		})
		delete(m.refs, oldest)
	}
	r = &reference{Columns: map[string]*standard{}}
	m.refs[s] = r
	return r
}

// drifts holds every column against the reference that was given, or else that of the version; those that have none become it.
func (c *cohort) drifts(m *model) []measured {
	r := m.reference(c.series)
	r.Seen = c.window.end
	var out []measured
	worst := measured{visutility.DriftScore, math.NaN(), 0}
	for _, name := range slices.Sorted(maps.Keys(c.columns)) {
		x := c.columns[name]
		if x.count() < float64(m.settings.MinSamples) {
			continue
		}
		ref := cmp.Or(m.given[name], r.Columns[name])
		if ref == nil {
			r.Columns[name] = x.standard()
			continue
		}
		d := measured{name, ref.distance(x, m.settings.Distance), x.count()}
		out = append(out, d)
		if !(d.value <= worst.value) {
			worst.value, worst.count = d.value, d.count
		}
	}
	return append(out, worst)
}

func (c *column) count() float64 {
	n := 0.0
	for _, k := range c.Categories {
		n += k
	}
	if c.Numbers != nil {
		n += c.Numbers.GetCount()
	}
	return n
}

// standard makes a reference of a column: its numbers in groups of whole bins, of about equal size.
func (c *column) standard() *standard {
	s := &standard{Categories: maps.Clone(c.Categories)}
	bins := c.bins()
	left := 0.0
	for _, b := range bins {
		left += b.count
	}
	s.Edges, s.Numbers = append(s.Edges, math.Inf(-1)), append(s.Numbers, 0) // what is below all of the reference is a group too
	if len(bins) > 0 {
		s.Edges[0] = math.Nextafter(bins[0].value, math.Inf(-1))
	}
	group, in := groups, 0.0
	for i, b := range bins {
		in += b.count
		if in >= left/float64(group) || i == len(bins)-1 {
			s.Edges, s.Numbers = append(s.Edges, b.value), append(s.Numbers, in)
			left, in, group = left-in, 0, max(1, group-1)
		}
	}
	s.Numbers = append(s.Numbers, 0)
	return s
}

// A bin is a value of a sketch, and how often it occurred.
type bin struct{ value, count float64 }

func (c *column) bins() []bin {
	var bins []bin
	if c.Numbers != nil {
		c.Numbers.ForEach(func(v, n float64) bool { bins = append(bins, bin{v, n}); return false })
	}
	slices.SortFunc(bins, func(a, b bin) int { return cmp.Compare(a.value, b.value) })
	return bins
}

// distance is how far a column is from the reference; NaN when it cannot be told.
func (s *standard) distance(c *column, by Distance) float64 {
	was, is := s.bins(c)
	measure := drift.PSI
	switch by {
	case JensenShannon:
		measure = drift.JensenShannon
	case ChiSquare:
		if was, is = pool(was, is); len(was) < 2 {
			return 0
		}
		measure = drift.ChiSquare
	}
	d, err := measure(was, is)
	if err != nil {
		return math.NaN()
	}
	if by == ChiSquare {
		return d.Value / drift.ChiSquareLimit(len(was), chance)
	}
	return d.Value
}

// bins are the counts of the reference and of a column, over the same bins.
func (s *standard) bins(c *column) (was, is []float64) {
	was, is = make([]float64, len(s.Numbers)), make([]float64, len(s.Numbers))
	if !s.Either || c.Numbers != nil {
		copy(was, s.Numbers)
	}
	for _, b := range c.bins() {
		is[sort.SearchFloat64s(s.Edges, b.value)] += b.count
	}
	names := map[string]float64{}
	if !s.Either || c.Numbers == nil {
		maps.Copy(names, s.Categories)
	}
	categories := maps.Clone(names)
	maps.Copy(names, c.Categories)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		was, is = append(was, categories[name]), append(is, c.Categories[name])
	}
	return was, is
}

// The statistic of a chi-square test is held against what chance alone exceeds so often. Bins in which fewer than
// some are expected are counted as one, where its distribution would not hold.
const (
	chance = 0.001
	some   = 5
)

// pool joins the bins with too few for a chi-square test, and drops those with none.
func pool(was, is []float64) (pooledWas, pooledIs []float64) {
	var n, m float64
	for i := range was {
		n, m = n+was[i], m+is[i]
	}
	var restWas, restIs float64
	for i := range was {
		if all := was[i] + is[i]; all*min(n, m) < some*(n+m) {
			restWas, restIs = restWas+was[i], restIs+is[i]
		} else {
			pooledWas, pooledIs = append(pooledWas, was[i]), append(pooledIs, is[i])
		}
	}
	if restWas+restIs > 0 {
		pooledWas, pooledIs = append(pooledWas, restWas), append(pooledIs, restIs)
	}
	return pooledWas, pooledIs
}

func millisTime(ms int64) time.Time { return time.UnixMilli(ms).UTC() }
