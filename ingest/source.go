package ingest

import (
	"fmt"
	"hash/maphash"
	"sync"
	"time"

	"github.com/visutility/visutility"
)

// minClock is a clock for checks in which no times occur.
var minClock = time.Unix(0, 0)

// Why measurements are refused or passed over, beside the reasons of [visutility.Event.Check].
const (
	reasonNoModel     = "no_model"     // no attribute of the mapping says of which model
	reasonUnmapped    = "unmapped"     // the mapping passes the metric over
	reasonSeriesLimit = "series_limit" // the format has brought too many series
	reasonStale       = "stale"        // Prometheus' word that a series ended
	reasonNoValue     = "no_value"     // the sender says that there is none
	reasonFirst       = "first"        // of a running total, whose increase is not known yet
	reasonNothingNew  = "nothing_new"  // of a running total that did not increase
	reasonUnsupported = "unsupported"  // what the format can say and we cannot take
	reasonBucket      = "bucket"       // of a classic histogram
)

// A Batch is what a body in the format of another system came to. Such bodies are
// taken in part: what is good is accepted, the rest is refused, and told with its reason.
type Batch struct {
	// Events have passed [visutility.Event.Check].
	Events []visutility.Event
	// Key is the idempotency key of the body, "" for none.
	Key string
	// Refused counts measurements that are wrong, Ignored those that are rightly
	// passed over, both by reason.
	Refused, Ignored map[string]int
	// Faults are the first refusals, at most [MaxFaults].
	Faults []visutility.FieldError

	samples, histograms int // measurements written, by kind, for protocols that count them
	runs                []totalUpdate
	source              *Source
	now                 time.Time
}

// RefusedCount is how many measurements were refused.
func (b *Batch) RefusedCount() int {
	n := 0
	for _, k := range b.Refused {
		n += k
	}
	return n
}

func (b *Batch) refuse(field, reason, format string, args ...any) {
	if b.Refused == nil {
		b.Refused = map[string]int{}
	}
	b.Refused[reason]++
	if len(b.Faults) < MaxFaults {
		b.Faults = append(b.Faults, visutility.FieldError{Field: field, Reason: reason, Message: fmt.Sprintf(format, args...)})
	}
}

func (b *Batch) ignore(reason string) { b.ignoreN(reason, 1) }

func (b *Batch) ignoreN(reason string, n int) {
	if b.Ignored == nil {
		b.Ignored = map[string]int{}
	}
	b.Ignored[reason] += n
}

// Done is to be called once the events are in the log: what was remembered of running
// totals holds from then on. A batch that was not published is forgotten with its totals, so that
// the sender's repetition comes to the same.
func (b *Batch) Done() { b.source.totals.commit(b.runs) }

// Summary is the refusals in one line, for protocols that have room for one; "" for none.
func (b *Batch) Summary() string {
	n := b.RefusedCount()
	if n == 0 {
		return ""
	}
	text := fmt.Sprintf("%d refused", n)
	for i, f := range b.Faults {
		if i == 3 {
			return text + " …"
		}
		text += "; " + f.Error()
	}
	return text
}

// A Source is one format's way into the server: the mapping of names, and what has to be
// remembered from body to body. It is safe for concurrent use, and its memory is bounded.
type Source struct {
	mapping Mapping
	totals  totals

	mu   sync.Mutex
	seed maphash.Seed
	seen map[uint64]struct{} // series that were admitted, by hash
}

// NewSource makes a source, at the given clock reading.
func NewSource(m Mapping, now time.Time) *Source {
	return &Source{mapping: m, totals: newTotals(m.MaxSeries, now), seed: maphash.MakeSeed(), seen: map[uint64]struct{}{}}
}

// An attribute is a name and a value that tell measurements apart.
type attribute struct {
	name, value string
	own         bool // the measurement's own, not of what sent it
}

// A reading is a measurement as another system sends it.
type reading struct {
	field  func() string // its place in the body, for messages
	metric string
	value  float64
	time   time.Time // zero for now
	count  uint64
}

// identity is what attributes come to.
type identity struct {
	model, version string
	labels         map[string]string
}

