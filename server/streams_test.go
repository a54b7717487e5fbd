package server

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/visutility/visutility"
)

// soon is how long a test waits for what should happen at once.
const soon = 10 * time.Second

// open starts a request whose answer is read bit by bit; it is given up at the end of the test.
func (s *site) open(path string, headers ...string) *bufio.Reader {
	s.t.Helper()
	r := s.request("GET", path, "", headers...)
	ctx, cancel := context.WithTimeout(r.Context(), soon)
	s.t.Cleanup(cancel)
	res, err := s.client.Do(r.WithContext(ctx))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { res.Body.Close() })
	if res.StatusCode != 200 {
		b, _ := io.ReadAll(res.Body)
		s.t.Fatalf("%s: status %d: %s", path, res.StatusCode, b)
	}
	return bufio.NewReader(res.Body)
}

// block reads up to the next empty line.
func block(t *testing.T, r *bufio.Reader) string {
	t.Helper()
	var b strings.Builder
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatalf("after %q: %v", b.String(), err)
		}
		if line == "\n" {
			return b.String()
		}
		b.WriteString(line)
	}
}

func expectIDs(t *testing.T, r *bufio.Reader, from, to int) {
	t.Helper()
	if got := block(t, r); got != "retry: 2000\n" {
		t.Fatalf("began with %q", got)
	}
	for i := from; i <= to; i++ {
		want := fmt.Sprintf("id: %d\nevent: run\ndata: {\"seq\":%d,\"time\":\"2026-01-31T12:00:00Z\",\"kind\":\"run\",\"model\":\"m\",\"id\":\"r\",\"data\":{}}\n", i, i)
		if got := block(t, r); got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
}

func TestEventsResume(t *testing.T) {
	s := serve(t)
	s.happen(3)
	fresh := s.open(apiPath + "/events") // from now on
	resumed := s.open(apiPath+"/events", "Last-Event-ID", "1")
	asked := s.open(apiPath + "/events?after=2")
	all := s.open(apiPath+"/events?after=2", "Last-Event-ID", "0") // the header is newer than the address
	s.happen(2)
	expectIDs(t, fresh, 4, 5)
	expectIDs(t, resumed, 2, 5)
	expectIDs(t, asked, 3, 5)
	expectIDs(t, all, 1, 5)
	for _, bad := range []string{"x", "-1", "1e3", "99999999999999999999"} {
		s.get(apiPath+"/events?after="+bad, 422)
		s.get(apiPath+"/events", 422, "Last-Event-ID", bad)
	}
}

func TestEventsInOrderThroughManyBatches(t *testing.T) {
	s := serve(t)
	s.happen(3*streamBatch + 7)
	r := s.open(apiPath + "/events?after=0")
	expectIDs(t, r, 1, 3*streamBatch+7)
}

func TestEventsHeartbeat(t *testing.T) {
	s := serve(t, func(o *Options) { o.Heartbeat = time.Millisecond })
	r := s.open(apiPath + "/events")
	expectIDs(t, r, 1, 0)
	for range 2 {
		if got := block(t, r); got != ": alive\n" {
			t.Fatalf("got %q", got)
		}
	}
}

func TestStreamsAreBounded(t *testing.T) {
	s := serve(t, func(o *Options) { o.MaxStreams = 2 })
	first := s.request("GET", apiPath+"/events", "")
	ctx, cancel := context.WithCancel(first.Context())
	res, err := s.client.Do(first.WithContext(ctx))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	s.open(apiPath + "/events")
	status, _, h := s.do(s.request("GET", apiPath+"/events", ""))
	if status != 429 || h.Get("Retry-After") == "" {
		t.Errorf("%d %v", status, h)
	}
	cancel() // makes room, as soon as the server notices
	waitFor(t, func() bool {
		res, err := s.client.Do(s.request("GET", apiPath+"/events", ""))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { res.Body.Close() })
		return res.StatusCode == 200
	})
}

// waitFor polls a condition that another goroutine makes true.
func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	deadline := time.After(soon)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("waited in vain")
		}
	}
}

func TestShutdownEndsStreams(t *testing.T) {
	s := serve(t)
	s.logs["r0"] = logFile(t, "begun\n")
	events := s.open(apiPath + "/events")
	logs := s.open(apiPath + "/runs/r0/logs?follow=true")
	expectIDs(t, events, 1, 0)
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	if err := s.http.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	for _, r := range []*bufio.Reader{events, logs} {
		if _, err := io.ReadAll(r); err != nil {
			t.Errorf("the stream was broken off: %v", err)
		}
	}
}

// stuck is a connection whose client reads nothing.
type stuck struct {
	*httptest.ResponseRecorder
	deadline time.Time
}

func (s *stuck) SetWriteDeadline(t time.Time) error { s.deadline = t; return nil }
func (s *stuck) FlushError() error                  { return os.ErrDeadlineExceeded }

func TestSlowClientIsDropped(t *testing.T) {
	f := newFake()
	f.happen(1)
	srv, err := newServer(Options{Engine: f, Store: f, History: f})
	if err != nil {
		t.Fatal(err)
	}
	w := &stuck{ResponseRecorder: httptest.NewRecorder()}
	srv.getEvents(w, httptest.NewRequest("GET", apiPath+"/events?after=0", nil)) // returns
	if left := time.Until(w.deadline); left <= 0 || left > streamWrite {
		t.Errorf("the deadline of a write is %v from now", left)
	}
	if len(srv.streams) != 0 || len(f.watchers) != 0 {
		t.Error("the stream left something behind")
	}
}

func logFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "output.log")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func appendLog(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
}

func expectLine(t *testing.T, r *bufio.Reader, want string) {
	t.Helper()
	if got, err := r.ReadString('\n'); err != nil || got != want+"\n" {
		t.Fatalf("got %q, %v, want %q", got, err, want)
	}
}

func TestLogs(t *testing.T) {
	s := serve(t)
	s.get(apiPath+"/runs/none/logs", 404)
	s.get(apiPath+"/runs/r0/logs", 404)
	s.logs["r0"] = logFile(t, "one\ntwo\nthree\n")
	for _, c := range []struct{ query, want string }{
		{"", "one\ntwo\nthree\n"}, {"?tail=14", "one\ntwo\nthree\n"}, {"?tail=13", "two\nthree\n"}, {"?tail=10", "two\nthree\n"},
		{"?tail=9", "three\n"}, {"?tail=6", "three\n"}, {"?tail=1", ""}, {"?tail=0", ""}, {"?follow=false", "one\ntwo\nthree\n"},
	} {
		if got := s.get(apiPath+"/runs/r0/logs"+c.query, 200); got != c.want {
			t.Errorf("%s: %q, want %q", c.query, got, c.want)
		}
	}
	_, _, h := s.do(s.request("GET", apiPath+"/runs/r0/logs?tail=6", ""))
	if h.Get("Visutility-Log-Skipped") != "8" || h.Get("Content-Type") != "text/plain; charset=utf-8" {
		t.Error(h)
	}
	for _, bad := range []string{"?tail=x", "?tail=-1", "?tail=67108865", "?follow=maybe"} {
		s.get(apiPath+"/runs/r0/logs"+bad, 422)
	}
}

func TestLogsFollow(t *testing.T) {
	s := serve(t, func(o *Options) { o.LogPoll = time.Millisecond })
	r := s.open(apiPath + "/runs/r0/logs?follow=true") // before there is a log
	first := logFile(t, "one\n")
	s.setLog("r0", first)
	expectLine(t, r, "one")
	appendLog(t, first, "two\n")
	expectLine(t, r, "two")
	appendLog(t, first, "last of the first attempt\n")
	second := logFile(t, "second attempt\n")
	s.setLog("r0", second)
	expectLine(t, r, "last of the first attempt")
	expectLine(t, r, "second attempt")
	appendLog(t, second, "done\n")
	s.setState("r0", visutility.Validating)
	if rest, err := io.ReadAll(r); err != nil || string(rest) != "done\n" {
		t.Fatalf("%q %v", rest, err)
	}
	// A run that is over is sent and that is all.
	if got := s.get(apiPath+"/runs/r0/logs?follow=true", 200); got != "second attempt\ndone\n" {
		t.Errorf("%q", got)
	}
}

func (f *fake) setLog(run, path string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.logs[run] = path
}

// dial opens a raw connection.
func (s *site) dial() net.Conn {
	s.t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(soon)); err != nil {
		s.t.Fatal(err)
	}
	return c
}

func TestSlowBodyIsGivenUp(t *testing.T) {
	f := newFake()
	srv, err := newServer(Options{Engine: f, Store: f, History: f})
	if err != nil {
		t.Fatal(err)
	}
	srv.bodyTime = 20 * time.Millisecond
	mux, _, err := srv.routes()
	if err != nil {
		t.Fatal(err)
	}
	h, err := srv.layers(mux)
	if err != nil {
		t.Fatal(err)
	}
	ts := httptest.NewServer(h)
	defer ts.Close()
	s := &site{t: t, url: ts.URL}
	for path, want := range map[string]int{metrics: 408, apiPath + "/models/model-0/pause": 408, "/nowhere": 404, apiPath + "/runs/r0/callback": 401} {
		c := s.dial()
		fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{", path)
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("%s: status %d", path, res.StatusCode)
		}
		if _, err := c.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("%s: the connection was kept: %v", path, err)
		}
	}
}

// An action may take longer than a body: the deadline of the body must not end it.
func TestDeadlineOfBodyDoesNotOutliveIt(t *testing.T) {
	f := newFake()
	srv, err := newServer(Options{Engine: f, Store: f, History: f})
	if err != nil {
		t.Fatal(err)
	}
	srv.bodyTime = 10 * time.Millisecond
	f.publish = func(ctx context.Context, _ []visutility.Event) error {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * srv.bodyTime):
			return nil
		}
	}
	ts := httptest.NewServer(srv.count(srv.post(srv.metricsIntake())))
	defer ts.Close()
	res, err := ts.Client().Post(ts.URL, "application/json", strings.NewReader(`{"model":"m","metric":"x","value":1}`))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != 200 {
		t.Errorf("status %d", res.StatusCode)
	}
}

func TestHTTPServerHasLimits(t *testing.T) {
	s := HTTPServer("localhost:0", http.NotFoundHandler())
	if s.ReadHeaderTimeout == 0 || s.IdleTimeout == 0 || s.MaxHeaderBytes == 0 || s.WriteTimeout != 0 {
		t.Errorf("%+v", s)
	}
	site := serve(t)
	c := site.dial()
	fmt.Fprintf(c, "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: %s\r\n\r\n", strings.Repeat("x", 128<<10))
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("status %d", res.StatusCode)
	}
}
