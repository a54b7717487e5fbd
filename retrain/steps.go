package retrain

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/policy"
)

// carried is what became of a run in a worker's hands.
type carried struct {
	state  visutility.RunState
	moved  bool // at least one step was made
	failed bool // and the last one could not be, for now
}

// errRest is what a step returns when the run has to wait.
var errRest = errors.New("the run has to wait")

// carry moves a run, step by step, until it has to wait. train is the context of
// its training: it ends with ctx, or when the run is canceled.
func (r *Runner) carry(ctx, train context.Context, run visutility.Run) (c carried) {
	for id := run.ID; ; c.moved = true {
		run, err := r.o.Store.Run(ctx, id)
		if err == nil {
			c.state = run.State
			if run.State.Ended() {
				return c
			}
			err = r.safely(func() error { return r.step(ctx, train, &run) })
			c.state = run.State
		}
		switch {
		case err == nil:
			continue
		case errors.Is(err, errRest) || ctx.Err() != nil:
			return c
		case errors.Is(err, errLate):
			r.log.Warn("a late result was refused", slog.String("run", id), slog.String("model", run.Model))
			c.failed = true // look again, but not at once
			return c
		}
		c.failed = true
		r.metrics.faults.WithLabelValues(run.State.String()).Inc()
		r.log.Warn("a run's next step failed and will be tried again", slog.String("run", id), slog.String("model", run.Model),
			slog.String("state", run.State.String()), slog.String("error", err.Error()))
		r.tell(ctx, id, err)
		return c
	}
}

// tell lets the run say why it does not move.
func (r *Runner) tell(ctx context.Context, id string, cause error) {
	run, err := r.o.Store.Run(ctx, id)
	if text := bounded(cause.Error()); err == nil && !run.State.Ended() && run.Error != text {
		run.Error = text
		err = r.o.Store.MoveRun(ctx, run, run.State, "")
	}
	if err != nil { // most likely the store is what failed in the first place
		r.log.Debug("a run's fault could not be stored", slog.String("run", id), slog.String("error", err.Error()))
	}
}

// safely turns a panic of something plugged in into an error.
func (r *Runner) safely(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			r.log.Error("panic", slog.Any("value", v), slog.String("stack", string(debug.Stack())))
			err = fmt.Errorf("panic: %v", v)
		}
	}()
	return f()
}

// step makes the one step that the run's state calls for. It returns errRest when
// the run has to wait, and another error when the step is to be tried again.
func (r *Runner) step(ctx, train context.Context, run *visutility.Run) error {
	underway := run.State == visutility.Training && run.NextAt.IsZero()
	if run.Wish == visutility.WishCancel && !underway && run.State.CanBecome(visutility.Canceled) {
		return r.end(ctx, run, visutility.Canceled, "")
	}
	switch run.State {
	case visutility.Pending:
		return r.begin(ctx, run)
	case visutility.Training:
		return r.train(ctx, train, run)
	case visutility.Validating:
		return r.validate(ctx, run)
	case visutility.Registering:
		return r.register(ctx, run)
	case visutility.AwaitingApproval:
		return r.approve(ctx, run)
	case visutility.Promoting:
		return r.promote(ctx, run)
	case visutility.Watching:
		return r.watch(ctx, run)
	}
	return errRest
}

// begin notes that the first attempt begins, when it is clear that it can.
func (r *Runner) begin(ctx context.Context, run *visutility.Run) error {
	if _, _, reason, err := r.plan(ctx, *run); err != nil {
		return err
	} else if reason != "" {
		return r.end(ctx, run, visutility.Failed, reason)
	}
	run.Attempt, run.StartedAt = 1, r.now()
	return r.move(ctx, run, visutility.Training, "attempt 1")
}

// plan returns the policy of a run and its trainer; a reason says why there are none.
func (r *Runner) plan(ctx context.Context, run visutility.Run) (p *policy.Policy, t visutility.Trainer, reason string, err error) {
	p, reason, err = r.policy(ctx, run)
	if err != nil || reason != "" {
		return nil, nil, reason, err
	}
	if t, err = r.o.Trainer(p); passing(err) {
		return nil, nil, "", err
	} else if err != nil {
		return nil, nil, fmt.Sprintf("there is no trainer: %v", err), nil
	}
	return p, t, "", nil
}

func (r *Runner) policy(ctx context.Context, run visutility.Run) (p *policy.Policy, reason string, err error) {
	p, err = r.o.Policy(ctx, run.Policy, run.PolicyRevision)
	switch {
	case passing(err):
		return nil, "", err
	case err != nil:
		return nil, fmt.Sprintf("policy %q is not to be had in revision %s: %v", run.Policy, run.PolicyRevision, err), nil
	}
	return p, "", nil
}

