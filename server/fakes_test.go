package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/backtest"
	"github.com/visutility/visutility/dispatch"
	"github.com/visutility/visutility/engine"
	"github.com/visutility/visutility/history"
	"github.com/visutility/visutility/policy"
	"github.com/visutility/visutility/store"
	"github.com/visutility/visutility/trainer"
	"github.com/visutility/visutility/trigger"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// What is served for real.
var (
	_ Engine  = (*engine.Engine)(nil)
	_ Store   = (*store.Store)(nil)
	_ History = (*history.History)(nil)
)

const token = "correct horse battery staple"

var start = time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)

// A fake is an engine, a store, a history and a registry in memory.
type fake struct {
	mu        sync.Mutex
	published [][]visutility.Event
	keys      []string
	publish   func(ctx context.Context, events []visutility.Event) error
	ready     error
	fault     error // returned by every action
	acted     []string
	callbacks []trainer.Callback
	tried     []string          // the backtests
	logs      map[string]string // path of a run's log

	models     []store.Model
	decisions  []visutility.Decision
	runs       []visutility.Run
	versions   []visutility.Version
	activities []store.Activity
	watchers   map[chan struct{}]struct{}
	series     []history.Series
	asked      history.Query
	askedFor   history.EventQuery
	replay     func(ctx context.Context) error // before a backtest
	moves      []store.AliasMove
	history.Feed
	policies []*policy.Policy
	bad      []error
}

func newFake() *fake {
	f := &fake{logs: map[string]string{}, watchers: map[chan struct{}]struct{}{}}
	for i := range 5 {
		f.models = append(f.models, store.Model{Name: fmt.Sprintf("model-%d", i), CreatedAt: start, LastEventAt: start,
			Metrics: []store.Metric{{Name: "auc", Last: 0.9, LastTime: start, Count: 3}}})
		f.decisions = append(f.decisions, visutility.Decision{ID: fmt.Sprintf("d%d", i), Model: "model-0", Policy: "p", Time: start, EventTime: start,
			Outcome: visutility.Fired, Verdict: visutility.Fire, Reason: "auc < 0.95",
			Evidence: []visutility.Term{{Name: "when", Expr: "auc < 0.95", Value: true, Terms: []visutility.Term{{Expr: "auc", Value: 0.9}}}}})
		f.runs = append(f.runs, visutility.Run{ID: fmt.Sprintf("r%d", i), Model: fmt.Sprintf("model-%d", i), Policy: "p", State: visutility.Training, Attempt: 1, CreatedAt: start})
		f.versions = append(f.versions, visutility.Version{ID: fmt.Sprintf("v%d", 5-i), Model: "model-0", CreatedAt: start, Metrics: map[string]float64{"auc": 0.9}})
	}
	f.series = []history.Series{{Metric: "auc", Points: []history.Point{{Time: start, Last: 1, Min: 1, Max: 1, Count: 1}}}}
	f.policies = []*policy.Policy{{Name: "p", File: "p.yaml", Revision: "abc", Models: []string{"*"}, Source: []byte("model: x\n")}}
	f.bad = []error{errors.New("q.yaml: cannot be read")}
	return f
}

