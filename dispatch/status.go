package dispatch

import (
	"time"

	"github.com/visutility/visutility"
)

// A State says how an observer does.
type State string

// The states, from well to ill. An observer is in the worst state of its partitions.
const (
	Running     State = "running"     // reads, or waits for more to read
	Retrying    State = "retrying"    // the last try failed; the next is soon
	Quarantined State = "quarantined" // keeps failing; tried now and then
	Hung        State = "hung"        // in a call that takes too long
)

var states = [...]State{Running, Retrying, Quarantined, Hung}

// A Status tells how an observer does.
type Status struct {
	Name       string `json:"name"`
	State      State  `json:"state"`
	Partitions int    `json:"partitions"`
	// Positions are how far it has come, by partition; 0 before the first entry.
	Positions []visutility.Position `json:"positions"`
	// LagEntries is how many entries wait for it, as far as it was told with its last batches.
	LagEntries uint64 `json:"lag_entries"`
	// LagSeconds is the age of the oldest entry that waits, 0 when none does.
	LagSeconds float64 `json:"lag_seconds"`
	// Failures counts the tries in a row that failed, in the partition that is worst off; 0 when it is well.
	Failures int `json:"failures"`
	// LastError is the newest failure, which may be long past; LastErrorAt says when.
	LastError   string    `json:"last_error,omitempty"`
	LastErrorAt time.Time `json:"last_error_at,omitzero"`
	// NextTry is when the first of the failing partitions is tried again.
	NextTry time.Time `json:"next_try,omitzero"`
	// Totals since the observer was attached.
	Batches        uint64 `json:"batches"`
	Events         uint64 `json:"events"`
	FailuresTotal  uint64 `json:"failures_total"`
	Panics         uint64 `json:"panics"`
	SkippedEntries uint64 `json:"skipped_entries"`
}

// status sums up the workers.
func (a *attachment) status(now time.Time) Status {
	s := Status{Name: a.name, Partitions: len(a.workers), State: Running}
	worst := 0
	for _, w := range a.workers {
		v := w.snapshot()
		s.Positions = append(s.Positions, v.position)
		s.LagEntries += v.waiting
		if v.waiting > 0 && !v.oldest.IsZero() {
			s.LagSeconds = max(s.LagSeconds, now.Sub(v.oldest).Seconds())
		}
		worst = max(worst, v.state)
		s.Failures = max(s.Failures, v.failures, v.unread)
		if v.lastErrorAt.After(s.LastErrorAt) {
			s.LastError, s.LastErrorAt = v.lastError.Error(), v.lastErrorAt
		}
		if !v.nextTry.IsZero() && (s.NextTry.IsZero() || v.nextTry.Before(s.NextTry)) {
			s.NextTry = v.nextTry
		}
		s.Batches += v.batches
		s.Events += v.events
		s.FailuresTotal += v.failed
		s.Panics += v.panics
		s.SkippedEntries += v.skipped
	}
	s.State = states[worst]
	return s
}
