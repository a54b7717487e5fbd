//go:build unix

package trainer

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/visutilitytest"
)

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

// A partner is the system that a webhook asks to train. It verifies every request, starts a job
// once for each webhook-id, and tells what becomes of it by way of the hub.
type partner struct {
	*testing.T
	task   visutilitytest.TrainerTask
	url    string
	hub    *Callbacks
	tokens *Tokens

	mu       sync.Mutex
	ids      []string // of the requests, in order
	jobs     map[string]*partnerJob
	answer   func(n int) int // status of the n-th request, from 0; nil: 202
	finished bool
}

type partnerJob struct {
	delivery
	over bool
}

const whsec = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

func newPartner(t *testing.T, task visutilitytest.TrainerTask) (*partner, string) {
	dir := t.TempDir()
	tokens, err := OpenTokens(filepath.Join(dir, "secret"))
	if err != nil {
		t.Fatal(err)
	}
	p := &partner{T: t, task: task, hub: NewCallbacks(dir), tokens: tokens, jobs: make(map[string]*partnerJob)}
	s := httptest.NewServer(p)
	t.Cleanup(s.Close)
	p.url = s.URL
	return p, dir
}

func (p *partner) trainer() Webhook {
	return Webhook{URL: p.url, Secret: whsec, CallbackURL: "https://visutility.test/", Tokens: p.tokens, Callbacks: p.hub, Allow: loopback, pause: 10 * time.Millisecond}
}

func (p *partner) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	verifier, _ := standardwebhooks.NewWebhook(whsec)
	if err := verifier.Verify(body, r.Header); err != nil {
		p.Errorf("the signature: %v", err)
	}
	var d delivery
	if err := json.Unmarshal(body, &d); err != nil {
		p.Errorf("the body: %v", err)
	}
	id := r.Header.Get("webhook-id")
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.ids)
	p.ids = append(p.ids, id)
	if p.answer != nil {
		if status := p.answer(n); status != http.StatusAccepted {
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(status)
			return
		}
	}
	switch {
	case d.Type == "cancel":
		if j := p.jobs[strings.TrimSuffix(id, "-cancel")]; j != nil {
			j.over = true
		}
	case p.jobs[id] == nil:
		p.jobs[id] = &partnerJob{delivery: d}
		p.begin(p.jobs[id])
	}
	w.WriteHeader(http.StatusAccepted)
}

var goodResult = &Result{Artifact: "s3://models/bikes/2", Metrics: map[string]float64{"wmape": 0.25}, ChampionMetrics: map[string]float64{"wmape": 0.5}}

func (p *partner) begin(j *partnerJob) {
	p.call(j, Callback{Status: StatusRunning, Progress: 0.5, Message: "half"})
	switch {
	case p.task == visutilitytest.TrainFail:
		j.over = true
		p.call(j, Callback{Status: StatusFailed, Error: "no data"})
	case p.task == visutilitytest.TrainSucceed || p.finished:
		j.over = true
		p.call(j, Callback{Status: StatusSucceeded, Result: goodResult})
	}
}

// call does what the server does with a callback.
func (p *partner) call(j *partnerJob, c Callback) {
	attempt, err := p.tokens.Check(j.Run, j.Callback.Token)
	if err == nil && attempt != j.Attempt {
		err = errors.New("another attempt")
	}
	if err := errors.Join(err, p.hub.Deliver(j.Run, attempt, c)); err != nil {
		p.Errorf("callback %s: %v", c.Status, err)
	}
}

func (p *partner) finish() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.finished = true
	for _, j := range p.jobs {
		if !j.over {
			j.over = true
			p.call(j, Callback{Status: StatusSucceeded, Result: goodResult})
		}
	}
}

func (p *partner) running() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, j := range p.jobs {
		if !j.over {
			return true
		}
	}
	return false
}

func (p *partner) requests() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.ids)
}

func (p *partner) starts() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.jobs)
}

func TestWebhookConforms(t *testing.T) {
	visutilitytest.TestTrainer(t, func(t *testing.T, task visutilitytest.TrainerTask) visutilitytest.TrainerRig {
		p, dir := newPartner(t, task)
		return visutilitytest.TrainerRig{
			New: func() visutility.Trainer {
				p.mu.Lock()
				defer p.mu.Unlock()
				return p.trainer()
			},
			Dir: dir, Starts: p.starts, Running: p.running, Finish: p.finish,
		}
	})
}

func TestWebhookTellsTheJobAndWhereToCall(t *testing.T) {
	p, dir := newPartner(t, visutilitytest.TrainSucceed)
	job := testJob(filepath.Join(dir, "r1"), 1)
	job.Parameters = map[string]any{"trees": 150.0}
	if _, err := p.trainer().Train(t.Context(), job); err != nil {
		t.Fatal(err)
	}
	j := p.jobs["r1-1"]
	if j == nil {
		t.Fatalf("webhook-ids %q, want r1-1", p.ids)
	}
	if j.Type != "train" || j.Run != "r1" || j.Model != "bikes" || j.Parameters["trees"] != 150.0 ||
		j.Callback.URL != "https://visutility.test/api/v1/runs/r1/callback" {
		t.Errorf("the body says %+v", j.delivery)
	}
}

