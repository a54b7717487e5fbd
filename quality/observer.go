package quality

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/internal/durable"
)

// Marks keeps positions by name, durably: the store does.
type Marks interface {
	ObserverPosition(ctx context.Context, name string, partition int) (visutility.Position, bool, error)
	SetObserverPositions(ctx context.Context, name string, positions map[int]visutility.Position) error
}

// The names under which an observer keeps its marks.
const (
	publishedMark = "quality.published" // in the log of predictions: what it made the joiner say is in the log of events
	intendedMark  = "quality.intended"  // in the log of predictions: what it made the joiner say may be in the log of events
	intentMark    = "quality.intent"    // in the log of events: that is not before it
)

// Options say what an [Observer] works with.
type Options struct {
	// Dir is where snapshots are kept, made if need be. Required.
	Dir string
	// Rules are the settings of models. Defaults to none: all have the defaults.
	Rules Rules
	// Limits of memory, of each partition.
	Limits Limits
	// Events is the log of events, which has as many partitions as that of predictions. Required.
	Events visutility.Bus
	// Publish appends events to it. An error that is ErrInvalid drops them for good. Required.
	Publish func(ctx context.Context, key string, events []visutility.Event) error
	// Marks keeps positions. Required.
	Marks Marks
	// SnapshotEvery is the least time between two snapshots of a partition. Defaults to a minute.
	SnapshotEvery time.Duration
	// Logger defaults to slog.Default().
	Logger *slog.Logger
	// Now defaults to time.Now. It only says when to make snapshots.
	Now func() time.Time
}

// An Observer joins what the log of predictions has and publishes what comes of it, exactly once.
//
// A judgement is identified by the position of the entry that made the window mature, since the joiner is
// a pure fold. Before it is published, that position and the end of the log of events are marked; afterwards, that it was. What is made
// again after a crash and lies before the mark is passed over; what was being published when the
// process ended is looked for in the log of events first.
type Observer struct {
	o          Options
	mu         sync.Mutex // guards partitions, the map
	partitions map[int]*partition
}

var _ visutility.Positioner = (*Observer)(nil)

// A partition is one partition's joiner and how far it is.
type partition struct {
	mu        sync.Mutex
	joiner    *Joiner
	applied   visutility.Position // folded
	published visutility.Position // mark
	intended  visutility.Position // mark
	unsure    bool                // what comes after the mark may have been published
	adopted   bool                // the rules are those of now
	unsettled bool                // and are to be saved before anything is folded by them
	waiting   []Judged            // made by the entry at applied, not yet published
	saved     visutility.Position // of the last snapshot
	savedAt   time.Time
	took      time.Duration // by the last snapshot
	refused   uint64        // events that the log of events did not want
	unsaved   uint64        // snapshots that could not be written
	shown     atomic.Pointer[view]
}

// NewObserver returns an observer.
func NewObserver(o Options) (*Observer, error) {
	o.SnapshotEvery = cmp.Or(o.SnapshotEvery, time.Minute)
	o.Logger = cmp.Or(o.Logger, slog.Default())
	if o.Now == nil {
		o.Now = time.Now
	}
	if err := o.Rules.check(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.Dir, 0o750); err != nil {
		return nil, fmt.Errorf("make the directory of joined predictions: %w", err)
	}
	return &Observer{o: o, partitions: map[int]*partition{}}, nil
}

