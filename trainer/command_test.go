//go:build unix

package trainer

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/visutilitytest"
)

var modes = []string{"supervised", "alone"}

func eachMode(t *testing.T, f func(t *testing.T, mode string)) {
	for _, mode := range modes {
		t.Run(mode, func(t *testing.T) { f(t, mode) })
	}
}

func TestCommandConforms(t *testing.T) {
	eachMode(t, func(t *testing.T, mode string) {
		visutilitytest.TestTrainer(t, func(t *testing.T, task visutilitytest.TrainerTask) visutilitytest.TrainerRig {
			scratch := scratchDir(t)
			return visutilitytest.TrainerRig{
				New:     func() visutility.Trainer { return command(mode, string(task), scratch) },
				Dir:     t.TempDir(),
				Starts:  func() int { return len(lines(scratch, "starts")) },
				Running: func() bool { return len(processes(scratch)) > 0 },
				Finish:  func() { write(scratch, "finish", "") },
			}
		})
	})
}

// train starts Train and returns a function that waits for its end.
func train(ctx context.Context, tr visutility.Trainer, job visutility.Job) (wait func() (visutility.Artifact, error)) {
	var a visutility.Artifact
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		a, err = tr.Train(ctx, job)
	}()
	return func() (visutility.Artifact, error) { <-done; return a, err }
}

func TestSuccessSaysWhereTheArtifactIs(t *testing.T) {
	eachMode(t, func(t *testing.T, mode string) {
		dir := filepath.Join(t.TempDir(), "r1")
		a, err := command(mode, "succeed", scratchDir(t)).Train(t.Context(), testJob(dir, 1))
		if err != nil {
			t.Fatal(err)
		}
		if want := filepath.Join(AttemptDir(dir, 1), "output", "model.bin"); a.URI != want || a.Size != 7 {
			t.Errorf("artifact %q of %d bytes, want %q of 7", a.URI, a.Size, want)
		}
		err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			info, infoErr := d.Info()
			if err := errors.Join(err, infoErr); err != nil {
				return err
			}
			if info.Mode().Perm()&0o077 != 0 {
				t.Errorf("%s has mode %v: others may look at it", path, info.Mode())
			}
			return nil
		})
		if err != nil || exists(filepath.Join(AttemptDir(dir, 1), specFile)) {
			t.Errorf("spec.json, which holds the environment, was left behind (%v)", err)
		}
	})
}

func TestFailureShowsTheLastOutput(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "r1")
	_, err := command("supervised", "fail", scratchDir(t)).Train(t.Context(), testJob(dir, 1))
	if err == nil {
		t.Fatal("succeeded")
	}
	for _, want := range []string{"exit code 3", "boom: no data", LogFile(dir, 1)} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not contain %q", err, want)
		}
	}
}

func TestFailuresThatARetryCannotMend(t *testing.T) {
	dir := t.TempDir()
	for file, mode := range map[string]os.FileMode{"plain.sh": 0o600, "bare": 0o700} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte("exit 0\n"), mode); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		command Command
		want    string
	}{
		"no program":      {Command{}, "names no program"},
		"unknown program": {Command{Argv: []string{"no-such-program-anywhere"}}, "could not be started"},
		"not executable":  {Command{Argv: []string{"./plain.sh"}, Dir: dir}, "permission denied; is it executable? chmod +x ./plain.sh"},
		"no interpreter":  {Command{Argv: []string{"./bare"}, Dir: dir}, "does its first line say what runs it?"},
		"no result":       {command("alone", "silent", scratchDir(t)), "result.json: is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.command.Train(t.Context(), testJob(filepath.Join(t.TempDir(), "r1"), 1))
			if !errors.Is(err, visutility.ErrInvalid) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Train: %v, want ErrInvalid with %q", err, c.want)
			}
		})
	}
}

func TestSupervisorThatDoesNotWork(t *testing.T) {
	c := command("supervised", "succeed", scratchDir(t))
	for name, argv := range map[string][]string{
		"not there":    {"/no/such/supervisor"},
		"says goodbye": {"/bin/sh", "-c", "echo cannot, sorry >&2; exit 1"},
	} {
		t.Run(name, func(t *testing.T) {
			c.Supervisor = argv
			_, err := c.Train(t.Context(), testJob(filepath.Join(t.TempDir(), "r1"), 1))
			if err == nil || !strings.Contains(err.Error(), "supervisor") || name == "says goodbye" && !strings.Contains(err.Error(), "cannot, sorry") {
				t.Errorf("Train: %v", err)
			}
		})
	}
}

