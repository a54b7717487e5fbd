package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
)

// testClient calls a server made of one handler. waits collects the pauses that it would make.
func testClient(t *testing.T, h http.HandlerFunc) (c *client, waits *[]time.Duration) {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	r := remote{server: s.URL}
	c, err := r.client(&cobra.Command{})
	if err != nil {
		t.Fatal(err)
	}
	waits = new([]time.Duration)
	c.wait = func(_ context.Context, d time.Duration) error {
		*waits = append(*waits, d)
		return nil
	}
	return c, waits
}

func refuse(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	fmt.Fprint(w, body)
}

func TestPublishIsRepeatedUnderOneKey(t *testing.T) {
	var keys, bodies []string
	c, waits := testClient(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		keys, bodies = append(keys, r.Header.Get("Idempotency-Key")), append(bodies, string(b))
		switch len(keys) {
		case 1:
			w.Header().Set("Retry-After", "7")
			refuse(w, http.StatusTooManyRequests, `{"title":"busy"}`)
		case 2: // the answer is lost
			conn, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
			}
			conn.Close()
		default:
			fmt.Fprint(w, `{"accepted":2}`)
		}
	})
	n, err := c.publish(t.Context(), "k1", []byte(`[{},{}]`))
	if err != nil || n != 2 {
		t.Fatalf("accepted %d, %v", n, err)
	}
	if diff := cmp.Diff([]string{"k1", "k1", "k1"}, keys); diff != "" {
		t.Error("keys (-want +got):\n", diff)
	}
	if diff := cmp.Diff([]string{`[{},{}]`, `[{},{}]`, `[{},{}]`}, bodies); diff != "" {
		t.Error("bodies (-want +got):\n", diff)
	}
	if (*waits)[0] != 7*time.Second {
		t.Errorf("waited %v although Retry-After said 7 s", (*waits)[0])
	}
}

func TestRetriesAreBounded(t *testing.T) {
	calls := 0
	c, waits := testClient(t, func(w http.ResponseWriter, _ *http.Request) {
		calls++
		w.Header().Set("Retry-After", "86400")
		refuse(w, http.StatusServiceUnavailable, `{"detail":"the disk is full"}`)
	})
	_, err := c.get(t.Context(), "/models", nil)
	if err == nil || err.Error() != "the disk is full" {
		t.Fatalf("got %v", err)
	}
	if calls != maxAttempts {
		t.Errorf("%d calls, want %d", calls, maxAttempts)
	}
	for _, d := range *waits {
		if d > maxPause {
			t.Errorf("waited %v, more than %v", d, maxPause)
		}
	}
}

func TestActionsAreNotRepeated(t *testing.T) {
	calls := 0
	c, _ := testClient(t, func(w http.ResponseWriter, _ *http.Request) {
		calls++
		refuse(w, http.StatusServiceUnavailable, `{"detail":"busy"}`)
	})
	if _, err := c.post(t.Context(), "/models/m/trigger", nil); err == nil {
		t.Fatal("no error")
	}
	if calls != 1 {
		t.Errorf("%d calls of an action that may have been carried out", calls)
	}
}

