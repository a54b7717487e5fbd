package history

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"

	"github.com/visutility/visutility"
)

const (
	// The length of a cut, in milliseconds of the log's clock, and the rows at which it ends early. Both decide what the
	// rows of a stretch of the log are: a change makes rows of entries read twice (around a crash) count twice.
	cutLength = 10_000
	maxRows   = 200_000

	// How many rows of a series are searched for an event's second before a further row is begun.
	// Rows of the same second are joined at the cut.
	searchBack = 16

	// Series without an event for this many cuts are forgotten; the database knows them still.
	idleCuts = 360

	// slots are the row times of a second; subCut spreads the cuts that end early over them.
	slots  = 1000
	subCut = 37
)

// A partition is what is in memory of a partition of the log: the rows of the cut under way.
type partition struct {
	mu      sync.Mutex
	applied visutility.Position // entries up to here are in rows
	begun   bool                // cut and sub are valid
	cut     int64               // Entry.Stored / cutLength
	sub     int64               // how many times it ended early
	rows    int
	open    []*series // with rows
	swept   int64     // the cut when idle series were last looked for

	series map[visutility.Series]*series // also under spellings that come to the same
	models map[string][]*series
	found  []*series // scratch: the series of the entry at hand

	// durable is the position up to which all rows are in the database, at the end of a ten-second cut.
	durable atomic.Uint64
}

func newPartition() *partition {
	return &partition{series: make(map[visutility.Series]*series), models: make(map[string][]*series)}
}

// A series is the rows of a metric under one version and set of labels.
type series struct {
	key  visutility.Series
	refs [len(stats)]storage.SeriesRef // 0: not known to the database
	rows []row
	used int64 // the cut of its last event
}

// A row is the roll-up of the events of one second.
type row struct {
	second         int64 // Unix
	last, min, max float64
	count          int64 // sum of counts, never above MaxInt64
	events         int64
}

// add takes one event in.
func (r *row) add(v float64, count int64) {
	r.last = v
	r.min = min(r.min, v)
	r.max = max(r.max, v)
	r.count = addCount(r.count, count)
	r.events++
}

// join takes in a later row of the same second.
func (r *row) join(later row) {
	r.last = later.last
	r.min = min(r.min, later.min)
	r.max = max(r.max, later.max)
	r.count = addCount(r.count, later.count)
	r.events += later.events
}

func addCount(a, b int64) int64 {
	if sum := a + b; sum >= a {
		return sum
	}
	return 1<<63 - 1
}

func (r *row) stat(i int) float64 {
	switch stats[i] {
	case statLast:
		return r.last
	case statMin:
		return r.min
	case statMax:
		return r.max
	default:
		return float64(r.count)
	}
}

// cutBefore ends the cut if an entry belongs to the next.
func (h *History) cutBefore(ctx context.Context, p *partition, e *visutility.Entry) error {
	next := e.Stored / cutLength
	switch {
	case !p.begun:
		p.begun, p.cut, p.swept = true, next, next
	// A clock set back a little is waited for, as the numbers of cuts must not come again; one
	// that had been far ahead is not.
	case next > p.cut, next < p.cut-idleCuts:
		if err := h.write(ctx, p); err != nil {
			return err
		}
		p.durable.Store(uint64(p.applied))
		p.cut, p.sub = next, 0
		h.sweep(p)
	case p.rows >= maxRows:
		if err := h.write(ctx, p); err != nil {
			return err
		}
		p.sub++
	}
	return nil
}

// take rolls the events of an entry up.
func (h *History) take(p *partition, e *visutility.Entry) {
	p.found = p.found[:0]
	for i := range e.Series {
		p.found = append(p.found, h.lookup(p, e.Series[i]))
	}
	var refused uint64
	for _, r := range e.Records {
		if r.Value-r.Value != 0 { // NaN or infinite: never from a sender, whose events are checked
			refused++
			continue
		}
		p.add(p.found[r.Series], r)
	}
	h.metrics.events.Add(uint64(len(e.Records)))
	h.metrics.notFinite.Add(refused)
}

// add rolls one event up.
func (p *partition) add(s *series, r visutility.Record) {
	second := r.Time / 1000
	s.used = p.cut
	for i := len(s.rows) - 1; i >= max(0, len(s.rows)-searchBack); i-- {
		if s.rows[i].second == second {
			s.rows[i].add(r.Value, r.Count)
			return
		}
	}
	if len(s.rows) == 0 {
		p.open = append(p.open, s)
	}
	s.rows = append(s.rows, row{second, r.Value, r.Value, r.Value, r.Count, 1})
	p.rows++
}