func (f *fake) Publish(ctx context.Context, key string, events []visutility.Event) error {
	f.mu.Lock()
	publish := f.publish
	f.mu.Unlock()
	if publish != nil {
		if err := publish(ctx, events); err != nil {
			return err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.published, f.keys = append(f.published, events), append(f.keys, key)
	return nil
}

func (f *fake) Predictions(_ context.Context, key string, predictions []visutility.Prediction) error {
	return f.note("predictions %d %s", len(predictions), key)
}

func (f *fake) Labels(_ context.Context, key string, labels []visutility.Truth) error {
	return f.note("labels %d %s", len(labels), key)
}

func (f *fake) note(format string, args ...any) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.acted = append(f.acted, fmt.Sprintf(format, args...))
	return f.fault
}

func (f *fake) Explain(_ context.Context, model string) (trigger.Explanation, error) {
	if _, err := f.Model(context.Background(), model); err != nil {
		return trigger.Explanation{}, err
	}
	return trigger.Explanation{Model: model, Policies: []trigger.PolicyExplanation{{Policy: "p", Terms: f.decisions[0].Evidence, Guardrails: []trigger.Guardrail{}}}}, nil
}

func (f *fake) DecisionTest(ctx context.Context, decision string) (*backtest.DecisionTest, error) {
	d, err := f.Decision(ctx, decision)
	if err != nil {
		return nil, err
	}
	if _, ok := ctx.Deadline(); !ok {
		return nil, errors.New("work without a deadline")
	}
	if d.By != "" {
		return nil, fmt.Errorf("%w: it was made by hand", visutility.ErrInvalid)
	}
	return &backtest.DecisionTest{
		Test: "# a test\npolicies: [p.yaml]\n", Warnings: []string{"it is late"},
		Policies: []backtest.PolicyFile{{File: "p.yaml", Name: "p", Revision: "abc", Source: "model: x\n"}},
	}, nil
}

func (f *fake) Trigger(ctx context.Context, model, policy, by, reason string) (visutility.Decision, error) {
	if err := f.note("trigger %s %s %s %s", model, policy, by, reason); err != nil {
		return visutility.Decision{}, err
	}
	if _, ok := ctx.Deadline(); !ok {
		return visutility.Decision{}, errors.New("an action without a deadline")
	}
	d := f.decisions[0]
	if policy == "busy" {
		d.Outcome, d.SuppressedBy, d.Reason = visutility.Suppressed, visutility.ByActiveRun, "run r0 is under way"
	}
	d.Run = "r0"
	return d, nil
}

func (f *fake) Pause(_ context.Context, model, by, reason string) error {
	return f.note("pause %s %s %s", model, by, reason)
}

func (f *fake) Resume(_ context.Context, model, by, reason string) error {
	return f.note("resume %s %s %s", model, by, reason)
}

func (f *fake) Approve(ctx context.Context, run, by string) (visutility.Run, error) {
	if err := f.note("approve %s %s", run, by); err != nil {
		return visutility.Run{}, err
	}
	return f.Run(ctx, run)
}

func (f *fake) Cancel(ctx context.Context, run, by string) (visutility.Run, error) {
	if err := f.note("cancel %s %s", run, by); err != nil {
		return visutility.Run{}, err
	}
	return f.Run(ctx, run)
}

func (f *fake) Promote(_ context.Context, model, version, by string) (visutility.Version, error) {
	return f.versions[0], f.note("promote %s %s %s", model, version, by)
}

func (f *fake) Rollback(_ context.Context, model, by string) (visutility.Version, error) {
	return f.versions[1], f.note("rollback %s %s", model, by)
}

// Backtest replays one event.
func (f *fake) Backtest(ctx context.Context, o backtest.Options, globs []string, from, to time.Time) (*backtest.Report, error) {
	if f.replay != nil {
		if err := f.replay(ctx); err != nil {
			return nil, err
		}
	}
	f.mu.Lock()
	f.tried = append(f.tried, fmt.Sprintf("%d %v %s %s %s %v %g", len(o.Policies), globs, from.Format(time.RFC3339), to.Format(time.RFC3339), o.TrainTime, o.Rejected, o.Cost))
	f.mu.Unlock()
	data := backtest.NewData()
	if err := data.Add(visutility.Event{Model: "model-0", Metric: "accuracy", Value: 0.5, Time: start}, false); err != nil {
		return nil, err
	}
	return backtest.Run(ctx, o, data)
}

func (f *fake) Registry() visutility.Registry { return fakeRegistry{f: f} }
func (f *fake) Policies() []*policy.Policy    { return f.policies }
func (f *fake) PolicyErrors() []error         { return f.bad }
func (f *fake) ApplyPolicy(_ context.Context, name, revision string, source []byte, by string) (*policy.Policy, error) {
	if name == "moved-on" {
		return nil, fmt.Errorf("%w: policy %q is at revision %q by now", visutility.ErrConflict, name, "b")
	}
	p, err := policy.Parse("dir/"+name+".yaml", source)
	if err != nil {
		return nil, err
	}
	return p, f.note("apply %s %s by %s", name, revision, by)
}
func (f *fake) Observers() []dispatch.Status {
	return []dispatch.Status{{Name: "trigger", State: dispatch.Running, Partitions: 1, Positions: []visutility.Position{7}}}
}

func (f *fake) Limits() engine.Limits {
	return engine.Limits{Partitions: 8, Series: 3, MaxSeries: 10, MaxRuns: 4, Retention: time.Hour}
}

func (f *fake) RunLog(_ context.Context, run string) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if p := f.logs[run]; p != "" {
		return p, nil
	}
	return "", fmt.Errorf("log of run %q: %w", run, visutility.ErrNotFound)
}

