package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/visutility/visutility"
)

// Publish appends events, see [visutility.Bus].
func (l *Log) Publish(ctx context.Context, key string, events []visutility.Event) error {
	if len(events) == 0 {
		return nil
	}
	if err := l.Ready(); err != nil {
		l.count.refused.Add(1)
		return err
	}
	e := l.encoders.get(l.partitions)
	segments, err := e.encode(events, l.o.Now())
	l.encoders.put(e)
	if err != nil {
		l.count.refused.Add(1)
		return err
	}
	return l.submit(ctx, &request{id: messageID("e", key), merge: key == "", segments: segments, events: len(events)})
}

// Control appends controls, see [visutility.Bus]. Their keys are apart from those of events.
func (l *Log) Control(ctx context.Context, key string, controls ...visutility.Control) error {
	if len(controls) == 0 {
		return nil
	}
	segments, err := encodeControls(controls, l.partitions)
	if err != nil {
		l.count.refused.Add(1)
		return err
	}
	return l.submit(ctx, &request{id: messageID("c", key), segments: segments, controls: len(controls)})
}

// A Payload is an entry's bytes, in a log of other things than events.
type Payload struct {
	Partition int
	Data      []byte
}

// MaxPayload is how many bytes a payload may have.
const MaxPayload = 1 << 20

// Append appends payloads, under the rules of [Log.Publish]: all of them or none, durable on return, and a
// second call with the same key inside the window without effect.
func (l *Log) Append(ctx context.Context, key string, payloads ...Payload) error {
	if len(payloads) == 0 {
		return nil
	}
	segments := make([]segment, 0, len(payloads))
	for i, p := range payloads {
		if err := l.checkPartition(p.Partition); err != nil {
			return err
		}
		if len(p.Data) == 0 || len(p.Data) > MaxPayload {
			l.count.refused.Add(1)
			return visutility.Invalidf(fmt.Sprintf("payloads[%d]", i), "too_long", "has %d bytes; from 1 to %d are allowed", len(p.Data), MaxPayload)
		}
		data := protowire.AppendBytes(protowire.AppendTag(nil, fieldPayloads, protowire.BytesType), p.Data)
		segments = append(segments, segment{p.Partition, data})
	}
	return l.submit(ctx, &request{id: messageID("p", key), merge: key == "", segments: segments, payloads: len(payloads)})
}

// Tick appends an empty entry to every partition.
func (l *Log) Tick(ctx context.Context) error {
	segments := make([]segment, l.partitions)
	for i := range segments {
		segments[i].partition = i
	}
	return l.submit(ctx, &request{segments: segments})
}

// submit queues a request and waits for its outcome.
func (l *Log) submit(ctx context.Context, r *request) error {
	err := l.enqueue(ctx, r)
	if err != nil {
		l.count.refused.Add(1)
		return err
	}
	select {
	case err = <-r.done:
	case <-ctx.Done():
		if l.queue.withdraw(r) {
			l.room.Release(r.bytes)
			err = fmt.Errorf("%w: the log was busy until the caller gave up: %w", visutility.ErrOverloaded, context.Cause(ctx))
			break
		}
		select {
		case err = <-r.done: // it was about to be told
		default:
			err = fmt.Errorf("%w: the caller gave up while the log was writing: the events may be stored; repeat with the same key: %w", visutility.ErrOverloaded, context.Cause(ctx))
		}
	}
	if err != nil {
		l.count.refused.Add(1)
	}
	return err
}

func (l *Log) enqueue(ctx context.Context, r *request) error {
	r.bytes = requestOverhead
	for _, s := range r.segments {
		r.bytes += int64(len(s.data)) + requestOverhead
	}
	if len(r.segments) > maxMessages || r.bytes > l.o.MaxPending {
		return visutility.Invalidf("events", "too_long", "take %d bytes in %d entries; %d bytes in %d entries are allowed in one call: send fewer at a time", r.bytes, len(r.segments), l.o.MaxPending, maxMessages)
	}
	if err := l.Ready(); err != nil {
		return err
	}
	if err := l.room.Acquire(ctx, r.bytes); err != nil {
		return fmt.Errorf("%w: %d bytes wait to be written and the caller gave up: %w", visutility.ErrOverloaded, l.o.MaxPending, context.Cause(ctx))
	}
	r.done = make(chan error, 1)
	if !l.queue.push(r) {
		l.room.Release(r.bytes)
		return errClosed
	}
	return nil
}

// write is the one writer: it takes what waits, stores it and tells the callers.
func (l *Log) write() {
	var left []*request // taken, but did not fit the last flush
	var ended time.Time
	var took time.Duration
	enough := 1
	for {
		if len(left) == 0 {
			// Those who were just answered are likely to come again at once: give
			// them half the time that a write takes, or the first of them would
			// be written alone and the others wait for it.
			linger := time.Duration(0)
			if enough > 1 && time.Since(ended) < took {
				linger = min(took/2, l.o.GatherWait)
			}
			taken := l.queue.take(enough, linger)
			if len(taken) == 0 {
				return
			}
			left = append(left, taken...)
		}
		begun := time.Now()
		f := newFlush()
		n := 0
		for n < len(left) && f.add(left[n], l.ids.next) {
			n++
		}
		l.store(f.units)
		l.answer(f.units)
		ended = time.Now()
		took = ended.Sub(begun)
		enough = min(n, l.o.GatherMessages)
		left = append(left[:0], left[n:]...)
		clear(left[len(left):cap(left)])
	}
}