// lookup returns the series that a series of an entry belongs to. The entry is lent: nothing of it is kept.
func (h *History) lookup(p *partition, key visutility.Series) *series {
	if s := p.series[key]; s != nil {
		return s
	}
	key = visutility.Series{
		Model: strings.Clone(key.Model), Metric: strings.Clone(key.Metric),
		Version: strings.Clone(key.Version), Labels: visutility.Labels(strings.Clone(string(key.Labels))),
	}
	canonical := key
	canonical.Labels = withoutEmpty(key.Labels)
	s := p.series[canonical]
	if s == nil {
		s = &series{key: canonical}
		p.series[canonical] = s
		if p.models[key.Model] == nil {
			h.mu.Lock()
			h.homes[key.Model] = p
			h.mu.Unlock()
		}
		p.models[key.Model] = append(p.models[key.Model], s)
	}
	p.series[key] = s
	return s
}

// write appends the open rows to the database, all or none.
func (h *History) write(ctx context.Context, p *partition) error {
	if p.rows == 0 {
		return nil
	}
	slot := slotOf(p.cut, p.sub)
	w := writer{appender: h.db.Appender(ctx)}
	for _, s := range p.open {
		s.rows = joined(s.rows)
		if err := w.append(s, slot); err != nil {
			return errors.Join(fmt.Errorf("append: %w", err), w.appender.Rollback())
		}
	}
	if err := w.appender.Commit(); err != nil {
		h.freeze(ctx)
		return fmt.Errorf("commit: %w", err)
	}
	for _, s := range p.open {
		if cap(s.rows) > 4*cutLength/1000 {
			s.rows = nil // an import is over; most series have a row a second
		}
		s.rows = s.rows[:0]
	}
	p.open = p.open[:0]
	p.rows = 0
	h.metrics.rows.Add(w.rows)
	h.metrics.tooOld.Add(w.tooOld)
	h.metrics.collided.Add(w.collided)
	return nil
}

// slotOf is the number of a cut in a row's time. Neighbours differ, and follow each other.
func slotOf(cut, sub int64) int64 {
	return ((cut+subCut*sub)%slots + slots) % slots
}

// joined sorts rows and joins those of the same second, in place.
func joined(rows []row) []row {
	slices.SortStableFunc(rows, func(a, b row) int { return int(a.second - b.second) })
	n := 0
	for _, r := range rows {
		if n > 0 && rows[n-1].second == r.second {
			rows[n-1].join(r)
			continue
		}
		rows[n] = r
		n++
	}
	return rows[:n]
}

// A writer appends rows in one transaction of the database.
type writer struct {
	appender               storage.Appender
	rows, tooOld, collided uint64 // rows appended; events refused
}

func (w *writer) append(s *series, slot int64) error {
	for i := range s.rows {
		r := &s.rows[i]
		err := w.appendRow(s, r, 1000*r.second+slot)
		switch {
		case err == nil:
			w.rows++
		case errors.Is(err, storage.ErrTooOldSample), errors.Is(err, storage.ErrOutOfBounds):
			w.tooOld += uint64(r.events)
		case errors.Is(err, storage.ErrDuplicateSampleForTimestamp):
			w.collided += uint64(r.events)
		default:
			return err
		}
	}
	return nil
}

func (w *writer) appendRow(s *series, r *row, t int64) error {
	for i := range stats {
		ref, err := w.appender.Append(s.refs[i], labels.EmptyLabels(), t, r.stat(i))
		if err != nil && errors.Is(err, errUnknownSeries) {
			ref, err = w.appender.Append(0, encode(s.key, stats[i]), t, r.stat(i))
		}
		if err != nil {
			return err
		}
		s.refs[i] = ref
	}
	return nil
}

// sweep forgets series that have had no event for long, now and then.
func (h *History) sweep(p *partition) {
	if p.cut-p.swept < idleCuts && p.cut >= p.swept {
		return
	}
	p.swept = p.cut
	for key, s := range p.series {
		if p.cut-s.used >= idleCuts {
			delete(p.series, key)
		}
	}
	for model, all := range p.models {
		all = slices.DeleteFunc(all, func(s *series) bool { return p.cut-s.used >= idleCuts })
		p.models[model] = all
		if len(all) == 0 {
			delete(p.models, model)
			h.mu.Lock()
			delete(h.homes, model)
			h.mu.Unlock()
		}
	}
}