func (f *fake) Callback(_ context.Context, run, tok string, body trainer.Callback) error {
	if tok != "token of "+run {
		return trainer.ErrToken
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.callbacks = append(f.callbacks, body)
	return nil
}

func (f *fake) CheckToken(run, tok string) error {
	if tok != "token of "+run {
		return trainer.ErrToken
	}
	return nil
}

func (f *fake) Tracked(ctx context.Context, run, tok string) (visutility.Run, string, error) {
	r, err := f.Run(ctx, run)
	return r, "file:///output", err
}

func (f *fake) Track(_ context.Context, run, _ string, said trainer.Tracking) error {
	return f.note("track %s %v %d", run, said.Metrics, said.Step)
}

func (f *fake) Ready(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ready
}

// cut is a page of items; the cursor is an index.
func cut[T any](items []T, p store.Page) ([]T, string, error) {
	from := 0
	if p.Cursor != "" {
		var err error
		if from, err = strconv.Atoi(p.Cursor); err != nil || from > len(items) {
			return nil, "", visutility.Invalidf("cursor", "syntax", "is not one that this list returned")
		}
	}
	to := min(from+p.Limit, len(items))
	if to == len(items) {
		return items[from:], "", nil
	}
	return items[from:to], strconv.Itoa(to), nil
}

func find[T any](items []T, kind, id string, of func(T) string) (T, error) {
	for _, x := range items {
		if of(x) == id {
			return x, nil
		}
	}
	var zero T
	return zero, fmt.Errorf("%s %q: %w", kind, id, visutility.ErrNotFound)
}

func (f *fake) Models(_ context.Context, p store.Page, q store.ModelFilter) ([]store.Model, string, error) {
	var found []store.Model
	for _, m := range f.models {
		if strings.Contains(m.Name, q.Query) {
			found = append(found, m)
		}
	}
	return cut(found, p)
}

// Fleet takes every model to be in the same state.
func (f *fake) Fleet(_ context.Context, q store.FleetQuery) ([]store.FleetModel, error) {
	var found []store.FleetModel
	for i, m := range f.models {
		if i >= q.Offset && len(found) < q.Limit && strings.Contains(m.Name, q.Query) {
			found = append(found, store.FleetModel{Model: m, State: store.StateRetraining, Run: fmt.Sprintf("r%d", i)})
		}
	}
	return found, nil
}

func (f *fake) CountFleet(context.Context, string) (map[string]int, error) {
	return map[string]int{store.StateRetraining: len(f.models), store.StateHolding: 0}, nil
}

func (f *fake) AliasMoves(context.Context, string, string, int) ([]store.AliasMove, error) {
	return f.moves, nil
}

func (f *fake) DecisionsOf(_ context.Context, ids []string) (map[string]visutility.Decision, error) {
	found := map[string]visutility.Decision{}
	for _, d := range f.decisions {
		if slices.Contains(ids, d.ID) {
			found[d.ID] = d
		}
	}
	return found, nil
}

func (f *fake) Model(_ context.Context, name string) (store.Model, error) {
	return find(f.models, "model", name, func(m store.Model) string { return m.Name })
}

func (f *fake) Decision(_ context.Context, id string) (visutility.Decision, error) {
	return find(f.decisions, "decision", id, func(d visutility.Decision) string { return d.ID })
}

func (f *fake) Decisions(_ context.Context, q store.DecisionFilter) ([]visutility.Decision, string, error) {
	var found []visutility.Decision
	for _, d := range f.decisions {
		if (q.Model == "" || q.Model == d.Model) && (q.Outcome == "" || q.Outcome == d.Outcome.String()) {
			found = append(found, d)
		}
	}
	return cut(found, q.Page)
}

func (f *fake) Run(_ context.Context, id string) (visutility.Run, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return find(f.runs, "run", id, func(r visutility.Run) string { return r.ID })
}

func (f *fake) Runs(_ context.Context, q store.RunFilter) ([]visutility.Run, string, error) {
	var found []visutility.Run
	for _, r := range f.runs {
		if (q.Model == "" || q.Model == r.Model) && (len(q.States) == 0 || slices.Contains(q.States, r.State)) {
			found = append(found, r)
		}
	}
	return cut(found, q.Page)
}

func (f *fake) OpenRuns(context.Context) ([]visutility.Run, error) { return f.runs, nil }

func (f *fake) Transitions(context.Context, string) ([]visutility.Transition, error) {
	return []visutility.Transition{{From: visutility.Pending, To: visutility.Training, Time: start}}, nil
}

func (f *fake) setState(run string, state visutility.RunState) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.runs {
		if f.runs[i].ID == run {
			f.runs[i].State = state
		}
	}
}

