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

// postMetrics takes events in: all of a body or none of it. It answers 200 when they are on disk.
func (s *server) postMetrics(w http.ResponseWriter, r *http.Request) {
	n, err := s.accept(r)
	if err != nil {
		s.countRefused(nativeFormat, err)
		s.fail(w, r, err)
		return
	}
	w.Header()["Content-Type"] = jsonType
	var buf [48]byte
	body := append(buf[:0], `{"accepted":`...)
	body = strconv.AppendInt(body, int64(n), 10)
	w.Write(append(body, '}', '\n')) // the events are safe, whether or not the client still listens
}

var jsonType = []string{"application/json"}

func (s *server) accept(r *http.Request) (n int, err error) {
	key, err := idempotencyKey(r.Header)
	if err != nil {
		return 0, err
	}
	decode, err := ingest.Lookup(r.Header.Get("Content-Type"))
	if err != nil {
		return 0, err
	}
	encoding := strings.Join(r.Header.Values("Content-Encoding"), ",")
	if r.ContentLength > s.MaxBody {
		return 0, fmt.Errorf("%w: %d bytes are over the limit of %d; send smaller batches", ingest.ErrTooLarge, r.ContentLength, s.MaxBody)
	}
	body, err := ingest.ReadBody(r.Body, encoding, s.MaxBody, s.budget)
	if err != nil {
		return 0, err
	}
	defer body.Release()
	events, err := decode(body.Bytes, time.Now())
	if err != nil || len(events) == 0 {
		return 0, err
	}
	return len(events), s.publish(r.Context(), key, events)
}

// publish waits for the log, but not for ever.
func (s *server) publish(ctx context.Context, key string, events []visutility.Event) error {
	waiting, cancel := context.WithTimeout(ctx, s.IngestWait)
	defer cancel()
	err := s.Engine.Publish(waiting, key, events)
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

// nativeFormat is the name under which our own format is counted.
const nativeFormat = "json"

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
