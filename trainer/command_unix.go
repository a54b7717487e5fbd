//go:build unix

package trainer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/internal/durable"
)

var _ visutility.Trainer = Command{}

// Train runs the job's attempt, or attaches to it, and returns when it is over.
func (c Command) Train(ctx context.Context, job visutility.Job) (visutility.Artifact, error) {
	if len(c.Argv) == 0 || c.Argv[0] == "" {
		return visutility.Artifact{}, visutility.Invalidf("train.run", "empty", "names no program")
	}
	a, job, err := prepare(job)
	if err != nil {
		return visutility.Artifact{}, err
	}
	if err := c.specify(a, job); err != nil {
		return visutility.Artifact{}, err
	}
	f := follower{c: c, a: a, progress: progressWatch{output: a.output(), report: job.Report}}
	if err := f.follow(ctx); err != nil {
		return visutility.Artifact{}, err
	}
	return a.outcome(ctx)
}

// specify writes what is to be run, unless that has been done and started.
func (c Command) specify(a attempt, job visutility.Job) error {
	if a.has(startedFile) || a.has(exitFile) {
		return nil
	}
	return writeJSON(a.path(specFile), spec{
		Argv: c.Argv, Env: c.environment(a, job), Dir: cmp.Or(c.Dir, a.output()),
		Deadline: job.Deadline, Grace: c.grace(), MaxLog: cmp.Or(c.MaxLog, defaultMaxLog),
	})
}

func (c Command) grace() time.Duration { return cmp.Or(c.Grace, 10*time.Second) }

// environment is the whole environment of the program. What else the server's own
// environment holds, its tokens above all, is none of the program's business.
func (c Command) environment(a attempt, job visutility.Job) []string {
	env := inherit(c.Env...)
	if c.TrackingURL != "" && c.Tokens != nil && !slices.Contains(c.Env, "MLFLOW_TRACKING_URI") { // else it has a tracking server of its own
		env = append(env,
			"MLFLOW_TRACKING_URI="+c.TrackingURL,
			"MLFLOW_TRACKING_TOKEN="+job.Run+":"+c.Tokens.Token(job.Run, job.Attempt),
			"MLFLOW_RUN_ID="+job.Run,
		)
	}
	return append(env, // last, so that nothing stands in for them
		"VISUTILITY_RUN_ID="+job.Run,
		"VISUTILITY_MODEL="+job.Model,
		"VISUTILITY_JOB="+a.path(jobFile),
		a.mark(),
	)
}

