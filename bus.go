package visutility

import (
	"context"
	"iter"
	"time"
)

// A Position is a place in the log: the sequence number of an entry. Positions
// of one partition grow, with gaps; 0 is before the first.
type Position uint64

// A Bus is the durable, partitioned log of events. All entries of one model
// are in one partition, in the order in which they were accepted.
//
// Implementations are safe for concurrent use and pass the conformance suite
// in package visutilitytest.
type Bus interface {
	// Partitions is the number of partitions, fixed when the log is made.
	Partitions() int
	// Publish appends events and returns when they are on disk. All of them
	// are appended or none. key is an idempotency key, "" for none: a second
	// publish with the same key inside the window appends nothing and succeeds.
	// Events must have passed [Event.Check]; zero times and counts are filled in.
	// It blocks while the log is busy, until ctx ends ([ErrOverloaded]).
	Publish(ctx context.Context, key string, events []Event) error
	// Control appends facts about runs and models, as durably, under the same rules.
	Control(ctx context.Context, key string, controls ...Control) error
	// Tick appends an empty entry to every partition: it tells the readers the time.
	Tick(ctx context.Context) error
	// Read yields the entries of a partition after a position, in order, and
	// waits for more, until the caller breaks off or ctx ends (it then yields
	// the context's error). Any other error ends the sequence too: the caller
	// reads on from the last position it was given. A batch is the reader's to keep
	// only until the next one is asked for; its strings may be kept.
	Read(ctx context.Context, partition int, after Position) iter.Seq2[Batch, error]
	// Last is the position of the newest entry of a partition, 0 when empty.
	Last(ctx context.Context, partition int) (Position, error)
	// First is the position before the oldest entry still retained: reading
	// after anything smaller would skip entries.
	First(ctx context.Context, partition int) (Position, error)
}

// A Batch is a run of consecutive entries of one partition.
type Batch struct {
	Partition int
	Entries   []Entry
	// Pending is how many entries of the partition come after this batch, as
	// far as is known: the reader's lag.
	Pending uint64
}

// Last is the position of the newest entry of the batch.
func (b Batch) Last() Position { return b.Entries[len(b.Entries)-1].Position }

// Events yields the events of the batch, in order, with the position of the entry each is in.
// It is the convenient way; code that cares for speed walks the records.
func (b Batch) Events() iter.Seq2[Position, Event] {
	return func(yield func(Position, Event) bool) {
		for i := range b.Entries {
			e := &b.Entries[i]
			for _, r := range e.Records {
				s := &e.Series[r.Series]
				ev := Event{
					Model: s.Model, Metric: s.Metric, Version: s.Version, Labels: s.Labels.Map(),
					Value: r.Value, Time: time.UnixMilli(r.Time).UTC(), Count: uint64(r.Count),
				}
				if !yield(e.Position, ev) {
					return
				}
			}
		}
	}
}

// An Entry is what was appended to a partition at once: events in columns, or
// controls, or payloads, or nothing (a tick).
type Entry struct {
	Position Position
	// Stored is when the log stored the entry, in Unix milliseconds. It is the
	// only clock a fold may read.
	Stored   int64
	Series   []Series
	Records  []Record
	Controls []Control
	// Payloads are what a log of other things than events holds.
	Payloads [][]byte
}

// A Series is what the events of one metric of one model have in common.
type Series struct {
	Model, Metric, Version string
	Labels                 Labels
}

// A Record is one event of an entry.
type Record struct {
	Series uint32 // index into Entry.Series
	Time   int64  // Unix milliseconds
	Value  float64
	Count  int64 // samples behind the value, at least 1
}

// Labels are label names and values in one canonical string, sorted by name:
// "country\xffDE\xfftier\xffgold", "" for none. (0xff cannot occur in UTF-8.)
type Labels string

// A ControlKind says what a [Control] tells.
type ControlKind int

// The kinds of control. Their numbers are written to the log: never reuse one.
const (
	// ControlTrigger asks for a run by hand. By, Reason, Policy, Request.
	ControlTrigger ControlKind = 1
	// ControlPause stops automatic runs of a model; ControlResume allows them again. By, Reason.
	ControlPause  ControlKind = 2
	ControlResume ControlKind = 3
	// ControlEnded tells that a run has come to its end. Run, State.
	ControlEnded ControlKind = 4
	// ControlPromoted tells that the champion changed, forward or back: windows
	// and baselines start afresh. Version, Previous, Run ("" by hand),
	// PreviousMetrics (what the replaced champion scored), Watch (whether the run is watched now).
	ControlPromoted ControlKind = 5
)

// A Control is a fact that the fold must know in the order of the log: what
// people asked for and what became of runs.
type Control struct {
	Kind     ControlKind `json:"kind"`
	Model    string      `json:"model"`
	Policy   string      `json:"policy,omitempty"`
	Run      string      `json:"run,omitempty"`
	State    RunState    `json:"state,omitempty"`
	Version  string      `json:"version,omitempty"`
	Previous string      `json:"previous,omitempty"`
	// PreviousMetrics are what the replaced champion scored, by metric.
	PreviousMetrics map[string]float64 `json:"previous_metrics,omitempty"`
	Watch           bool               `json:"watch,omitempty"`
	By              string             `json:"by,omitempty"`
	Reason          string             `json:"reason,omitempty"`
	// Request is the id under which the asker finds the decision that answers it.
	Request string `json:"request,omitempty"`
}
