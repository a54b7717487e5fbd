package server

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/visutility/visutility"
)

// TestPredictionsAndLabels are taken like metrics: compressed, as lines, with a key, and not past a log that is busy.
func TestPredictionsAndLabels(t *testing.T) {
	for _, c := range []struct{ path, one, noun, bad, reason string }{
		{apiPath + "/predictions", `{"model":"fraud","id":"1","prediction":true}`, "predictions", `{"model":"fraud","id":"1","prediction":1,"score":2}`, "range"},
		{apiPath + "/labels", `{"model":"fraud","id":"1","label":true}`, "labels", `{"model":"fraud","id":"1"}`, "empty"},
	} {
		s := serve(t, func(o *Options) { o.IngestWait = 10 * time.Millisecond })
		r := s.request("POST", c.path, compress(t, "gzip", c.one+"\n"+c.one), "Content-Type", "application/x-ndjson", "Content-Encoding", "gzip", "Idempotency-Key", "key 1")
		if got := s.want(r, 200); got != "{\"accepted\":2}\n" {
			t.Errorf("%s: %s", c.path, got)
		}
		if want := []string{c.noun + " 2 key 1"}; !slices.Equal(s.acted, want) {
			t.Errorf("%s: the engine was given %q, want %q", c.path, s.acted, want)
		}
		s.post(c.path, c.bad, 422)
		if got, want := s.counted(), fmt.Sprintf("refused_total{format=%q,reason=%q} 1\n", c.noun, c.reason); got != want {
			t.Errorf("counted %q, want %q", got, want)
		}
		s.fault = fmt.Errorf("%w: %w", visutility.ErrOverloaded, context.DeadlineExceeded)
		if status, body, h := s.do(s.request("POST", c.path, c.one)); status != 429 || h.Get("Retry-After") == "" {
			t.Errorf("%s: %d %v %s", c.path, status, h, body)
		}
		r = s.request("POST", c.path, c.one)
		r.Header.Del("Authorization")
		if status, _, _ := s.do(r); status != 401 {
			t.Errorf("%s without a token: %d", c.path, status)
		}
	}
}