// inherit returns the variables that every process here gets, and those named, where they are set.
func inherit(names ...string) []string {
	var env []string
	for _, name := range append([]string{"PATH", "HOME", "LANG", "TZ", "TMPDIR"}, names...) {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	return env
}

// A follower is the trainer's side of an attempt: it sees to it that the
// attempt has a supervisor, and waits.
type follower struct {
	c        Command
	a        attempt
	progress progressWatch

	child    int       // the supervisor we started; 0 for none
	launched bool      // we started one
	giveUp   time.Time // when a stop that was asked for is overdue
}

// follow returns nil when exit.json is there.
func (f *follower) follow(ctx context.Context) error {
	t := time.NewTicker(poll)
	defer t.Stop()
	done := ctx.Done()
	for {
		over, err := f.look(ctx)
		if over || err != nil {
			f.reapChild()
			return err
		}
		f.progress.look(time.Now())
		select {
		case <-done:
			done = nil
		case <-t.C:
		}
	}
}

// look does what is to be done now, and tells whether the attempt is over.
func (f *follower) look(ctx context.Context) (over bool, err error) {
	if f.a.has(exitFile) {
		f.progress.next = time.Time{}
		f.progress.look(time.Now()) // the last word
		return true, nil
	}
	if ctx.Err() != nil {
		if err := f.stop(context.Cause(ctx)); err != nil {
			return false, err
		}
	}
	lock, err := tryLock(f.a.path(lockFile))
	if err != nil || lock == nil {
		return false, err // somebody looks after it
	}
	defer lock.unlock()
	if len(f.c.Supervisor) == 0 {
		return f.supervise(ctx)
	}
	if f.a.has(exitFile) || f.a.has(startedFile) {
		s := supervision{a: f.a, ask: f.ask(ctx), tick: func() {}}
		return true, s.own() // over, or lost
	}
	return false, f.launch(ctx)
}

// stop handles the end of the context: a shutdown leaves the program running, anything
// else asks the supervisor to stop it.
func (f *follower) stop(cause error) error {
	if errors.Is(cause, visutility.ErrShutdown) {
		return cause
	}
	if f.giveUp.IsZero() {
		f.giveUp = time.Now().Add(f.c.grace() + 10*time.Second)
		return durable.WriteFile(f.a.path(cancelFile), []byte(cause.Error()+"\n"), 0o600)
	}
	if time.Now().After(f.giveUp) { // the supervisor itself hangs
		n := sweep(f.a.mark())
		return fmt.Errorf("%w; the supervisor did not stop the program, %d processes were killed in its place", cause, n)
	}
	return nil
}

// supervise does the supervisor's work here, with the attempt's lock held.
func (f *follower) supervise(ctx context.Context) (over bool, err error) {
	s := supervision{a: f.a, alone: true, ask: f.ask(ctx), tick: func() { f.progress.look(time.Now()) }}
	err = s.own()
	if errors.Is(err, errLeave) {
		return false, context.Cause(ctx)
	}
	return err == nil, err
}

func (f *follower) ask(ctx context.Context) func() (string, error) {
	return func() (string, error) {
		switch {
		case ctx.Err() == nil && !f.a.has(cancelFile):
			return "", nil
		case errors.Is(context.Cause(ctx), visutility.ErrShutdown):
			return "", errLeave
		}
		return reasonCanceled, nil
	}
}

// launch starts a supervisor for an attempt that has none and of which nothing was started.
// Should two be started, by two trainers, one of them gets the lock and the other ends.
func (f *follower) launch(ctx context.Context) error {
	switch {
	case f.launched && !f.reapChild():
		return nil // on its way
	case f.launched:
		log, _ := os.ReadFile(f.a.path(superLogFile)) // none: nothing to add
		return fmt.Errorf("the supervisor %q ended and had started nothing: %s", f.c.Supervisor[0], shorten(strings.TrimSpace(string(log))))
	case ctx.Err() != nil:
		return context.Cause(ctx) // nothing to stop
	}
	log, err := os.OpenFile(f.a.path(superLogFile), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(f.c.Supervisor[0], append(slices.Clone(f.c.Supervisor[1:]), f.a.dir)...)
	cmd.Env = inherit()
	cmd.Dir = f.a.dir
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = ownSession()
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting the supervisor: %w", err)
	}
	f.launched, f.child = true, cmd.Process.Pid
	return cmd.Process.Release()
}

// reapChild tells whether the supervisor we started has ended.
func (f *follower) reapChild() bool {
	if f.child == 0 {
		return true
	}
	if _, ended, child := reap(f.child); !ended && child {
		return false
	}
	f.child = 0
	return true
}

// outcome turns exit.json, and what the program left, into Train's answer.
func (a attempt) outcome(ctx context.Context) (visutility.Artifact, error) {
	var e exit
	if ok, err := readJSON(a.path(exitFile), &e); err != nil || !ok {
		return visutility.Artifact{}, errors.Join(errors.New("the attempt has no exit.json"), err)
	}
	if e.Reason == "" && e.Code == 0 || e.Reason == reasonUnknown {
		artifact, err := a.result(e.Reason == "")
		if err != nil && e.Reason == reasonUnknown {
			return artifact, a.failed("the training program ended while nobody looked after it, and left no valid result (%w)", err)
		}
		if err != nil {
			return artifact, a.failed("the training program succeeded but its result is wrong: %w", err)
		}
		return artifact, nil
	}
	return visutility.Artifact{}, a.failed("%w", e.asError(context.Cause(ctx)))
}

// asError says why the attempt failed; cause is that of the caller's context, if it has ended.
func (e exit) asError(cause error) error {
	switch e.Reason {
	case reasonStart:
		return fmt.Errorf("%w: the training program could not be started: %s", visutility.ErrInvalid, e.Error)
	case reasonTimeout:
		return errors.New("the training took longer than its timeout and was stopped")
	case reasonCanceled:
		return fmt.Errorf("the training was stopped: %w", cmp.Or(cause, visutility.ErrCanceled))
	case reasonTerminated:
		return errors.New("the training was stopped: its supervisor was told to terminate")
	case reasonLost:
		return errors.New("the training was lost: its supervisor was killed, so what was left of the program was killed too")
	}
	if e.Signal != "" {
		return fmt.Errorf("the training program was killed by a signal (%s)", e.Signal)
	}
	return fmt.Errorf("the training program ended with exit code %d", e.Code)
}

// failed adds the last lines of the log to an error, and where the rest is.
func (a attempt) failed(format string, cause error) error {
	err := fmt.Errorf(format, cause)
	if tail := a.tail(600); tail != "" {
		return fmt.Errorf("%w; last output: %s; log: %s", err, tail, a.path(logFile))
	}
	return fmt.Errorf("%w; it printed nothing", err)
}