// answer tells the callers what became of their requests.
func (l *Log) answer(units []*unit) {
	for _, u := range units {
		for _, r := range u.requests {
			if u.err == nil {
				l.count.requests.Add(1)
			}
			l.room.Release(r.bytes)
			r.done <- u.err
		}
	}
}

// errDuplicate: a unit of the batch is stored already, so nothing of it was stored now.
var errDuplicate = errors.New("duplicate")

// store writes units, in order, and leaves in each what became of it.
func (l *Log) store(units []*unit) {
	if len(units) == 0 {
		return
	}
	err := l.send(units)
	switch {
	case err == nil:
		for _, u := range units {
			l.tally(u)
		}
	case len(units) > 1 && (errors.Is(err, errDuplicate) || errors.Is(err, visutility.ErrInvalid)):
		// One of them is to blame: halve until it is alone.
		l.store(units[:len(units)/2])
		l.store(units[len(units)/2:])
	case errors.Is(err, errDuplicate):
		l.repeated(units[0])
	default:
		for _, u := range units {
			u.err = err
		}
	}
}

func (l *Log) tally(u *unit) {
	stored := u.requests
	if u.keyed {
		// The others are repetitions that came while the first was under way.
		stored = stored[:1]
		l.count.duplicates.Add(uint64(len(u.requests) - 1))
	}
	for _, r := range stored {
		l.count.events.Add(uint64(r.events))
		l.count.controls.Add(uint64(r.controls))
		l.count.payloads.Add(uint64(r.payloads))
	}
	for _, m := range u.messages {
		l.count.bytes.Add(uint64(len(m.data)))
	}
	l.count.messages.Add(uint64(len(u.messages)))
}

// repeated notes that a unit is in the log: from an earlier call, or from an
// attempt whose answer was lost.
func (l *Log) repeated(u *unit) {
	if u.keyed {
		l.count.duplicates.Add(uint64(len(u.requests)))
		return
	}
	l.tally(u)
}

// maxAttempts bounds how often a batch is sent to a server that looks well but
// does not answer; then it is started anew.
const maxAttempts = 4

// send writes units as one and returns when they are on disk (nil), are known
// not to be (errDuplicate, ErrInvalid), or cannot be written now (ErrUnavailable:
// the outcome is then unknown, and a repetition with the same key is safe).
func (l *Log) send(units []*unit) error {
	s, err := l.writable()
	if err != nil {
		return err
	}
	for range maxAttempts {
		ctx, cancel := context.WithTimeout(s.ctx, l.o.attempt)
		var seq uint64
		seq, err = s.publish(ctx, units)
		cancel()
		var refused *jetstream.APIError
		switch {
		case err == nil:
			l.count.syncs.Add(1)
			if err := l.high.set(seq); err != nil {
				l.o.Logger.Warn("the last position could not be noted", "error", err)
			}
			return nil
		case errors.Is(err, errDuplicate):
			return err
		case errors.As(err, &refused) && refused.ErrorCode != codeIncomplete && refused.Code < 500:
			return fmt.Errorf("%w: the log refuses it: %w", visutility.ErrInvalid, err)
		}
		if s.ctx.Err() != nil || !s.srv.JetStreamEnabled() || l.space.check(max(l.o.MinFree, leastFree)) != nil {
			break
		}
		l.o.Logger.Warn("the log does not answer; sending again", "error", err)
	}
	l.fail(s, err)
	return fmt.Errorf("%w: the write failed and may or may not have been stored; repeat with the same key: %w", visutility.ErrUnavailable, err)
}

// Codes of the server's errors.
const (
	codeIncomplete = 10176 // a batch was not staged wholly: nothing of it is stored
	codeDuplicate  = 10201 // a batch contains an id that is known
)

// publish makes one attempt and returns the sequence of the last message stored.
// The messages are made anew for each, since the library writes into their headers.
func (s *session) publish(ctx context.Context, units []*unit) (uint64, error) {
	var msgs []*nats.Msg
	for _, u := range units {
		for i, m := range u.messages {
			msg := &nats.Msg{Subject: subject(m.partition), Header: nats.Header{}, Data: m.data}
			if i == 0 {
				msg.Header.Set(jetstream.MsgIDHeader, u.id)
			}
			msgs = append(msgs, msg)
		}
	}
	if len(msgs) == 1 {
		ack, err := s.js.PublishMsg(ctx, msgs[0], jetstream.WithRetryAttempts(0))
		if err != nil {
			return 0, err
		}
		if ack.Duplicate {
			return 0, errDuplicate
		}
		return ack.Sequence, nil
	}
	ack, err := jetstreamext.PublishMsgBatch(ctx, s.js, msgs, jetstreamext.BatchFlowControl{AckTimeout: time.Second})
	var refused *jetstream.APIError
	if errors.As(err, &refused) && refused.ErrorCode == codeDuplicate {
		return 0, errDuplicate
	}
	if err != nil {
		return 0, err
	}
	return ack.Sequence, nil
}