func TestWebhookTriesAgain(t *testing.T) {
	p, dir := newPartner(t, visutilitytest.TrainSucceed)
	p.answer = func(n int) int {
		return []int{http.StatusServiceUnavailable, http.StatusTooManyRequests, http.StatusAccepted}[n]
	}
	if _, err := p.trainer().Train(t.Context(), testJob(filepath.Join(dir, "r1"), 1)); err != nil {
		t.Fatal(err)
	}
	if got := p.requests(); !slices.Equal(got, []string{"r1-1", "r1-1", "r1-1"}) {
		t.Errorf("webhook-ids %q: all must be the same", got)
	}
}

func TestWebhookRefused(t *testing.T) {
	for status, want := range map[int]string{
		http.StatusBadRequest:        "400 Bad Request",
		http.StatusUnauthorized:      "401 Unauthorized",
		http.StatusFound:             "redirects are not followed",
		http.StatusTemporaryRedirect: "redirects are not followed",
	} {
		p, dir := newPartner(t, visutilitytest.TrainSucceed)
		p.answer = func(int) int { return status }
		_, err := p.trainer().Train(t.Context(), testJob(filepath.Join(dir, "r1"), 1))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("status %d: %v, want %q", status, err, want)
		}
		if got := p.requests(); len(got) != 1 {
			t.Errorf("status %d: %d requests, want 1 and no cancellation", status, len(got))
		}
	}
}

func TestWebhookAcceptedIsNotPostedAgain(t *testing.T) {
	p, dir := newPartner(t, visutilitytest.TrainWait)
	ctx, cancel := context.WithCancelCause(t.Context())
	wait := train(ctx, p.trainer(), testJob(filepath.Join(dir, "r1"), 1))
	eventually(t, "acceptance stored", func() bool { return exists(filepath.Join(dir, "r1", "attempt-1", acceptedFile)) })
	cancel(visutility.ErrShutdown)
	if _, err := wait(); !errors.Is(err, visutility.ErrShutdown) {
		t.Fatal(err)
	}
	p.finish() // nobody waits at the moment
	p.hub = NewCallbacks(dir)
	if a, err := p.trainer().Train(t.Context(), testJob(filepath.Join(dir, "r1"), 1)); err != nil || a.URI != goodResult.Artifact {
		t.Errorf("Train: %+v, %v", a, err)
	}
	if got := p.requests(); len(got) != 1 {
		t.Errorf("requests %q, want one", got)
	}
}

func TestWebhookIsSilent(t *testing.T) {
	p, dir := newPartner(t, visutilitytest.TrainWait)
	w := p.trainer()
	w.Heartbeat = 200 * time.Millisecond
	_, err := w.Train(t.Context(), testJob(filepath.Join(dir, "r1"), 1))
	if !errors.Is(err, errSilent) {
		t.Errorf("Train: %v, want one that speaks of silence", err)
	}
	if got := p.requests(); !slices.Equal(got, []string{"r1-1", "r1-1-cancel"}) {
		t.Errorf("requests %q, want the job and a cancellation", got)
	}
	if err := p.hub.Deliver("r1", 1, Callback{Status: StatusSucceeded, Result: goodResult}); !errors.Is(err, visutility.ErrConflict) {
		t.Errorf("a callback after the end: %v, want ErrConflict", err)
	}
	if _, again := w.Train(t.Context(), testJob(filepath.Join(dir, "r1"), 1)); again == nil || again.Error() != err.Error() {
		t.Errorf("Train again: %v, want %v", again, err)
	}
}

func TestWebhookOutOfReach(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close() // nobody listens there now
	p, dir := newPartner(t, visutilitytest.TrainWait)
	w := p.trainer()
	w.URL, w.Heartbeat = "http://"+l.Addr().String()+"/secret-path?key=k", 50*time.Millisecond
	_, err = w.Train(t.Context(), testJob(filepath.Join(dir, "r1"), 1))
	if err == nil || !strings.Contains(err.Error(), "could not be handed over within 50ms") || strings.Contains(err.Error(), "key=k") {
		t.Errorf("Train: %v", err)
	}
}