func (f *fake) Activities(_ context.Context, after int64, limit int) ([]store.Activity, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	from := min(int(after), len(f.activities))
	return slices.Clone(f.activities[from:min(from+limit, len(f.activities))]), nil
}

func (f *fake) LastActivity(context.Context) (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return int64(len(f.activities)), nil
}

// happen adds activities and pokes the watchers.
func (f *fake) happen(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for range n {
		seq := int64(len(f.activities) + 1)
		f.activities = append(f.activities, store.Activity{Seq: seq, Time: start, Kind: "run", Model: "m", ID: "r", Data: json.RawMessage("{\n}")})
	}
	for c := range f.watchers {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

func (f *fake) Watch() (<-chan struct{}, func()) {
	c := make(chan struct{}, 1)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.watchers[c] = struct{}{}
	return c, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.watchers, c)
	}
}

func (f *fake) Select(_ context.Context, q history.Query) ([]history.Series, error) {
	f.asked = q
	return f.series, nil
}

func (f *fake) Events(_ context.Context, q history.EventQuery) ([]visutility.Event, string, error) {
	f.askedFor = q
	return []visutility.Event{{Model: q.Model, Metric: "auc", Value: 0.9, Time: start, Count: 3, Labels: map[string]string{"country": "DE"}}}, "more", nil
}

// A fakeRegistry lists the fake's versions. The rest of the interface is not used by the server.
type fakeRegistry struct {
	visutility.Registry
	f *fake
}

func (r fakeRegistry) Resolve(_ context.Context, model, ref string) (visutility.Version, error) {
	if ref == visutility.Champion {
		return r.f.versions[0], nil
	}
	return find(r.f.versions, "version", ref, func(v visutility.Version) string { return v.ID })
}

func (r fakeRegistry) Versions(context.Context, string) iter.Seq2[visutility.Version, error] {
	return func(yield func(visutility.Version, error) bool) {
		for _, v := range r.f.versions {
			if !yield(v, nil) {
				return
			}
		}
	}
}

// A site is a server on a real socket, with the fake behind it.
type site struct {
	*fake
	t      *testing.T
	url    string
	client *http.Client
	http   *http.Server

	handler *Server
}

// serve starts a site; change may alter the options.
func serve(t *testing.T, change ...func(*Options)) *site {
	t.Helper()
	f := newFake()
	o := Options{Engine: f, Store: f, History: f, Token: token, Logger: slog.New(slog.DiscardHandler)}
	for _, c := range change {
		c(&o)
	}
	h, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ts := httptest.NewUnstartedServer(h)
	ts.Config = HTTPServer("", h)
	ts.Start()
	t.Cleanup(ts.Close)
	return &site{fake: f, t: t, url: ts.URL, client: ts.Client(), http: ts.Config, handler: h}
}

// request makes a request with the token.
func (s *site) request(method, path, body string, headers ...string) *http.Request {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	return r
}

// do sends a request and reads the answer.
func (s *site) do(r *http.Request) (status int, body string, header http.Header) {
	s.t.Helper()
	res, err := s.client.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return res.StatusCode, string(b), res.Header
}

// get and post expect a status and return the body.
func (s *site) get(path string, want int, headers ...string) string {
	s.t.Helper()
	return s.want(s.request("GET", path, "", headers...), want)
}

func (s *site) post(path, body string, want int, headers ...string) string {
	s.t.Helper()
	return s.want(s.request("POST", path, body, headers...), want)
}

func (s *site) want(r *http.Request, want int) string {
	s.t.Helper()
	status, body, _ := s.do(r)
	if status != want {
		s.t.Fatalf("%s %s: status %d, want %d: %s", r.Method, r.URL.RequestURI(), status, want, body)
	}
	return body
}

func parse[T any](t *testing.T, body string) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(body), &v); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	return v
}
