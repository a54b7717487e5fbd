package history

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/visutility/visutility"
)

// maxPending bounds the measurements that wait in a tail.
const maxPending = 1000

// A Measurement is an event as those see it who look on.
type Measurement struct {
	Model   string            `json:"model"`
	Metric  string            `json:"metric"`
	Version string            `json:"version,omitempty"`
	Labels  map[string]string `json:"labels,omitempty"`
	Time    time.Time         `json:"time"`
	Value   float64           `json:"value"`
	Count   int64             `json:"count"`
}

// A Feed hands what is taken in to those who look on. Nobody waits for them: what one does not
// fetch in time is merged, then dropped and counted. The zero Feed is ready; its methods are safe for concurrent use.
type Feed struct {
	mu    sync.Mutex
	tails map[*Tail]struct{}
	n     atomic.Int32 // of tails: without any, Tell costs one load
}

// A Tail is one who looks on.
type Tail struct {
	feed    *Feed
	models  map[string]bool // nil: all
	changed chan struct{}

	// Guarded by feed.mu.
	pending map[second]visutility.Record
	dropped int64
}

// Of one second of one series the newest event is kept.
type second struct {
	series visutility.Series
	at     int64
}

// Follow begins to look on at models, at all if none are named. Close the tail.
func (f *Feed) Follow(models ...string) *Tail {
	t := &Tail{feed: f, changed: make(chan struct{}, 1), pending: make(map[second]visutility.Record)}
	if len(models) > 0 {
		t.models = make(map[string]bool, len(models))
		for _, m := range models {
			t.models[m] = true
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.tails == nil {
		f.tails = make(map[*Tail]struct{})
	}
	f.tails[t] = struct{}{}
	f.n.Add(1)
	return t
}

// Close ends it.
func (t *Tail) Close() {
	t.feed.mu.Lock()
	defer t.feed.mu.Unlock()
	if _, open := t.feed.tails[t]; open {
		delete(t.feed.tails, t)
		t.feed.n.Add(-1)
	}
}

// Changed receives when there is something to take.
func (t *Tail) Changed() <-chan struct{} { return t.changed }

// Take returns what came since it was last called, by model, metric and time, and how many
// measurements were dropped.
func (t *Tail) Take() (list []Measurement, dropped int64) {
	t.feed.mu.Lock()
	pending := t.pending
	t.pending = make(map[second]visutility.Record)
	dropped, t.dropped = t.dropped, 0
	t.feed.mu.Unlock()
	for _, key := range slices.SortedFunc(maps.Keys(pending), second.compare) {
		r := pending[key]
		list = append(list, Measurement{
			Model: key.series.Model, Metric: key.series.Metric, Version: key.series.Version, Labels: key.series.Labels.Map(),
			Time: time.UnixMilli(r.Time).UTC(), Value: r.Value, Count: r.Count,
		})
	}
	return list, dropped
}

// Tell hands the events of an entry, which is lent, to all tails.
func (f *Feed) Tell(e *visutility.Entry) {
	if f.n.Load() == 0 || len(e.Records) == 0 {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for t := range f.tails {
		if !t.add(e) {
			continue
		}
		select {
		case t.changed <- struct{}{}:
		default: // told already
		}
	}
}

func (t *Tail) add(e *visutility.Entry) (any bool) {
	for _, r := range e.Records {
		s := e.Series[r.Series]
		if t.models != nil && !t.models[s.Model] {
			continue
		}
		any = true
		key := second{s, r.Time / 1000}
		if _, known := t.pending[key]; !known && len(t.pending) == maxPending {
			t.dropped++
			continue
		}
		t.pending[key] = r
	}
	return any
}

func (k second) compare(o second) int {
	return cmp.Or(cmp.Compare(k.series.Model, o.series.Model), cmp.Compare(k.series.Metric, o.series.Metric), cmp.Compare(k.at, o.at),
		cmp.Compare(k.series.Version, o.series.Version), cmp.Compare(k.series.Labels, o.series.Labels))
}
