package server

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"github.com/visutility/visutility"
)

const metrics = apiPath + "/metrics"

// clocks hides what differs from day to day in messages about times.
var clocks = regexp.MustCompile(`\d{4,}-\d\d-\d\dT\d\d:\d\d:\d\dZ`)

// TestRefusals posts bodies and compares the problems with those on record. Commands:
//
//	post [header=…] [encode=gzip|zstd] [series-limit]   the body is the input; $N×s$ repeats s
//	zeros size=bytes [encode=…]                          a body of so many spaces
//
// After each, nothing may have been published.
func TestRefusals(t *testing.T) {
	datadriven.RunTest(t, "testdata/refusals.txt", func(t *testing.T, d *datadriven.TestData) string {
		s := serve(t)
		if d.HasArg("series-limit") {
			s.publish = func(context.Context, []visutility.Event) error {
				return visutility.Invalidf("events[0]", "series_limit", "would bring the number of series over the limit of 3")
			}
		}
		body := expand(d.Input)
		if d.Cmd == "zeros" {
			var size int
			d.ScanArgs(t, "size", &size)
			body = strings.Repeat(" ", size)
		}
		r := s.request("POST", metrics, encoded(t, d, body))
		for _, arg := range d.CmdArgs {
			switch arg.Key {
			case "type":
				r.Header.Set("Content-Type", arg.Vals[0])
			case "encode", "encoding":
				r.Header.Set("Content-Encoding", strings.Join(arg.Vals, ", "))
			case "key":
				r.Header.Set("Idempotency-Key", expand(arg.Vals[0]))
			}
		}
		status, text, h := s.do(r)
		if len(s.published) > 0 {
			t.Errorf("%s: something was applied: %v", d.Pos, s.published)
		}
		if h.Get("Content-Type") != problemType {
			t.Errorf("%s: content type %q", d.Pos, h.Get("Content-Type"))
		}
		p := parse[Problem](t, text)
		if p.Status != status || p.Type != "about:blank" || p.Title != http.StatusText(status) {
			t.Errorf("%s: %+v", d.Pos, p)
		}
		out := fmt.Sprintf("%d: %s\n", p.Status, p.Detail)
		for _, f := range p.Errors {
			out += fmt.Sprintf("  %s %s (%s)\n", f.Location, f.Message, f.Reason)
			if f.Message == "" || f.Reason == "" || f.Location == "" {
				t.Errorf("%s: %+v", d.Pos, f)
			}
		}
		return clocks.ReplaceAllString(out, "<time>") + s.counted()
	})
}

var repeats = regexp.MustCompile(`\$(\d+)×([^$]*)\$`)

func expand(s string) string {
	s = repeats.ReplaceAllStringFunc(s, func(m string) string {
		var n int
		parts := repeats.FindStringSubmatch(m)
		fmt.Sscan(parts[1], &n)
		return strings.Repeat(parts[2], n)
	})
	return strings.ReplaceAll(s, "$tomorrow$", time.Now().Add(25*time.Hour).UTC().Format(time.RFC3339))
}

func encoded(t *testing.T, d *datadriven.TestData, body string) string {
	var how string
	d.MaybeScanArgs(t, "encode", &how)
	return compress(t, how, body)
}

