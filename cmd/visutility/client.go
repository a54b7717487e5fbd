package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/visutility/visutility/server"
)

const (
	defaultServer = "127.0.0.1:8080"
	callTimeout   = time.Minute      // of one attempt; a trigger waits until it is decided
	maxAttempts   = 6                // of a call that may be repeated
	maxPause      = 30 * time.Second // between attempts, whatever the server asks for
	maxAnswer     = 64 << 20         // bytes
)

// remote is the flags of a command that talks to a server.
type remote struct {
	output
	server, tokenFile string
}

// flags adds the flags that say which server and who asks, and has arguments completed by asking it.
func (r *remote) flags(cmd *cobra.Command) {
	cmd.ValidArgsFunction = r.complete
	r.address(cmd)
}

// address adds only those.
func (r *remote) address(cmd *cobra.Command) {
	cmd.Flags().StringVar(&r.server, "server", "", "the server's address (default $VISUTILITY_SERVER, else "+defaultServer+")")
	cmd.Flags().StringVar(&r.tokenFile, "token-file", "", "file with the server's token (default $VISUTILITY_TOKEN_FILE, else the token in $VISUTILITY_TOKEN)")
}

// printing adds -o too.
func (r *remote) printing(cmd *cobra.Command) {
	r.flags(cmd)
	r.output.flag(cmd)
}

// client is ready to call the server that the flags and the environment name.
func (r *remote) client(cmd *cobra.Command) (*client, error) {
	address := cmp.Or(r.server, os.Getenv("VISUTILITY_SERVER"), defaultServer)
	if !strings.Contains(address, "://") {
		address = "http://" + address
	}
	base, err := url.Parse(address)
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
		return nil, usagef(cmd, "%q is not the address of a server, such as %s or https://visutility.example.com", address, defaultServer)
	}
	token := os.Getenv("VISUTILITY_TOKEN")
	if file := cmp.Or(r.tokenFile, os.Getenv("VISUTILITY_TOKEN_FILE")); file != "" {
		b, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("reading the token: %w", err)
		}
		token = string(b)
	}
	return &client{base: base, token: strings.TrimSpace(token), http: &http.Client{}, wait: sleep}, nil
}

// A client calls the REST API of one server. It is for one goroutine.
type client struct {
	base  *url.URL
	token string
	http  *http.Client
	wait  func(context.Context, time.Duration) error
	// reached: the server has answered before. Only then is a refused
	// connection taken for a restart that is worth waiting for.
	reached bool
}

// sleep waits for d, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}

// An apiError is a refusal by the server: an RFC 9457 problem.
type apiError struct {
	server.Problem
	retryAfter time.Duration
}

// Error is the problem with every field it names, one a line.
func (e *apiError) Error() string {
	var b strings.Builder
	b.WriteString(cmp.Or(e.Detail, e.Title, http.StatusText(e.Status)))
	for _, f := range e.Errors {
		if strings.Contains(e.Detail, f.Message) {
			continue // said already
		}
		b.WriteString("\n  ")
		if f.Location != "" {
			b.WriteString(f.Location + ": ")
		}
		b.WriteString(f.Message)
	}
	if e.Status == http.StatusUnauthorized {
		b.WriteString("; give the server's token with --token-file FILE, or VISUTILITY_TOKEN_FILE")
	}
	return b.String()
}

// notFound reports whether err is the server's word that there is no such thing.
func notFound(err error) bool {
	e, ok := errors.AsType[*apiError](err)
	return ok && e.Status == http.StatusNotFound
}

// A request is one call of the API.
type request struct {
	method, path string // path is below /api/v1, with its parts escaped
	query        url.Values
	body         []byte
	header       http.Header
	repeatable   bool // doing it twice is doing it once
}

// endpoint joins the parts of a path, escaping each.
func endpoint(parts ...string) string {
	for i, p := range parts {
		parts[i] = url.PathEscape(p)
	}
	return "/" + strings.Join(parts, "/")
}

func (c *client) get(ctx context.Context, path string, query url.Values) (json.RawMessage, error) {
	return c.call(ctx, request{method: http.MethodGet, path: path, query: query, repeatable: true})
}

// post asks for something to be done, once: it is not repeated, for nobody
// knows whether an attempt without an answer did it.
func (c *client) post(ctx context.Context, path string, body any) (json.RawMessage, error) {
	b, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("writing the request: %w", err)
	}
	return c.call(ctx, request{method: http.MethodPost, path: path, body: b})
}

