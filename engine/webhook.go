package engine

import (
	"context"
	"fmt"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/policy"
	"github.com/visutility/visutility/trainer"
)

// webhook makes the trainer of a policy that has another system do the training.
func (e *Engine) webhook(p *policy.Policy) (visutility.Trainer, error) {
	if e.o.CallbackURL == "" {
		return nil, visutility.Invalidf("train.webhook", "no_callback_url",
			"of policy %q needs an address to call back to; start the server with --callback-url https://…", p.Name)
	}
	w := p.Train.Webhook
	secret, err := w.Secret()
	if err != nil {
		return nil, fmt.Errorf("policy %q: %w", p.Name, err)
	}
	return trainer.Webhook{
		URL: w.URL, Secret: secret, Heartbeat: w.Heartbeat, CallbackURL: e.o.CallbackURL,
		Tokens: e.tokens, Callbacks: e.hub, Allow: e.o.WebhookAllow,
	}, nil
}

// Callback takes what a webhook trainer says of a run. The token is good for one attempt
// of one run; [trainer.ErrToken] when it is not good for this one, [visutility.ErrConflict] when the
// attempt is over.
func (e *Engine) Callback(ctx context.Context, run, token string, c trainer.Callback) error {
	attempt, err := e.tokens.Check(run, token)
	if err != nil {
		return err
	}
	r, err := e.store.Run(ctx, run)
	if err != nil {
		return err
	}
	if r.State != visutility.Training || r.Attempt != attempt {
		return fmt.Errorf("%w: attempt %d of run %s is over (the run is %s)", visutility.ErrConflict, attempt, run, r.State)
	}
	return e.hub.Deliver(run, attempt, c)
}
