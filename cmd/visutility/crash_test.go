package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/engine"
	"github.com/visutility/visutility/policy"
	"github.com/visutility/visutility/store"
)

// The policies of the crash test: one whose verdict flips with the data and never fires, so that
// its decisions are a function of the events alone; one that trains.
const (
	flipPolicy = `
model: flip
retrain: {when: 'accuracy < 0.5 && avg(accuracy, 3) < 0.9', for: 1000h}
train: {trainer: none}
`
	trainPolicy = `
models: ["train-*"]
metrics: {score: higher_is_better}
retrain: {when: score < 0.5, cooldown: 0s}
train: {run: train-demo, retries: 3, parameters: {score: 0.9, launches: launches}}
`
)

// TestKilledServer kills the server with SIGKILL again and again, while senders publish and
// trainings run. In the end every event counts once, every fired decision has one run, no
// attempt was launched twice, and the decisions are those of a server that was left in peace.
func TestKilledServer(t *testing.T) {
	const rounds, senders, perSender = 6, 4, 150
	dir := t.TempDir()
	policies := filepath.Join(dir, "policies")
	mkdir(t, policies)
	write(t, filepath.Join(policies, "flip.yaml"), strings.Replace(flipPolicy, "trainer: none", "run: train-demo", 1))
	write(t, filepath.Join(policies, "train.yaml"), trainPolicy)
	v := &victim{t: t, dir: dir}
	v.start()

	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() { v.send(ctx, flipEvents()) }) // in order, one by one
	for s := range senders {
		wg.Go(func() { v.send(ctx, trainEvents(s, perSender)) })
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		wg.Wait()
	}()
	for range rounds {
		v.waitAlive(ctx)
		select { // long enough to do something, short enough to be in the middle of it
		case <-time.After(400 * time.Millisecond):
		case <-ctx.Done():
			t.Fatal(ctx.Err())
		}
		v.kill()
		v.start()
	}
	<-stopped
	v.settle(ctx, senders*perSender+len(flipEvents()))

	v.checkRuns()
	v.checkDecisions()
	v.kill()
}

// flipEvents go below and above the threshold by a fixed pattern, at fixed times.
func flipEvents() []visutility.Event {
	var events []visutility.Event
	for i := range 200 {
		value := 0.95
		if i%7 < 3 || i%11 == 0 {
			value = 0.3
		}
		events = append(events, visutility.Event{Model: "flip", Metric: "accuracy", Value: value, Time: flipStart.Add(time.Duration(i) * time.Second)})
	}
	return events
}

var flipStart = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// trainEvents breach now and then.
func trainEvents(sender, n int) []visutility.Event {
	var events []visutility.Event
	for i := range n {
		value := 0.9
		if i%40 == 20 {
			value = 0.1
		}
		events = append(events, visutility.Event{Model: fmt.Sprintf("train-%d", sender), Metric: "score", Value: value})
	}
	return events
}

// A victim is a server that is killed.
type victim struct {
	t    testing.TB
	dir  string
	args []string // flags of serve, beside the usual ones

	mu   sync.Mutex
	addr string
	cmd  *exec.Cmd
}

func (v *victim) start() {
	v.t.Helper()
	addr := filepath.Join(v.dir, "addr")
	_ = os.Remove(addr) // from the last round
	args := []string{"serve", "--data", filepath.Join(v.dir, "data"), "--policies", filepath.Join(v.dir, "policies"),
		"--listen", "127.0.0.1:0", "--addr-file", addr, "--log-level", "error"}
	cmd := exec.Command("visutility", append(args, v.args...)...)
	cmd.Stdout, cmd.Stderr = io.Discard, os.Stderr
	if err := cmd.Start(); err != nil {
		v.t.Fatal(err)
	}
	deadline := time.Now().Add(patience)
	for {
		if b, err := os.ReadFile(addr); err == nil && len(b) > 0 {
			v.mu.Lock()
			v.addr, v.cmd = "http://"+strings.TrimSpace(string(b)), cmd
			v.mu.Unlock()
			return
		}
		if time.Now().After(deadline) {
			v.t.Fatal("the server did not start")
		}
		pause()
	}
}

func (v *victim) kill() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.cmd.Process.Kill(); err != nil {
		v.t.Error(err)
	}
	_ = v.cmd.Wait() // killed
}

func (v *victim) base() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.addr
}

func (v *victim) waitAlive(ctx context.Context) {
	for ctx.Err() == nil {
		if resp, err := http.Get(v.base() + "/readyz"); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
		pause()
	}
}