func TestEnvironmentIsMinimal(t *testing.T) {
	t.Setenv("VISUTILITY_TOKEN", "server-secret")
	t.Setenv("SECRET", "other-secret")
	t.Setenv("WANTED", "yes")
	eachMode(t, func(t *testing.T, mode string) {
		dir, work := filepath.Join(t.TempDir(), "r1"), t.TempDir()
		c := command(mode, "environment", scratchDir(t))
		c.Env, c.Dir = []string{"WANTED", "NOT_SET"}, work
		if _, err := c.Train(t.Context(), testJob(dir, 1)); err != nil {
			t.Fatal(err)
		}
		output := filepath.Join(AttemptDir(dir, 1), "output")
		if got := lines(output, "dir"); len(got) != 1 || got[0] != work {
			t.Errorf("working directory %q, want %q", got, work)
		}
		allowed := []string{"PATH", "HOME", "LANG", "TZ", "TMPDIR", "WANTED", "VISUTILITY_RUN_ID", "VISUTILITY_MODEL", "VISUTILITY_JOB", "VISUTILITY_OUTPUT", "PWD"}
		got := lines(output, "environment")
		for _, entry := range got {
			if name, _, _ := strings.Cut(entry, "="); !slices.Contains(allowed, name) {
				t.Errorf("the program sees %s", entry)
			}
		}
		for _, want := range []string{"WANTED=yes", "VISUTILITY_RUN_ID=r1", "VISUTILITY_MODEL=bikes", "VISUTILITY_OUTPUT=" + output} {
			if !slices.Contains(got, want) {
				t.Errorf("%s is missing", want)
			}
		}
	})
}

func TestCancelKillsGrandchildren(t *testing.T) {
	eachMode(t, func(t *testing.T, mode string) {
		scratch := scratchDir(t)
		ctx, cancel := context.WithCancelCause(t.Context())
		wait := train(ctx, command(mode, "family", scratch), testJob(filepath.Join(t.TempDir(), "r1"), 1))
		eventually(t, "a program with two children", func() bool { return len(processes(scratch)) == 3 })
		cancel(visutility.ErrCanceled)
		if _, err := wait(); !errors.Is(err, visutility.ErrCanceled) {
			t.Errorf("Train: %v, want ErrCanceled", err)
		}
		eventually(t, "all of them gone, also the one that left the group", func() bool { return len(processes(scratch)) == 0 })
	})
}

func TestGraceIsOver(t *testing.T) {
	scratch := scratchDir(t)
	job := testJob(filepath.Join(t.TempDir(), "r1"), 1)
	job.Deadline = time.Now().Add(time.Second)
	_, err := command("supervised", "stubborn", scratch).Train(t.Context(), job)
	if err == nil || !strings.Contains(err.Error(), "timeout") {
		t.Errorf("Train: %v, want one that speaks of the timeout", err)
	}
	eventually(t, "the program gone", func() bool { return len(processes(scratch)) == 0 })
}