// passing tells errors that may go away by themselves.
func passing(err error) bool {
	return errors.Is(err, visutility.ErrUnavailable) || errors.Is(err, visutility.ErrOverloaded) ||
		errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, visutility.ErrShutdown)
}

// validate holds the challenger against the champion of this moment.
func (r *Runner) validate(ctx context.Context, run *visutility.Run) error {
	p, reason, err := r.policy(ctx, *run)
	if err != nil {
		return err
	}
	if reason != "" {
		return r.end(ctx, run, visutility.Failed, reason)
	}
	champion, err := r.champion(ctx, run.Model)
	if err != nil {
		return err
	}
	run.Champion = champion.ID
	var report visutility.Report
	err = r.safely(func() (err error) {
		report, err = p.Validator().Validate(ctx, r.challenger(*run), champion)
		return err
	})
	switch {
	case passing(err):
		return err
	case err != nil:
		return r.end(ctx, run, visutility.Failed, fmt.Sprintf("the gate could not tell: %v", err))
	}
	run.Report = &report
	if !report.Passed {
		return r.end(ctx, run, visutility.Rejected, report.Reason)
	}
	return r.move(ctx, run, visutility.Registering, report.Reason)
}

// challenger is the version that the run would make.
func (r *Runner) challenger(run visutility.Run) visutility.Version {
	v := visutility.Version{
		Model: run.Model, Run: run.ID, Decision: run.Decision, Parent: run.Champion, Window: run.Window, CreatedAt: r.now(),
	}
	if run.Artifact != nil {
		v.Artifact, v.Metrics = *run.Artifact, run.Artifact.Metrics
	}
	return v
}

// champion is the version that serves, the zero Version when there is none.
func (r *Runner) champion(ctx context.Context, model string) (visutility.Version, error) {
	v, err := r.o.Registry.Resolve(ctx, model, visutility.Champion)
	if errors.Is(err, visutility.ErrNotFound) {
		return visutility.Version{}, nil
	}
	return v, err
}

// register makes the challenger a version.
func (r *Runner) register(ctx context.Context, run *visutility.Run) error {
	p, reason, err := r.policy(ctx, *run)
	if err != nil {
		return err
	}
	if reason != "" {
		return r.end(ctx, run, visutility.Failed, reason)
	}
	v, err := r.o.Registry.Register(ctx, r.challenger(*run))
	switch {
	case errors.Is(err, visutility.ErrInvalid):
		return r.end(ctx, run, visutility.Failed, fmt.Sprintf("the registry refused the version: %v", err))
	case err != nil:
		return fmt.Errorf("registering the version: %w", err)
	}
	run.Version, run.Artifact = v.ID, &v.Artifact
	if p.Promote.Approval {
		return r.move(ctx, run, visutility.AwaitingApproval, "registered as "+v.ID)
	}
	return r.move(ctx, run, visutility.Promoting, "registered as "+v.ID)
}

// approve waits for a person's yes.
func (r *Runner) approve(ctx context.Context, run *visutility.Run) error {
	if run.Wish != visutility.WishApprove {
		return errRest
	}
	return r.move(ctx, run, visutility.Promoting, "approved")
}

func (r *Runner) now() time.Time { return r.o.Now().UTC() }

// move stores the run's next state.
func (r *Runner) move(ctx context.Context, run *visutility.Run, to visutility.RunState, note string, controls ...visutility.Control) error {
	from := run.State
	run.State, run.NextAt = to, time.Time{}
	if to != visutility.Failed {
		run.Error = ""
	}
	if err := r.o.Store.MoveRun(ctx, *run, from, note, controls...); err != nil {
		run.State = from
		return err
	}
	r.metrics.transitions.WithLabelValues(to.String()).Inc()
	r.log.Info("run "+to.String(), slog.String("run", run.ID), slog.String("model", run.Model), slog.String("note", note))
	return nil
}

// end stores a run's end, and has the log told of it.
func (r *Runner) end(ctx context.Context, run *visutility.Run, to visutility.RunState, reason string, controls ...visutility.Control) error {
	run.EndedAt = r.now()
	reason = bounded(reason)
	if to == visutility.Failed {
		run.Error = reason
	}
	return r.move(ctx, run, to, reason, append(controls, ended(*run, to, reason))...)
}

// ended is the announcement that a run is over, or no longer active.
func ended(run visutility.Run, state visutility.RunState, reason string) visutility.Control {
	return visutility.Control{
		Kind: visutility.ControlEnded, Model: run.Model, Policy: run.Policy, Run: run.ID, State: state,
		Version: run.Version, Reason: reason,
	}
}

// bounded keeps what others say within 2,000 bytes.
func bounded(s string) string {
	if len(s) > 2000 {
		return s[:2000] + "…"
	}
	return s
}
