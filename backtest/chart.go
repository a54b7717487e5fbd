package backtest

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/visutility/visutility/policy"
)

const (
	// maxCharts bounds the charts of a report: the models with the most runs have them.
	maxCharts = 24
	// maxMarks bounds the runs, breaches and incidents that one chart shows.
	maxMarks = 2000
	// The size of the plot, and how many stretches of time the values are summed up in.
	chartWidth, chartHeight, chartBuckets = 800.0, 160.0, 400
)

// A chart is one metric of one model over time, ready to be drawn: all places are in the
// plot's own units.
type chart struct {
	Model, Metric string
	Line          string // path of the means
	Was           string // path of the means of the data, where a simulation made others of them
	Range         string // path from least to greatest
	Low, High     string // the values at the bottom and at the top
	Breaches      []mark
	Incidents     []mark
	Runs          []mark
	Ticks         []mark
	Width, Height float64
}

// A mark is a place on the time axis.
type mark struct {
	X, Width float64
	Title    string
}

// buckets sums up one metric of one model.
type buckets struct {
	sum, least, greatest [chartBuckets]float64
	n                    [chartBuckets]int
}

func (b *buckets) add(k int, v float64) {
	if b.n[k] == 0 {
		b.least[k], b.greatest[k] = v, v
	}
	b.sum[k] += v
	b.n[k]++
	b.least[k], b.greatest[k] = min(b.least[k], v), max(b.greatest[k], v)
}

// charts draws the metrics that the policies of the first plan read, for the models with the most runs.
func (r *Report) charts(data *Data, policies []*policy.Policy) []chart {
	models := r.busiest(data)
	keys := make(map[[2]string]bool)
	for _, m := range models {
		for _, p := range policies {
			if p.Matches(m) {
				for metric := range p.Metrics {
					keys[[2]string{m, metric}] = true
				}
			}
		}
	}
	place := r.placer()
	was := summed(data, keys, place)
	is, simulated := was, r.Plans[0].lived
	if simulated != nil {
		is = summed(simulated, keys, place)
	}
	var drawn []chart
	for key := range keys {
		s, ok := scaleOf(is[key], was[key])
		if !ok {
			continue
		}
		c := s.chart()
		c.Model, c.Metric = key[0], key[1]
		c.Line, c.Range = is[key].draw(s)
		if simulated != nil {
			c.Was, _ = was[key].draw(s)
		}
		drawn = append(drawn, c)
	}
	slices.SortFunc(drawn, func(a, b chart) int {
		return cmp.Or(cmp.Compare(slices.Index(models, a.Model), slices.Index(models, b.Model)), cmp.Compare(a.Metric, b.Metric))
	})
	drawn = drawn[:min(len(drawn), maxCharts)]
	for i := range drawn {
		r.mark(&drawn[i], place)
	}
	return drawn
}

// summed sums up metrics of models.
func summed(data *Data, keys map[[2]string]bool, place func(int64) float64) map[[2]string]*buckets {
	all := make(map[[2]string]*buckets, len(keys))
	for key := range keys {
		all[key] = new(buckets)
	}
	for i := range data.records {
		x := &data.records[i]
		s := &data.series[x.series]
		if b := all[[2]string{s.Model, s.Metric}]; b != nil {
			b.add(min(int(place(x.time)/chartWidth*chartBuckets), chartBuckets-1), x.value)
		}
	}
	return all
}

// busiest are models in the order of how often they would have been retrained, then of their names.
func (r *Report) busiest(data *Data) []string {
	runs := make(map[string]int)
	for i := range data.series {
		runs[data.series[i].Model] = 0
	}
	for _, x := range r.Plans[0].Runs {
		runs[x.Model]++
	}
	models := make([]string, 0, len(runs))
	for m := range runs {
		models = append(models, m)
	}
	slices.SortFunc(models, func(a, b string) int { return cmp.Or(cmp.Compare(runs[b], runs[a]), cmp.Compare(a, b)) })
	return models[:min(len(models), maxCharts)]
}

// placer maps time to the width of the plot.
func (r *Report) placer() func(ms int64) float64 {
	from, all := r.From.UnixMilli(), max(float64(r.To.Sub(r.From).Milliseconds()), 1)
	return func(ms int64) float64 { return float64(ms-from) / all * chartWidth }
}

// A scale maps values to the height of the plot.
type scale struct{ low, high float64 }

// scaleOf holds all values; false when there are none.
func scaleOf(all ...*buckets) (scale, bool) {
	s := scale{math.Inf(1), math.Inf(-1)}
	for _, b := range all {
		for k, n := range b.n {
			if n > 0 {
				s.low, s.high = min(s.low, b.least[k]), max(s.high, b.greatest[k])
			}
		}
	}
	return s, s.low <= s.high
}

func (s scale) chart() chart {
	return chart{Low: fmt.Sprintf("%.4g", s.low), High: fmt.Sprintf("%.4g", s.high), Width: chartWidth, Height: chartHeight}
}

func (s scale) place(v float64) float64 {
	if s.high == s.low {
		return chartHeight / 2
	}
	return chartHeight * (1 - (v-s.low)/(s.high-s.low))
}

// draw turns sums into paths.
func (b *buckets) draw(y scale) (line, extent string) {
	var means, ranges strings.Builder
	pen := "M"
	for k, n := range b.n {
		if n == 0 {
			continue
		}
		x := (float64(k) + 0.5) / chartBuckets * chartWidth
		fmt.Fprintf(&means, "%s%.1f %.1f", pen, x, y.place(b.sum[k]/float64(n)))
		pen = "L"
		fmt.Fprintf(&ranges, "M%.1f %.1fV%.1f", x, y.place(b.least[k]), y.place(b.greatest[k]))
	}
	return means.String(), ranges.String()
}

// mark adds to a chart what happened to its model.
func (r *Report) mark(c *chart, place func(int64) float64) {
	spans := func(all []span, what string) (marks []mark) {
		for _, s := range all[:min(len(all), maxMarks)] {
			from := place(s.from)
			marks = append(marks, mark{from, max(place(s.to)-from, 0.5), fmt.Sprintf("%s from %s to %s", what, minute(utc(s.from)), minute(utc(s.to)))})
		}
		return marks
	}
	c.Breaches = spans(r.Plans[0].breaches[c.Model], "in breach")
	c.Incidents = spans(r.incidents[c.Model], "incident")
	for _, x := range r.Plans[0].Runs {
		if x.Model == c.Model && len(c.Runs) < maxMarks {
			c.Runs = append(c.Runs, mark{X: place(x.Time.UnixMilli()), Title: fmt.Sprintf("retrained %s by %s: %s", minute(x.Time), x.Policy, x.Reason)})
		}
	}
	const ticks = 5
	for i := range ticks + 1 {
		t := r.From.Add(r.To.Sub(r.From) * time.Duration(i) / ticks)
		c.Ticks = append(c.Ticks, mark{X: place(t.UnixMilli()), Title: t.Format(time.DateOnly)})
	}
}

func minute(t time.Time) string { return t.Format("2006-01-02 15:04") }
