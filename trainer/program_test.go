//go:build unix

package trainer

import (
	"bufio"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

func testProgram(task, scratch string) Program {
	return Program{Argv: []string{self(), "program", task, scratch}, Grace: 300 * time.Millisecond}
}

func TestProgramIsRunForWhatItPrints(t *testing.T) {
	t.Setenv("SECRET", "token")
	t.Setenv("SHARED", "shared")
	p := testProgram("print", scratchDir(t))
	p.Env, p.Set = []string{"SHARED", "VISUTILITY_TEST"}, []string{"VISUTILITY_TEST=set"}
	t.Setenv("VISUTILITY_TEST", "inherited")
	var got []string
	err := p.Output(t.Context(), func(r io.Reader) error {
		for s := bufio.NewScanner(r); s.Scan(); {
			got = append(got, s.Text())
		}
		return nil
	})
	if err != nil || strings.Join(got, "|") != "one|set  shared" {
		t.Errorf("printed %q, %v", got, err)
	}
}

func TestProgramThatFailsIsQuoted(t *testing.T) {
	half := func(r io.Reader) error {
		_, _ = io.Copy(io.Discard, r)
		return errors.New("half a line")
	}
	err := testProgram("fail", scratchDir(t)).Output(t.Context(), half)
	if err == nil || err.Error() != "it failed: exit status 3; it said: boom: no data" {
		t.Errorf("error %v", err)
	}
	if err := testProgram("print", scratchDir(t)).Output(t.Context(), half); err == nil || err.Error() != "half a line" {
		t.Errorf("error %v", err)
	}
	if err := (Program{Argv: []string{"no-such-program"}}).Output(t.Context(), half); err == nil || !strings.Contains(err.Error(), "no-such-program") {
		t.Errorf("error %v", err)
	}
}

// Whatever ends it, nothing of its process group is left, and what it floods is not waited for.
func TestProgramIsStoppedAsAWhole(t *testing.T) {
	all := func(r io.Reader) error { _, err := io.Copy(io.Discard, r); return err }
	for name, c := range map[string]struct {
		task    string
		timeout time.Duration
		read    func(io.Reader) error
		cancel  bool
		want    string
	}{
		"timeout":  {task: "stubborn", timeout: 200 * time.Millisecond, read: all, want: "longer than its timeout of 200ms"},
		"canceled": {task: "stubborn", read: all, cancel: true, want: "enough"},
		"output no good": {task: "flood", read: func(r io.Reader) error {
			_, err := io.ReadFull(r, make([]byte, 1000))
			return errors.Join(err, errors.New("no good"))
		}, want: "no good"},
		"ends by itself":      {task: "orphan", read: all},
		"not read to its end": {task: "flood", read: func(r io.Reader) error { return nil }},
	} {
		t.Run(name, func(t *testing.T) {
			scratch := scratchDir(t)
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			p := testProgram(c.task, scratch)
			p.Timeout = c.timeout
			done := make(chan error, 1)
			go func() { done <- p.Output(ctx, c.read) }()
			if c.cancel {
				eventually(t, "the program", func() bool { return len(processes(scratch)) > 0 })
				cancel(errors.New("enough"))
			}
			err := <-done
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("error %v, want %q", err, c.want)
			}
			eventually(t, "the end of all its processes", func() bool { return len(processes(scratch)) == 0 })
		})
	}
}

func TestLastBytes(t *testing.T) {
	l := &lastBytes{}
	for range 3000 {
		_, _ = l.Write([]byte("line\n")) // never fails
	}
	_, _ = l.Write([]byte(strings.Repeat("x", 2*maxSaid) + "\nthe end\n"))
	if len(l.b) != maxSaid {
		t.Errorf("%d bytes are kept", len(l.b))
	}
	if got := l.quoted(errors.New("e")).Error(); got != "e; it said: the end" {
		t.Errorf("quoted %q", got)
	}
}
