package history

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"github.com/visutility/visutility"
)

// A Query asks for the history of a model.
type Query struct {
	// Model is the name of the model. Required.
	Model string
	// Metric is the name of the metric. Defaults to all of the model.
	Metric string
	// From and To bound the event time asked for: From ≤ t < To, in whole seconds. Default
	// to the first and the last event there is.
	From, To time.Time
	// Step is the time that one point stands for. It is made longer, to a round
	// duration, as Points demands. Defaults to the shortest round one that Points allows, at least 1 s.
	Step time.Duration
	// Points is how many points a series may have. Defaults to 2,000.
	Points int
	// Limit is how many series there may be; if there are more, Select returns ErrInvalid. Defaults to 500.
	Limit int
}

// A Series is the history of a metric under one version and set of labels.
type Series struct {
	Metric  string            `json:"metric"`
	Version string            `json:"version,omitempty"`
	Labels  map[string]string `json:"labels,omitempty"`
	// Step is the time that a point stands for.
	Step   time.Duration `json:"-"`
	Points []Point       `json:"points"`
}

// A Point sums up the events of a step.
type Point struct {
	// Time is the beginning of the step, a multiple of its length since 1970.
	Time time.Time `json:"time"`
	// Last is the value of the last event of the newest second.
	Last float64 `json:"last"`
	Min  float64 `json:"min"`
	Max  float64 `json:"max"`
	// Count is the sum of the counts of the events: the samples behind the point.
	Count int64 `json:"count"`
}

func (q Query) withDefaults() (Query, error) {
	q.Points = cmp.Or(q.Points, 2000)
	q.Limit = cmp.Or(q.Limit, 500)
	switch {
	case q.Model == "":
		return q, visutility.Invalidf("model", "empty", "is missing")
	case !q.From.IsZero() && !q.To.IsZero() && !q.From.Before(q.To):
		return q, visutility.Invalidf("to", "range", "is not after from")
	case q.Step < 0:
		return q, visutility.Invalidf("step", "range", "is negative")
	case q.Points < 1 || q.Limit < 1:
		return q, visutility.Invalidf("points", "range", "is negative")
	}
	return q, nil
}

// bounds are the milliseconds to read, both included.
func (q Query) bounds() (mint, maxt int64) {
	mint, maxt = math.MinInt64, math.MaxInt64
	if !q.From.IsZero() {
		mint = 1000 * q.From.Unix()
	}
	if !q.To.IsZero() {
		maxt = 1000*q.To.Add(time.Second-1).Unix() - 1
	}
	return mint, maxt
}

func (q Query) matchers() []*labels.Matcher {
	equal := func(name, value string) *labels.Matcher {
		return &labels.Matcher{Type: labels.MatchEqual, Name: name, Value: value}
	}
	m := []*labels.Matcher{equal(model.MetricNameLabel, nameMetric), equal(labelModel, q.Model)}
	if q.Metric != "" {
		m = append(m, equal(labelMetric, q.Metric))
	}
	return m
}

