package engine

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/store"
)

// Trigger asks for a run by hand and waits for the decision: Fired, or Suppressed
// when a run is under way. policy may be "" when a single policy watches the
// model. Pauses, cooldowns and budgets do not stand against a person's wish.
func (e *Engine) Trigger(ctx context.Context, model, policy, by, reason string) (visutility.Decision, error) {
	if err := e.checkPolicy(model, policy); err != nil {
		return visutility.Decision{}, err
	}
	d, err := e.tell(ctx, visutility.Control{Kind: visutility.ControlTrigger, Model: model, Policy: policy, By: by, Reason: reason})
	if err != nil {
		return visutility.Decision{}, err
	}
	return *d, nil
}

// checkPolicy makes sure that it is clear which policy a run by hand follows.
func (e *Engine) checkPolicy(model, name string) error {
	prog := e.policies.set().For(model)
	if prog == nil {
		return fmt.Errorf("%w: no policy matches model %q; write one (see visutility lint) and put it into the policies directory", visutility.ErrNotFound, model)
	}
	var names []string
	for _, p := range prog.Policies() {
		if p.Name == name {
			return nil
		}
		names = append(names, p.Name)
	}
	switch {
	case name != "":
		return fmt.Errorf("%w: no policy %q matches model %q; there is %q", visutility.ErrNotFound, name, model, names)
	case len(names) > 1:
		return visutility.Invalidf("policy", "ambiguous", "is needed, since several policies match model %q: %q", model, names)
	}
	return nil
}

// Pause stops automatic runs of a model until Resume. It returns when the fold knows.
func (e *Engine) Pause(ctx context.Context, model, by, reason string) error {
	if err := e.checkModel(ctx, model); err != nil {
		return err
	}
	_, err := e.tell(ctx, visutility.Control{Kind: visutility.ControlPause, Model: model, By: by, Reason: reason})
	return err
}

// Resume allows automatic runs of a model again. It returns when the fold knows.
func (e *Engine) Resume(ctx context.Context, model, by, reason string) error {
	if err := e.checkModel(ctx, model); err != nil {
		return err
	}
	_, err := e.tell(ctx, visutility.Control{Kind: visutility.ControlResume, Model: model, By: by, Reason: reason})
	return err
}

// checkModel accepts models that sent an event or that a policy names.
func (e *Engine) checkModel(ctx context.Context, model string) error {
	_, err := e.store.Model(ctx, model)
	if errors.Is(err, visutility.ErrNotFound) && e.policies.set().For(model) != nil {
		return nil
	}
	return err
}

// tell publishes a control and waits until the fold has seen it and what came of it is stored.
func (e *Engine) tell(ctx context.Context, c visutility.Control) (*visutility.Decision, error) {
	c.Request = rand.Text()
	answer, forget := e.trigger.Expect(c.Request)
	defer forget()
	if err := e.bus.Control(ctx, c.Request, c); err != nil {
		return nil, err
	}
	select {
	case d := <-answer:
		return d, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: the request is in the log and will be carried out, but was not in time: %w", visutility.ErrUnavailable, context.Cause(ctx))
	}
}

// Approve lets a run that awaits approval go on.
func (e *Engine) Approve(ctx context.Context, run, by string) (visutility.Run, error) {
	return e.wish(ctx, run, visutility.WishApprove, by)
}

// Cancel stops a run that has not been promoted.
func (e *Engine) Cancel(ctx context.Context, run, by string) (visutility.Run, error) {
	return e.wish(ctx, run, visutility.WishCancel, by)
}

func (e *Engine) wish(ctx context.Context, run, wish, by string) (visutility.Run, error) {
	r, err := e.store.WishRun(ctx, run, wish, by)
	if err == nil {
		e.runner.Wake(run)
	}
	return r, err
}

// Promote makes a version the champion by hand, and tells the fold.
func (e *Engine) Promote(ctx context.Context, model, version, by string) (visutility.Version, error) {
	v, err := e.registry.Resolve(ctx, model, version)
	if err != nil {
		return visutility.Version{}, err
	}
	from, err := e.champion(ctx, model)
	if err != nil {
		return visutility.Version{}, err
	}
	if from.ID == v.ID {
		return v, nil
	}
	if err := e.registry.SetAlias(ctx, model, visutility.Champion, v.ID, from.ID); err != nil {
		return visutility.Version{}, err
	}
	// A crash between the two is mended at the next start: see reconcile.
	_, err = e.tell(ctx, visutility.Control{
		Kind: visutility.ControlPromoted, Model: model, Version: v.ID, Previous: from.ID,
		PreviousMetrics: from.Metrics, By: by,
	})
	if err != nil {
		return visutility.Version{}, err
	}
	e.log.Info("champion moved by hand", slog.String("model", model), slog.String("from", from.ID), slog.String("to", v.ID), slog.String("by", by))
	if err := e.endWatches(ctx, model); err != nil {
		return visutility.Version{}, err
	}
	return e.registry.Resolve(ctx, model, v.ID)
}

// endWatches has the runs of a model that watched a champion look who serves now.
func (e *Engine) endWatches(ctx context.Context, model string) error {
	watching, _, err := e.store.Runs(ctx, store.RunFilter{Model: model, States: []visutility.RunState{visutility.Watching}})
	for _, r := range watching {
		e.runner.Wake(r.ID)
	}
	return err
}

// Rollback moves the champion back to the version that it replaced.
func (e *Engine) Rollback(ctx context.Context, model, by string) (visutility.Version, error) {
	c, err := e.champion(ctx, model)
	if err != nil {
		return visutility.Version{}, err
	}
	if c.ID == "" {
		return visutility.Version{}, fmt.Errorf("model %q: %w: it has no champion", model, visutility.ErrNotFound)
	}
	if c.Parent == "" {
		return visutility.Version{}, fmt.Errorf("%w: champion %s of model %q replaced no other version; promote one by its id", visutility.ErrConflict, c.ID, model)
	}
	return e.Promote(ctx, model, c.Parent, by)
}

// champion is the version that serves, the zero Version when there is none.
func (e *Engine) champion(ctx context.Context, model string) (visutility.Version, error) {
	v, err := e.registry.Resolve(ctx, model, visutility.Champion)
	if errors.Is(err, visutility.ErrNotFound) {
		return visutility.Version{}, nil
	}
	return v, err
}
