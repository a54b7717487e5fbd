package backtest

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/visutility/visutility"
)

// MaxEvents bounds what is held of a past: it is 8 GB.
const MaxEvents = 250_000_000

// Data is a stretch of the past in parsed form, 32 bytes an event. It is filled by one goroutine; once
// [Run] has been called it only serves to be read, by any number of them.
type Data struct {
	series  []visutility.Series
	index   map[seriesKey]uint32
	records []record
	marked  bool // whether any event is in an incident
	sorted  bool
	caveats []string
}

type seriesKey struct {
	model, metric, version string
	labels                 visutility.Labels
}

// A record is an event of Data.
type record struct {
	series   uint32
	incident bool
	time     int64 // Unix milliseconds
	value    float64
	count    int64
}

// NewData returns an empty past.
func NewData() *Data { return &Data{index: make(map[seriesKey]uint32), sorted: true} }

// Add adds an event, which must have passed [visutility.Event.Check] and have a time; in any
// order, though those of one time are replayed in the order in which they were added. incident marks that the
// model is known to have been unwell then. Consecutive marked events of a series are one incident.
func (d *Data) Add(e visutility.Event, incident bool) error {
	if e.Time.IsZero() {
		return fmt.Errorf("%w: the event has no time, so its place in the past is not known", visutility.ErrInvalid)
	}
	if len(d.records) == MaxEvents {
		return fmt.Errorf("%w: there are more than %d events; take a shorter stretch of the past, or fewer models", visutility.ErrInvalid, MaxEvents)
	}
	k := seriesKey{e.Model, e.Metric, e.Version, visutility.MakeLabels(e.Labels)}
	i, ok := d.index[k]
	if !ok {
		i = uint32(len(d.series))
		d.index[k] = i
		d.series = append(d.series, visutility.Series{Model: e.Model, Metric: e.Metric, Version: e.Version, Labels: k.labels})
	}
	r := record{i, incident, e.Time.UnixMilli(), e.Value, int64(max(e.Count, 1))}
	if n := len(d.records); n > 0 && r.time < d.records[n-1].time {
		d.sorted = false
	}
	d.records = append(d.records, r)
	d.marked = d.marked || incident
	return nil
}

// Events is the number of events.
func (d *Data) Events() int { return len(d.records) }

// Caveat adds a sentence to what reports say they cannot know, for what is missing in these data.
func (d *Data) Caveat(sentence string) { d.caveats = append(d.caveats, sentence) }

// sort brings the events into the order of time.
func (d *Data) sort() {
	if !d.sorted {
		slices.SortStableFunc(d.records, func(a, b record) int { return cmp.Compare(a.time, b.time) })
		d.sorted = true
	}
}

// span is the time of the first and the last event.
func (d *Data) span() (from, to int64) {
	return d.records[0].time, d.records[len(d.records)-1].time
}

// versioned reports whether any event says which version it measured.
func (d *Data) versioned() bool {
	return slices.ContainsFunc(d.series, func(s visutility.Series) bool { return s.Version != "" })
}

// A span is a stretch of time, in Unix milliseconds, without its end.
type span struct{ from, to int64 }

func (s span) within(t int64) bool { return s.from <= t && t < s.to }

// firsts is the time of each model's first event.
func (d *Data) firsts() map[string]int64 {
	first := make(map[string]int64)
	seen := make([]bool, len(d.series))
	for i := range d.records {
		r := &d.records[i]
		if seen[r.series] {
			continue
		}
		seen[r.series] = true
		if _, ok := first[d.series[r.series].Model]; !ok {
			first[d.series[r.series].Model] = r.time
		}
	}
	return first
}

// incidents are the times at which the data marks a model unwell, by model, in order. An
// incident of a series lasts from its first marked event to the next that is not marked;
// those of a model's series that touch are one.
func (d *Data) incidents() map[string][]span {
	if !d.marked {
		return nil
	}
	open := make(map[uint32]int64)
	found := make(map[string][]span)
	for i := range d.records {
		r := &d.records[i]
		from, ill := open[r.series]
		switch {
		case r.incident && !ill:
			open[r.series] = r.time
		case !r.incident && ill:
			delete(open, r.series)
			m := d.series[r.series].Model
			found[m] = append(found[m], span{from, r.time})
		}
	}
	_, end := d.span()
	for s, from := range open {
		m := d.series[s].Model
		found[m] = append(found[m], span{from, end + 1})
	}
	for m, spans := range found {
		found[m] = merge(spans)
	}
	return found
}

// merge joins the spans that overlap or touch.
func merge(spans []span) []span {
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	joined := spans[:0]
	for _, s := range spans {
		if n := len(joined); n > 0 && s.from <= joined[n-1].to {
			joined[n-1].to = max(joined[n-1].to, s.to)
		} else {
			joined = append(joined, s)
		}
	}
	return joined
}

func utc(ms int64) time.Time { return time.UnixMilli(ms).UTC() }
