//go:build unix

package trainer

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/internal/durable"
)

// TestMain lets the test binary stand in for three other programs: the supervisor, a
// training program, and a server that has a training under way.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 {
		switch os.Args[1] {
		case "supervise":
			os.Exit(Supervise(os.Args[2:]))
		case "program":
			os.Exit(program(os.Args[2], os.Args[3]))
		case "serve":
			os.Exit(serve(os.Args[2], os.Args[3], os.Args[4]))
		}
	}
	goleak.VerifyTestMain(m)
}

// program is a training program. It notes in the scratch directory that it
// was started ("starts", a line each) and as which process ("pids").
func program(task, scratch string) int {
	note(scratch, "pids", strconv.Itoa(os.Getpid())+" "+strconv.Itoa(os.Getppid()))
	output := os.Getenv("VISUTILITY_OUTPUT")
	switch task {
	case "stubborn": // a grandchild that wants to survive
		signal.Ignore(syscall.SIGTERM)
		return forever()
	case "family":
		for _, attr := range []*syscall.SysProcAttr{nil, {Setsid: true}} {
			cmd := exec.Command(os.Args[0], "program", "stubborn", scratch)
			cmd.Stdout, cmd.SysProcAttr = os.Stdout, attr
			if err := cmd.Start(); err != nil {
				return 9
			}
		}
	}
	note(scratch, "starts", task)
	write(output, "progress.json", `{"progress": 0.5, "message": "half"}`)
	switch task {
	case "family":
		return forever()
	case "fail":
		fmt.Println("reading data")
		fmt.Fprintln(os.Stderr, "boom: no data")
		return 3
	case "print": // two lines, and a word on the side
		fmt.Println("one")
		fmt.Println(os.Getenv("VISUTILITY_TEST"), os.Getenv("SECRET"), os.Getenv("SHARED"))
		fmt.Fprintln(os.Stderr, "on the side")
	case "orphan": // ends, and leaves somebody behind
		cmd := exec.Command(os.Args[0], "program", "stubborn", scratch)
		if err := cmd.Start(); err != nil {
			return 9
		}
		note(scratch, "pids", strconv.Itoa(cmd.Process.Pid)+" "+strconv.Itoa(os.Getpid()))
	case "flood":
		line := strings.Repeat("x", 1023) + "\n"
		for range 64 << 10 { // 64 MiB
			fmt.Print(line)
		}
	case "chatty": // prints all the time, as trainings do
		for i := 0; !exists(filepath.Join(scratch, "finish")); i++ {
			if _, err := fmt.Println("epoch", i); err != nil {
				return 7
			}
			<-time.After(5 * time.Millisecond)
		}
	case "wait":
		for !exists(filepath.Join(scratch, "finish")) {
			<-time.After(5 * time.Millisecond)
		}
	case "environment":
		write(output, "environment", strings.Join(os.Environ(), "\n"))
		dir, _ := os.Getwd()
		write(output, "dir", dir)
	case "leave":
		cmd := exec.Command(os.Args[0], "program", "stubborn", scratch)
		cmd.Stdout = os.Stdout
		if err := cmd.Start(); err != nil {
			return 9
		}
		for pids := 0; pids < 2; pids = len(lines(scratch, "pids")) {
			<-time.After(5 * time.Millisecond)
		}
	case "silent":
		return 0
	}
	write(output, "model.bin", "weights")
	write(output, "result.json", `{"artifact": "model.bin", "metrics": {"wmape": 0.25}, "champion_metrics": {"wmape": 0.5}}`)
	return 0
}

func forever() int {
	<-time.After(5 * time.Minute)
	return 8
}

func note(dir, name, line string) {
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		panic(err)
	}
	fmt.Fprintln(f, line)
	f.Close()
}

// write leaves a file in the output directory; a program that has none is run for what it prints.
func write(dir, name, text string) {
	if dir == "" {
		return
	}
	if err := durable.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		panic(err)
	}
}

func lines(dir, name string) []string {
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil || len(b) == 0 {
		return nil
	}
	return strings.Split(strings.TrimSpace(string(b)), "\n")
}

// serve trains as a server would, until it is killed.
func serve(mode, scratch, dir string) int {
	_, err := command(mode, "chatty", scratch).Train(context.Background(), testJob(dir, 1))
	fmt.Println(err)
	return 1
}

// command returns a Command in one of the modes, supervised or alone.
func command(mode, task, scratch string) Command {
	c := Command{Argv: []string{self(), "program", task, scratch}, Grace: 300 * time.Millisecond}
	if mode == "supervised" {
		c.Supervisor = []string{self(), "supervise"}
	}
	return c
}

func self() string {
	path, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return path
}

func testJob(dir string, attempt int) visutility.Job {
	return visutility.Job{Run: filepath.Base(dir), Model: "bikes", Policy: "bikes", Attempt: attempt, Dir: dir, Report: func(float64, string) {}}
}

const patience = 30 * time.Second

func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !cond(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("%s: not within %s", what, patience)
		}
	}
}

// processes returns the pids noted in the scratch directory that are alive.
func processes(scratch string) (alive []int) {
	for _, line := range lines(scratch, "pids") {
		text, _, _ := strings.Cut(line, " ")
		if pid, _ := strconv.Atoi(text); startTime(pid) != 0 {
			alive = append(alive, pid)
		}
	}
	return alive
}

// scratchDir is a directory whose programs are killed at the end of the test.
func scratchDir(t *testing.T) string {
	dir := t.TempDir()
	t.Cleanup(func() {
		for _, pid := range processes(dir) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	})
	return dir
}
