package visutility

import "context"

// An Observer is handed the entries of the log, batch by batch: consecutive
// batches of one partition, in order, never two of the same partition at once
// (different partitions may be concurrent). A batch is lent for the duration of the call.
//
// An error or a panic makes the dispatcher hand over the same batch again,
// later and later; so Observe should be idempotent, or be a [Positioner].
type Observer interface {
	Observe(ctx context.Context, b Batch) error
}

// ObserverFunc lets a function be an [Observer].
type ObserverFunc func(ctx context.Context, b Batch) error

// Observe calls f.
func (f ObserverFunc) Observe(ctx context.Context, b Batch) error { return f(ctx, b) }

// A Positioner is an [Observer] that keeps its positions itself, in the same
// transaction as its effects; the dispatcher then asks it where to start and
// keeps nothing. That is what makes effects exactly-once.
type Positioner interface {
	Observer
	// Start is the position after which a partition is to be read.
	Start(ctx context.Context, partition int) (Position, error)
}
