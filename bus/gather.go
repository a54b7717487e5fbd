package bus

import (
	"crypto/sha256"
	"encoding/base64"
	"strconv"
	"sync"
	"time"
)

const (
	// maxMessages is the server's limit on an atomic batch.
	maxMessages = 1000
	// maxMerged bounds a message merged from many requests.
	maxMerged = 512 << 10
	// maxFlush bounds the bytes of a flush, which the server holds in memory.
	// A single request may be larger.
	maxFlush = 16 << 20
	// requestOverhead is what a request costs in memory beside its bytes.
	requestOverhead = 256
)

// A request is one call of Publish, Control or Tick on its way to the disk.
type request struct {
	id       string // the id by which a repetition is recognised, "" for none
	merge    bool   // its segments may be appended to others'
	segments []segment
	bytes    int64 // what it takes of the queue's room
	events   int
	controls int
	payloads int
	done     chan error // told the outcome, once
}

// messageID derives the id of a keyed request. kind keeps the keys of callers
// who publish events apart from those of controls. Hashing makes any key a valid header.
func messageID(kind, key string) string {
	if key == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(kind + key))
	return kind + base64.RawURLEncoding.EncodeToString(sum[:16])
}

// A queue holds the requests that wait for the writer, in order of arrival.
type queue struct {
	mu      sync.Mutex
	waiting []*request
	spare   []*request
	enough  int // how many are worth waking the writer
	closed  bool
	wake    chan struct{}
}

func newQueue() *queue { return &queue{enough: 1, wake: make(chan struct{}, 1)} }

// push adds a request; false when the queue is closed.
func (q *queue) push(r *request) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return false
	}
	q.waiting = append(q.waiting, r)
	if len(q.waiting) >= q.enough {
		q.signal()
	}
	return true
}

// withdraw takes a request back; false when the writer has it already.
func (q *queue) withdraw(r *request) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i, w := range q.waiting {
		if w == r {
			q.waiting = append(q.waiting[:i], q.waiting[i+1:]...)
			return true
		}
	}
	return false
}

func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.signal()
}

func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// take waits for a request, then up to linger for enough of them, and returns
// all there are; none means that the queue is closed and empty. The slice is
// the caller's until the next take.
func (q *queue) take(enough int, linger time.Duration) []*request {
	q.await(1, nil)
	if linger > 0 && enough > 1 {
		timer := time.NewTimer(linger)
		q.await(enough, timer.C)
		timer.Stop()
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	out := q.waiting
	clear(q.spare)
	q.waiting, q.spare = q.spare[:0], out
	return out
}

// await returns when n requests wait, the queue is closed, or timeout fires.
func (q *queue) await(n int, timeout <-chan time.Time) {
	for {
		q.mu.Lock()
		q.enough = n
		ready := q.closed || len(q.waiting) >= n
		q.mu.Unlock()
		if ready {
			return
		}
		select {
		case <-q.wake:
		case <-timeout:
			return
		}
	}
}

// A unit is what must be stored wholly or not at all, and once: a keyed
// request, or all the others of a flush together. Its first message carries its
// id, and that is enough: the messages of a unit are always in one atomic batch.
type unit struct {
	id       string
	keyed    bool
	messages []segment
	requests []*request
	err      error
}

// A flush is what goes to the disk at once.
type flush struct {
	units    []*unit
	messages int
	bytes    int64

	merged *unit
	open   map[int]int      // partition → the merged unit's message that still grows
	keys   map[string]*unit // id → unit
}

func newFlush() *flush { return &flush{open: map[int]int{}, keys: map[string]*unit{}} }

// add puts a request into the flush; false when it does not fit any more. A
// request whose key is in the flush already shares the fate of the first.
func (f *flush) add(r *request, nextID func() string) bool {
	if same, ok := f.keys[r.id]; ok && r.id != "" {
		same.requests = append(same.requests, r)
		return true
	}
	if f.messages > 0 && (f.messages+len(r.segments) > maxMessages || f.bytes+r.bytes > maxFlush) {
		return false
	}
	f.bytes += r.bytes
	if r.id != "" {
		u := &unit{id: r.id, keyed: true, messages: r.segments, requests: []*request{r}}
		f.units = append(f.units, u)
		f.keys[r.id] = u
		f.messages += len(r.segments)
		return true
	}
	if f.merged == nil {
		f.merged = &unit{id: nextID()}
		f.units = append(f.units, f.merged)
	}
	u := f.merged
	u.requests = append(u.requests, r)
	for _, s := range r.segments {
		i, open := f.open[s.partition]
		if r.merge && open && len(u.messages[i].data)+len(s.data) <= maxMerged {
			u.messages[i].data = append(u.messages[i].data, s.data...)
			continue
		}
		u.messages = append(u.messages, s)
		f.messages++
		// What comes after a message that does not grow must come after it in the log.
		delete(f.open, s.partition)
		if r.merge {
			f.open[s.partition] = len(u.messages) - 1
		}
	}
	return true
}

// idCounter makes the ids of units without a key: unique among processes by its prefix.
type idCounter struct {
	prefix string
	n      uint64
}

func (c *idCounter) next() string {
	c.n++
	return c.prefix + strconv.FormatUint(c.n, 36)
}
