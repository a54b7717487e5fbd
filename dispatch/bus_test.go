package dispatch_test

import (
	"context"
	"errors"
	"iter"
	"sync"
	"time"

	"github.com/visutility/visutility"
)

// A memoryBus is a log in memory. Its channels belong to the test's bubble.
type memoryBus struct {
	visutility.Bus // what the dispatcher does not call

	mu      sync.Mutex
	entries [][]visutility.Entry // by partition, what is retained
	first   []visutility.Position
	more    chan struct{} // closed and replaced by every append
	batch   int           // most entries of a batch
	fail    error         // yielded by the next read
	reads   int
}

func newMemoryBus(partitions int) *memoryBus {
	return &memoryBus{
		entries: make([][]visutility.Entry, partitions),
		first:   make([]visutility.Position, partitions),
		more:    make(chan struct{}),
		batch:   3,
	}
}

func (b *memoryBus) Partitions() int { return len(b.entries) }

func (b *memoryBus) last(p int) visutility.Position {
	return b.first[p] + visutility.Position(len(b.entries[p]))
}

// append adds n entries of one event to a partition; an event's value is its position.
func (b *memoryBus) append(p, n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for range n {
		at := b.last(p) + 1
		b.entries[p] = append(b.entries[p], visutility.Entry{
			Position: at, Stored: time.Now().UnixMilli(),
			Series:  []visutility.Series{{Model: "m", Metric: "x"}},
			Records: []visutility.Record{{Value: float64(at), Count: 1}},
		})
	}
	b.wake()
}

func (b *memoryBus) wake() { close(b.more); b.more = make(chan struct{}) }

// drop forgets the oldest entries of a partition, as retention does.
func (b *memoryBus) drop(p, n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.entries[p] = b.entries[p][n:]
	b.first[p] += visutility.Position(n)
}

// failNext ends the reads under way with an error.
func (b *memoryBus) failNext(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fail = err
	b.wake()
}

func (b *memoryBus) First(_ context.Context, p int) (visutility.Position, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.first[p], nil
}

func (b *memoryBus) Last(_ context.Context, p int) (visutility.Position, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.last(p), nil
}

var errGap = errors.New("entries are missing")

func (b *memoryBus) next(p int, after visutility.Position) (visutility.Batch, <-chan struct{}, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.fail; err != nil {
		b.fail = nil
		return visutility.Batch{}, nil, err
	}
	if after < b.first[p] {
		return visutility.Batch{}, nil, errGap
	}
	rest := b.entries[p][after-b.first[p]:]
	n := min(len(rest), b.batch)
	return visutility.Batch{Partition: p, Entries: rest[:n:n], Pending: uint64(len(rest) - n)}, b.more, nil
}

func (b *memoryBus) Read(ctx context.Context, p int, after visutility.Position) iter.Seq2[visutility.Batch, error] {
	return func(yield func(visutility.Batch, error) bool) {
		b.mu.Lock()
		b.reads++
		b.mu.Unlock()
		for {
			batch, more, err := b.next(p, after)
			switch {
			case err != nil:
				yield(visutility.Batch{}, err)
				return
			case len(batch.Entries) == 0:
				select {
				case <-more:
				case <-ctx.Done():
					yield(visutility.Batch{}, ctx.Err())
					return
				}
			case !yield(batch, nil):
				return
			default:
				after = batch.Last()
			}
		}
	}
}

// memoryPositions are positions in memory.
type memoryPositions struct {
	mu    sync.Mutex
	saved map[string]map[int]visutility.Position
	saves int
	fail  error
}

func newMemoryPositions() *memoryPositions {
	return &memoryPositions{saved: make(map[string]map[int]visutility.Position)}
}

func (m *memoryPositions) ObserverPosition(_ context.Context, name string, p int) (visutility.Position, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	at, ok := m.saved[name][p]
	return at, ok, m.fail
}

func (m *memoryPositions) SetObserverPositions(_ context.Context, name string, positions map[int]visutility.Position) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return m.fail
	}
	m.saves++
	if m.saved[name] == nil {
		m.saved[name] = make(map[int]visutility.Position)
	}
	for p, at := range positions {
		m.saved[name][p] = at
	}
	return nil
}

func (m *memoryPositions) DeleteObserver(_ context.Context, name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.saved, name)
	return m.fail
}

func (m *memoryPositions) at(name string, p int) visutility.Position {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.saved[name][p]
}

// A recorder is an observer that remembers what it accepted, and checks what the dispatcher promises:
// consecutive entries, one call at a time for a partition.
type recorder struct {
	// before is asked before a batch is accepted; it may fail, panic or block. May be nil.
	before func(ctx context.Context, b visutility.Batch) error

	mu     sync.Mutex
	seen   map[int][]visutility.Position
	inside map[int]bool
	calls  int
	faults []string
}

func newRecorder(before func(ctx context.Context, b visutility.Batch) error) *recorder {
	return &recorder{before: before, seen: make(map[int][]visutility.Position), inside: make(map[int]bool)}
}

func (r *recorder) Observe(ctx context.Context, b visutility.Batch) error {
	r.mu.Lock()
	if r.inside[b.Partition] {
		r.faults = append(r.faults, "called for a partition while in a call for it")
	}
	r.inside[b.Partition] = true
	r.calls++
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		r.inside[b.Partition] = false
		r.mu.Unlock()
	}()
	if r.before != nil {
		if err := r.before(ctx, b); err != nil {
			return err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range b.Entries {
		r.seen[b.Partition] = append(r.seen[b.Partition], e.Position)
	}
	return nil
}

func (r *recorder) positions(p int) []visutility.Position {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]visutility.Position(nil), r.seen[p]...)
}

func (r *recorder) callCount() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.calls
}

// A positioner keeps its positions itself, with what it saw.
type positioner struct{ *recorder }

func (p positioner) Start(_ context.Context, partition int) (visutility.Position, error) {
	seen := p.positions(partition)
	if len(seen) == 0 {
		return 0, nil
	}
	return seen[len(seen)-1], nil
}
