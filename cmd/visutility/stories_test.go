package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/visutility/visutility"
)

var rewrite = flag.Bool("rewrite", false, "write the stories' expected outputs anew")

// patience is how long a story waits for anything: far longer than it takes.
const patience = 30 * time.Second

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"visutility": main, "train-demo": trainDemo, "receiver": receiver})
}

// TestStories runs the stories of testdata: the commands as people type them, against
// the server as it is shipped. Beside testscript's own commands they use
//
//	start [flags]             the server, on a free port, with ./data and ./policies, in the background;
//	                          its address goes to VISUTILITY_SERVER
//	end [terminate|kill]      end it by a signal (interrupt) and wait for it
//	json PATH OP VALUE        check the last output: OP is ==, != or ~ (a regular expression)
//	json-env NAME PATH        keep a value of the last output
//	wait-for PATH OP VALUE -- COMMAND…   repeat a command until its output has that value
//	wait-for-file FILE [REGEXP]          wait until there is such a file, with such a text in it
//	history FILE DAYS CORRELATION        write hourly scores of the model "demo", noise that remembers; hours 500 to 519
//	                                     are an incident
//	no-process TEXT           wait until no process has the text in its command line or environment
//	post PATH FILE [NAME: VALUE…]        POST a file to the API; status and body are the output
func TestStories(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		UpdateScripts:       *rewrite,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Deadline:            time.Now().Add(30 * patience), // of all stories together, with the race detector on a busy machine
		Setup: func(env *testscript.Env) error {
			env.Setenv("USER", "ada")
			here, err := os.Getwd()
			if err != nil {
				return err
			}
			env.Setenv("TESTDATA", filepath.Join(here, "testdata")) // what cannot stand in a story
			env.Setenv("NO_PROXY", "127.0.0.1")
			env.Values[runningKey{}] = new(running)
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"start": start, "end": end, "json": checkJSON, "json-env": jsonEnv,
			"history": wellHistory, "wait-for": waitFor, "wait-for-file": waitForFile, "post": post,
			"no-process": noProcess,
		},
	})
}

type runningKey struct{}

// running is the server of a story.
type running struct {
	cmd   *exec.Cmd
	ended chan struct{}
	log   *bytes.Buffer
}

// start runs the server. It is stopped at the end of the story, if it was not before.
func start(ts *testscript.TestScript, neg bool, args []string) {
	r := ts.Value(runningKey{}).(*running)
	addr := ts.MkAbs("addr")
	_ = os.Remove(addr)
	path, err := exec.LookPath("visutility")
	ts.Check(err)
	cmd := exec.Command(path, append([]string{"serve", "--data", "data", "--listen", "127.0.0.1:0", "--addr-file", addr}, args...)...)
	cmd.Dir = ts.MkAbs(".")
	cmd.Env = environ(ts)
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	ts.Check(cmd.Start())
	ended := make(chan struct{})
	r.cmd, r.ended, r.log = cmd, ended, &log
	ts.Defer(func() {
		if r.cmd == cmd {
			_ = cmd.Process.Kill()
		}
		<-ended
		ts.Logf("the server said:\n%s", log.String())
	})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // halt looks at the state
	}()
	poll(ts, "the server to start", func() bool {
		select {
		case <-ended:
			ts.Fatalf("the server ended:\n%s", log.String())
		default:
		}
		b, err := os.ReadFile(addr)
		ts.Setenv("VISUTILITY_SERVER", strings.TrimSpace(string(b)))
		return err == nil
	})
	ts.Setenv("SERVER_PID", strconv.Itoa(cmd.Process.Pid))
	if neg {
		ts.Fatalf("start cannot be negated")
	}
}

// end ends the server (testscript has a stop of its own, which ends the story) and checks that it ended well; killed it need not.
func end(ts *testscript.TestScript, _ bool, args []string) {
	r := ts.Value(runningKey{}).(*running)
	cmd := r.cmd
	r.cmd = nil
	var sig os.Signal = os.Interrupt
	gentle := true
	switch strings.Join(args, " ") {
	case "terminate":
		sig = syscall.SIGTERM
	case "kill":
		sig, gentle = os.Kill, false
	}
	ts.Check(cmd.Process.Signal(sig))
	select {
	case <-r.ended:
	case <-time.After(patience):
		ts.Fatalf("the server did not end in %v", patience)
	}
	if gentle && cmd.ProcessState.ExitCode() != 0 {
		ts.Fatalf("the server ended with %v:\n%s", cmd.ProcessState, r.log.String())
	}
}

