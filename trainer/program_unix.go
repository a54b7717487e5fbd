//go:build unix

package trainer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"syscall"
	"time"
)

// maxSaid bounds what is kept of a program's standard error, and maxQuoted what an error quotes of it.
const (
	maxSaid   = 4 << 10
	maxQuoted = 600
)

// Output runs the program and hands its standard output to read, which need not read all of it: when it fails, or
// ctx ends, or the time is up, the program's whole process group is stopped. What goes wrong with the
// program is told with the end of what it wrote to its standard error.
func (p Program) Output(ctx context.Context, read func(io.Reader) error) error {
	timeout := cmp.Or(p.Timeout, 10*time.Minute)
	timed, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("it took longer than its timeout of %s and was stopped", timeout))
	defer cancel()
	ctx, stop := context.WithCancelCause(timed)
	defer stop(nil)
	cmd := exec.CommandContext(ctx, p.Argv[0], p.Argv[1:]...)
	cmd.Env = append(inherit(p.Env...), p.Set...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { signalGroup(cmd.Process.Pid, syscall.SIGTERM); return nil }
	cmd.WaitDelay = cmp.Or(p.Grace, 10*time.Second)
	said := &lastBytes{}
	out, in := io.Pipe()
	cmd.Stdout, cmd.Stderr = in, said
	if err := cmd.Start(); err != nil {
		return startFault(err, p.Argv[0])
	}
	var fault error
	done := make(chan struct{})
	go func() {
		defer close(done)
		if fault = read(out); fault != nil {
			stop(readFault{fault})
		}
		_, _ = io.Copy(io.Discard, out) // what is left is nobody's; ends when the pipe does
	}()
	ended := cmd.Wait()
	why := context.Cause(ctx)                     // it was stopped, if it was
	signalGroup(cmd.Process.Pid, syscall.SIGKILL) // children that it left behind
	_ = in.Close()                                // never fails
	<-done
	_, refused := errors.AsType[readFault](why)
	switch {
	case ended == nil || refused:
		return fault
	case why != nil:
		return said.quoted(why)
	case errors.Is(ended, exec.ErrWaitDelay):
		return said.quoted(errors.New("it ended, but something that it started held on to its output"))
	}
	return said.quoted(fmt.Errorf("it failed: %w", ended)) // and what read has to say of half a line is of no use
}

// A readFault is why a program is stopped whose output is no good.
type readFault struct{ error }

// lastBytes keeps the end of what is written to it.
type lastBytes struct {
	b   []byte
	cut bool
}

func (l *lastBytes) Write(p []byte) (int, error) {
	l.b = append(l.b, p[max(0, len(p)-maxSaid):]...)
	l.cut = l.cut || len(p) > maxSaid || len(l.b) > maxSaid
	l.b = append(l.b[:0], l.b[max(0, len(l.b)-maxSaid):]...)
	return len(p), nil
}

// quoted adds the last lines to an error.
func (l *lastBytes) quoted(err error) error {
	from := max(0, len(l.b)-maxQuoted)
	if tail := lastLines(l.b[from:], l.cut || from > 0); tail != "" {
		return fmt.Errorf("%w; it said: %s", err, tail)
	}
	return fmt.Errorf("%w; it said nothing", err)
}
