package history

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gofrs/flock"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/tsdb"

	"github.com/visutility/visutility"
)

// Options say where a history is and how much it keeps.
type Options struct {
	// Dir is the directory, made if it does not exist. Required.
	Dir string
	// Retention is how much is kept, counted back from the newest event time. Defaults to 90 days.
	Retention time.Duration
	// MaxBytes is how much disk the database may take, without its own log; the oldest goes first. Defaults to no limit.
	MaxBytes int64
	// OutOfOrder is how much older than the newest event of any model an event may be, unless it is
	// the newest of its own series. Defaults to 30 days.
	OutOfOrder time.Duration
	// Logger is told of damage and repair. Defaults to slog.Default().
	Logger *slog.Logger
	// Registerer gets the metrics, those of the database too. Defaults to none.
	Registerer prometheus.Registerer
}

func (o Options) withDefaults() Options {
	o.Retention = cmp.Or(o.Retention, 90*24*time.Hour)
	o.OutOfOrder = cmp.Or(o.OutOfOrder, 30*24*time.Hour)
	o.Logger = cmp.Or(o.Logger, slog.Default())
	return o
}

// A History keeps the metrics of all models. It is a [visutility.Positioner]; its methods
// are safe for concurrent use. Its [Feed] tells of what Select has from then on.
type History struct {
	Feed
	options    Options
	lock       *flock.Flock
	db         *tsdb.DB
	metrics    *metrics
	collectors []prometheus.Collector

	life   sync.RWMutex // held for writing by Close
	closed bool

	mu         sync.RWMutex
	partitions map[int]*partition
	homes      map[string]*partition // of the models seen since Open

	frozen atomic.Bool // positions are not saved any more

	saving    sync.Mutex // guards what follows
	saved     positionFile
	savedAt   time.Time
	syncedWAL map[string]int // newest segment synced, by directory
}

var _ visutility.Positioner = (*History)(nil)

// Open opens the history in a directory. ErrConflict: it is open already.
//
// What cannot be read is repaired or moved aside, which is logged: the log has it, as long as its own
// retention reaches back.
func Open(o Options) (*History, error) {
	o = o.withDefaults()
	if o.Dir == "" {
		return nil, visutility.Invalidf("dir", "empty", "is missing")
	}
	if err := os.MkdirAll(o.Dir, 0o750); err != nil {
		return nil, fmt.Errorf("open history: %w", err)
	}
	lock := flock.New(filepath.Join(o.Dir, "lock"))
	if got, err := lock.TryLock(); err != nil {
		return nil, fmt.Errorf("lock history: %w", err)
	} else if !got {
		return nil, fmt.Errorf("history in %s is open already: %w", o.Dir, visutility.ErrConflict)
	}
	h := &History{
		options:    o,
		lock:       lock,
		partitions: make(map[int]*partition),
		homes:      make(map[string]*partition),
		syncedWAL:  make(map[string]int),
	}
	if err := h.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("open history in %s: %w", o.Dir, err), h.closeFiles())
	}
	return h, nil
}

func (h *History) open() error {
	positions, err := h.openDatabase()
	if err != nil {
		return err
	}
	h.saved = positions
	for number, at := range positions.Positions {
		p := newPartition()
		p.applied = at
		p.durable.Store(uint64(at))
		h.partitions[number] = p
	}
	h.metrics = newMetrics(h)
	h.collectors = append(h.collectors, h.metrics)
	if h.options.Registerer == nil {
		return nil
	}
	for i, c := range h.collectors {
		if err := h.options.Registerer.Register(c); err != nil {
			h.collectors = h.collectors[:i]
			return fmt.Errorf("register metrics: %w", err)
		}
	}
	return nil
}

// Close closes the history. It need not be called for anything to be kept: what is not on record
// yet is read from the log again.
func (h *History) Close() error {
	h.life.Lock()
	defer h.life.Unlock()
	if h.closed {
		return nil
	}
	h.closed = true
	return errors.Join(h.savePositions(0), h.closeFiles())
}

func (h *History) closeFiles() error {
	var errs []error
	if r := h.options.Registerer; r != nil {
		for _, c := range h.collectors {
			r.Unregister(c)
		}
	}
	if h.db != nil {
		errs = append(errs, h.db.Close())
	}
	errs = append(errs, h.lock.Unlock())
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close history: %w", err)
	}
	return nil
}

// use keeps the history open until done is called.
func (h *History) use() (done func(), err error) {
	h.life.RLock()
	if h.closed {
		h.life.RUnlock()
		return nil, fmt.Errorf("history is closed: %w", visutility.ErrUnavailable)
	}
	return h.life.RUnlock, nil
}

// Start is the position up to which a partition has been taken in.
func (h *History) Start(_ context.Context, partition int) (visutility.Position, error) {
	p := h.partition(partition)
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.applied, nil
}

// Observe takes the entries of a batch in, but for those it has taken in before. After an error (the disk is full, say)
// the same batch can be given again.
func (h *History) Observe(ctx context.Context, b visutility.Batch) error {
	done, err := h.use()
	if err != nil {
		return err
	}
	defer done()
	p := h.partition(b.Partition)
	if err := h.observe(ctx, p, b.Entries); err != nil {
		return fmt.Errorf("history of partition %d: %w", b.Partition, err)
	}
	return h.savePositions(saveEvery)
}

func (h *History) observe(ctx context.Context, p *partition, entries []visutility.Entry) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range entries {
		e := &entries[i]
		if e.Position <= p.applied {
			continue
		}
		if err := h.cutBefore(ctx, p, e); err != nil {
			return err
		}
		h.take(p, e)
		p.applied = e.Position
		h.Tell(e)
	}
	return nil
}

func (h *History) partition(number int) *partition {
	h.mu.RLock()
	p := h.partitions[number]
	h.mu.RUnlock()
	if p != nil {
		return p
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if p = h.partitions[number]; p == nil {
		p = newPartition()
		h.partitions[number] = p
	}
	return p
}