func compress(t testing.TB, how, body string) string {
	var b bytes.Buffer
	var w io.WriteCloser
	switch how {
	case "gzip":
		w = gzip.NewWriter(&b)
	case "zstd":
		z, err := zstd.NewWriter(&b)
		if err != nil {
			t.Fatal(err)
		}
		w = z
	default:
		return body
	}
	if _, err := io.WriteString(w, body); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// counted are the lines of /metrics about refused events.
func (s *site) counted() string {
	var out string
	for line := range strings.Lines(s.get("/metrics", 200)) {
		if strings.HasPrefix(line, "visutility_events_refused_total{") {
			out += strings.Replace(strings.TrimPrefix(line, "visutility_events_"), `format="json",`, "", 1)
		}
	}
	return out
}

func TestMetricsAccepted(t *testing.T) {
	one := `{"model":"churn","metric":"auc","value":0.5,"time":"2026-01-31T12:00:00Z","count":7,"version":"v1","labels":{"country":"DE"}}`
	event := visutility.Event{Model: "churn", Metric: "auc", Value: 0.5, Time: start, Count: 7, Version: "v1", Labels: map[string]string{"country": "DE"}}
	for _, c := range []struct {
		body, contentType, encoding string
		events                      []visutility.Event
	}{
		{one, "application/json", "", []visutility.Event{event}},
		{one, "", "", []visutility.Event{event}},
		{one, "application/json; charset=utf-8", "identity", []visutility.Event{event}},
		{"[" + one + "," + one + "]", "APPLICATION/JSON", "gzip", []visutility.Event{event, event}},
		{one + "\n" + one + "\n\n" + one, "application/x-ndjson", "zstd", []visutility.Event{event, event, event}},
		{one + one, "application/json", "GZIP", []visutility.Event{event, event}},
		{"[]", "application/json", "", nil},
	} {
		s := serve(t)
		r := s.request("POST", metrics, compress(t, strings.ToLower(c.encoding), c.body), "Content-Type", c.contentType, "Content-Encoding", c.encoding, "Idempotency-Key", "key 1")
		got := s.want(r, 200)
		if got != fmt.Sprintf("{\"accepted\":%d}\n", len(c.events)) {
			t.Errorf("%s: %s", c.contentType, got)
		}
		if c.events == nil {
			if len(s.published) != 0 {
				t.Error("published nothing at all, yet published")
			}
			continue
		}
		if diff := cmp.Diff([][]visutility.Event{c.events}, s.published); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff([]string{"key 1"}, s.keys); diff != "" {
			t.Error(diff)
		}
	}
}

func TestOverloadSaysWhenToRetry(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
		reason string
	}{
		{fmt.Errorf("the log: %w", visutility.ErrOverloaded), 429, "overloaded"},
		{fmt.Errorf("the log: %w", visutility.ErrUnavailable), 503, "unavailable"},
		{errors.New("a secret"), 500, "internal"},
	} {
		s := serve(t)
		s.publish = func(context.Context, []visutility.Event) error { return c.err }
		status, body, h := s.do(s.request("POST", metrics, `{"model":"m","metric":"x","value":1}`))
		if status != c.status || (h.Get("Retry-After") == "") != (status == 500) || strings.Contains(body, "secret") {
			t.Errorf("%v: %d %v %s", c.err, status, h, body)
		}
		if got, want := s.counted(), fmt.Sprintf("refused_total{reason=%q} 1\n", c.reason); got != want {
			t.Errorf("counted %q, want %q", got, want)
		}
	}
}

func TestBusyLogIsWaitedForButNotForEver(t *testing.T) {
	s := serve(t, func(o *Options) { o.IngestWait = 10 * time.Millisecond })
	s.publish = func(ctx context.Context, _ []visutility.Event) error {
		<-ctx.Done()
		return ctx.Err()
	}
	status, body, h := s.do(s.request("POST", metrics, `{"model":"m","metric":"x","value":1}`))
	if status != 429 || h.Get("Retry-After") == "" {
		t.Errorf("%d %v %s", status, h, body)
	}
}

func TestMemoryOfBodiesIsBounded(t *testing.T) {
	s := serve(t, func(o *Options) { o.IngestMemory = 64 << 10 })
	inside, release := make(chan struct{}), make(chan struct{})
	s.publish = func(context.Context, []visutility.Event) error {
		close(inside)
		<-release
		return nil
	}
	large := `{"model":"m","metric":"x","value":1}` + strings.Repeat(" ", 7<<10)
	done := make(chan int)
	go func() {
		status, _, _ := s.do(s.request("POST", metrics, large))
		done <- status
	}()
	<-inside
	status, body, h := s.do(s.request("POST", metrics, large+large))
	if status != 429 || h.Get("Retry-After") == "" {
		t.Errorf("while another is handled: %d %s", status, body)
	}
	close(release)
	if status := <-done; status != 200 {
		t.Errorf("the one that was handled: %d", status)
	}
	s.publish = nil
	s.post(metrics, large, 200)
}

func TestProblemsOfEveryKind(t *testing.T) {
	s := serve(t)
	for _, c := range []struct {
		err    error
		status int
		detail string
	}{
		{visutility.Invalidf("x", "y", "z"), 422, "nothing was applied; see errors for what to mend"},
		{fmt.Errorf("%w: a", visutility.ErrInvalid), 422, "a"},
		{fmt.Errorf("a: %w", visutility.ErrNotFound), 404, "a: not found"},
		{fmt.Errorf("a: %w: b", visutility.ErrNotFound), 404, "a: b"},
		{fmt.Errorf("a: %w", visutility.ErrConflict), 409, "a"},
		{fmt.Errorf("%w: a", visutility.ErrConflict), 409, "a"},
		{fmt.Errorf("a: %w", visutility.ErrOverloaded), 429, "a: overloaded"},
		{fmt.Errorf("a: %w", visutility.ErrUnavailable), 503, "a: unavailable"},
		{fmt.Errorf("a: %w", os.ErrDeadlineExceeded), 408, "the request did not arrive in time"},
		{errors.New("a secret"), 500, "internal error; the server's log says more"},
	} {
		s.fault = c.err
		status, body, h := s.do(s.request("POST", apiPath+"/models/model-0/pause", ""))
		p := parse[Problem](t, body)
		if status != c.status || p.Status != c.status || p.Detail != c.detail || h.Get("Content-Type") != problemType || strings.Contains(body, "secret") {
			t.Errorf("%v: %d %s", c.err, status, body)
		}
		if again := status == 429 || status == 503; again != (h.Get("Retry-After") != "") {
			t.Errorf("%v: Retry-After %q", c.err, h.Get("Retry-After"))
		}
	}
}