func TestWebhookMisconfigured(t *testing.T) {
	p, dir := newPartner(t, visutilitytest.TrainSucceed)
	for want, change := range map[string]func(*Webhook){
		"is not an http or https address": func(w *Webhook) { w.URL = "ftp://example.com" },
		"holds a password":                func(w *Webhook) { w.URL = "https://me:hunter2@example.com" },
		"--callback-url":                  func(w *Webhook) { w.CallbackURL = "" },
		"no tokens":                       func(w *Webhook) { w.Tokens = nil },
		"--webhook-allow 127.0.0.1/32":    func(w *Webhook) { w.Allow = nil },
		"not base64":                      func(w *Webhook) { w.Secret = "whsec_?hunter2" },
		"callbacks look":                  func(w *Webhook) { w.Callbacks = NewCallbacks(t.TempDir()) },
	} {
		w := p.trainer()
		change(&w)
		_, err := w.Train(t.Context(), testJob(filepath.Join(dir, "r-"+strings.Fields(want)[0]), 1))
		if !errors.Is(err, visutility.ErrInvalid) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", want, err)
		}
	}
	if got := p.requests(); len(got) != 0 {
		t.Errorf("requests %q", got)
	}
}

func TestCallbacks(t *testing.T) {
	p, dir := newPartner(t, visutilitytest.TrainWait)
	running, failed := Callback{Status: StatusRunning, Progress: 0.1}, Callback{Status: StatusFailed, Error: "no data"}
	good := Callback{Status: StatusSucceeded, Result: goodResult}
	deliver := func(run string, attempt int, c Callback, want error) {
		t.Helper()
		if err := p.hub.Deliver(run, attempt, c); !errors.Is(err, want) {
			t.Errorf("%s of %s/%d: %v, want %v", c.Status, run, attempt, err, want)
		}
	}
	deliver("r1", 1, good, visutility.ErrConflict) // never made
	deliver("../r1", 1, good, visutility.ErrNotFound)
	deliver("", 1, good, visutility.ErrNotFound)
	for n := 1; n <= 2; n++ {
		if _, _, err := prepare(testJob(filepath.Join(dir, "r1"), n)); err != nil {
			t.Fatal(err)
		}
		deliver("r1", n, running, nil)
	}
	deliver("r1", 1, running, visutility.ErrConflict) // replaced by the second
	deliver("r1", 1, good, visutility.ErrConflict)
	deliver("r1", 2, Callback{Status: "great"}, visutility.ErrInvalid)
	deliver("r1", 2, Callback{Status: StatusSucceeded}, visutility.ErrInvalid)
	deliver("r1", 2, Callback{Status: StatusSucceeded, Result: &Result{Artifact: "model.bin"}}, visutility.ErrInvalid)
	deliver("r1", 2, failed, nil)
	deliver("r1", 2, failed, nil) // repeated
	deliver("r1", 2, good, visutility.ErrConflict)
	deliver("r1", 2, running, visutility.ErrConflict)
	if _, err := p.trainer().Train(t.Context(), testJob(filepath.Join(dir, "r1"), 2)); err == nil || !strings.Contains(err.Error(), "no data") {
		t.Errorf("Train: %v", err)
	}
	if got := p.requests(); len(got) != 0 {
		t.Errorf("requests %q of an attempt that was over", got)
	}
}

func TestFailureIsTakenFromEitherField(t *testing.T) {
	for want, c := range map[string]Callback{
		"the training failed: no data":                    {Status: StatusFailed, Error: "no data", Message: "epoch 4"},
		"the training failed: out of memory":              {Status: StatusFailed, Message: "out of memory"},
		"the training failed; the webhook gave no reason": {Status: StatusFailed},
	} {
		if _, err := c.answer(); err == nil || err.Error() != want {
			t.Errorf("%+v: %v, want %q", c, err, want)
		}
	}
}

func TestTokens(t *testing.T) {
	file := filepath.Join(t.TempDir(), "data", "secret")
	tokens, err := OpenTokens(file)
	if err != nil {
		t.Fatal(err)
	}
	again, err := OpenTokens(file)
	if err != nil {
		t.Fatal(err)
	}
	other, err := OpenTokens(file + "2")
	if err != nil {
		t.Fatal(err)
	}
	good := tokens.Token("r1", 12)
	if n, err := again.Check("r1", good); err != nil || n != 12 {
		t.Errorf("Check after a restart: %d, %v", n, err)
	}
	_, mac, _ := strings.Cut(good, ".")
	for name, c := range map[string]struct {
		t          *Tokens
		run, token string
	}{
		"empty": {tokens, "r1", ""}, "nonsense": {tokens, "r1", "nothing"}, "another run": {tokens, "r2", good}, "another attempt": {tokens, "r1", "13." + mac},
		"another key": {other, "r1", good}, "cut": {tokens, "r1", good[:len(good)-4]}, "no signature": {tokens, "r1", "12."}, "a zero more": {tokens, "r1", "012." + mac},
		"moved": {tokens, "r11", tokens.Token("r1", 112)},
	} {
		if _, err := c.t.Check(c.run, c.token); !errors.Is(err, ErrToken) {
			t.Errorf("%s: %v, want ErrToken", name, err)
		}
	}
	write(filepath.Dir(file), "secret", "short")
	if _, err := OpenTokens(file); err == nil {
		t.Error("a damaged key was taken")
	}
}