// Select returns the history of a model's metrics, down-sampled, sorted by metric, version and labels. It includes
// everything observed before the call. A series has points only where it had events. No series is no error.
func (h *History) Select(ctx context.Context, q Query) (_ []Series, err error) {
	q, err = q.withDefaults()
	if err != nil {
		return nil, err
	}
	done, err := h.use()
	if err != nil {
		return nil, err
	}
	defer done()
	mint, maxt := q.bounds()
	s, err := h.snapshot(q, mint, maxt)
	if err != nil {
		return nil, fmt.Errorf("history of %q: %w", q.Model, err)
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if mint == math.MinInt64 || maxt == math.MaxInt64 {
		first, last, err := s.extent(ctx, q)
		if err != nil {
			return nil, fmt.Errorf("history of %q: %w", q.Model, err)
		}
		mint, maxt = max(mint, first), min(maxt, last)
	}
	if maxt < mint {
		return nil, nil
	}
	sum := newSummary(mint, maxt, q)
	if err := s.read(ctx, q, sum); err != nil {
		return nil, fmt.Errorf("history of %q: %w", q.Model, err)
	}
	return sum.series(), nil
}

// Metrics returns the names of a model's metrics, sorted; none for a model without events.
func (h *History) Metrics(ctx context.Context, model string) (_ []string, err error) {
	done, err := h.use()
	if err != nil {
		return nil, err
	}
	defer done()
	q := Query{Model: model}
	s, err := h.snapshot(q, math.MinInt64, math.MaxInt64)
	if err != nil {
		return nil, fmt.Errorf("metrics of %q: %w", model, err)
	}
	defer func() { err = errors.Join(err, s.close()) }()
	names, _, err := s.rows.LabelValues(ctx, labelMetric, nil, q.matchers()...)
	if err != nil {
		return nil, fmt.Errorf("metrics of %q: %w", model, err)
	}
	names = slices.Clone(names) // some belong to the database's memory
	for _, o := range s.open {
		names = append(names, o.key.Metric)
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// A snapshot is what there is at one moment: rows in the database, and rows in memory that come after them.
type snapshot struct {
	rows   storage.Querier
	chunks storage.ChunkQuerier
	open   []openRows
	slot   int64    // of the open rows
	only   []string // the metrics asked for, nil for what the query says
}

type openRows struct {
	key  visutility.Series
	rows []row
}

// snapshot takes one: rows are never in both places, nor in neither. Close it.
func (h *History) snapshot(q Query, mint, maxt int64) (*snapshot, error) {
	s := &snapshot{}
	h.mu.RLock()
	p := h.homes[q.Model]
	h.mu.RUnlock()
	if p != nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		s.slot = slotOf(p.cut, p.sub)
		for _, in := range p.models[q.Model] {
			if q.Metric != "" && in.key.Metric != q.Metric {
				continue
			}
			o := openRows{key: in.key}
			for _, r := range in.rows {
				if t := 1000 * r.second; mint <= t && t <= maxt {
					o.rows = append(o.rows, r)
				}
			}
			if len(o.rows) > 0 {
				s.open = append(s.open, o)
			}
		}
	}
	var err error
	if s.rows, err = h.db.Querier(mint, maxt); err != nil {
		return nil, err
	}
	if s.chunks, err = h.db.ChunkQuerier(mint, maxt); err != nil {
		return nil, errors.Join(err, s.rows.Close())
	}
	return s, nil
}

func (s *snapshot) close() error { return errors.Join(s.rows.Close(), s.chunks.Close()) }

// extent is the time of the first and last row, in milliseconds; last < first when there is none.
func (s *snapshot) extent(ctx context.Context, q Query) (first, last int64, err error) {
	first, last = math.MaxInt64, math.MinInt64
	for _, o := range s.open {
		for _, r := range o.rows {
			first, last = min(first, 1000*r.second), max(last, 1000*r.second)
		}
	}
	err = s.eachChunk(ctx, q, func(from, to int64, _ int) { first, last = min(first, from), max(last, to) })
	return first, last, err
}

// read adds the rows up.
func (s *snapshot) read(ctx context.Context, q Query, sum *summary) error {
	set := s.rows.Select(ctx, false, nil, q.matchers()...)
	var it chunkenc.Iterator
	for set.Next() {
		if err := ctx.Err(); err != nil {
			return err
		}
		one := set.At()
		key, stat := decode(one.Labels())
		if !s.wanted(key.Metric) {
			continue
		}
		it = one.Iterator(it)
		t, err := sum.timeline(key)
		if err != nil {
			return err
		}
		t.read(stat, it)
		if err := it.Err(); err != nil {
			return err
		}
	}
	for _, o := range s.open {
		t, err := sum.timeline(o.key)
		if err != nil {
			return err
		}
		for _, r := range o.rows {
			t.addRow(r, s.slot)
		}
	}
	return set.Err()
}
