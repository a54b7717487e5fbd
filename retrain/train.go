package retrain

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"path/filepath"
	"runtime/debug"
	"sync"
	"time"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/policy"
)

var (
	errAbandoned = errors.New("the trainer did not stop when it was told to; it is left to itself")
	errNoAnswer  = errors.New("the trainer ended without an answer")
	errPanic     = errors.New("the trainer panicked")
	errLate      = errors.New("the attempt is over or was replaced: its result is refused")
)

// train begins the next attempt if that is due, has the trainer do it, and stores what came of it.
func (r *Runner) train(ctx, train context.Context, run *visutility.Run) error {
	p, t, reason, err := r.plan(ctx, *run)
	if err != nil {
		return err
	}
	if reason != "" {
		return r.end(ctx, run, visutility.Failed, reason)
	}
	if !run.NextAt.IsZero() {
		if run.NextAt.After(r.o.Now()) {
			return errRest
		}
		run.Attempt, run.NextAt, run.Progress, run.Message = run.Attempt+1, time.Time{}, 0, ""
		if err := r.o.Store.MoveRun(ctx, *run, visutility.Training, ""); err != nil {
			return err
		}
	}
	job, err := r.job(ctx, p, *run)
	if err != nil {
		return err
	}
	if run.Wish == visutility.WishCancel { // the trainer is called to stop what is under way
		canceled, cancel := context.WithCancelCause(train)
		cancel(visutility.ErrCanceled)
		train = canceled
	}
	began := r.o.Now()
	r.metrics.training.Inc()
	artifact, err := r.call(ctx, train, t, job, p.Train.Timeout)
	r.metrics.training.Dec()
	r.metrics.seconds.Observe(r.o.Now().Sub(began).Seconds())
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx) // left running, to be attached to again
	}
	return r.trained(ctx, context.Cause(train), run, p.Train.Retries, artifact, err)
}

// job is what the trainer is told.
func (r *Runner) job(ctx context.Context, p *policy.Policy, run visutility.Run) (visutility.Job, error) {
	if !filepath.IsLocal(run.ID) {
		return visutility.Job{}, visutility.Invalidf("run.id", "path", "%q is no name for a directory", run.ID)
	}
	d, err := r.o.Store.Decision(ctx, run.Decision)
	if err != nil && !errors.Is(err, visutility.ErrNotFound) {
		return visutility.Job{}, fmt.Errorf("reading the decision: %w", err)
	}
	job := visutility.Job{
		Run: run.ID, Model: run.Model, Policy: run.Policy, Decision: d, Attempt: run.Attempt, Window: run.Window,
		Parameters: p.Train.Parameters, Dir: filepath.Join(r.o.Dir, run.ID),
	}
	if p.Train.Timeout > 0 {
		job.Deadline = r.now().Add(p.Train.Timeout)
	}
	champion, err := r.champion(ctx, run.Model)
	if err != nil {
		return visutility.Job{}, fmt.Errorf("resolving the champion: %w", err)
	}
	if champion.ID != "" {
		job.Champion = &champion
	}
	return job, nil
}

// answer is what a trainer returned.
type answer struct {
	artifact visutility.Artifact
	err      error
}

// call has the trainer do the job, stores its progress, and stops waiting for a trainer that
// does not return when it is told to stop.
func (r *Runner) call(ctx, train context.Context, t visutility.Trainer, job visutility.Job, timeout time.Duration) (visutility.Artifact, error) {
	if timeout > 0 {
		// A trainer that keeps the deadline itself has an older one when it attaches.
		var cancel context.CancelFunc
		train, cancel = context.WithTimeoutCause(train, timeout, fmt.Errorf("the training took longer than its timeout of %s", timeout))
		defer cancel()
	}
	said := &lastWord{}
	job.Report = said.report
	answers := make(chan answer, 1) // an answer that nobody waits for is dropped
	go r.ask(train, t, job, answers)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	stopped, overdue := train.Done(), (<-chan time.Time)(nil)
	for {
		select {
		case a := <-answers:
			return a.artifact, a.err
		case <-tick.C:
			r.saveProgress(ctx, job, said)
		case <-stopped:
			stopped, overdue = nil, time.After(r.o.StopGrace)
		case <-overdue:
			r.metrics.abandoned.Inc()
			r.log.Error("a trainer does not stop", slog.String("run", job.Run), slog.Int("attempt", job.Attempt))
			return visutility.Artifact{}, fmt.Errorf("%w (%w)", context.Cause(train), errAbandoned)
		}
	}
}

