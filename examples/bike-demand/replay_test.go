package bikedemand

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/visutility/visutility"
)

// A fakeServer answers the few requests of the replay as a server with
// bike-demand.yaml would, and runs the real training program in this process.
// Like the real one it answers before it has folded an event, and trains in the
// background.
type fakeServer struct {
	*httptest.Server
	dir       string
	trainings sync.WaitGroup
	published func(visutility.Event) // told of every event, may be nil

	mu        sync.Mutex
	busy      int    // this many requests are answered 503
	token     string // required, unless ""
	gate      func(candidate, champion float64) bool
	cooldown  time.Duration // after a rejection
	exhausted bool          // the budget
	keys      map[string]bool
	events    []visutility.Event
	unfolded  *visutility.Event
	folded    int
	lastTime  time.Time
	verdict   visutility.Verdict
	cooling   time.Time        // until then
	runs      []visutility.Run // oldest first
	versions  []visutility.Version
}

func newFakeServer(t *testing.T) *fakeServer {
	t.Helper()
	f := &fakeServer{
		dir: t.TempDir(), keys: make(map[string]bool),
		gate: func(candidate, champion float64) bool { return candidate < champion },
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /readyz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("POST /api/v1/metrics", f.ingest)
	mux.HandleFunc("POST /api/v1/models/bike-demand/trigger", f.trigger)
	mux.HandleFunc("GET /api/v1/models/bike-demand", f.model)
	mux.HandleFunc("GET /api/v1/models/bike-demand/explain", f.explain)
	mux.HandleFunc("GET /api/v1/models/bike-demand/versions/champion", f.champion)
	mux.HandleFunc("GET /api/v1/decisions/{id}", func(w http.ResponseWriter, _ *http.Request) { answer(w, 200, visutility.Decision{}) })
	mux.HandleFunc("GET /api/v1/runs", f.newestRun)
	mux.HandleFunc("GET /api/v1/runs/{id}", func(w http.ResponseWriter, r *http.Request) {
		for _, run := range f.runs {
			if run.ID == r.PathValue("id") {
				answer(w, 200, run)
			}
		}
	})
	f.Server = httptest.NewServer(f.guard(mux))
	t.Cleanup(func() {
		f.Close()
		f.trainings.Wait()
	})
	return f
}

// guard holds the lock for the whole of a request.
func (f *fakeServer) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		defer f.mu.Unlock()
		switch {
		case f.busy > 0:
			f.busy--
			problem(w, http.StatusServiceUnavailable, "starting")
		case f.token != "" && r.Header.Get("Authorization") != "Bearer "+f.token && r.URL.Path != "/readyz":
			problem(w, http.StatusUnauthorized, "no such token")
		default:
			next.ServeHTTP(w, r)
		}
	})
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v)
}

func problem(w http.ResponseWriter, status int, detail string) {
	answer(w, status, map[string]any{"title": http.StatusText(status), "status": status, "detail": detail})
}

func (f *fakeServer) newestRun(w http.ResponseWriter, r *http.Request) {
	items := []visutility.Run{}
	if n := len(f.runs); n > 0 {
		items = append(items, f.runs[n-1])
	}
	answer(w, 200, map[string]any{"items": items, "next": ""})
}

func (f *fakeServer) ingest(w http.ResponseWriter, r *http.Request) {
	var e visutility.Event
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(&e); err != nil || len(e.Check(nil, "", time.Now())) > 0 {
		problem(w, http.StatusUnprocessableEntity, fmt.Sprint(err, e.Check(nil, "", time.Now())))
		return
	}
	key := r.Header.Get("Idempotency-Key")
	if key == "" || !f.keys[key] {
		f.keys[key] = true
		f.events = append(f.events, e)
		f.unfolded = &e
	}
	if f.published != nil {
		f.published(e)
	}
	answer(w, 200, map[string]int{"accepted": 1})
}

func (f *fakeServer) model(w http.ResponseWriter, r *http.Request) {
	view := map[string]any{"name": ModelName}
	if !f.lastTime.IsZero() {
		view["metrics"] = []map[string]any{{"name": Metric, "last_time": f.lastTime}}
	}
	answer(w, 200, view)
}

