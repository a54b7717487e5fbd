package trainer

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/internal/durable"
)

// A Webhook has another system do the training. It posts
//
//	{"type": "train", …the fields of the job…, "callback": {"url": …, "token": …}}
//
// with the headers of Standard Webhooks: webhook-id (the run and the attempt: a second delivery
// has the same, and the receiver starts nothing for it), webhook-timestamp and,
// with a secret, webhook-signature. Any 2xx answer accepts the job. Network errors, 5xx, 408
// and 429 are tried again, with growing pauses; any other answer fails the attempt.
//
// The receiver then posts a [Callback] to the callback URL with "Authorization: Bearer <token>", at
// least once per Heartbeat, until it says succeeded or failed. When the run is canceled or its time is
// over, it is sent {"type": "cancel", "run": …, "attempt": …}, once.
//
// A Webhook may be used for any number of jobs at once.
type Webhook struct {
	// URL is where the job goes: http or https. Required.
	URL string
	// Secret signs the requests: "whsec_" and base64, as Standard Webhooks writes it, or any other
	// text. Defaults to none: requests are not signed.
	Secret string
	// Heartbeat is how long the other side may be silent: after the job was accepted, and between callbacks.
	// It also bounds the attempts to hand the job over. Defaults to 10 minutes.
	Heartbeat time.Duration
	// CallbackURL is the server's own address as the other side sees it, such as
	// "https://visutility.example.com". Required.
	CallbackURL string
	// Tokens makes the tokens for the callbacks. Required.
	Tokens *Tokens
	// Callbacks hands over the calls. Required.
	Callbacks *Callbacks
	// Allow lists addresses that may be reached although they are not public. Defaults to none.
	Allow []netip.Prefix

	pause time.Duration // before the second try; defaults to 1 s
}

var _ visutility.Trainer = Webhook{}

// delivery is the body of the request that hands over a job.
type delivery struct {
	Type string `json:"type"`
	visutility.Job
	Callback callbackAddress `json:"callback"`
}

type callbackAddress struct {
	URL   string `json:"url"`
	Token string `json:"token"`
}

// cancellation is the body of the request that asks to stop.
type cancellation struct {
	Type    string `json:"type"`
	Run     string `json:"run"`
	Attempt int    `json:"attempt"`
}

var (
	errSilent  = errors.New("the webhook was silent for too long")
	errTimeout = errors.New("the training took longer than its timeout")
)

// Train hands the job over, if that has not been done, and waits for the end to be told.
func (w Webhook) Train(ctx context.Context, job visutility.Job) (visutility.Artifact, error) {
	if err := w.check(); err != nil {
		return visutility.Artifact{}, err
	}
	a, job, err := prepare(job)
	if err != nil {
		return visutility.Artifact{}, err
	}
	if a.dir != w.Callbacks.attempt(job.Run, job.Attempt).dir {
		return visutility.Artifact{}, visutility.Invalidf("job.dir", "outside", "%s is not where callbacks look for the run", job.Dir)
	}
	if artifact, over, err := w.Callbacks.outcome(a); over {
		return artifact, err
	}
	calls, post, stop := w.Callbacks.wait(a)
	defer stop()
	if !job.Deadline.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadlineCause(ctx, job.Deadline, errTimeout)
		defer cancel()
	}
	if err := w.deliver(ctx, a, job, post); err != nil {
		return w.fail(ctx, a, job, err)
	}
	return w.await(ctx, a, job, calls)
}

func (w Webhook) check() error {
	u, err := url.Parse(w.URL)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return visutility.Invalidf("train.webhook.url", "url", "%q is not an http or https address", w.URL)
	case u.User != nil:
		return visutility.Invalidf("train.webhook.url", "url", "holds a password; requests are signed instead, see secret_env")
	case w.CallbackURL == "":
		return visutility.Invalidf("train.webhook", "callback_url", "needs the server's own address to be called back at; start it with --callback-url")
	case w.Tokens == nil || w.Callbacks == nil:
		return visutility.Invalidf("train.webhook", "callbacks", "has no tokens or no callbacks")
	}
	return nil
}

func (w Webhook) heartbeat() time.Duration { return cmp.Or(w.Heartbeat, 10*time.Minute) }