// ask calls the trainer and always sends an answer: what the trainer does wrong, a panic or
// the end of its goroutine, is an error.
func (r *Runner) ask(ctx context.Context, t visutility.Trainer, job visutility.Job, answers chan<- answer) {
	a := answer{err: errNoAnswer}
	defer func() {
		if v := recover(); v != nil {
			r.log.Error("a trainer panicked", slog.String("run", job.Run), slog.Any("value", v), slog.String("stack", string(debug.Stack())))
			a = answer{err: fmt.Errorf("%w: %v", errPanic, v)}
		}
		answers <- a
	}()
	a.artifact, a.err = t.Train(ctx, job)
}

// trained stores what came of an attempt.
func (r *Runner) trained(ctx context.Context, stopped error, was *visutility.Run, retries int, artifact visutility.Artifact, err error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second) // also while shutting down
	defer cancel()
	run, readErr := r.o.Store.Run(ctx, was.ID)
	if readErr != nil {
		return readErr
	}
	if run.State != visutility.Training || run.Attempt != was.Attempt || !run.NextAt.IsZero() {
		return errLate
	}
	*was = run
	if err == nil {
		err = checkArtifact(artifact)
	}
	switch {
	case run.Wish == visutility.WishCancel || errors.Is(stopped, visutility.ErrCanceled):
		r.metrics.attempts.WithLabelValues("canceled").Inc()
		return r.end(ctx, was, visutility.Canceled, "")
	case err != nil:
		return r.failed(ctx, was, retries, err)
	}
	r.metrics.attempts.WithLabelValues("succeeded").Inc()
	was.Artifact, was.Progress, was.Message = &artifact, 1, ""
	return r.move(ctx, was, visutility.Validating, "")
}

// failed has the attempt followed by another, later, or ends the run.
func (r *Runner) failed(ctx context.Context, run *visutility.Run, retries int, err error) error {
	result := "failed"
	if errors.Is(err, errPanic) {
		result = "panicked"
	}
	r.metrics.attempts.WithLabelValues(result).Inc()
	reason := bounded(fmt.Sprintf("attempt %d of %d failed: %v", run.Attempt, retries+1, err))
	if errors.Is(err, visutility.ErrInvalid) || run.Attempt > retries {
		return r.end(ctx, run, visutility.Failed, reason)
	}
	run.Error, run.NextAt = reason, r.now().Add(pause(run.Attempt, r.o.Rand()))
	if err := r.o.Store.MoveRun(ctx, *run, visutility.Training, ""); err != nil {
		return err
	}
	r.log.Warn("a training attempt failed", slog.String("run", run.ID), slog.String("model", run.Model), slog.String("error", reason), slog.Time("next", run.NextAt))
	return errRest
}

// checkArtifact refuses numbers that nothing could be compared with.
func checkArtifact(a visutility.Artifact) error {
	for _, metrics := range []map[string]float64{a.Metrics, a.ChampionMetrics} {
		for name, v := range metrics {
			if math.IsNaN(v) || math.IsInf(v, 0) {
				return visutility.Invalidf("metrics."+name, "nan", "is %v; a finite number is needed, or none", v)
			}
		}
	}
	return nil
}

// lastWord is a trainer's newest report, which may come from any goroutine and
// more often than it is stored.
type lastWord struct {
	mu       sync.Mutex
	progress float64
	message  string
	news     bool
}

func (w *lastWord) report(progress float64, message string) {
	if !(progress > 0) { // NaN too
		progress = 0
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.progress, w.message, w.news = min(progress, 1), bounded(message), true
}

func (w *lastWord) take() (progress float64, message string, news bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	news, w.news = w.news, false
	return w.progress, w.message, news
}

// saveProgress stores what the trainer said since the last time. It is not worth failing for.
func (r *Runner) saveProgress(ctx context.Context, job visutility.Job, said *lastWord) {
	progress, message, news := said.take()
	if !news {
		return
	}
	if err := r.o.Store.SaveProgress(ctx, job.Run, job.Attempt, progress, message); err != nil && ctx.Err() == nil {
		r.log.Debug("progress could not be stored", slog.String("run", job.Run), slog.String("error", err.Error()))
	}
}