// explain folds what has been published only after it has answered once without it.
func (f *fakeServer) explain(w http.ResponseWriter, r *http.Request) {
	cooldown := map[string]any{"name": visutility.ByCooldown, "blocks": time.Now().Before(f.cooling), "until": f.cooling}
	budget := map[string]any{"name": visutility.ByBudget, "blocks": f.exhausted}
	policy := map[string]any{"policy": ModelName, "verdict": f.verdict, "guardrails": []any{cooldown, budget}}
	view := map[string]any{"champion": "", "active_run": "", "events": f.folded, "policies": []any{policy}}
	if len(f.versions) > 0 {
		view["champion"] = f.current().ID
	}
	if n := len(f.runs); n > 0 && f.runs[n-1].State.Active() {
		view["active_run"] = f.runs[n-1].ID
	}
	answer(w, 200, view)
	if e := f.unfolded; e != nil {
		f.unfolded, f.lastTime, f.verdict = nil, e.Time, visutility.Hold
		f.folded++
		if e.Value > 0.30 {
			f.verdict = visutility.Fire
			if time.Now().After(f.cooling) && !f.exhausted {
				f.open(visutility.Window{From: e.Time, To: e.Time})
			}
		}
	}
}

func (f *fakeServer) trigger(w http.ResponseWriter, r *http.Request) {
	f.open(visutility.Window{})
	answer(w, http.StatusAccepted, map[string]any{"decision": visutility.Decision{}, "run": f.runs[len(f.runs)-1]})
}

func (f *fakeServer) champion(w http.ResponseWriter, r *http.Request) {
	if len(f.versions) == 0 {
		problem(w, http.StatusNotFound, "bike-demand has no champion")
		return
	}
	answer(w, 200, f.current())
}

func (f *fakeServer) current() *visutility.Version { return &f.versions[len(f.versions)-1] }

// open starts a training as the server would: a job, a process' environment, a result, a gate.
func (f *fakeServer) open(window visutility.Window) {
	place := len(f.runs)
	run := visutility.Run{ID: fmt.Sprintf("r%d", place+1), Decision: "d1", Model: ModelName, Policy: ModelName, State: visutility.Training}
	f.runs = append(f.runs, run)
	job := visutility.Job{Run: run.ID, Model: ModelName, Window: window, Attempt: 1}
	if len(f.versions) > 0 {
		champion := *f.current()
		job.Champion = &champion
	}
	f.trainings.Go(func() {
		out := filepath.Join(f.dir, run.ID)
		res, err := f.train(job, out)
		f.mu.Lock()
		defer f.mu.Unlock()
		f.end(&f.runs[place], res, err, out)
	})
}

func (f *fakeServer) train(job visutility.Job, out string) (res result, err error) {
	if err := os.Mkdir(out, 0o700); err != nil {
		return res, err
	}
	b, err := json.Marshal(job)
	if err != nil {
		return res, err
	}
	if err := os.WriteFile(out+".json", b, 0o600); err != nil {
		return res, err
	}
	environment := env("VISUTILITY_JOB", out+".json", "VISUTILITY_OUTPUT", out, "BIKE_DATA", "generated")
	if err := train(nil, environment, io.Discard, io.Discard); err != nil {
		return res, err
	}
	if b, err = os.ReadFile(filepath.Join(out, "result.json")); err != nil {
		return res, err
	}
	return res, json.Unmarshal(b, &res)
}

func (f *fakeServer) end(run *visutility.Run, res result, err error, out string) {
	if err != nil {
		run.State, run.Error = visutility.Failed, err.Error()
		return
	}
	run.Artifact = &visutility.Artifact{
		URI:     "file://" + filepath.Join(out, res.Artifact),
		Metrics: res.Metrics, ChampionMetrics: res.ChampionMetrics,
	}
	if len(f.versions) > 0 && !f.gate(res.Metrics[Metric], res.ChampionMetrics[Metric]) {
		run.State = visutility.Rejected
		f.cooling = time.Now().Add(f.cooldown)
		return
	}
	run.Version = fmt.Sprintf("v%d", len(f.versions)+1)
	run.State = visutility.Succeeded
	f.versions = append(f.versions, visutility.Version{ID: run.Version, Model: ModelName, Artifact: *run.Artifact, Metrics: res.Metrics})
}

