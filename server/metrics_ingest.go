package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/ingest"
)

// An intake is a kind of body of our own: all of it is taken or none. take decodes it and appends what is in it, of
// which it tells the number.
type intake struct {
	format string // under which it is counted
	take   func(ctx context.Context, key, contentType string, body []byte) (int, error)
}

// nativeFormat is the name under which our own format of events is counted.
const nativeFormat = "json"

func (s *server) metricsIntake() intake {
	return intake{nativeFormat, func(ctx context.Context, key, contentType string, body []byte) (int, error) {
		decode, err := ingest.Lookup(contentType)
		if err != nil {
			return 0, err
		}
		events, err := decode(body, time.Now())
		if err != nil || len(events) == 0 {
			return 0, err
		}
		return len(events), s.publish(ctx, key, events)
	}}
}

func (s *server) predictionsIntake() intake {
	return intake{"predictions", func(ctx context.Context, key, contentType string, body []byte) (int, error) {
		predictions, err := ingest.Predictions(contentType, body, time.Now())
		if err != nil || len(predictions) == 0 {
			return 0, err
		}
		return len(predictions), s.wait(ctx, func(ctx context.Context) error { return s.Engine.Predictions(ctx, key, predictions) })
	}}
}

func (s *server) labelsIntake() intake {
	return intake{"labels", func(ctx context.Context, key, contentType string, body []byte) (int, error) {
		labels, err := ingest.Labels(contentType, body, time.Now())
		if err != nil || len(labels) == 0 {
			return 0, err
		}
		return len(labels), s.wait(ctx, func(ctx context.Context) error { return s.Engine.Labels(ctx, key, labels) })
	}}
}

// post takes bodies in. It answers 200 when what is in them is on disk.
func (s *server) post(in intake) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		n, err := s.accept(r, in)
		if err != nil {
			s.countRefused(in.format, err)
			s.fail(w, r, err)
			return
		}
		w.Header()["Content-Type"] = jsonType
		var buf [48]byte
		body := append(buf[:0], `{"accepted":`...)
		body = strconv.AppendInt(body, int64(n), 10)
		w.Write(append(body, '}', '\n')) // the events are safe, whether or not the client still listens
	}
}

var jsonType = []string{"application/json"}

func (s *server) accept(r *http.Request, in intake) (n int, err error) {
	key, err := idempotencyKey(r.Header)
	if err != nil {
		return 0, err
	}
	contentType := r.Header.Get("Content-Type")
	if _, err := ingest.Lookup(contentType); err != nil { // before the body is read
		return 0, err
	}
	encoding := strings.Join(r.Header.Values("Content-Encoding"), ",")
	if r.ContentLength > s.MaxBody {
		return 0, fmt.Errorf("%w: %d bytes are over the limit of %d; send smaller batches", ingest.ErrTooLarge, r.ContentLength, s.MaxBody)
	}
	if err := s.budget.Admit(r.ContentLength); err != nil { // before all of it is sent for nothing
		return 0, err
	}
	body, err := ingest.ReadBody(r.Body, encoding, s.MaxBody, s.budget)
	if err != nil {
		return 0, err
	}
	defer body.Release()
	return in.take(r.Context(), key, contentType, body.Bytes)
}

// publish waits for the log, but not for ever.
func (s *server) publish(ctx context.Context, key string, events []visutility.Event) error {
	return s.wait(ctx, func(ctx context.Context) error { return s.Engine.Publish(ctx, key, events) })
}

func (s *server) wait(ctx context.Context, publish func(context.Context) error) error {
	waiting, cancel := context.WithTimeout(ctx, s.IngestWait)
	defer cancel()
	err := publish(waiting)
	if err != nil && errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil && !errors.Is(err, visutility.ErrUnavailable) {
		return fmt.Errorf("%w: the log was busy for %s; send again, with the same Idempotency-Key if there was one (%w)", visutility.ErrOverloaded, s.IngestWait, err)
	}
	return err
}

// idempotencyKey is the key of a request, "" for none: printable ASCII, so that it
// can be compared, stored and shown.
func idempotencyKey(h http.Header) (string, error) {
	key := h.Get("Idempotency-Key")
	if len(key) > visutility.MaxNameBytes {
		return "", visutility.Invalidf("header.Idempotency-Key", "too_long", "has %d bytes; %d are allowed", len(key), visutility.MaxNameBytes)
	}
	for i := range len(key) {
		if key[i] < ' ' || key[i] > '~' {
			return "", visutility.Invalidf("header.Idempotency-Key", "control_character", "contains something other than printable ASCII")
		}
	}
	return key, nil
}

// countRefused counts each fault of a refused body under its reason.
func (s *server) countRefused(format string, err error) {
	if bad, ok := errors.AsType[*visutility.InvalidError](err); ok {
		for _, f := range bad.Fields {
			s.refused.WithLabelValues(format, f.Reason).Inc()
		}
		return
	}
	s.refused.WithLabelValues(format, problemOf(err).reason).Inc()
}
