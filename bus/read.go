package bus

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/visutility/visutility"
)

const (
	maxBatchEntries = 256
	maxBatchBytes   = 1 << 20

	pullMessages  = 512
	pullBytes     = 4 << 20 // not by number alone: large messages would overrun the connection
	pullHeartbeat = time.Second
	pullExpiry    = 4 * time.Second

	restWait   = 2 * time.Millisecond // how long the next message is awaited when more is known to come
	rereadWait = 50 * time.Millisecond
	cleanWait  = time.Second
)

// A GapError says that a reader asked for entries that are no longer retained.
// The caller decides: to read on after First is to skip what lies between.
type GapError struct {
	Partition int
	After     visutility.Position // what was asked for
	First     visutility.Position // the smallest position to read after without a gap
}

func (e *GapError) Error() string {
	return fmt.Sprintf("partition %d: entries after %d are no longer retained; the oldest left come after %d", e.Partition, e.After, e.First)
}

// Read yields the entries of a partition, see [visutility.Bus]. Asking for
// what is no longer retained, or being overtaken by retention, ends in a [*GapError].
func (l *Log) Read(ctx context.Context, partition int, after visutility.Position) iter.Seq2[visutility.Batch, error] {
	return func(yield func(visutility.Batch, error) bool) {
		if err := l.checkPartition(partition); err != nil {
			yield(visutility.Batch{}, err)
			return
		}
		r := &reader{log: l, partition: partition, last: after, dec: newDecoder()}
		defer r.stop()
		for {
			b, err := r.next(ctx)
			if err != nil {
				yield(visutility.Batch{}, err)
				return
			}
			if !yield(b, nil) {
				return
			}
		}
	}
}

// Last is the position of the newest entry of a partition, 0 when there never
// was one; when none is retained, it is First.
func (l *Log) Last(ctx context.Context, partition int) (visutility.Position, error) {
	if err := l.checkPartition(partition); err != nil {
		return 0, err
	}
	s, err := l.await(ctx)
	if err != nil {
		return 0, err
	}
	msg, err := s.stream.GetLastMsgForSubject(ctx, subject(partition))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return s.first(ctx)
	}
	if err != nil {
		return 0, fmt.Errorf("%w: ask for the last entry of partition %d: %w", visutility.ErrUnavailable, partition, err)
	}
	return visutility.Position(msg.Sequence), nil
}

// First is the position before the oldest entry retained in any partition: no
// entry of this partition after it is missing.
func (l *Log) First(ctx context.Context, partition int) (visutility.Position, error) {
	if err := l.checkPartition(partition); err != nil {
		return 0, err
	}
	s, err := l.await(ctx)
	if err != nil {
		return 0, err
	}
	return s.first(ctx)
}

func (l *Log) checkPartition(partition int) error {
	if partition < 0 || partition >= l.partitions {
		return visutility.Invalidf("partition", "range", "is %d of %d", partition, l.partitions)
	}
	return nil
}

func (s *session) first(ctx context.Context) (visutility.Position, error) {
	info, err := s.stream.Info(ctx)
	if err != nil {
		return 0, fmt.Errorf("%w: ask for the first entry: %w", visutility.ErrUnavailable, err)
	}
	if info.State.FirstSeq == 0 {
		return 0, nil
	}
	return visutility.Position(info.State.FirstSeq - 1), nil
}

// A reader is one call of Read.
type reader struct {
	log       *Log
	partition int
	last      visutility.Position // of the last entry handed out
	lagged    bool                // entries were waiting behind the last batch
	dec       *decoder
	entries   []visutility.Entry // lent to the caller, reused

	session  *session
	consumer jetstream.Consumer
	messages jetstream.MessagesContext
}

// next returns the next batch. It outlives whatever happens to consumer and
// server, except that the log is closed.
func (r *reader) next(ctx context.Context) (visutility.Batch, error) {
	r.entries = r.entries[:0]
	for {
		err := r.open(ctx)
		var msg jetstream.Msg
		if err == nil {
			msg, err = r.messages.Next(jetstream.NextContext(ctx))
		}
		if ctx.Err() != nil {
			return visutility.Batch{}, ctx.Err()
		}
		var gap *GapError
		if errors.As(err, &gap) || errors.Is(err, errClosed) {
			return visutility.Batch{}, err
		}
		if err == nil {
			b, err := r.collect(ctx, msg)
			if err != nil || len(b.Entries) > 0 {
				return b, err
			}
			continue
		}
		// The consumer is gone, or the server. Begin again after the last entry.
		r.stop()
		select {
		case <-time.After(rereadWait):
		case <-ctx.Done():
			return visutility.Batch{}, ctx.Err()
		}
	}
}