// Start restores a partition and returns where it is to be read on.
func (o *Observer) Start(ctx context.Context, number int) (visutility.Position, error) {
	p, err := o.partition(ctx, number)
	if err != nil {
		return 0, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.applied, nil
}

// Reached is how far the log was joined: it must reach as far itself.
func (o *Observer) Reached(ctx context.Context, number int) (visutility.Position, error) {
	p, err := o.partition(ctx, number)
	if err != nil {
		return 0, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return max(p.applied, p.published), nil
}

func (o *Observer) partition(ctx context.Context, number int) (*partition, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if p := o.partitions[number]; p != nil {
		return p, nil
	}
	mark, _, err := o.o.Marks.ObserverPosition(ctx, publishedMark, number)
	if err != nil {
		return nil, err
	}
	intended, _, err := o.o.Marks.ObserverPosition(ctx, intendedMark, number)
	if err != nil {
		return nil, err
	}
	p := &partition{joiner: NewJoiner(o.o.Rules, o.o.Limits), published: mark, intended: intended, unsure: true, unsettled: true, savedAt: o.o.Now()}
	at, state, err := readSnapshot(o.file(number))
	if err == nil {
		err = p.joiner.UnmarshalBinary(state)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err == nil:
		p.applied, p.saved, p.unsettled = at, at, false
	default:
		// The log has it all, as far as it reaches back; what was published is not published again.
		o.o.Logger.Warn("the state of joined predictions cannot be read and is made anew from the log", "partition", number, "error", err)
		p.joiner = NewJoiner(o.o.Rules, o.o.Limits)
	}
	p.show()
	o.partitions[number] = p
	return p, nil
}

// Observe folds a batch. After an error the same batch can be given again.
func (o *Observer) Observe(ctx context.Context, b visutility.Batch) error {
	p, err := o.partition(ctx, b.Partition)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	defer p.show()
	if err := o.flush(ctx, p, b.Partition); err != nil {
		return err
	}
	for i := range b.Entries {
		e := &b.Entries[i]
		if e.Position <= p.applied {
			continue
		}
		if err := o.adopt(p, b.Partition, e.Position); err != nil {
			return err
		}
		p.waiting = p.joiner.Fold(e.Stored, e.Payloads)
		p.applied = e.Position
		if err := o.flush(ctx, p, b.Partition); err != nil {
			return err
		}
	}
	if wait := max(o.o.SnapshotEvery, 20*p.took); p.applied > p.saved && o.o.Now().Sub(p.savedAt) >= wait {
		_ = o.save(p, b.Partition) // counted and tried again: the log has it all
	}
	return nil
}

// adopt puts the rules of now in force, behind all that was or may have been published: what is folded again must come out as it
// did. From there on it is to be folded by these rules, also after a crash, so that is saved first.
func (o *Observer) adopt(p *partition, number int, next visutility.Position) error {
	if p.adopted || next <= max(p.published, p.intended) {
		return nil
	}
	p.unsettled = p.joiner.Adopt(o.o.Rules) || p.unsettled
	if p.unsettled {
		if err := o.save(p, number); err != nil {
			return err
		}
	}
	p.adopted, p.unsettled = true, false
	return nil
}

// flush publishes what waits.
func (o *Observer) flush(ctx context.Context, p *partition, number int) error {
	if len(p.waiting) == 0 {
		return nil
	}
	if p.applied <= p.published {
		p.waiting = nil
		return nil
	}
	if err := o.intend(ctx, p, number); err != nil {
		return err
	}
	p.unsure = true // until it is marked
	for len(p.waiting) > 0 {
		w := p.waiting[0]
		err := o.o.Publish(ctx, w.Key, w.Events)
		if errors.Is(err, visutility.ErrInvalid) {
			p.refused += uint64(len(w.Events))
			o.o.Logger.Error("measurements of joined predictions were refused", "model", w.Model, "events", len(w.Events), "error", err)
		} else if err != nil {
			return err
		}
		p.waiting = p.waiting[1:]
	}
	p.waiting = nil
	if err := o.o.Marks.SetObserverPositions(ctx, publishedMark, map[int]visutility.Position{number: p.applied}); err != nil {
		return err
	}
	p.published, p.unsure = p.applied, false
	return nil
}

// intend marks what is about to be published, and the end of the log of events before it. Where what comes after the
// mark may have been published, it is looked for, and the end stays as it is marked: whoever comes next looks from there too.
func (o *Observer) intend(ctx context.Context, p *partition, number int) error {
	if p.intended != p.applied {
		if err := o.o.Marks.SetObserverPositions(ctx, intendedMark, map[int]visutility.Position{number: p.applied}); err != nil {
			return err
		}
		p.intended = p.applied
	}
	if p.unsure {
		from, found, err := o.o.Marks.ObserverPosition(ctx, intentMark, number)
		if err != nil {
			return err
		}
		if found {
			return o.recall(ctx, p, number, from)
		}
	}
	last, err := o.o.Events.Last(ctx, number)
	if err != nil {
		return err
	}
	return o.o.Marks.SetObserverPositions(ctx, intentMark, map[int]visutility.Position{number: last})
}

// recall drops what waits of what is in the log of events after a position.
func (o *Observer) recall(ctx context.Context, p *partition, number int, from visutility.Position) error {
	first, err := o.o.Events.First(ctx, number)
	if err != nil {
		return err
	}
	last, err := o.o.Events.Last(ctx, number)
	if err != nil || last <= max(from, first) {
		return err
	}
	known := map[eventKey]struct{}{}
	for b, err := range o.o.Events.Read(ctx, number, max(from, first)) {
		if err != nil {
			return err
		}
		for i := range b.Entries {
			e := &b.Entries[i]
			for _, r := range e.Records {
				known[eventKey{e.Series[r.Series], r.Time, r.Value, r.Count}] = struct{}{}
			}
		}
		if b.Last() >= last {
			break
		}
	}
	for i := range p.waiting {
		w := &p.waiting[i]
		for _, ev := range w.Events { // they were published all or none
			s := visutility.Series{Model: ev.Model, Metric: ev.Metric, Version: ev.Version, Labels: visutility.MakeLabels(ev.Labels)}
			if _, is := known[eventKey{s, ev.Time.UnixMilli(), ev.Value, int64(ev.Count)}]; is {
				w.Events = nil
				break
			}
		}
	}
	return nil
}

// An eventKey is an event as the log has it.
type eventKey struct {
	series visutility.Series
	time   int64
	value  float64
	count  int64
}

// Close makes a last snapshot of every partition. The observer must not be called any more.
func (o *Observer) Close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	for number, p := range o.partitions {
		p.mu.Lock()
		// What waits was made by the entry at applied, which must be folded again.
		if p.applied > p.saved && len(p.waiting) == 0 {
			_ = o.save(p, number) // the log has it all
		}
		p.mu.Unlock()
	}
	return nil
}

// save makes a snapshot. One that fails is counted.
func (o *Observer) save(p *partition, number int) error {
	began := o.o.Now()
	state, err := p.joiner.AppendBinary(nil)
	if err == nil {
		err = writeSnapshot(o.file(number), p.applied, state)
	}
	p.savedAt, p.took = o.o.Now(), o.o.Now().Sub(began)
	if err != nil {
		p.unsaved++
		o.o.Logger.Warn("the state of joined predictions could not be saved; more of the log is read at the next start", "partition", number, "error", err)
		return fmt.Errorf("save the state of joined predictions: %w", err)
	}
	p.saved = p.applied
	return nil
}

func (o *Observer) file(number int) string {
	return filepath.Join(o.o.Dir, "joined-"+strconv.Itoa(number))
}

// A snapshot file is the position, in eight bytes, and the joiner's state.
func readSnapshot(file string) (visutility.Position, []byte, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, nil, err
	}
	if len(b) < 8 {
		return 0, nil, fmt.Errorf("%w: %s has %d bytes", visutility.ErrInvalid, file, len(b))
	}
	return visutility.Position(binary.BigEndian.Uint64(b)), b[8:], nil
}

// writeSnapshot replaces the file, whole or not at all.
func writeSnapshot(file string, at visutility.Position, state []byte) error {
	return durable.WriteFile(file, append(binary.BigEndian.AppendUint64(nil, uint64(at)), state...), 0o644)
}