// playAgainst plays some weeks of the generated stream, without losing time.
func playAgainst(ctx context.Context, f *fakeServer, weeks int) (story string, p *Player, err error) {
	var out strings.Builder
	screen := NewScreen(&out)
	p = &Player{
		client: &client{base: f.URL, http: f.Client(), pause: time.Millisecond, patience: 20 * time.Second},
		teller: screen, stream: Generate(generatedSeed), weeks: weeks,
	}
	err = p.show(ctx, screen)
	return out.String(), p, err
}

func TestReplayClosesTheLoop(t *testing.T) {
	f := newFakeServer(t)
	f.busy = 2
	story, p, err := playAgainst(t.Context(), f, 24) // through the growth
	t.Log(story)
	if err != nil {
		t.Fatal(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	first := f.events[0]
	eight := generatedStart.Add(8 * week)
	if !first.Time.Equal(eight.Add(week)) || first.Count != 168 || first.Version != "v1" || first.Metric != Metric || first.Model != ModelName {
		t.Errorf("first event %+v", first)
	}
	if len(f.events) != 24 || p.tally.weeks != 24 {
		t.Errorf("%d events, %d weeks played", len(f.events), p.tally.weeks)
	}
	// Each week was forecast by the champion of the day.
	versions := 1
	for i, e := range f.events {
		if want := fmt.Sprintf("v%d", versions); e.Version != want {
			t.Fatalf("week %d was forecast by %s, want %s", i, e.Version, want)
		}
		if e.Value > 0.30 {
			versions++
		}
	}
	if versions != len(f.versions) || p.tally.promoted != versions-1 || versions < 3 {
		t.Errorf("%d promotions expected, the server has %d versions, the replay counted %+v", versions-1, len(f.versions), p.tally)
	}
	if p.tally.live >= 0.7*p.tally.never {
		t.Errorf("retraining made %.2f of %.2f", p.tally.live, p.tally.never)
	}
	for _, want := range []string{
		`(?m)^There is no champion yet`,
		`(?m)^v1 is the first champion; its error on two weeks held out was 0\.\d{3}$`,
		`(?m)^2011-03-05  0\.\d{3} ##+$`,
		`(?m)^2011-0\d-\d\d  0\.3\d\d #{6,7} +retrained: v2 serves, 0\.\d{3} < 0\.\d{3} on the same hours  r2$`,
		`(?m)^24 weeks, mean weekly WMAPE$`,
		`(?m)^  as played         +\d\d\.\d %  #+ + \d retrainings: \d promoted, 0 rejected$`,
		`(?m)^  never retrained   +\d\d\.\d %  #+`,
		`(?m)^  visutility explain bike-demand `,
	} {
		if !regexp.MustCompile(want).MatchString(story) {
			t.Errorf("the story lacks %s", want)
		}
	}
	if strings.ContainsAny(story, "\x1b\r") {
		t.Error("control characters where there is no terminal")
	}
}

func TestReplayGoesOnWhereItStopped(t *testing.T) {
	f := newFakeServer(t)
	ctx, interrupt := context.WithCancel(t.Context())
	f.published = func(visutility.Event) {
		if len(f.events) == 3 {
			interrupt()
		}
	}
	story, _, err := playAgainst(ctx, f, 0)
	if err != nil || !strings.Contains(story, "Stopped.") || !strings.Contains(story, "2 weeks, mean") {
		t.Fatalf("%v\n%s", err, story)
	}
	f.published = nil
	if _, _, err := playAgainst(t.Context(), f, 1); err != nil { // sends the third again, under its key
		t.Fatal(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.runs) != 1 || len(f.events) != 3 {
		t.Errorf("%d first trainings, %d events", len(f.runs), len(f.events))
	}
	for i, e := range f.events {
		if want := generatedStart.Add(time.Duration(firstWeeks+1+i) * week); !e.Time.Equal(want) {
			t.Errorf("event %d is of %v, want %v", i, e.Time, want)
		}
	}
}

func TestReplayTellsWhatHeldARunBack(t *testing.T) {
	f := newFakeServer(t)
	f.exhausted = true
	story, p, err := playAgainst(t.Context(), f, 9)
	if err != nil || p.tally.runs() != "0 retrainings: 0 promoted, 0 rejected" {
		t.Errorf("%v, %s", err, p.tally.runs())
	}
	if !strings.Contains(story, "held back by budget") {
		t.Error(story)
	}
}

func TestReplayTellsOfRejections(t *testing.T) {
	f := newFakeServer(t)
	f.gate = func(_, _ float64) bool { return false }
	f.cooldown = 50 * time.Millisecond // far longer than a week takes here
	story, p, err := playAgainst(t.Context(), f, 10)
	if err != nil || p.tally.rejected != 3 || p.champion.ID != "v1" {
		t.Errorf("%v, %+v", err, p.tally)
	}
	if !strings.Contains(story, "retrained: rejected, ") {
		t.Error(story)
	}
}

func TestReplayRefusesToMixData(t *testing.T) {
	f := newFakeServer(t)
	if _, _, err := playAgainst(t.Context(), f, 1); err != nil {
		t.Fatal(err)
	}
	p := &Player{client: &client{base: f.URL, http: f.Client(), pause: time.Millisecond, patience: time.Second}, teller: NewScreen(io.Discard), stream: Generate(2)}
	if err := p.Play(t.Context()); err == nil || !strings.Contains(err.Error(), "BIKE_DATA") {
		t.Errorf("error %v", err)
	}
}

func TestReplayHasAnEnd(t *testing.T) {
	f := newFakeServer(t)
	if _, _, err := playAgainst(t.Context(), f, 1); err != nil {
		t.Fatal(err)
	}
	f.mu.Lock()
	f.lastTime = Generate(generatedSeed).End()
	f.mu.Unlock()
	story, p, err := playAgainst(t.Context(), f, 0)
	if err != nil || p.tally.weeks != 0 || !strings.Contains(story, "All weeks have been played") {
		t.Errorf("%v\n%s", err, story)
	}
}

func TestReplayCommand(t *testing.T) {
	f := newFakeServer(t)
	f.token = "secret"
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	command := []string{"replay", "--server", f.URL, "--data", "generated", "--pace", "0", "--weeks", "1"}
	var stdout, stderr strings.Builder
	if code := Run(t.Context(), command, env(), &stdout, &stderr); code != 1 || !strings.Contains(stderr.String(), "--token-file") {
		t.Errorf("without the token: exit %d, %s", code, stderr.String())
	}
	if code := Run(t.Context(), append(command, "--token-file", file), env(), &stdout, &stderr); code != 0 || !strings.Contains(stdout.String(), "1 week,") {
		t.Errorf("with it: exit %d, %s%s", code, stdout.String(), stderr.String())
	}
	for _, wrong := range [][]string{{"replay", "--speed", "1"}, {"fly"}} {
		if code := Run(t.Context(), wrong, env(), io.Discard, io.Discard); code != 2 {
			t.Errorf("%v: exit %d", wrong, code)
		}
	}
}

func TestClientGivesUp(t *testing.T) {
	f := newFakeServer(t)
	c := &client{base: f.URL, http: f.Client(), pause: time.Millisecond, patience: 10 * time.Millisecond}
	f.mu.Lock()
	f.busy = 1 << 30
	f.mu.Unlock()
	if err := c.ready(t.Context()); !refused(err, http.StatusServiceUnavailable) {
		t.Errorf("error %v", err)
	}
	f.Close()
	if err := c.ready(t.Context()); err == nil || !strings.Contains(err.Error(), "visutility serve --policies .") {
		t.Errorf("error %v", err)
	}
}

func TestBars(t *testing.T) {
	plain, terminal := &Screen{}, &Screen{terminal: true}
	for _, c := range []struct {
		value           float64
		plain, terminal string
	}{
		{0, "", ""},
		{0.30, "######", "██████"},
		{0.31, "######", "██████▎"},
		{7, strings.Repeat("#", 20), strings.Repeat("█", 20)},
	} {
		pad := func(s string) string { return s + strings.Repeat(" ", 20-len([]rune(s))) }
		if got := plain.Bar(c.value); got != pad(c.plain) {
			t.Errorf("%v: %q", c.value, got)
		}
		if got := terminal.Bar(c.value); got != pad(c.terminal) {
			t.Errorf("%v: %q", c.value, got)
		}
	}
}
