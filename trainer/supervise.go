//go:build unix

package trainer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"
)

// How often a supervisor looks after its program, and a trainer after its files.
const poll = 50 * time.Millisecond

// A spec is what a supervisor needs to know: spec.json. It holds the
// environment of the program, secrets included, so only its owner may read it.
type spec struct {
	Argv     []string      `json:"argv"`
	Env      []string      `json:"env"`
	Dir      string        `json:"dir"`
	Deadline time.Time     `json:"deadline,omitzero"`
	Grace    time.Duration `json:"grace"`
	MaxLog   int64         `json:"max_log"`
}

// started is the content of the file of that name. PID is 0 when the program was about to be started.
type started struct {
	PID   int    `json:"pid"` // and process group
	Start uint64 `json:"start"`
	Boot  string `json:"boot"`
	// Alone: there is no supervisor, and the program may outlive who started it.
	Alone bool `json:"alone,omitempty"`
}

// The reasons in exit.json, where the program did not simply end.
const (
	reasonStart      = "start"      // it could not be started
	reasonTimeout    = "timeout"    // the deadline passed
	reasonCanceled   = "canceled"   // the server asked to stop
	reasonTerminated = "terminated" // the supervisor was told to stop
	reasonLost       = "lost"       // the supervisor was killed
	reasonUnknown    = "unknown"    // it ended while nobody looked
)

// exit is the content of exit.json: how the program ended.
type exit struct {
	Code   int       `json:"code"`             // -1 when there is none
	Signal string    `json:"signal,omitempty"` // that killed it
	Reason string    `json:"reason,omitempty"`
	Error  string    `json:"error,omitempty"`
	Time   time.Time `json:"time"`
}

// errLeave is what ask returns to a supervision that is to end while the program runs on.
var errLeave = errors.New("leave it running")

// A supervision looks after one attempt's program; it holds the attempt's lock.
type supervision struct {
	a     attempt
	spec  spec
	alone bool
	// ask is polled: "" to carry on, a reason to stop the program, errLeave to leave it.
	ask func() (string, error)
	// tick is called at every poll.
	tick func()

	run      started
	copied   <-chan struct{} // closed when the output has been copied; nil when alone
	pipe     *os.File
	stopping string
	killAt   time.Time
	killed   bool
}

// Supervise is the main function of the supervisor process; args are the
// attempt's directory. It returns the exit code: 0 also when the training
// failed, since that is for exit.json to say.
//
// The command line that runs it is [Command].Supervisor.
func Supervise(args []string) int {
	if len(args) != 1 {
		fmt.Fprintln(os.Stderr, "supervise: wants one argument, an attempt's directory")
		return 2
	}
	// Caught and dropped. Ignoring them would be handed down to the program.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGINT, syscall.SIGHUP)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := superviseProcess(ctx, attempt{args[0]}); err != nil {
		fmt.Fprintln(os.Stderr, "supervise:", err)
		return 1
	}
	return 0
}

func superviseProcess(ctx context.Context, a attempt) error {
	lock, err := a.becomeSupervisor(ctx)
	if lock == nil || err != nil {
		return err
	}
	defer lock.unlock()
	s := supervision{a: a, tick: func() {}}
	s.ask = func() (string, error) {
		switch {
		case a.has(cancelFile):
			return reasonCanceled, nil
		case ctx.Err() != nil:
			return reasonTerminated, nil
		}
		return "", nil
	}
	return s.own()
}

// becomeSupervisor takes the attempt's lock; nil when another supervisor has
// it. Trainers take the lock too, for moments, to see whether somebody holds it: so try for a while.
func (a attempt) becomeSupervisor(ctx context.Context) (*fileLock, error) {
	for end := time.Now().Add(10 * time.Second); ; {
		lock, err := tryLock(a.path(lockFile))
		if lock != nil || err != nil {
			return lock, err
		}
		if a.has(startedFile) {
			return nil, nil
		}
		if time.Now().After(end) {
			return nil, errors.New("somebody else has held the attempt's lock for 10 s and has started nothing")
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(poll / 5):
		}
	}
}

// own does what is for the holder of the lock to do: it starts the program, takes over one that was
// left running, or settles one that was lost, and returns when exit.json is
// written, or with errLeave.
func (s *supervision) own() error {
	if s.a.has(exitFile) {
		return s.a.forget()
	}
	found, err := readJSON(s.a.path(startedFile), &s.run)
	if err != nil {
		return err
	}
	if ok, err := readJSON(s.a.path(specFile), &s.spec); err != nil || !ok {
		return errors.Join(errors.New("there is no spec.json"), err)
	}
	switch {
	case !found:
		return s.launch()
	case s.run.Alone && s.run.PID != 0:
		return s.watch()
	default:
		return s.settle()
	}
}

// settle ends an attempt whose supervisor was killed.
func (s *supervision) settle() error {
	s.endGroup()
	sweep(s.a.mark())
	return s.end(exit{Code: -1, Reason: reasonLost})
}

// mark is the entry in the environment of everything that belongs to the attempt.
func (a attempt) mark() string { return "VISUTILITY_OUTPUT=" + a.output() }

