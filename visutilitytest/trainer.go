package visutilitytest

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/visutility/visutility"
)

// TrainerTask says what a training is to do in a test of [TestTrainer].
type TrainerTask string

// The tasks.
const (
	// TrainSucceed: report progress 0.5 if that can be done, then succeed with
	// the metrics {"wmape": 0.25} and the champion's {"wmape": 0.5}.
	TrainSucceed TrainerTask = "succeed"
	// TrainFail: fail.
	TrainFail TrainerTask = "fail"
	// TrainWait: report progress 0.5, wait until told to finish, then do as TrainSucceed.
	TrainWait TrainerTask = "wait"
)

// A TrainerRig is a trainer on the bench: set up for one task, with what a test needs to look at its work.
type TrainerRig struct {
	// New returns a trainer as a new process would have it: nothing but what is stored is left of those before.
	New func() visutility.Trainer
	// Dir is the directory for the runs.
	Dir string
	// Starts is how many times work was started, over all jobs.
	Starts func() int
	// Running tells whether work is under way: not yet ended, and not told to stop.
	Running func() bool
	// Finish lets the work that waits come to its end.
	Finish func()
}

// TestTrainer holds a trainer against the promises of [visutility.Trainer]. rig sets up a trainer for
// a task; it is called once for each test.
func TestTrainer(t *testing.T, rig func(t *testing.T, task TrainerTask) TrainerRig) {
	for _, c := range []struct {
		name string
		task TrainerTask
		test func(*trainerTest)
	}{
		{"a success has its artifact and metrics", TrainSucceed, (*trainerTest).succeeds},
		{"a failure is an error, and not of the canceled kind", TrainFail, (*trainerTest).fails},
		{"the same attempt again gets the same end and starts nothing", TrainSucceed, (*trainerTest).again},
		{"the next attempt starts anew", TrainFail, (*trainerTest).nextAttempt},
		{"two callers of one attempt start it once", TrainWait, (*trainerTest).concurrent},
		{"two jobs do not get in each other's way", TrainSucceed, (*trainerTest).twoJobs},
		{"canceling stops the work", TrainWait, (*trainerTest).cancel},
		{"a context that is over starts nothing", TrainWait, (*trainerTest).stillborn},
		{"the deadline stops the work", TrainWait, (*trainerTest).deadline},
		{"a shutdown leaves the work, and the next process attaches", TrainWait, (*trainerTest).shutdown},
		{"work left by a shutdown can be canceled by the next process", TrainWait, (*trainerTest).cancelLater},
		{"a job that cannot be is refused as invalid", TrainSucceed, (*trainerTest).invalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.test(&trainerTest{T: t, TrainerRig: rig(t, c.task), progress: make(chan float64, 1)})
		})
	}
}

type trainerTest struct {
	*testing.T
	TrainerRig
	progress chan float64 // the first report that is not 0
	once     sync.Once
}

// trainerPatience bounds every wait: generous, since it only matters when something is broken.
const trainerPatience = 30 * time.Second

func (t *trainerTest) job(run string, attempt int) visutility.Job {
	now := time.Now().UTC().Truncate(time.Millisecond)
	return visutility.Job{
		Run: run, Model: "bikes", Policy: "bikes", Attempt: attempt,
		Decision:   visutility.Decision{ID: "d1", Model: "bikes", Policy: "bikes", Verdict: visutility.Fire, Outcome: visutility.Fired, Time: now, EventTime: now},
		Window:     visutility.Window{From: now.Add(-time.Hour), To: now},
		Champion:   &visutility.Version{ID: "v1", Model: "bikes", Artifact: visutility.Artifact{URI: "s3://models/bikes/1"}},
		Parameters: map[string]any{"trees": 150.0}, Deadline: now.Add(time.Hour),
		Dir: t.Dir + "/" + run,
		Report: func(p float64, _ string) {
			if p > 0 {
				t.once.Do(func() { t.progress <- p })
			}
		},
	}
}

type trained struct {
	artifact visutility.Artifact
	err      error
}

// start calls Train in a goroutine that the test waits for.
func (t *trainerTest) start(ctx context.Context, tr visutility.Trainer, job visutility.Job) <-chan trained {
	done := make(chan trained, 1)
	go func() {
		a, err := tr.Train(ctx, job)
		done <- trained{a, err}
	}()
	return done
}

func await[T any](t *trainerTest, ch <-chan T, what string) (v T) {
	t.Helper()
	select {
	case v = <-ch:
	case <-time.After(trainerPatience):
		t.Fatalf("%s: nothing for %s", what, trainerPatience)
	}
	return v
}

func (t *trainerTest) succeeded(r trained) {
	t.Helper()
	if r.err != nil {
		t.Fatalf("Train: %v", r.err)
	}
	if r.artifact.URI == "" || r.artifact.Metrics["wmape"] != 0.25 || r.artifact.ChampionMetrics["wmape"] != 0.5 {
		t.Fatalf("artifact %+v: want a URI, metrics wmape 0.25, champion_metrics wmape 0.5", r.artifact)
	}
}

func (t *trainerTest) started(want int) {
	t.Helper()
	if got := t.Starts(); got != want {
		t.Fatalf("work was started %d times, want %d", got, want)
	}
}

