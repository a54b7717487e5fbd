package history

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"github.com/visutility/visutility"
)

// MaxEvents is how many events a page of [History.Events] may have.
const MaxEvents = 10_000

// An EventQuery asks what was measured of a model, second by second.
type EventQuery struct {
	// Model is the name of the model. Required.
	Model string
	// Metrics are the names of the metrics. Defaults to all of the model.
	Metrics []string
	// From and To bound the event time asked for: From ≤ t < To, in whole seconds. Default
	// to the first and the last event there is.
	From, To time.Time
	// Cursor is what the page before returned as next. Defaults to the first page.
	Cursor string
	// Limit is how many events the page may have, at most MaxEvents. Defaults to MaxEvents.
	Limit int
}

// Events returns a page of what is kept of a model's metrics, as events: of each second that had any, one with
// the last value and the sum of the counts. Nothing is summed up further, whatever the range. They come one
// series after the other, each in the order of time; next is the cursor of the page after, "" at the end. The
// events share their labels: leave those as they are. Every page includes what was observed before the call.
func (h *History) Events(ctx context.Context, q EventQuery) (events []visutility.Event, next string, err error) {
	r, err := newEventReader(q)
	if err != nil {
		return nil, "", err
	}
	done, err := h.use()
	if err != nil {
		return nil, "", err
	}
	defer done()
	s, err := h.snapshot(Query{Model: q.Model}, r.mint, r.maxt)
	if err != nil {
		return nil, "", fmt.Errorf("history of %q: %w", q.Model, err)
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if err := r.read(ctx, s); err != nil {
		return nil, "", fmt.Errorf("history of %q: %w", q.Model, err)
	}
	return r.events, r.next, nil
}

// An eventCursor is where a page begins: at a second of a series.
type eventCursor struct {
	Metric  string            `json:"m"`
	Version string            `json:"v,omitempty"`
	Labels  map[string]string `json:"l,omitempty"`
	Second  int64             `json:"s"`
}

func (c eventCursor) String() string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // it goes into addresses, which have a limit
	_ = enc.Encode(c)        // strings and a number
	return base64.RawURLEncoding.EncodeToString(b.Bytes())
}

// An eventReader collects one page.
type eventReader struct {
	EventQuery
	mint, maxt int64 // milliseconds, both included
	matchers   []*labels.Matcher
	after      labels.Labels // the series to begin with, as the database names it; empty for the first
	second     int64         // to begin with in that series
	events     []visutility.Event
	next       string
}

func newEventReader(q EventQuery) (*eventReader, error) {
	if q.Limit == 0 {
		q.Limit = MaxEvents
	}
	switch {
	case q.Model == "":
		return nil, visutility.Invalidf("model", "empty", "is missing")
	case !q.From.IsZero() && !q.To.IsZero() && !q.From.Before(q.To):
		return nil, visutility.Invalidf("to", "range", "is not after from")
	case q.Limit < 1 || q.Limit > MaxEvents:
		return nil, visutility.Invalidf("limit", "range", "is %d; 1 to %d are allowed", q.Limit, MaxEvents)
	}
	r := &eventReader{EventQuery: q, matchers: Query{Model: q.Model}.matchers()}
	r.mint, r.maxt = Query{From: q.From, To: q.To}.bounds()
	if len(q.Metrics) > 0 {
		names := make([]string, len(q.Metrics))
		for i, name := range q.Metrics {
			names[i] = regexp.QuoteMeta(name)
		}
		m, err := labels.NewMatcher(labels.MatchRegexp, labelMetric, strings.Join(names, "|"))
		if err != nil {
			return nil, visutility.Invalidf("metric", "syntax", "cannot be the name of a metric: %v", err)
		}
		r.matchers = append(r.matchers, m)
	}
	if q.Cursor == "" {
		return r, nil
	}
	var c eventCursor
	b, err := base64.RawURLEncoding.DecodeString(q.Cursor)
	if err != nil || json.Unmarshal(b, &c) != nil || c.Metric == "" || c.Second < -1<<40 || c.Second > 1<<40 {
		return nil, visutility.Invalidf("cursor", "syntax", "is not one that this list returned; start again without it")
	}
	r.after = encode(visutility.Series{Model: q.Model, Metric: c.Metric, Version: c.Version, Labels: visutility.MakeLabels(c.Labels)}, statLast)
	r.second = c.Second
	return r, nil
}

// An openSeries is what is in memory of a series, under its name in the database.
type openSeries struct {
	name labels.Labels
	openRows
}

// read goes through the series of the database and of memory, in the order of their names there. Those of the
// last values and of the counts have the same order, so that no list of all series is held.
func (r *eventReader) read(ctx context.Context, s *snapshot) error {
	open := r.inMemory(s)
	lasts, counts := r.selectStat(ctx, s, statLast), &partner{set: r.selectStat(ctx, s, statCount)}
	for r.next == "" && lasts.Next() {
		if err := ctx.Err(); err != nil {
			return err
		}
		one := lasts.At()
		name := one.Labels()
		var rows []row // in memory, of the same series
		for len(open) > 0 && r.next == "" {
			order := labels.Compare(open[0].name, name)
			if order > 0 {
				break
			}
			first := open[0]
			open = open[1:]
			if order == 0 {
				rows = first.rows
				break
			}
			if err := r.add(first.name, nil, nil, first.rows, s.slot); err != nil {
				return err
			}
		}
		if r.next != "" {
			break
		}
		if err := r.add(name, one, counts.of(name), rows, s.slot); err != nil {
			return err
		}
	}
	for ; r.next == "" && len(open) > 0; open = open[1:] {
		if err := r.add(open[0].name, nil, nil, open[0].rows, s.slot); err != nil {
			return err
		}
	}
	return errors.Join(lasts.Err(), counts.set.Err())
}