func TestChildrenLeftBehindEndWithTheProgram(t *testing.T) {
	scratch := scratchDir(t)
	if _, err := command("supervised", "leave", scratch).Train(t.Context(), testJob(filepath.Join(t.TempDir(), "r1"), 1)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the child gone", func() bool { return len(processes(scratch)) == 0 })
}

func TestFloodDoesNotFillTheDisk(t *testing.T) {
	eachMode(t, func(t *testing.T, mode string) {
		dir := filepath.Join(t.TempDir(), "r1")
		c := command(mode, "flood", scratchDir(t))
		c.MaxLog = 1 << 20
		if _, err := c.Train(t.Context(), testJob(dir, 1)); err != nil {
			t.Fatal(err)
		}
		if mode == "alone" {
			return // checked at intervals: at its end the file may be anything
		}
		info, err := os.Stat(LogFile(dir, 1))
		if err != nil || info.Size() > 1<<20+200 {
			t.Errorf("the log has %d bytes (%v), want 1 MiB and a line", info.Size(), err)
		}
		if tail := (attempt{AttemptDir(dir, 1)}).tail(300); !strings.Contains(tail, "reached its limit") {
			t.Errorf("the log ends in %q", tail)
		}
	})
}

// TestServerIsKilled kills the process that called Train, without warning, while the program runs and prints.
func TestServerIsKilled(t *testing.T) {
	eachMode(t, func(t *testing.T, mode string) {
		scratch, dir := scratchDir(t), filepath.Join(t.TempDir(), "r1")
		server := exec.Command(self(), "serve", mode, scratch, dir)
		if err := server.Start(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the program under way", func() bool { return len(lines(scratch, "starts")) == 1 })
		eventually(t, "the program's id stored", func() bool {
			var s started
			_, _ = readJSON(filepath.Join(AttemptDir(dir, 1), startedFile), &s)
			return s.PID != 0
		})
		if err := server.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = server.Wait() // killed
		wait := train(t.Context(), command(mode, "chatty", scratch), testJob(dir, 1))
		write(scratch, "finish", "")
		if a, err := wait(); err != nil || a.Metrics["wmape"] != 0.25 {
			t.Errorf("Train: %+v, %v", a, err)
		}
		if n := len(lines(scratch, "starts")); n != 1 {
			t.Errorf("the program ran %d times", n)
		}
	})
}

func TestSupervisorIsKilled(t *testing.T) {
	for _, attached := range []bool{true, false} {
		t.Run("while attached "+strconv.FormatBool(attached), func(t *testing.T) {
			scratch, dir := scratchDir(t), filepath.Join(t.TempDir(), "r1")
			c := command("supervised", "family", scratch)
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			wait := train(ctx, c, testJob(dir, 1))
			eventually(t, "a program with two children", func() bool { return len(processes(scratch)) == 3 })
			if !attached {
				cancel(visutility.ErrShutdown)
				if _, err := wait(); !errors.Is(err, visutility.ErrShutdown) {
					t.Fatal(err)
				}
			}
			_, parent, _ := strings.Cut(lines(scratch, "pids")[0], " ")
			pid, err := strconv.Atoi(parent)
			if err != nil || pid == os.Getpid() {
				t.Fatalf("the program's parent is %q", parent)
			}
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			if !attached {
				wait = train(t.Context(), c, testJob(dir, 1))
			}
			if _, err := wait(); err == nil || !strings.Contains(err.Error(), "lost") {
				t.Errorf("Train: %v, want one that says the training was lost", err)
			}
			eventually(t, "what it left running gone", func() bool { return len(processes(scratch)) == 0 })
			if n := len(lines(scratch, "starts")); n != 1 {
				t.Errorf("the program ran %d times", n)
			}
		})
	}
}

// TestKilledBeforeItIsKnownWhatWasStarted leaves the marker that is written before the start.
func TestKilledBeforeItIsKnownWhatWasStarted(t *testing.T) {
	eachMode(t, func(t *testing.T, mode string) {
		scratch, dir := scratchDir(t), filepath.Join(t.TempDir(), "r1")
		c := command(mode, "succeed", scratch)
		a, job, err := prepare(testJob(dir, 1))
		if err == nil {
			err = c.specify(a, job)
		}
		if err == nil {
			err = writeJSON(a.path(startedFile), started{Boot: bootID(), Alone: mode == "alone"})
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Train(t.Context(), job); err == nil || !strings.Contains(err.Error(), "lost") {
			t.Errorf("Train: %v, want one that says the training was lost", err)
		}
		if n := len(lines(scratch, "starts")); n != 0 {
			t.Errorf("the program was started after all")
		}
	})
}

// TestProcessIDsAreNotTrusted has a stranger, this test, run under the id that was stored.
func TestProcessIDsAreNotTrusted(t *testing.T) {
	for name, s := range map[string]started{
		"another start time": {PID: os.Getpid(), Start: startTime(os.Getpid()) + 1, Boot: bootID(), Alone: true},
		"another boot":       {PID: os.Getpid(), Start: startTime(os.Getpid()), Boot: "before", Alone: true},
		"lost":               {PID: os.Getpid(), Start: startTime(os.Getpid()) + 1, Boot: bootID()},
	} {
		t.Run(name, func(t *testing.T) {
			c := command("alone", "succeed", scratchDir(t))
			a, job, err := prepare(testJob(filepath.Join(t.TempDir(), "r1"), 1))
			if err := errors.Join(err, c.specify(a, job), writeJSON(a.path(startedFile), s)); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Train(t.Context(), job); err == nil {
				t.Error("succeeded")
			}
		})
	}
}

func TestManySupervisorsStartOneProgram(t *testing.T) {
	scratch, dir := scratchDir(t), filepath.Join(t.TempDir(), "r1")
	c := command("supervised", "succeed", scratch)
	a, job, err := prepare(testJob(dir, 1))
	if err := errors.Join(err, c.specify(a, job)); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if out, err := exec.Command(self(), "supervise", a.dir).CombinedOutput(); err != nil {
				t.Errorf("supervise: %v: %s", err, out)
			}
		})
	}
	wg.Wait()
	if _, err := c.Train(t.Context(), job); err != nil {
		t.Error(err)
	}
	if n := len(lines(scratch, "starts")); n != 1 {
		t.Errorf("the program ran %d times", n)
	}
}

func TestSupervisorToldToTerminate(t *testing.T) {
	scratch, dir := scratchDir(t), filepath.Join(t.TempDir(), "r1")
	wait := train(t.Context(), command("supervised", "wait", scratch), testJob(dir, 1))
	eventually(t, "the program under way", func() bool { return len(lines(scratch, "starts")) == 1 })
	_, parent, _ := strings.Cut(lines(scratch, "pids")[0], " ")
	pid, _ := strconv.Atoi(parent)
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if _, err := wait(); err == nil || !strings.Contains(err.Error(), "terminate") {
		t.Errorf("Train: %v", err)
	}
	eventually(t, "the program gone", func() bool { return len(processes(scratch)) == 0 })
}

func TestAttachingDoesNotPutOffTheDeadline(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "r1")
	first, second := testJob(dir, 1), testJob(dir, 1)
	first.Deadline = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	second.Deadline = first.Deadline.Add(time.Hour)
	for _, job := range []visutility.Job{first, second} {
		if _, got, err := prepare(job); err != nil || !got.Deadline.Equal(first.Deadline) {
			t.Errorf("deadline %s, %v; want %s", got.Deadline, err, first.Deadline)
		}
	}
}

func TestSuperviseWithoutADirectory(t *testing.T) {
	if Supervise(nil) == 0 || Supervise([]string{t.TempDir()}) == 0 {
		t.Error("nothing to supervise, and no error")
	}
}