// send publishes one event after another, each until it is acknowledged, with a key of its own.
func (v *victim) send(ctx context.Context, events []visutility.Event) {
	for i, ev := range events {
		body, err := json.Marshal(ev)
		if err != nil {
			v.t.Error(err)
			return
		}
		for !v.post(ctx, fmt.Sprintf("%s-%d", ev.Model, i), body) {
			if ctx.Err() != nil {
				v.t.Errorf("event %d of %s was never acknowledged", i, ev.Model)
				return
			}
			pause()
		}
	}
}

func (v *victim) post(ctx context.Context, key string, body []byte) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, v.base()+"/api/v1/metrics", bytes.NewReader(body))
	if err != nil {
		v.t.Error(err)
		return true
	}
	req.Header.Set("Idempotency-Key", key)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return err == nil && resp.StatusCode == http.StatusOK
}

// get decodes an answer of the API.
func get[T any](v *victim, path string) T {
	v.t.Helper()
	var out T
	resp, err := http.Get(v.base() + path)
	if err != nil {
		v.t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
		v.t.Fatal(err)
	}
	return out
}

type list[T any] struct{ Items []T }

// settle waits until want events are folded and no run is under way.
func (v *victim) settle(ctx context.Context, want int) {
	v.t.Helper()
	var events int
	for ctx.Err() == nil {
		if events = v.folded(); events >= want && !slices.ContainsFunc(get[list[visutility.Run]](v, "/api/v1/runs?limit=1000").Items,
			func(r visutility.Run) bool { return !r.State.Ended() }) {
			break
		}
		pause()
	}
	if events != want {
		v.t.Errorf("folded %d events, want %d: each acknowledged one, once", events, want)
	}
}

// folded is the number of events in the state of all models.
func (v *victim) folded() int {
	v.t.Helper()
	events := 0
	for _, m := range get[list[struct{ Events int }]](v, "/api/v1/models").Items {
		events += m.Events
	}
	return events
}

func (v *victim) checkRuns() {
	v.t.Helper()
	fired := map[string]bool{}
	for _, d := range get[list[visutility.Decision]](v, "/api/v1/decisions?outcome=fired&limit=1000").Items {
		fired[d.Run] = true
	}
	runs := get[list[visutility.Run]](v, "/api/v1/runs?limit=1000").Items
	if len(runs) == 0 || len(runs) != len(fired) {
		v.t.Errorf("%d runs for %d fired decisions", len(runs), len(fired))
	}
	for _, r := range runs {
		if !fired[r.ID] {
			v.t.Errorf("run %s has no decision", r.ID)
		}
		if r.State != visutility.Succeeded {
			v.t.Errorf("run %s is %s: %s", r.ID, r.State, r.Error)
		}
	}
	launches, err := os.ReadFile(filepath.Join(v.dir, "policies", "launches"))
	if err != nil {
		v.t.Fatal(err)
	}
	attempts := 0
	for _, r := range runs {
		attempts += r.Attempt
	}
	if n := strings.Count(string(launches), "\n"); n != attempts || attempts != len(runs) {
		v.t.Errorf("%d programs were launched for %d attempts of %d runs", n, attempts, len(runs))
	}
	v.t.Logf("%d runs, each launched once, through the kills", len(runs))
}

// checkDecisions holds the decisions about model flip against those of an engine that nobody killed.
func (v *victim) checkDecisions() {
	v.t.Helper()
	var got []string
	for _, d := range get[list[visutility.Decision]](v, "/api/v1/decisions?model=flip&limit=1000").Items {
		got = append(got, verdictAt(d))
	}
	want := undisturbed(v.t)
	slices.Sort(got) // by event time
	slices.Sort(want)
	if len(want) < 20 || !slices.Equal(got, want) {
		v.t.Errorf("decisions differ from those of an undisturbed server:\n got %d %v\nwant %d %v", len(got), got, len(want), want)
	}
}

func verdictAt(d visutility.Decision) string {
	return fmt.Sprintf("%s %s→%s", d.EventTime.Format("15:04:05"), d.Previous, d.Verdict)
}

func undisturbed(t testing.TB) []string {
	t.Helper()
	p, err := policy.Parse("flip.yaml", []byte(flipPolicy))
	if err != nil {
		t.Fatal(err)
	}
	e, err := engine.Open(t.Context(), engine.Options{Dir: t.TempDir(), Policies: []*policy.Policy{p}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	events := flipEvents()
	if err := e.Publish(ctx, "", events); err != nil {
		t.Fatal(err)
	}
	for e.Folded() < int64(len(events)) {
		pause()
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	ds, _, err := e.Store().Decisions(t.Context(), store.DecisionFilter{Model: "flip", Page: store.Page{Limit: 1000}})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, d := range ds {
		out = append(out, verdictAt(d))
	}
	return out
}

// pause gives others the processor, between two looks at something outside this process.
func pause() { <-time.After(5 * time.Millisecond) }

func mkdir(t testing.TB, dir string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