// publish posts a JSON array of events. The key makes it safe to repeat.
func (c *client) publish(ctx context.Context, key string, events []byte) (accepted int, err error) {
	raw, err := c.call(ctx, request{
		method: http.MethodPost, path: "/metrics", body: events,
		header: http.Header{"Idempotency-Key": {key}}, repeatable: true,
	})
	if err != nil {
		return 0, err
	}
	var answer struct{ Accepted int }
	if err := json.Unmarshal(raw, &answer); err != nil {
		return 0, fmt.Errorf("the server's answer is not JSON: %w", err)
	}
	return answer.Accepted, nil
}

// call makes a request, again and again where that may help, and returns the answer's body.
func (c *client) call(ctx context.Context, r request) (json.RawMessage, error) {
	delay := 250 * time.Millisecond
	for attempt := 1; ; attempt++ {
		body, err := c.attempt(ctx, r)
		if err == nil || !r.repeatable || attempt == maxAttempts || ctx.Err() != nil || !c.transient(err) {
			return body, err
		}
		wait := delay + rand.N(delay/2)
		if e, ok := errors.AsType[*apiError](err); ok && e.retryAfter > 0 {
			wait = e.retryAfter
		}
		if waitErr := c.wait(ctx, min(wait, maxPause)); waitErr != nil {
			return nil, err
		}
		delay *= 2
	}
}

// transient reports whether the same call may succeed later.
func (c *client) transient(err error) bool {
	if e, ok := errors.AsType[*apiError](err); ok {
		switch e.Status {
		case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			return true
		}
		return false
	}
	return c.reached || !errors.Is(err, syscall.ECONNREFUSED)
}

func (c *client) attempt(ctx context.Context, r request) (json.RawMessage, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	stream, err := c.stream(ctx, r)
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	body, err := io.ReadAll(io.LimitReader(stream, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("reading the answer of %s: %w", c.base, err)
	}
	return body, nil
}

// stream makes a request once and returns the answer's body, to be read for as
// long as ctx allows. Answers that are no success are *apiError.
func (c *client) stream(ctx context.Context, r request) (io.ReadCloser, error) {
	u := *c.base
	u.RawQuery = r.query.Encode()
	prefix := strings.TrimSuffix(u.EscapedPath(), "/")
	target := strings.TrimSuffix(u.Scheme+"://"+u.Host+prefix+"/api/v1"+r.path+"?"+u.RawQuery, "?")
	req, err := http.NewRequestWithContext(ctx, r.method, target, bytes.NewReader(r.body))
	if err != nil {
		return nil, fmt.Errorf("making the request: %w", err)
	}
	for k, v := range r.header {
		req.Header[k] = v
	}
	if r.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.unreachable(err)
	}
	c.reached = true
	if resp.StatusCode/100 == 2 {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	return nil, problem(resp)
}

// unreachable says that there was no answer, and what to do about it.
func (c *client) unreachable(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err // without the method and the address, which the message has
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		return withHint(quiet{fmt.Sprintf("cannot reach the server at %s", c.base), err}, "start it with: visutility serve")
	}
	return fmt.Errorf("cannot reach the server at %s: %w", c.base, err)
}

// quiet is an error that says less than its cause.
type quiet struct {
	text  string
	cause error
}

func (e quiet) Error() string { return e.text }
func (e quiet) Unwrap() error { return e.cause }

// problem reads a refusal; what is no problem+json (a proxy's page) is cut short.
func problem(resp *http.Response) error {
	e := &apiError{}
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20)) // the status alone will do
	if json.Unmarshal(body, &e.Problem) != nil || e.Title == "" && e.Detail == "" {
		text := strings.TrimSpace(string(body))
		if len(text) > 200 || strings.HasPrefix(text, "<") {
			text = ""
		}
		e.Problem = server.Problem{Detail: strings.TrimSpace(fmt.Sprintf("the server answered %s %s", resp.Status, text))}
	}
	e.Status = resp.StatusCode
	e.retryAfter = retryAfter(resp.Header.Get("Retry-After"), time.Now())
	return e
}

// retryAfter reads the header of that name: seconds or a date; 0 when there is none.
func retryAfter(s string, now time.Time) time.Duration {
	if n, err := strconv.Atoi(s); err == nil {
		return time.Duration(max(n, 0)) * time.Second
	}
	if t, err := http.ParseTime(s); err == nil {
		return max(t.Sub(now), 0)
	}
	return 0
}
