package history

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"github.com/visutility/visutility"
)

// A RowQuery asks for the history of a model second by second: as exact as it is kept.
type RowQuery struct {
	// Model is the name of the model. Required.
	Model string
	// Metrics are those wanted. Defaults to all of the model.
	Metrics []string
	// From and To bound the event time asked for: From ≤ t < To, in whole seconds. From defaults to the
	// first event there is. To is required.
	From, To time.Time
	// Limit is how many rows there may be, of all series together. Where there are more, a shorter
	// stretch of time is read. Defaults to 100,000.
	Limit int
	// Oldest keeps the beginning of the stretch rather than its end.
	Oldest bool
}

// maxRowSeries bounds the series of a RowQuery.
const maxRowSeries = 10_000

// Rows returns the seconds of a model's metrics that had events, sorted as by Select, and the stretch of time in
// which none is missing, From ≤ t < To; its From is zero where none was asked for and nothing is left out. More than 10,000 series are ErrInvalid.
func (h *History) Rows(ctx context.Context, q RowQuery) (list []Series, covered visutility.Window, err error) {
	if q.Limit == 0 {
		q.Limit = 100_000
	}
	if q.Model == "" || q.Limit < 1 || !q.From.Before(q.To) {
		return nil, covered, visutility.Invalidf("to", "range", "a model, a time after from, and a limit above 0 are needed")
	}
	done, err := h.use()
	if err != nil {
		return nil, covered, err
	}
	defer done()
	all := Query{Model: q.Model, From: q.From, To: q.To, Limit: maxRowSeries}
	mint, maxt := all.bounds()
	s, err := h.snapshot(all, mint, maxt)
	if err != nil {
		return nil, covered, fmt.Errorf("rows of %q: %w", q.Model, err)
	}
	defer func() { err = errors.Join(err, s.close()) }()
	s.only = q.Metrics
	s.open = slices.DeleteFunc(s.open, func(o openRows) bool { return !s.wanted(o.key.Metric) })
	if q.From.IsZero() {
		first, last, err := s.extent(ctx, all)
		if err != nil {
			return nil, covered, fmt.Errorf("rows of %q: %w", q.Model, err)
		}
		if last < first || first > maxt {
			return nil, visutility.Window{To: q.To}, nil
		}
		mint = 1000 * floorDiv(first, 1000)
	}
	asked := mint
	if mint, maxt, err = s.fit(ctx, all, mint, maxt, q); err != nil {
		return nil, covered, fmt.Errorf("rows of %q: %w", q.Model, err)
	}
	covered.To = time.UnixMilli(maxt + 1).UTC()
	if mint > asked || !q.From.IsZero() {
		covered.From = time.UnixMilli(mint).UTC()
	}
	if maxt < mint {
		return nil, covered, nil
	}
	all.Step, all.Points = time.Second, math.MaxInt
	sum := newSummary(mint, maxt, all)
	sum.sparse = true
	if err := s.read(ctx, all, sum); err != nil {
		return nil, covered, fmt.Errorf("rows of %q: %w", q.Model, err)
	}
	return sum.series(), covered, nil
}

// densities is into how many parts a stretch of time is divided to see where its rows are.
const densities = 4096

// fit makes a stretch of whole seconds, both ends included, so short that it has about as many rows as are allowed at most.
func (s *snapshot) fit(ctx context.Context, all Query, mint, maxt int64, q RowQuery) (from, to int64, err error) {
	room := float64(q.Limit)
	for {
		width := max(1000, 1000*((maxt+1-mint)/1000/densities+1))
		dense, err := s.density(ctx, all, mint, maxt, width)
		if err != nil {
			return 0, 0, err
		}
		if !q.Oldest {
			slices.Reverse(dense)
		}
		n := 0
		for ; n < len(dense) && dense[n] <= room; n++ {
			room -= dense[n]
		}
		kept := int64(n) * width
		switch {
		case n == len(dense):
			return mint, maxt, nil
		case q.Oldest && (n > 0 || width == 1000):
			return mint, mint + kept - 1, nil
		case n > 0 || width == 1000:
			// The parts are counted from the beginning; the last may be shorter than the others.
			return mint + int64(len(dense)-n)*width, maxt, nil
		case q.Oldest:
			maxt = mint + width - 1 // even the first part has too many: look into it
		default:
			mint += int64(len(dense)-1) * width
		}
	}
}

// density is about how many rows there are in each part of a stretch of time. The chunks of the database say
// when they begin and end and how many they hold, without being decoded.
func (s *snapshot) density(ctx context.Context, q Query, mint, maxt, width int64) ([]float64, error) {
	dense := make([]float64, (maxt-mint)/width+1)
	put := func(from, to int64, n float64) {
		first, last := floorDiv(from-mint, width), floorDiv(to-mint, width)
		for i := max(0, first); i <= min(last, int64(len(dense)-1)); i++ {
			// Rows are taken to be spread evenly over their chunk.
			covered := min(to+1, mint+(i+1)*width) - max(from, mint+i*width)
			dense[i] += n * float64(covered) / float64(to+1-from)
		}
	}
	for _, o := range s.open {
		for _, r := range o.rows {
			put(1000*r.second, 1000*r.second, 1)
		}
	}
	return dense, s.eachChunk(ctx, q, func(from, to int64, n int) { put(from, to, float64(n)) })
}

// eachChunk tells of every chunk of counts its first and last time, and how many rows it has.
func (s *snapshot) eachChunk(ctx context.Context, q Query, tell func(from, to int64, n int)) error {
	set := s.chunks.Select(ctx, false, nil, append(q.matchers(), &labels.Matcher{Type: labels.MatchEqual, Name: labelStat, Value: statCount})...)
	for set.Next() {
		if err := ctx.Err(); err != nil {
			return err
		}
		if !s.wanted(set.At().Labels().Get(labelMetric)) {
			continue
		}
		it := set.At().Iterator(nil)
		for it.Next() {
			c := it.At()
			to := c.MaxTime
			if to == math.MaxInt64 { // it is still written to
				to = c.MinTime
				values := c.Chunk.Iterator(nil)
				for values.Next() == chunkenc.ValFloat {
					to = max(to, values.AtT())
				}
			}
			tell(c.MinTime, to, c.Chunk.NumSamples())
		}
		if err := it.Err(); err != nil {
			return err
		}
	}
	return set.Err()
}

// wanted reports whether the rows of a metric are asked for.
func (s *snapshot) wanted(metric string) bool {
	return s.only == nil || slices.Contains(s.only, metric)
}