// identify finds model, version and labels among attributes.
func (s *Source) identify(attrs []attribute) identity {
	var id identity
	model, mi := pick(attrs, s.mapping.Model)
	version, vi := pick(attrs, s.mapping.Version)
	id.model, id.version = model, version
	for i, a := range attrs {
		if i == mi || i == vi || a.value == "" || !s.mapping.label(a.name, a.own) {
			continue
		}
		if id.labels == nil {
			id.labels = make(map[string]string, len(attrs)-i)
		}
		if _, nearer := id.labels[a.name]; !nearer { // the measurement's own come first
			id.labels[a.name] = a.value
		}
	}
	return id
}

// pick returns the value of the first name that an attribute has, the measurement's own attributes before
// all others, and the attribute's index, -1 for none.
func pick(attrs []attribute, names []string) (string, int) {
	for _, own := range [2]bool{true, false} {
		for _, name := range names {
			for i := range attrs {
				if attrs[i].own == own && attrs[i].name == name && attrs[i].value != "" {
					return attrs[i].value, i
				}
			}
		}
	}
	return "", -1
}

// add takes a reading into the batch, or says why not; it reports whether it was taken.
func (s *Source) add(b *Batch, id identity, r reading) bool {
	metric, keep := s.mapping.metric(r.metric)
	switch {
	case !keep:
		b.ignore(reasonUnmapped)
		return false
	case id.model == "" && !s.mapping.ModelsNeeded:
		b.ignore(reasonNoModel)
		return false
	case id.model == "":
		b.refuse(r.field(), reasonNoModel, "metric %q names no model: none of the attributes %s is there", clip(r.metric), quoted(s.mapping.Model))
		return false
	}
	ev := visutility.Event{Model: id.model, Metric: metric, Value: r.value, Time: r.time, Count: r.count, Version: id.version, Labels: id.labels}
	if !ev.Time.IsZero() {
		ev.Time = time.UnixMilli(ev.Time.UnixMilli()).UTC()
	}
	if errs := ev.Check(nil, "", b.now); len(errs) > 0 {
		sortFields(errs)
		e := errs[0]
		b.refuse(r.field()+"."+clip(e.Field), e.Reason, "%s", e.Message)
		return false
	}
	if !s.admit(&ev) {
		b.refuse(r.field(), reasonSeriesLimit, "%s", s.limitText())
		return false
	}
	b.Events = append(b.Events, ev)
	return true
}

// addNative takes events that have been checked into the batch, within the limit on series. at is the time of those that have none.
func (s *Source) addNative(b *Batch, prefix string, events []visutility.Event, at time.Time) {
	for i := range events {
		ev := &events[i]
		if !s.admit(ev) {
			b.refuse(fmt.Sprintf("%sevents[%d]", prefix, i), reasonSeriesLimit, "%s", s.limitText())
			continue
		}
		if ev.Time.IsZero() && !at.IsZero() {
			timed := *ev
			timed.Time = time.UnixMilli(at.UnixMilli()).UTC()
			if errs := timed.Check(nil, "", b.now); len(errs) > 0 {
				b.refuse(prefix+errs[0].Field, errs[0].Reason, "%s", errs[0].Message)
				continue
			}
			ev = &timed
		}
		b.Events = append(b.Events, *ev)
	}
}

func (s *Source) limitText() string {
	return fmt.Sprintf("would bring more than %d series (model, metric, labels) in this format; drop a label that has many values, or raise max_series", s.mapping.MaxSeries)
}

// admit holds the limit on the series of this source.
func (s *Source) admit(ev *visutility.Event) bool {
	var h maphash.Hash
	h.SetSeed(s.seed)
	for _, part := range [2]string{ev.Model, ev.Metric} {
		h.WriteString(part)
		h.WriteByte(0xff)
	}
	if len(ev.Labels) > 0 {
		h.WriteString(string(visutility.MakeLabels(ev.Labels)))
	}
	sum := h.Sum64()
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.seen[sum]; known {
		return true
	}
	if len(s.seen) >= s.mapping.MaxSeries {
		return false
	}
	s.seen[sum] = struct{}{}
	return true
}

// begin starts a batch for a body.
func (s *Source) begin(now time.Time) *Batch { return &Batch{source: s, now: now} }

func quoted(names []string) string {
	out := ""
	for i, n := range names {
		if i > 0 {
			out += ", "
		}
		out += n
	}
	return out
}
