package bikedemand

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/visutility/visutility"
)

// A client speaks the few words of the server's API that the replay needs. It
// is for one goroutine.
type client struct {
	base     string // "http://127.0.0.1:8080"
	token    string // "" for none
	http     *http.Client
	pause    time.Duration // before asking again, the first time
	patience time.Duration // how long a server that is not there, or busy, is asked again
}

// A refusal is an answer that says no, as RFC 9457 has it.
type refusal struct {
	Status int    `json:"-"`
	Title  string `json:"title"`
	Detail string `json:"detail"`
	Errors []struct {
		Location string `json:"location"`
		Message  string `json:"message"`
	} `json:"errors"`
}

func (r *refusal) Error() string {
	text := strings.TrimSpace(r.Title + ": " + r.Detail)
	for _, e := range r.Errors {
		text += "; " + strings.TrimSpace(e.Location+" "+e.Message)
	}
	if r.Status == http.StatusUnauthorized {
		text += " (give the server's token with --token-file)"
	}
	return fmt.Sprintf("the server answers %d %s", r.Status, strings.Trim(text, ": "))
}

// refused reports whether err is the server's answer with that status.
func refused(err error, status int) bool {
	var r *refusal
	return errors.As(err, &r) && r.Status == status
}

// A modelView is what the replay reads of GET /api/v1/models/{m}.
type modelView struct {
	Metrics []struct {
		Name     string    `json:"name"`
		LastTime time.Time `json:"last_time"`
	} `json:"metrics"`
}

// seen is the time of the newest event of the replay's metric, zero for none.
func (m *modelView) seen() time.Time {
	for _, x := range m.Metrics {
		if x.Name == Metric {
			return x.LastTime
		}
	}
	return time.Time{}
}

// An explanation is what the replay reads of GET /api/v1/models/{m}/explain.
type explanation struct {
	Champion  string `json:"champion"`
	ActiveRun string `json:"active_run"`
	Events    int64  `json:"events"` // folded
	Policies  []struct {
		Verdict    visutility.Verdict `json:"verdict"`
		Guardrails []struct {
			Name   string    `json:"name"`
			Blocks bool      `json:"blocks"`
			Until  time.Time `json:"until"`
		} `json:"guardrails"`
	} `json:"policies"`
}

// cooldown is when the last cooldown that blocks is over, zero for none.
func (x *explanation) cooldown() (until time.Time) {
	for _, p := range x.Policies {
		for _, g := range p.Guardrails {
			if g.Name == visutility.ByCooldown && g.Blocks && g.Until.After(until) {
				until = g.Until
			}
		}
	}
	return until
}

// heldBack says which guardrail keeps a policy that would retrain from it, if any.
func (x *explanation) heldBack() string {
	for _, p := range x.Policies {
		for _, g := range p.Guardrails {
			if p.Verdict == visutility.Fire && g.Blocks {
				return "held back by " + strings.ReplaceAll(g.Name, "_", " ")
			}
		}
	}
	return ""
}

func (c *client) explain(ctx context.Context) (x explanation, err error) {
	return x, c.call(ctx, http.MethodGet, "/api/v1/models/"+ModelName+"/explain", "", nil, &x)
}

func (c *client) model(ctx context.Context) (m modelView, err error) {
	return m, c.call(ctx, http.MethodGet, "/api/v1/models/"+ModelName, "", nil, &m)
}

func (c *client) champion(ctx context.Context) (v visutility.Version, err error) {
	return v, c.call(ctx, http.MethodGet, "/api/v1/models/"+ModelName+"/versions/"+visutility.Champion, "", nil, &v)
}

func (c *client) run(ctx context.Context, id string) (r visutility.Run, err error) {
	return r, c.call(ctx, http.MethodGet, "/api/v1/runs/"+url.PathEscape(id), "", nil, &r)
}

func (c *client) decision(ctx context.Context, id string) (d visutility.Decision, err error) {
	return d, c.call(ctx, http.MethodGet, "/api/v1/decisions/"+url.PathEscape(id), "", nil, &d)
}

// newestRun is the model's newest run, the zero Run for none.
func (c *client) newestRun(ctx context.Context) (r visutility.Run, err error) {
	var list struct {
		Items []visutility.Run `json:"items"`
	}
	err = c.call(ctx, http.MethodGet, "/api/v1/runs?limit=1&model="+ModelName, "", nil, &list)
	if len(list.Items) > 0 {
		r = list.Items[0]
	}
	return r, err
}

// trigger asks for a run and returns it.
func (c *client) trigger(ctx context.Context, reason string) (visutility.Run, error) {
	var answer struct {
		Run visutility.Run `json:"run"`
	}
	body := map[string]string{"reason": reason, "by": "bike-demand replay"}
	err := c.call(ctx, http.MethodPost, "/api/v1/models/"+ModelName+"/trigger", "", body, &answer)
	return answer.Run, err
}

// publish sends one event. The key makes it safe to send again.
func (c *client) publish(ctx context.Context, key string, e visutility.Event) error {
	return c.call(ctx, http.MethodPost, "/api/v1/metrics", key, e, nil)
}

// ready waits for a server that is still starting.
func (c *client) ready(ctx context.Context) error {
	if err := c.call(ctx, http.MethodGet, "/readyz", "", nil, nil); err != nil {
		return fmt.Errorf("no server at %s: %w (start one with: visutility serve --policies .)", c.base, err)
	}
	return nil
}

// call does one request, again and again while the server cannot be reached or
// is busy, for as long as the client's patience lasts.
func (c *client) call(ctx context.Context, method, path, key string, body, answer any) error {
	var payload []byte
	if body != nil {
		var err error
		if payload, err = json.Marshal(body); err != nil {
			return fmt.Errorf("encode the request: %w", err)
		}
	}
	giveUp := time.Now().Add(c.patience)
	for pause := c.pause; ; pause = min(2*pause, 2*time.Second) {
		again, err := c.once(ctx, method, path, key, payload, answer)
		if err == nil || again < 0 || ctx.Err() != nil {
			return err
		}
		again = max(again, pause)
		if time.Now().Add(again).After(giveUp) {
			return err
		}
		if err := sleep(ctx, again); err != nil {
			return err
		}
	}
}

// once does one request. again is negative where asking again is no use, else
// the least time to wait before.
func (c *client) once(ctx context.Context, method, path, key string, payload []byte, answer any) (again time.Duration, err error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(payload))
	if err != nil {
		return -1, err
	}
	if payload != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	if err != nil {
		return 0, fmt.Errorf("%s %s: %w", method, path, err)
	}
	if resp.StatusCode < 300 {
		if answer == nil {
			return 0, nil
		}
		if err := json.Unmarshal(b, answer); err != nil {
			return -1, fmt.Errorf("%s %s: the answer is not what it should be: %w", method, path, err)
		}
		return 0, nil
	}
	no := &refusal{Status: resp.StatusCode}
	if json.Unmarshal(b, no) != nil || no.Title+no.Detail == "" {
		no.Title = http.StatusText(resp.StatusCode)
	}
	switch resp.StatusCode {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		seconds, _ := strconv.Atoi(resp.Header.Get("Retry-After")) // absent: 0
		return time.Duration(max(0, seconds)) * time.Second, no
	}
	return -1, no
}

// sleep waits, or returns the context's error.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