func TestProblemsAreReadable(t *testing.T) {
	for _, test := range []struct {
		name, body string
		status     int
		want       string
	}{
		{"every field", `{"title":"Unprocessable Entity","detail":"validation failed","errors":[{"location":"events[0].value","message":"is NaN"},{"location":"events[1].model","message":"is missing"}]}`,
			422, "validation failed\n  events[0].value: is NaN\n  events[1].model: is missing"},
		{"a field that repeats the detail", `{"title":"Conflict","detail":"no run: it is paused","errors":[{"location":"decision","message":"it is paused"}]}`, 409, "no run: it is paused"},
		{"title alone", `{"title":"Conflict"}`, 409, "Conflict"},
		{"token", `{"title":"Unauthorized","detail":"a token is needed"}`, 401,
			"a token is needed; give the server's token with --token-file FILE, or VISUTILITY_TOKEN_FILE"},
		{"a proxy's page", "<html>" + strings.Repeat("x", 500), 404, "the server answered 404 Not Found"},
		{"plain text", "no such thing\n", 400, "the server answered 400 Bad Request no such thing"},
		{"nothing", "", 500, "the server answered 500 Internal Server Error"},
		{"JSON that is no problem", `{"a":1}`, 400, `the server answered 400 Bad Request {"a":1}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, _ := testClient(t, func(w http.ResponseWriter, _ *http.Request) { refuse(w, test.status, test.body) })
			_, err := c.post(t.Context(), "/x", nil)
			if err == nil || err.Error() != test.want {
				t.Errorf("got  %q\nwant %q", err, test.want)
			}
		})
	}
}

func TestServerNotRunning(t *testing.T) {
	s := httptest.NewServer(nil)
	s.Close()
	var stderr strings.Builder
	code := run(t.Context(), []string{"visutility", "models", "--server", s.URL}, nil, io.Discard, &stderr)
	want := "error: cannot reach the server at " + s.URL + "; start it with: visutility serve\n"
	if code != exitFailed || stderr.String() != want {
		t.Errorf("exit code %d\n%q, want\n%q", code, stderr.String(), want)
	}
}

func TestARestartIsWaitedFor(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "{}") }))
	r := remote{server: s.URL}
	c, err := r.client(&cobra.Command{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.get(t.Context(), "/x", nil); err != nil {
		t.Fatal(err)
	}
	s.Close()
	waits := 0
	c.wait = func(context.Context, time.Duration) error { waits++; return nil }
	if _, err := c.get(t.Context(), "/x", nil); err == nil || waits != maxAttempts-1 {
		t.Errorf("%v after %d waits, want an error after %d", err, waits, maxAttempts-1)
	}
}

func TestRequestsCarryTokenAndEscapedPath(t *testing.T) {
	t.Setenv("VISUTILITY_TOKEN", "  secret-secret-secret\n")
	c, _ := testClient(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"path":%q,"query":%q,"auth":%q}`, r.URL.EscapedPath(), r.URL.RawQuery, r.Header.Get("Authorization"))
	})
	raw, err := c.get(t.Context(), endpoint("models", "a/b c", "explain"), map[string][]string{"q": {"x&y"}})
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]string
	if err := json.Unmarshal(raw, &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"path": "/api/v1/models/a%2Fb%20c/explain", "query": "q=x%26y", "auth": "Bearer secret-secret-secret"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error("(-want +got):\n", diff)
	}
}

func TestServerAddresses(t *testing.T) {
	for address, want := range map[string]string{
		"":                         "http://127.0.0.1:8080",
		"127.0.0.1:9":              "http://127.0.0.1:9",
		"http://h:1/base/":         "http://h:1/base/",
		"https://v.example.com":    "https://v.example.com",
		"ftp://h":                  "",
		"http://":                  "",
		"http://[::1":              "",
		"localhost:8080":           "http://localhost:8080",
		"visutility.internal:8080": "http://visutility.internal:8080",
	} {
		r := remote{server: address}
		c, err := r.client(&cobra.Command{})
		switch {
		case want == "" && exitCode(err) != exitUsage:
			t.Errorf("%q: got %v, want a usage error", address, err)
		case want != "" && err != nil:
			t.Errorf("%q: %v", address, err)
		case want != "" && c.base.String() != want:
			t.Errorf("%q: got %s, want %s", address, c.base, want)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	for s, want := range map[string]time.Duration{
		"": 0, "3": 3 * time.Second, "-1": 0, "soon": 0,
		"Mon, 23 Nov 2026 10:00:05 GMT": 5 * time.Second,
		"Mon, 23 Nov 2026 09:00:00 GMT": 0,
	} {
		if got := retryAfter(s, now); got != want {
			t.Errorf("%q: %v, want %v", s, got, want)
		}
	}
}

func TestEventsGoOnAfterALostConnection(t *testing.T) {
	var asked []string
	c, _ := testClient(t, func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.Query().Get("after"))
		if len(asked) == 1 {
			fmt.Fprint(w, ": hello\n\nid: 7\nevent: run\ndata: {\"seq\":7}\n\nid: 8\ndata: half")
			return
		}
		fmt.Fprint(w, "id: 8\nevent: run\ndata: {\"seq\":\ndata: 8}\n\n")
	})
	stop := errors.New("enough")
	var got []string
	err := c.follow(t.Context(), "", func(b []byte) error {
		if got = append(got, string(b)); len(got) == 2 {
			return stop
		}
		return nil
	})
	if !errors.Is(err, stop) {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{`{"seq":7}`, "{\"seq\":\n8}"}, got); diff != "" {
		t.Error("(-want +got):\n", diff)
	}
	if diff := cmp.Diff([]string{"", "7"}, asked); diff != "" {
		t.Error("after (-want +got):\n", diff)
	}
}