// poll waits for a condition, looking again and again.
func poll(ts *testscript.TestScript, what string, done func() bool) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); ; <-tick.C {
		if done() {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("waited %v for %s", patience, what)
		}
	}
}

func waitForFile(ts *testscript.TestScript, _ bool, args []string) {
	want := regexp.MustCompile(strings.Join(args[1:], " "))
	poll(ts, strings.Join(args, " "), func() bool {
		b, err := os.ReadFile(ts.MkAbs(args[0]))
		return err == nil && want.Match(b)
	})
}

// noProcess waits for the end of what was started: it looks at Linux' list of processes.
func noProcess(ts *testscript.TestScript, _ bool, args []string) {
	poll(ts, "the end of all processes of "+args[0], func() bool {
		dirs, err := filepath.Glob("/proc/[0-9]*")
		ts.Check(err)
		for _, dir := range dirs {
			line, _ := os.ReadFile(filepath.Join(dir, "cmdline")) // of other people's, and of those that ended, there is nothing to see
			vars, _ := os.ReadFile(filepath.Join(dir, "environ"))
			if bytes.Contains(append(line, vars...), []byte(args[0])) {
				return false
			}
		}
		return true
	})
}

// waitFor repeats a command until its JSON output has a value.
func waitFor(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 5 || args[3] != "--" {
		ts.Fatalf("usage: wait-for PATH OP VALUE -- COMMAND…")
	}
	path, err := exec.LookPath(args[4])
	ts.Check(err)
	var last []byte
	defer func() { // a later json looks at it; a failure shows it
		_, _ = ts.Stdout().Write(last)
	}()
	poll(ts, strings.Join(args[:3], " "), func() bool {
		cmd := exec.Command(path, args[5:]...)
		cmd.Dir = ts.MkAbs(".")
		cmd.Env = environ(ts, "VISUTILITY_SERVER", "VISUTILITY_TOKEN_FILE", "VISUTILITY_TOKEN")
		out, err := cmd.Output()
		if last = out; err != nil {
			return false
		}
		got, err := lookup(string(out), args[0])
		return err == nil && holds(ts, got, args[1], args[2])
	})
}

// environ is what every process of a story has, and some of the story's own variables.
func environ(ts *testscript.TestScript, more ...string) []string {
	var env []string
	for _, name := range append([]string{"PATH", "HOME", "TMPDIR", "USER"}, more...) {
		env = append(env, name+"="+ts.Getenv(name))
	}
	return env
}

func checkJSON(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 3 {
		ts.Fatalf("usage: json PATH OP VALUE")
	}
	got, err := lookup(ts.ReadFile("stdout"), args[0])
	ts.Check(err)
	if !holds(ts, got, args[1], args[2]) {
		ts.Fatalf("%s is %s, want %s %s, in\n%s", args[0], got, args[1], args[2], ts.ReadFile("stdout"))
	}
}

func jsonEnv(ts *testscript.TestScript, _ bool, args []string) {
	got, err := lookup(ts.ReadFile("stdout"), args[1])
	ts.Check(err)
	ts.Setenv(args[0], got)
}

func holds(ts *testscript.TestScript, got, op, want string) bool {
	switch op {
	case "==":
		return got == want
	case "!=":
		return got != want
	case "~":
		return regexp.MustCompile(want).MatchString(got)
	}
	ts.Fatalf("unknown operator %q", op)
	return false
}

// lookup finds a value: "items.0.name", "items.len" for the length; an absent key is "".
func lookup(text, path string) (string, error) {
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		return "", fmt.Errorf("%w in %q", err, text)
	}
	for _, key := range strings.Split(path, ".") {
		switch x := v.(type) {
		case map[string]any:
			v = x[key]
		case []any:
			if key == "len" {
				return strconv.Itoa(len(x)), nil
			}
			i, err := strconv.Atoi(key)
			if err != nil || i >= len(x) {
				return "", fmt.Errorf("no element %s of %s", key, path)
			}
			v = x[i]
		}
	}
	switch x := v.(type) {
	case nil:
		return "", nil
	case string:
		return x, nil
	default:
		b, err := json.Marshal(x)
		return string(b), err
	}
}