// open makes a consumer that begins after r.last, if there is none.
func (r *reader) open(ctx context.Context) error {
	if r.messages != nil {
		return nil
	}
	s, err := r.log.await(ctx)
	if err != nil {
		return err
	}
	if err := r.checkGap(ctx, s); err != nil {
		return err
	}
	c, err := s.js.OrderedConsumer(ctx, streamName, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{subject(r.partition)},
		DeliverPolicy:  jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:    uint64(r.last) + 1,
		// The library's own attempts heed no context.
		MaxResetAttempts: 1,
	})
	if err != nil {
		return err
	}
	m, err := c.Messages(jetstream.PullMaxMessagesWithBytesLimit(pullMessages, pullBytes),
		jetstream.PullHeartbeat(pullHeartbeat), jetstream.PullExpiry(pullExpiry))
	if err != nil {
		return err
	}
	r.session, r.consumer, r.messages = s, c, m
	return nil
}

// checkGap returns a GapError when what comes after r.last is no longer wholly there.
func (r *reader) checkGap(ctx context.Context, s *session) error {
	first, err := s.first(ctx)
	if err != nil {
		return err
	}
	if first > r.last {
		return &GapError{Partition: r.partition, After: r.last, First: first}
	}
	return nil
}

// collect makes a batch of a message and those that are ready behind it.
func (r *reader) collect(ctx context.Context, msg jetstream.Msg) (visutility.Batch, error) {
	bytes, pending := 0, uint64(0)
	for {
		meta, err := msg.Metadata()
		if err != nil {
			return visutility.Batch{}, fmt.Errorf("read the place of an entry of partition %d: %w", r.partition, err)
		}
		pending = meta.NumPending
		if pos := visutility.Position(meta.Sequence.Stream); len(r.entries) == 0 && pos > r.last || len(r.entries) > 0 && pos > r.entries[len(r.entries)-1].Position {
			r.entry(pos, meta.Timestamp, msg.Data())
		}
		bytes += len(msg.Data())
		if pending == 0 || bytes >= maxBatchBytes || len(r.entries) >= maxBatchEntries {
			break
		}
		msg, err = r.messages.Next(jetstream.NextMaxWait(restWait))
		if errors.Is(err, nats.ErrTimeout) {
			break
		}
		if err != nil {
			r.stop() // what was read is handed out; the next call begins again
			break
		}
	}
	if len(r.entries) == 0 {
		return visutility.Batch{}, nil
	}
	if (r.lagged || pending > 0) && r.session != nil {
		// A reader far behind may have been overtaken by retention meanwhile.
		var gap *GapError
		if err := r.checkGap(ctx, r.session); errors.As(err, &gap) {
			return visutility.Batch{}, err
		}
	}
	r.lagged = pending > 0
	r.last = r.entries[len(r.entries)-1].Position
	return visutility.Batch{Partition: r.partition, Entries: r.entries, Pending: pending}, nil
}

// entry decodes a message into the next of r.entries, whose slices it reuses.
// A message that cannot be read becomes an empty entry: the alarm is raised,
// and one damaged entry does not stand in the way of all that follow.
func (r *reader) entry(pos visutility.Position, stored time.Time, data []byte) {
	if len(r.entries) < cap(r.entries) {
		r.entries = r.entries[:len(r.entries)+1]
	} else {
		r.entries = append(r.entries, visutility.Entry{})
	}
	e := &r.entries[len(r.entries)-1]
	e.Position, e.Stored = pos, stored.UnixMilli()
	if err := r.dec.decode(data, e); err != nil {
		r.log.count.corrupt.Add(1)
		r.log.o.Logger.Error("the log is damaged: an entry cannot be read and is passed on empty",
			"partition", r.partition, "position", pos, "error", err)
	}
}

// stop lets go of the consumer, here and on the server.
func (r *reader) stop() {
	if r.messages == nil {
		return
	}
	r.messages.Stop()
	ctx, cancel := context.WithTimeout(r.session.ctx, cleanWait)
	defer cancel()
	// It is in the server's memory only and would go by itself after minutes.
	if err := r.session.js.DeleteConsumer(ctx, streamName, r.consumer.CachedInfo().Name); err != nil {
		r.log.o.Logger.Debug("a reader's consumer was gone already", "error", err)
	}
	r.session, r.consumer, r.messages = nil, nil, nil
}