// inMemory is what the page may have of memory, by name.
func (r *eventReader) inMemory(s *snapshot) []openSeries {
	var open []openSeries
	for _, o := range s.open {
		if len(r.Metrics) == 0 || slices.Contains(r.Metrics, o.key.Metric) {
			open = append(open, openSeries{encode(o.key, statLast), o})
		}
	}
	slices.SortFunc(open, func(a, b openSeries) int { return labels.Compare(a.name, b.name) })
	return open
}

func (r *eventReader) selectStat(ctx context.Context, s *snapshot, stat string) storage.SeriesSet {
	of := &labels.Matcher{Type: labels.MatchEqual, Name: labelStat, Value: stat}
	return s.rows.Select(ctx, true, nil, append(slices.Clone(r.matchers), of)...)
}

// A partner finds, for series of last values that come in order, those of the counts.
type partner struct {
	set  storage.SeriesSet
	at   storage.Series
	name labels.Labels
	over bool
}

// of is the counts of a series, nil if the database lost them.
func (p *partner) of(last labels.Labels) storage.Series {
	for !p.over {
		if p.at != nil {
			switch order := labels.Compare(p.name, last); {
			case order == 0:
				return p.at
			case order > 0:
				return nil
			}
		}
		if p.over = !p.set.Next(); !p.over {
			p.at = p.set.At()
			p.name = labels.NewBuilder(p.at.Labels()).Set(labelStat, statLast).Labels()
		}
	}
	return nil
}

// add adds the seconds of a series to the page, and sets next when that is full.
func (r *eventReader) add(name labels.Labels, last, count storage.Series, rows []row, slot int64) error {
	from := r.mint
	if !r.after.IsEmpty() {
		switch order := labels.Compare(name, r.after); {
		case order < 0:
			return nil // of a page before
		case order == 0:
			from = max(from, 1000*r.second)
		}
	}
	room := r.Limit - len(r.events)
	seconds, err := r.seconds(last, count, from, room+1)
	if err != nil {
		return err
	}
	seconds = joinOpen(seconds, rows, slot, from, len(seconds) > room)
	key, _ := decode(name)
	given := key.Labels.Map()
	for i := range seconds {
		b := &seconds[i]
		if i == room {
			r.next = eventCursor{key.Metric, key.Version, given, b.second}.String()
			break
		}
		r.events = append(r.events, visutility.Event{
			Model: r.Model, Metric: key.Metric, Value: b.last, Time: time.Unix(b.second, 0).UTC(),
			Count: uint64(max(1, wholeCount(b.count))), Version: key.Version, Labels: given,
		})
	}
	return nil
}

// seconds reads the first seconds of a series that the database has.
func (r *eventReader) seconds(last, count storage.Series, from int64, most int) ([]bucket, error) {
	if last == nil {
		return nil, nil
	}
	var all []bucket
	it := last.Iterator(nil)
	for v := it.Seek(from); v == chunkenc.ValFloat; v = it.Next() {
		at, value := it.At()
		second := floorDiv(at, 1000)
		if n := len(all); n == 0 || all[n-1].second != second {
			if n == most {
				break
			}
			all = append(all, bucket{second: second, slot: at - 1000*second, last: value})
			continue
		}
		all[len(all)-1].setLast(second, at-1000*second, value)
	}
	if err := it.Err(); err != nil || count == nil {
		return all, err
	}
	it = count.Iterator(nil)
	i := 0
	for v := it.Seek(from); v == chunkenc.ValFloat; v = it.Next() {
		at, value := it.At()
		second := floorDiv(at, 1000)
		for i < len(all) && all[i].second < second {
			i++
		}
		if i == len(all) {
			break
		}
		if all[i].second == second {
			all[i].count += value
		}
	}
	return all, it.Err()
}

// joinOpen adds the rows in memory to seconds of the database: if more follow there, only those up to the last.
func joinOpen(seconds []bucket, rows []row, slot, from int64, more bool) []bucket {
	end := int64(math.MaxInt64)
	if more {
		end = seconds[len(seconds)-1].second
	}
	for _, r := range rows {
		if 1000*r.second >= from && r.second <= end {
			seconds = append(seconds, bucket{second: r.second, slot: slot, last: r.last, count: float64(r.count)})
		}
	}
	slices.SortStableFunc(seconds, func(a, b bucket) int { return int(a.second - b.second) })
	n := 0
	for _, b := range seconds {
		if n > 0 && seconds[n-1].second == b.second {
			seconds[n-1].setLast(b.second, b.slot, b.last)
			seconds[n-1].count += b.count
			continue
		}
		seconds[n] = b
		n++
	}
	return seconds[:n]
}