func TestUnknownRoutesAreProblems(t *testing.T) {
	s := serve(t)
	for _, c := range []struct {
		method, path string
		status       int
	}{{"GET", "/nowhere", 404}, {"POST", apiPath + "/nowhere", 404}, {"GET", metrics, 405}, {"DELETE", apiPath + "/models/m", 405}, {"POST", "/healthz", 405}} {
		status, body, h := s.do(s.request(c.method, c.path, ""))
		if status != c.status || h.Get("Content-Type") != problemType || parse[Problem](t, body).Status != status {
			t.Errorf("%s %s: %d %v %s", c.method, c.path, status, h, body)
		}
		if status == 405 && h.Get("Allow") == "" {
			t.Errorf("%s %s: no Allow", c.method, c.path)
		}
	}
}

func TestRequestsAreCountedByRoute(t *testing.T) {
	s := serve(t)
	s.get(apiPath+"/models/model-0", 200)
	s.get(apiPath+"/models/model-1", 200)
	s.get("/nowhere", 404)
	text := s.get("/metrics", 200)
	for _, want := range []string{
		`visutility_http_requests_total{code="200",route="GET /api/v1/models/{model}"} 2`,
		`visutility_http_requests_total{code="404",route="none"} 1`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in %s", want, text)
		}
	}
}

func TestPanicIsA500(t *testing.T) {
	s := serve(t)
	s.publish = func(context.Context, []visutility.Event) error { panic("a secret") }
	if body := s.post(metrics, `{"model":"m","metric":"x","value":1}`, 500); strings.Contains(body, "secret") {
		t.Error(body)
	}
	s.publish = nil
	s.post(metrics, `{"model":"m","metric":"x","value":1}`, 200)
}

func TestCallback(t *testing.T) {
	s := serve(t)
	path := apiPath + "/runs/r0/callback"
	mine := []string{"Authorization", "Bearer token of r0"}
	s.post(path, `{"status":"running","progress":0.5}`, 204, mine...)
	s.post(path, `{"status":"running"}`, 401)
	s.post(apiPath+"/runs/r1/callback", `{"status":"running"}`, 401, mine...)
	s.post(path, `{"status":"running","x":1}`, 422, mine...)
	s.post(path, `{"status":`, 400, mine...)
	s.post(path, `{"status":"`+strings.Repeat("x", maxCallback)+`"}`, 413, mine...)
	if len(s.callbacks) != 1 || s.callbacks[0].Progress != 0.5 {
		t.Errorf("%+v", s.callbacks)
	}
	s.get(apiPath+"/models", 401, mine...)
}

func TestReadiness(t *testing.T) {
	s := serve(t)
	if got := s.get("/healthz", 200) + s.get("/readyz", 200); got != "ok\nready\n" {
		t.Error(got)
	}
	s.ready = errors.New("a secret")
	if body := s.get("/readyz", 503); strings.Contains(body, "secret") {
		t.Error(body)
	}
	s.get("/healthz", 200)
}

func TestHistoryQuery(t *testing.T) {
	s := serve(t)
	s.get(apiPath+"/models/m%2F1/history?metric=auc&from=2026-01-01T00:00:00Z&to=2026-02-01T00:00:00Z&step=5m&points=10", 200)
	if q := s.asked; q.Model != "m/1" || q.Metric != "auc" || q.Step != 5*time.Minute || q.Points != 10 || q.From.Month() != 1 || q.To.Month() != 2 {
		t.Errorf("%+v", q)
	}
	for _, bad := range []string{"step=x", "step=-1s", "step=5", "from=yesterday", "points=0", "points=10001"} {
		s.get(apiPath+"/models/m/history?"+bad, 422)
	}
}

func TestSchemas(t *testing.T) {
	s := serve(t)
	for _, name := range []string{"job", "result", "policy"} {
		if body := s.get(apiPath+"/schemas/"+name+".json", 200); !json.Valid([]byte(body)) {
			t.Error(body)
		}
	}
	s.get(apiPath+"/schemas/nothing.json", 404)
}
