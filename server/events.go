package server

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/history"
	"github.com/visutility/visutility/store"
)

const (
	streamWrite = 10 * time.Second       // a client slower than that is dropped
	streamGap   = 100 * time.Millisecond // the least time between two reads of the store for a stream
	streamBatch = 200                    // activities read at once
	maxMeasured = 100                    // models whose measurements a stream may ask for by name
)

// getEvents streams what happens as server-sent events: id is the sequence number, event the kind, data
// the activity. It begins after Last-Event-ID, or ?after=, or now. A client that was dropped resumes
// with the last id it saw and misses nothing that is still retained.
//
// Measurements come in between when they are asked for, as they are taken in: without an id, for they
// are not kept here but in the history, where a client that was away looks them up.
func (s *server) getEvents(w http.ResponseWriter, r *http.Request) {
	after, err := s.resumeAt(r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	all, models, err := measured(r.URL.Query())
	if err != nil {
		s.fail(w, r, err)
		return
	}
	leave, err := s.enterStream()
	if err != nil {
		s.fail(w, r, err)
		return
	}
	defer leave()
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no") // asks proxies not to hold it back
	out := stream{w: w, control: http.NewResponseController(w)}
	var tail *history.Tail
	if all || len(models) > 0 {
		tail = s.History.Follow(models...)
		defer tail.Close()
	}
	// The client knows from this that it misses nothing from now on.
	if out.send([]byte("retry: 2000\n\n")) != nil {
		return
	}
	s.follow(r.Context(), out, after, tail)
}

// measured says whose measurements are asked for.
func measured(q url.Values) (all bool, models []string, err error) {
	if text := q.Get("measurements"); text != "" {
		if all, err = strconv.ParseBool(text); err != nil {
			return false, nil, visutility.Invalidf("query.measurements", "syntax", "is neither true nor false")
		}
	}
	models = q["measurements_of"]
	if len(models) > maxMeasured {
		return false, nil, visutility.Invalidf("query.measurements_of", "too_many", "names %d models; %d are allowed", len(models), maxMeasured)
	}
	if all {
		models = nil
	}
	return all, models, nil
}

// follow sends activities until the client goes, is too slow, or the server stops.
func (s *server) follow(ctx context.Context, out stream, after int64, tail *history.Tail) {
	changed, stop := s.Store.Watch()
	defer stop()
	var measured <-chan struct{}
	if tail != nil {
		measured = tail.Changed()
	}
	beat := time.NewTicker(s.Heartbeat)
	defer beat.Stop()
	var buf bytes.Buffer
	for {
		batch, err := s.Store.Activities(ctx, after, streamBatch)
		if err != nil {
			if ctx.Err() == nil {
				s.Logger.WarnContext(ctx, "event stream ends", "error", err)
			}
			return // the client comes back
		}
		buf.Reset()
		for i := range batch {
			if err := appendActivity(&buf, &batch[i]); err != nil {
				s.Logger.ErrorContext(ctx, "activity left out of the stream", "seq", batch[i].Seq, "error", err)
			}
			after = batch[i].Seq
		}
		if tail != nil {
			if err := appendMeasurements(&buf, tail); err != nil {
				s.Logger.ErrorContext(ctx, "measurements left out of the stream", "error", err)
			}
		}
		if buf.Len() > 0 && out.send(buf.Bytes()) != nil {
			return
		}
		if len(batch) == streamBatch {
			continue
		}
		if !s.await(ctx, out, changed, measured, beat.C) {
			return
		}
	}
}

// await waits until there may be something new. It is false when the stream is over.
func (s *server) await(ctx context.Context, out stream, changed, measured <-chan struct{}, beat <-chan time.Time) bool {
	gap := time.NewTimer(streamGap)
	defer gap.Stop()
	select {
	case <-gap.C:
	case <-ctx.Done():
		return false
	case <-stopping(ctx):
		return false
	}
	select {
	case <-changed:
		return true
	case <-measured:
		return true
	case <-beat:
		// Looks at the store too: other processes may write to it, and do not poke.
		return out.send([]byte(": alive\n\n")) == nil
	case <-ctx.Done():
		return false
	case <-stopping(ctx):
		return false
	}
}

func appendActivity(buf *bytes.Buffer, a *store.Activity) error {
	data, err := json.Marshal(a) // one line
	if err != nil {
		return err
	}
	fmt.Fprintf(buf, "id: %d\nevent: %s\ndata: %s\n\n", a.Seq, a.Kind, data)
	return nil
}

// Measurements are what a stream tells of the log, several at once.
type Measurements struct {
	Items   []history.Measurement `json:"items"`
	Dropped int64                 `json:"dropped"` // more than a stream takes: the history has them
}

func appendMeasurements(buf *bytes.Buffer, tail *history.Tail) error {
	var m Measurements
	if m.Items, m.Dropped = tail.Take(); len(m.Items) == 0 {
		return nil
	}
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	fmt.Fprintf(buf, "event: measurements\ndata: %s\n\n", data)
	return nil
}

// resumeAt is the sequence number after which a stream begins.
func (s *server) resumeAt(r *http.Request) (int64, error) {
	field, text := "header.Last-Event-ID", r.Header.Get("Last-Event-ID")
	if text == "" {
		field, text = "query.after", r.URL.Query().Get("after")
	}
	if text == "" {
		return s.Store.LastActivity(r.Context())
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return 0, visutility.Invalidf(field, "syntax", "is not a sequence number; send the id of the last event seen, or 0")
	}
	return n, nil
}

// enterStream takes one of the places for streams; leave gives it back.
func (s *server) enterStream() (leave func(), err error) {
	select {
	case s.streams <- struct{}{}:
		return func() { <-s.streams }, nil
	default:
		return nil, fmt.Errorf("%w: %d streams are open already", visutility.ErrOverloaded, cap(s.streams))
	}
}

// A stream writes to a client for a long time, in pieces that must each arrive soon.
type stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
}

func (o stream) send(p []byte) error {
	_ = o.control.SetWriteDeadline(time.Now().Add(streamWrite)) // not supported by recorders in tests
	if _, err := o.w.Write(p); err != nil {
		return err
	}
	return o.control.Flush()
}