func (t *trainerTest) stopped() {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(trainerPatience); t.Running(); <-tick.C {
		if time.Now().After(end) {
			t.Fatal("the work goes on")
		}
	}
}

func (t *trainerTest) succeeds() {
	t.succeeded(await(t, t.start(t.Context(), t.New(), t.job("r1", 1)), "Train"))
	t.started(1)
}

func (t *trainerTest) fails() {
	r := await(t, t.start(t.Context(), t.New(), t.job("r1", 1)), "Train")
	if r.err == nil || errors.Is(r.err, visutility.ErrCanceled) || errors.Is(r.err, visutility.ErrShutdown) {
		t.Fatalf("Train: %v, want a failure", r.err)
	}
	t.started(1)
}

func (t *trainerTest) again() {
	first := await(t, t.start(t.Context(), t.New(), t.job("r1", 1)), "Train")
	t.succeeded(first)
	second := await(t, t.start(t.Context(), t.New(), t.job("r1", 1)), "Train")
	t.succeeded(second)
	if first.artifact.URI != second.artifact.URI {
		t.Errorf("URI %q, then %q", first.artifact.URI, second.artifact.URI)
	}
	t.started(1)
}

func (t *trainerTest) nextAttempt() {
	tr := t.New()
	for n := 1; n <= 2; n++ {
		if r := await(t, t.start(t.Context(), tr, t.job("r1", n)), "Train"); r.err == nil {
			t.Fatal("Train succeeded, want a failure")
		}
		t.started(n)
	}
}

func (t *trainerTest) concurrent() {
	tr := t.New()
	a, b := t.start(t.Context(), tr, t.job("r1", 1)), t.start(t.Context(), tr, t.job("r1", 1))
	await(t, t.progress, "progress")
	t.Finish()
	t.succeeded(await(t, a, "the one caller"))
	t.succeeded(await(t, b, "the other caller"))
	t.started(1)
}

func (t *trainerTest) twoJobs() {
	tr := t.New()
	a, b := t.start(t.Context(), tr, t.job("r1", 1)), t.start(t.Context(), tr, t.job("r2", 1))
	t.succeeded(await(t, a, "the one job"))
	t.succeeded(await(t, b, "the other job"))
	t.started(2)
}

func (t *trainerTest) cancel() {
	ctx, cancel := context.WithCancelCause(t.Context())
	done := t.start(ctx, t.New(), t.job("r1", 1))
	if p := await(t, t.progress, "progress"); p != 0.5 {
		t.Errorf("progress %v, want 0.5", p)
	}
	cancel(visutility.ErrCanceled)
	if r := await(t, done, "Train"); !errors.Is(r.err, visutility.ErrCanceled) {
		t.Errorf("Train: %v, want ErrCanceled", r.err)
	}
	t.stopped()
	t.started(1)
}

func (t *trainerTest) stillborn() {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(visutility.ErrCanceled)
	if r := await(t, t.start(ctx, t.New(), t.job("r1", 1)), "Train"); !errors.Is(r.err, visutility.ErrCanceled) {
		t.Errorf("Train: %v, want ErrCanceled", r.err)
	}
	t.started(0)
}

func (t *trainerTest) deadline() {
	job := t.job("r1", 1)
	job.Deadline = time.Now().Add(2 * time.Second)
	r := await(t, t.start(t.Context(), t.New(), job), "Train")
	if r.err == nil || errors.Is(r.err, visutility.ErrCanceled) {
		t.Errorf("Train: %v, want an error that speaks of time", r.err)
	}
	t.stopped()
}

// leave starts the work and has the process shut down.
func (t *trainerTest) leave() {
	ctx, cancel := context.WithCancelCause(t.Context())
	done := t.start(ctx, t.New(), t.job("r1", 1))
	await(t, t.progress, "progress")
	cancel(visutility.ErrShutdown)
	if r := await(t, done, "Train"); !errors.Is(r.err, visutility.ErrShutdown) {
		t.Fatalf("Train: %v, want ErrShutdown", r.err)
	}
	if !t.Running() {
		t.Fatal("the work was stopped by the shutdown")
	}
}

func (t *trainerTest) shutdown() {
	t.leave()
	done := t.start(t.Context(), t.New(), t.job("r1", 1))
	t.Finish()
	t.succeeded(await(t, done, "Train"))
	t.started(1)
}

func (t *trainerTest) cancelLater() {
	t.leave()
	ctx, cancel := context.WithCancelCause(t.Context())
	done := t.start(ctx, t.New(), t.job("r1", 1))
	cancel(visutility.ErrCanceled)
	if r := await(t, done, "Train"); !errors.Is(r.err, visutility.ErrCanceled) {
		t.Errorf("Train: %v, want ErrCanceled", r.err)
	}
	t.stopped()
	t.started(1)
}

func (t *trainerTest) invalid() {
	if _, err := t.New().Train(t.Context(), visutility.Job{Run: "r1", Model: "bikes", Dir: t.Dir + "/r1"}); !errors.Is(err, visutility.ErrInvalid) {
		t.Errorf("a job without an attempt: %v, want ErrInvalid", err)
	}
	t.started(0)
}
