package engine

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/policy"
	"github.com/visutility/visutility/registry"
	"github.com/visutility/visutility/retrain"
	"github.com/visutility/visutility/trainer"
)

func (e *Engine) openRuns(context.Context) (err error) {
	if e.registry = e.o.Registry; e.registry == nil {
		e.registry = registry.NewBuiltin(e.store, registry.Options{Dir: e.path("artifacts"), RunsDir: e.path("runs")})
	}
	if e.tokens, err = trainer.OpenTokens(e.path("secret")); err != nil {
		return err
	}
	e.hub = trainer.NewCallbacks(e.path("runs"))
	e.tracker = &trainer.Tracker{Dir: e.path("runs")}
	e.runner = retrain.New(retrain.Options{
		Store: e.store, Registry: e.registry, Policy: e.policies.at, Trainer: e.trainer,
		Dir: e.path("runs"), MaxRuns: e.o.MaxRuns, Logger: e.log, Registerer: e.o.Registerer,
	})
	return nil
}

// trainer makes the trainer that a policy asks for.
func (e *Engine) trainer(p *policy.Policy) (visutility.Trainer, error) {
	t := p.Train
	switch {
	case t.Trainer != "":
		if tr := e.o.Trainers[t.Trainer]; tr != nil {
			return tr, nil
		}
		return nil, fmt.Errorf("policy %q: %w: this program has no trainer %q", p.Name, visutility.ErrNotFound, t.Trainer)
	case t.Webhook != nil:
		return e.webhook(p)
	default:
		return trainer.Command{Argv: t.Run, Dir: p.WorkDir(), Env: t.Env, TrackingURL: e.o.TrackingURL, Tokens: e.tokens, Supervisor: e.o.Supervisor}, nil
	}
}

// RunLog is the path of the log of the newest attempt of a run; ErrNotFound
// when there is none (yet).
func (e *Engine) RunLog(ctx context.Context, run string) (string, error) {
	r, err := e.store.Run(ctx, run)
	if err != nil {
		return "", err
	}
	if r.Attempt == 0 {
		return "", fmt.Errorf("run %s: %w: it has not started yet", run, visutility.ErrNotFound)
	}
	path := trainer.LogFile(e.path("runs", r.ID), r.Attempt)
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("run %s: %w: its trainer keeps no log here", run, visutility.ErrNotFound)
	}
	return path, nil
}