// launch starts the program and looks after it.
func (s *supervision) launch() error {
	if reason, err := s.ask(); err != nil || reason != "" {
		if err != nil {
			return err
		}
		return s.end(exit{Code: -1, Reason: reason})
	}
	log, err := os.OpenFile(s.a.path(logFile), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	// Said before it is done: an attempt that may have been started is never started again.
	s.run = started{Boot: bootID(), Alone: s.alone}
	if err := writeJSON(s.a.path(startedFile), s.run); err != nil {
		return err
	}
	if err := s.start(log); err != nil {
		return s.end(exit{Code: -1, Reason: reasonStart, Error: err.Error()})
	}
	if err := writeJSON(s.a.path(startedFile), s.run); err != nil {
		s.stopping = reasonTerminated // it could not be found again
	}
	return s.watch()
}

// start starts the program in a group of its own. Its output goes through a pipe, where it can be
// held to a limit; alone it goes straight to the file, since nobody may be there to read a pipe.
func (s *supervision) start(log *os.File) error {
	cmd := exec.Command(s.spec.Argv[0], s.spec.Argv[1:]...)
	cmd.Env, cmd.Dir = s.spec.Env, s.spec.Dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Stdout, cmd.Stderr = log, log
	if s.alone {
		cmd.SysProcAttr = ownSession()
	} else {
		r, w, err := os.Pipe()
		if err != nil {
			return err
		}
		defer w.Close()
		cmd.Stdout, cmd.Stderr = w, w
		s.pipe = r
		own, err := os.OpenFile(log.Name(), os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			return errors.Join(err, r.Close())
		}
		s.copied = copyLog(own, r, s.spec.MaxLog)
	}
	if err := cmd.Start(); err != nil {
		return startFault(err, cmd.Args[0])
	}
	s.run.PID, s.run.Start = cmd.Process.Pid, startTime(cmd.Process.Pid)
	return cmd.Process.Release() // it is waited for by its number, so that nobody has to block
}

// startFault says what may be done about a program that cannot be started.
func startFault(err error, program string) error {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w; is it executable? chmod +x %s", err, program)
	case errors.Is(err, syscall.ENOEXEC):
		return fmt.Errorf("%w; does its first line say what runs it? such as #!/bin/sh", err)
	}
	return err
}

// watch looks after the running program until it has ended or is to be left.
func (s *supervision) watch() error {
	t := time.NewTicker(poll)
	defer t.Stop()
	for {
		if e, ended := s.ended(); ended {
			return s.end(e)
		}
		if err := s.steer(time.Now()); err != nil {
			return err
		}
		s.tick()
		<-t.C
	}
}

// steer stops the program when it is time: gently first, for good after the grace.
func (s *supervision) steer(now time.Time) error {
	if s.stopping == "" {
		reason, err := s.ask()
		if err != nil {
			return err
		}
		if reason == "" && !s.spec.Deadline.IsZero() && now.After(s.spec.Deadline) {
			reason = reasonTimeout
		}
		s.stopping = reason
	}
	switch {
	case s.stopping == "":
		s.capLog()
	case s.killAt.IsZero():
		signalGroup(s.run.PID, syscall.SIGTERM)
		s.killAt = now.Add(s.spec.Grace)
	case now.After(s.killAt) && !s.killed:
		s.killed = true
		signalGroup(s.run.PID, syscall.SIGKILL)
	}
	return nil
}

// capLog keeps a log that the program writes straight to within its limit: it begins anew.
func (s *supervision) capLog() {
	if !s.run.Alone {
		return
	}
	path := s.a.path(logFile)
	if info, err := os.Stat(path); err != nil || info.Size() <= s.spec.MaxLog {
		return
	}
	if f, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC|os.O_APPEND, 0); err == nil {
		fmt.Fprintln(f, "[visutility] the log had reached its limit and begins anew")
		_ = f.Close()
	}
}

// ended tells whether and how the program has ended.
func (s *supervision) ended() (exit, bool) {
	status, ended, child := reap(s.run.PID)
	switch {
	case ended && status.Signaled():
		return exit{Code: -1, Signal: status.Signal().String()}, true
	case ended:
		return exit{Code: status.ExitStatus()}, true
	case child:
		return exit{}, false
	}
	// It was started by a process that has gone.
	alive := s.run.Boot == bootID() && s.run.Start != 0 && startTime(s.run.PID) == s.run.Start
	return exit{Code: -1, Reason: reasonUnknown}, !alive
}

// endGroup kills what is left of the program's group, if the group is certain to be the program's.
func (s *supervision) endGroup() {
	if s.run.Boot == bootID() && s.run.Start != 0 && startTime(s.run.PID) == s.run.Start {
		signalGroup(s.run.PID, syscall.SIGKILL)
	}
}

// end writes down how it ended, when nothing of the program is left.
func (s *supervision) end(e exit) error {
	if s.run.PID != 0 && e.Reason != reasonLost && e.Reason != reasonUnknown {
		signalGroup(s.run.PID, syscall.SIGKILL) // children that the program left behind
	}
	if s.stopping != "" {
		e.Reason = s.stopping
		sweep(s.a.mark())
	}
	if s.copied != nil {
		select {
		case <-s.copied:
		case <-time.After(2 * time.Second): // a process that left the group still holds the pipe
		}
		_ = s.pipe.Close()
		<-s.copied
	}
	e.Time = time.Now().UTC()
	if err := writeJSON(s.a.path(exitFile), e); err != nil {
		return err
	}
	return s.a.forget()
}

// forget removes the specification, whose secrets are not needed any more.
func (a attempt) forget() error {
	if err := os.Remove(a.path(specFile)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