// deliver posts the job until it is accepted, and writes that down. A crash
// between the two posts it again under the same webhook-id.
func (w Webhook) deliver(ctx context.Context, a attempt, job visutility.Job, post chan struct{}) error {
	select {
	case post <- struct{}{}:
		defer func() { <-post }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if a.has(acceptedFile) || a.has(callbackFile) {
		return nil
	}
	body, err := json.Marshal(delivery{Type: "train", Job: job, Callback: callbackAddress{
		URL:   strings.TrimSuffix(w.CallbackURL, "/") + "/api/v1/runs/" + url.PathEscape(job.Run) + "/callback",
		Token: w.Tokens.Token(job.Run, job.Attempt),
	}})
	if err != nil {
		return fmt.Errorf("the job as JSON: %w", err)
	}
	client := guardedClient(w.Allow, 30*time.Second)
	pause, end := cmp.Or(w.pause, time.Second), time.Now().Add(w.heartbeat())
	for {
		err := w.post(ctx, client, messageID(job), body)
		switch {
		case err == nil:
			return durable.WriteFile(a.path(acceptedFile), nil, 0o600)
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, errPermanent):
			return err
		case time.Now().Add(pause).After(end):
			return fmt.Errorf("the job could not be handed over within %s: %w", w.heartbeat(), err)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pause/2 + rand.N(pause)):
		}
		pause = min(2*pause, time.Minute)
	}
}

// messageID is the same for every delivery of the same attempt.
func messageID(job visutility.Job) string { return job.Run + "-" + strconv.Itoa(job.Attempt) }

// post makes one signed request.
func (w Webhook) post(ctx context.Context, client *http.Client, id string, body []byte) error {
	r, err := http.NewRequest(http.MethodPost, w.URL, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("%w: %w", errPermanent, err)
	}
	now := time.Now()
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "VisuTility")
	r.Header.Set(standardwebhooks.HeaderWebhookID, id)
	r.Header.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(now.Unix(), 10))
	if w.Secret != "" {
		signature, err := w.sign(id, now, body)
		if err != nil {
			return fmt.Errorf("%w: %w", errPermanent, err)
		}
		r.Header.Set(standardwebhooks.HeaderWebhookSignature, signature)
	}
	return send(ctx, client, r)
}

func (w Webhook) sign(id string, now time.Time, body []byte) (string, error) {
	signer, err := standardwebhooks.NewWebhookRaw([]byte(w.Secret))
	if strings.HasPrefix(w.Secret, "whsec_") {
		signer, err = standardwebhooks.NewWebhook(w.Secret)
	}
	if err != nil { // the error might quote the secret
		return "", visutility.Invalidf("train.webhook.secret", "base64", "begins with whsec_ but what follows is not base64")
	}
	return signer.Sign(id, now, body)
}

// await takes the calls until one ends the attempt.
func (w Webhook) await(ctx context.Context, a attempt, job visutility.Job, calls <-chan Callback) (visutility.Artifact, error) {
	silence := time.NewTimer(w.heartbeat())
	defer silence.Stop()
	for {
		if artifact, over, err := w.Callbacks.outcome(a); over {
			return artifact, err
		}
		select {
		case c := <-calls:
			silence.Reset(w.heartbeat())
			if c.Status == StatusRunning {
				job.Report(clamp(c.Progress), shorten(c.Message))
			}
		case <-silence.C:
			return w.fail(ctx, a, job, fmt.Errorf("%w: no callback for %s", errSilent, w.heartbeat()))
		case <-ctx.Done():
			return w.fail(ctx, a, job, context.Cause(ctx))
		}
	}
}

// fail ends the attempt for a reason of our own, unless it is only that the server shuts down.
func (w Webhook) fail(ctx context.Context, a attempt, job visutility.Job, cause error) (visutility.Artifact, error) {
	if errors.Is(cause, visutility.ErrShutdown) {
		return visutility.Artifact{}, cause
	}
	if err := w.Callbacks.close(a, cause.Error()); err != nil {
		return visutility.Artifact{}, errors.Join(cause, err)
	}
	if artifact, over, err := w.Callbacks.outcome(a); over && err == nil && ctx.Err() == nil {
		return artifact, nil // the end was told in the last moment
	}
	if !errors.Is(cause, errPermanent) { // else it has not been accepted
		w.cancel(ctx, job)
	}
	return visutility.Artifact{}, cause
}

// cancel asks the other side to stop. What comes of it makes no difference: the attempt is over.
func (w Webhook) cancel(ctx context.Context, job visutility.Job) {
	body, err := json.Marshal(cancellation{"cancel", job.Run, job.Attempt})
	if err != nil {
		return
	}
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer stop()
	_ = w.post(ctx, guardedClient(w.Allow, 10*time.Second), messageID(job)+"-cancel", body)
}
