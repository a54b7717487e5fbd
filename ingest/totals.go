package ingest

import (
	"hash/maphash"
	"sync"
	"time"
)

// A total is the state of a running total: of a cumulative histogram, which tells the sum and the
// number of everything since its start, or of a counter.
type total struct {
	sum   float64
	count uint64
	start int64 // Unix nanoseconds since when it runs; 0 if not told
	at    int64 // Unix nanoseconds of the newest point
	// counter tells that there is a sum only, which never falls but when it starts anew.
	counter bool
}

// A totalUpdate is what a batch will have remembered once it is in the log.
type totalUpdate struct {
	key   uint64
	total total
}

// totals remember running totals by series. They are bounded: of two generations the
// older is forgotten when the younger is full; a total that is looked at moves to the younger.
type totals struct {
	seed    maphash.Seed
	max     int
	born    int64
	mu      *sync.Mutex
	younger map[uint64]total
	older   map[uint64]total
}

func newTotals(max int, now time.Time) totals {
	return totals{seed: maphash.MakeSeed(), max: max, born: now.UnixNano(), mu: new(sync.Mutex), younger: map[uint64]total{}}
}

// key is the identity of a series.
func (t *totals) key(metric string, id identity, attrs []attribute) uint64 {
	var h maphash.Hash
	h.SetSeed(t.seed)
	for _, s := range [...]string{metric, id.model, id.version} {
		h.WriteString(s)
		h.WriteByte(0xff)
	}
	var sum uint64 // of attributes in any order
	for _, a := range attrs {
		sum += maphash.String(t.seed, a.name+"\xff"+a.value)
	}
	return h.Sum64() ^ sum
}

func (t *totals) get(key uint64) (total, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if v, ok := t.younger[key]; ok {
		return v, true
	}
	v, ok := t.older[key]
	return v, ok
}

// increase returns the sum and number of what came to a running total since its last point, and why
// there is none. The first point of a total that began before this source did cannot be told from
// what had been told already.
func (t *totals) increase(b *Batch, key uint64, now total) (sum float64, count uint64, why string) {
	last, known := t.get(key)
	for i := len(b.runs) - 1; i >= 0; i-- { // an earlier point of the same body
		if b.runs[i].key == key {
			last, known = b.runs[i].total, true
			break
		}
	}
	if known && now.at < last.at {
		return 0, 0, reasonNothingNew // late: the later point contained it
	}
	b.runs = append(b.runs, totalUpdate{key, now})
	reset := known && (now.start > last.start && now.start > 0 || now.count < last.count || now.counter && now.sum < last.sum)
	switch {
	case !known && now.start < t.born:
		return 0, 0, reasonFirst
	case !known || reset:
		sum, count = now.sum, now.count
	default:
		sum, count = now.sum-last.sum, now.count-last.count
	}
	if count == 0 && !now.counter {
		return 0, 0, reasonNothingNew
	}
	return sum, count, ""
}

func (t *totals) commit(updates []totalUpdate) {
	if len(updates) == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, u := range updates {
		if len(t.younger) >= t.max {
			t.older, t.younger = t.younger, make(map[uint64]total)
		}
		if last, ok := t.younger[u.key]; !ok || last.at <= u.total.at {
			t.younger[u.key] = u.total
		}
	}
}