// post sends a file to the API as other programs would.
func post(ts *testscript.TestScript, _ bool, args []string) {
	req, err := http.NewRequest(http.MethodPost, "http://"+ts.Getenv("VISUTILITY_SERVER")+args[0], strings.NewReader(ts.ReadFile(args[1])))
	ts.Check(err)
	for _, h := range args[2:] {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(req)
	ts.Check(err)
	defer resp.Body.Close()
	fmt.Fprintf(ts.Stdout(), "%s\n", resp.Status)
	var body bytes.Buffer
	_, err = body.ReadFrom(resp.Body)
	ts.Check(err)
	fmt.Fprintf(ts.Stdout(), "%s\n", body.String())
}

// trainDemo is the training program of the stories. The policy's parameters say what
// it does: score, champion_score (results), log (a line to print), fail (an error to fail with),
// launches (a file to which every start adds a line), wait (a file that it waits for), track (a score to log
// by MLflow's protocol, with half of the work done, in place of a result).
func trainDemo() {
	if err := trainByParameters(); err != nil {
		fmt.Fprintln(os.Stderr, "train-demo:", err)
		os.Exit(1)
	}
}

func trainByParameters() error {
	b, err := os.ReadFile(os.Getenv("VISUTILITY_JOB"))
	if err != nil {
		return err
	}
	var job visutility.Job
	if err := json.Unmarshal(b, &job); err != nil {
		return err
	}
	text := func(name string) string { s, _ := job.Parameters[name].(string); return s }
	if file := text("launches"); file != "" {
		f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		fmt.Fprintln(f, job.Run)
		if err := f.Close(); err != nil {
			return err
		}
	}
	fmt.Println("training", job.Model)
	if s := text("log"); s != "" {
		fmt.Println(s)
	}
	tracked, tracks := job.Parameters["track"].(float64)
	if tracks {
		if err := track(tracked); err != nil {
			return err
		}
	}
	if file := text("wait"); file != "" {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for end := time.Now().Add(patience); ; <-tick.C {
			if _, err := os.Stat(file); err == nil {
				break
			}
			if time.Now().After(end) {
				return fmt.Errorf("waited in vain for %s", file)
			}
		}
	}
	if s := text("fail"); s != "" {
		return fmt.Errorf("%s", s)
	}
	result := map[string]any{"artifact": "model.bin"}
	for param, field := range map[string]string{"score": "metrics", "champion_score": "champion_metrics"} {
		if v, ok := job.Parameters[param].(float64); ok {
			result[field] = map[string]float64{"score": v}
		}
	}
	fmt.Println("trained", job.Model)
	out := os.Getenv("VISUTILITY_OUTPUT")
	if tracks { // the artifact is where the tracking client puts it
		if err := os.Mkdir(filepath.Join(out, "mlflow"), 0o700); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(out, "mlflow", "model.bin"), []byte("the model of "+job.Run), 0o600)
	}
	if err := os.WriteFile(filepath.Join(out, "model.bin"), []byte("the model of "+job.Run), 0o600); err != nil {
		return err
	}
	if b, err = json.Marshal(result); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(out, "result.json"), b, 0o600)
}

// wellHistory writes scores of a model that is well, but for one incident.
func wellHistory(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: history FILE DAYS CORRELATION")
	}
	days, err := strconv.Atoi(args[1])
	ts.Check(err)
	phi, err := strconv.ParseFloat(args[2], 64)
	ts.Check(err)
	rng := rand.New(rand.NewPCG(7, 7))
	var b bytes.Buffer
	b.WriteString("model,metric,value,time,count,incident\n")
	for i, x := 0, 0.0; i < 24*days; i++ {
		x = phi*x + 0.01*rng.NormFloat64()
		ill, value := i >= 500 && i < 520, 0.9+x
		if ill {
			value -= 0.2
		}
		fmt.Fprintf(&b, "demo,score,%.5f,%s,200,%v\n", value, time.Date(2026, 1, 1, i, 0, 0, 0, time.UTC).Format(time.RFC3339), ill)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), b.Bytes(), 0o644))
}

// track logs as MLflow's client does, with nothing but what it finds in the environment.
func track(score float64) error {
	run := os.Getenv("MLFLOW_RUN_ID")
	body := fmt.Sprintf(`{"run_id": %q, "metrics": [{"key": "score", "value": %v, "timestamp": 1, "step": 5}, {"key": "progress", "value": 0.5, "timestamp": 1}]}`, run, score)
	req, err := http.NewRequest(http.MethodPost, os.Getenv("MLFLOW_TRACKING_URI")+"/api/2.0/mlflow/runs/log-batch", strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+os.Getenv("MLFLOW_TRACKING_TOKEN"))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("logging: %s", resp.Status)
	}
	return nil
}
