package ingest

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/visutility/visutility"
)

// A tracker is a client of MLflow's protocol that knows no network.
type tracker struct {
	t   testing.TB
	m   *MLflow
	run *TrackedRun
}

// call makes a call: the input is JSON for a POST, a query for a GET.
func (c *tracker) call(path, input string) (TrackingAnswer, error) {
	c.t.Helper()
	for i := range MLflowEndpoints {
		e := &MLflowEndpoints[i]
		if e.Path != path {
			continue
		}
		in := TrackingCall{Now: now, Run: c.run}
		if e.Method == "POST" {
			in.Body = []byte(input)
		} else {
			var err error
			if in.Query, err = url.ParseQuery(input); err != nil {
				c.t.Fatal(err)
			}
		}
		a, err := e.Call(c.m, in)
		if err == nil && a.Batch != nil {
			checkBatch(c.t, a.Batch)
			a.Batch.Done()
		}
		return a, err
	}
	c.t.Fatalf("no endpoint %s", path)
	return TrackingAnswer{}, nil
}

// must makes a call and returns what is at a path of the answer.
func (c *tracker) must(path, input string, at ...string) string {
	c.t.Helper()
	a, err := c.call(path, input)
	if err != nil {
		c.t.Fatalf("%s %s: %v", path, input, err)
	}
	b, err := json.Marshal(a.Reply)
	if err != nil {
		c.t.Fatal(err)
	}
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		c.t.Fatal(err)
	}
	for _, name := range at {
		m, _ := v.(map[string]any)
		v = m[name]
	}
	return fmt.Sprint(v)
}

func TestMLflowMeasuresServedModels(t *testing.T) {
	c := &tracker{t: t, m: NewMLflow(newSource())}
	if _, err := c.call("experiments/get-by-name", "experiment_name=fraud"); !errors.Is(err, visutility.ErrNotFound) {
		t.Errorf("before it is made: %v", err)
	}
	exp := c.must("experiments/create", `{"name":"fraud"}`, "experiment_id")
	if got := c.must("experiments/get-by-name", "experiment_name=fraud", "experiment", "experiment_id"); got != exp {
		t.Errorf("%s, want %s", got, exp)
	}
	if got := c.must("experiments/get", "experiment_id="+exp, "experiment", "name"); got != "fraud" {
		t.Error(got)
	}
	run := c.must("runs/create", `{"experiment_id":"`+exp+`","start_time":"1769860800000","tags":[{"key":"mlflow.user","value":"ada"},{"key":"version","value":"7"},{"key":"country","value":"DE"}]}`, "run", "info", "run_id")
	want := []visutility.Event{{Model: "fraud", Metric: "accuracy", Value: 0.91, Time: now, Version: "7", Labels: map[string]string{"country": "DE"}}}
	a, err := c.call("runs/log-metric", `{"run_id":"`+run+`","key":"accuracy","value":0.91,"timestamp":1769860800000,"step":0}`)
	if err != nil || a.Batch == nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, a.Batch.Events); diff != "" || a.Batch.Key == "" {
		t.Error(diff)
	}
	a, err = c.call("runs/log-batch", `{"run_id":"`+run+`","metrics":[{"key":"auc","value":0.5,"timestamp":"1769860800000","step":"1"},{"key":"loss","value":"NaN","timestamp":1},{"key":"","value":1}],"params":[{"key":"p","value":"1"}],"tags":[{"key":"model","value":"other"}]}`)
	if err != nil || len(a.Batch.Events) != 1 || a.Batch.Events[0].Model != "other" || a.Batch.Ignored["no_value"] != 1 || a.Batch.Refused["empty"] != 1 {
		t.Errorf("%v %+v", err, a.Batch)
	}
	c.must("runs/set-tag", `{"run_id":"`+run+`","key":"model","value":""}`)
	c.must("runs/log-parameter", `{"run_id":"`+run+`","key":"depth","value":"6"}`)
	if got := c.must("runs/update", `{"run_id":"`+run+`","status":"FINISHED","end_time":5}`, "run_info", "status"); got != "FINISHED" {
		t.Error(got)
	}
	if got := c.must("runs/get", "run_id="+run, "run", "data", "params"); got != "[map[key:depth value:6] map[key:p value:1]]" {
		t.Error(got)
	}
	if got := c.must("metrics/get-history", "run_id="+run+"&metric_key=loss", "metrics"); !strings.Contains(got, "NaN") {
		t.Error(got)
	}
	if got := c.must("runs/search", `{"experiment_ids":["`+exp+`"],"max_results":10}`, "runs"); !strings.Contains(got, run) {
		t.Error(got)
	}
	if got := c.must("experiments/search", `{}`, "experiments"); !strings.Contains(got, "fraud") {
		t.Error(got)
	}

	// The server starts anew: the id says what the run is of.
	c.m = NewMLflow(newSource())
	a, err = c.call("runs/log-metric", `{"run_id":"`+run+`","key":"accuracy","value":0.91,"timestamp":1769860800000}`)
	want[0].Labels = nil
	if err != nil || !cmp.Equal(want, a.Batch.Events) {
		t.Errorf("%v %+v", err, a.Batch)
	}
}

func TestMLflowTrainingSeesItsRunOnly(t *testing.T) {
	m := NewMLflow(newSource())
	other := &tracker{t: t, m: m}
	exp := other.must("experiments/create", `{"name":"fraud"}`, "experiment_id")
	served := other.must("runs/create", `{"experiment_id":"`+exp+`"}`, "run", "info", "run_id")
	c := &tracker{t: t, m: m, run: &TrackedRun{ID: "r1", Model: "churn", ArtifactURI: "file:///out/mlflow"}}
	mine := c.must("experiments/get-by-name", "experiment_name=whatever", "experiment", "experiment_id")
	if got := c.must("experiments/create", `{"name":"whatever"}`, "experiment_id"); got != mine || got == exp {
		t.Error(got)
	}
	for _, call := range [][2]string{{"runs/get", "run_id=r1"}, {"runs/create", `{"experiment_id":"` + mine + `"}`}} {
		if got := c.must(call[0], call[1], "run", "info"); !strings.Contains(got, "r1") || !strings.Contains(got, "file:///out/mlflow") || !strings.Contains(got, mine) {
			t.Error(got)
		}
	}
	a, err := c.call("runs/log-batch", `{"run_id":"r1","metrics":[{"key":"auc","value":0.9,"step":3,"timestamp":1},{"key":"loss","value":"NaN"}]}`)
	if err != nil || a.Batch != nil || !cmp.Equal(a.Logged, []Logged{{"auc", 0.9, 3}}) {
		t.Errorf("%v %+v", err, a)
	}
	for path, input := range map[string]string{
		"runs/get": "run_id=" + served, "runs/log-metric": `{"run_id":"` + served + `","key":"x","value":1}`, "runs/set-tag": `{"run_id":"` + served + `"}`,
		"runs/update": `{"run_id":"` + served + `"}`, "metrics/get-history": "run_id=" + served, "runs/log-parameter": `{"run_id":"` + served + `"}`,
	} {
		if a, err := c.call(path, input); !errors.Is(err, visutility.ErrNotFound) {
			t.Errorf("%s: %v %v", path, a, err)
		}
	}
	if got := c.must("runs/search", `{"experiment_ids":["`+exp+`","`+mine+`"],"max_results":10}`, "runs"); strings.Contains(got, served) || !strings.Contains(got, "r1") {
		t.Error(got)
	}
	if got := c.must("experiments/search", "", "experiments"); strings.Contains(got, "fraud") {
		t.Error(got)
	}
}

// What trials and folds score is not what the challenger scored.
func TestMLflowTrainingNestsRuns(t *testing.T) {
	c := &tracker{t: t, m: NewMLflow(newSource()), run: &TrackedRun{ID: "r1", Model: "churn", ArtifactURI: "file:///out/mlflow"}}
	exp := c.must("runs/get", "run_id=r1", "run", "info", "experiment_id")
	c.must("runs/log-metric", `{"run_id":"r1","key":"auc","value":0.9}`)
	nested := `{"experiment_id":"` + exp + `","run_name":"fold 1","tags":[{"key":"mlflow.parentRunId","value":"r1"}]}`
	id, info := c.must("runs/create", nested, "run", "info", "run_id"), c.must("runs/create", nested, "run", "info")
	if id == "r1" || !strings.Contains(info, "fold 1") || !strings.Contains(info, "file:///out/mlflow-nested-") {
		t.Error(info)
	}
	a, err := c.call("runs/log-batch", `{"run_id":"`+id+`","metrics":[{"key":"auc","value":0.1}]}`)
	if err != nil || a.Logged != nil || a.Batch != nil {
		t.Errorf("%v %+v", err, a)
	}
	for run, want := range map[string]string{"r1": "0.9", id: "0.1"} {
		if got := c.must("runs/get", "run_id="+run, "run", "data", "metrics"); !strings.Contains(got, "value:"+want) {
			t.Errorf("%s: %s", run, got)
		}
	}
	if got := c.must("runs/search", `{"experiment_ids":["`+exp+`"]}`, "runs"); !strings.Contains(got, id) || !strings.Contains(got, "run_id:r1 ") {
		t.Error(got)
	}
	for _, other := range []string{"r1-nested-../x", "r12", "r1-x", "r2-nested-a"} {
		if _, err := c.call("runs/get", "run_id="+other); !errors.Is(err, visutility.ErrNotFound) {
			t.Errorf("%s: %v", other, err)
		}
	}
	c.m = NewMLflow(newSource()) // the server starts anew
	c.must("runs/log-metric", `{"run_id":"`+id+`","key":"auc","value":0.2}`)
}

// The next attempt of a run has a directory of its own, and logged nothing yet.
func TestMLflowTrainingTriesAgain(t *testing.T) {
	c := &tracker{t: t, m: NewMLflow(newSource()), run: &TrackedRun{ID: "r1", Model: "churn", ArtifactURI: "file:///1/mlflow"}}
	c.must("runs/log-parameter", `{"run_id":"r1","key":"depth","value":"6"}`)
	c.run = &TrackedRun{ID: "r1", Model: "churn", ArtifactURI: "file:///2/mlflow"}
	if got := c.must("runs/get", "run_id=r1", "run"); !strings.Contains(got, "file:///2/mlflow") || strings.Contains(got, "depth") {
		t.Error(got)
	}
}

func TestMLflowRefuses(t *testing.T) {
	c := &tracker{t: t, m: NewMLflow(newSource())}
	long := strings.Repeat("x", 200)
	exp := c.must("experiments/create", `{"name":"`+long+`"}`, "experiment_id")
	for input, want := range map[string]error{
		"runs/create {":                                       ErrSyntax,
		`runs/create {"experiment_id":"0"}`:                   visutility.ErrInvalid,
		`runs/create {"experiment_id":"` + exp + `"}`:         visutility.ErrInvalid,
		`experiments/create {"name":""}`:                      visutility.ErrInvalid,
		`experiments/create {"name":"a\nb"}`:                  visutility.ErrInvalid,
		"runs/get run_id=nothing":                             visutility.ErrNotFound,
		`runs/log-metric {"run_id":"vis!!","value":1}`:        visutility.ErrNotFound,
		`runs/log-metric {"run_id":"x","value":"high"}`:       ErrSyntax,
		`runs/log-batch ` + strings.Repeat("[", 999):          ErrTooLarge,
		`runs/search {"filter":"metrics.a > 1"}`:              visutility.ErrInvalid,
		`runs/search {"order_by":["metrics.a DESC"]}`:         visutility.ErrInvalid,
		"experiments/get experiment_id=none":                  visutility.ErrNotFound,
		`runs/log-metric {"run_id":"x","timestamp":"soon"}`:   ErrSyntax,
		`runs/update {"run_id":"` + runPrefix + `e30"}`:       visutility.ErrNotFound,
		`runs/log-metric {"run_id":"","key":"a","value":1.0}`: visutility.ErrNotFound,
	} {
		path, in, _ := strings.Cut(input, " ")
		if a, err := c.call(path, in); !errors.Is(err, want) {
			t.Errorf("%.60s: %v %v", input, a, err)
		}
	}
	if r := MLflowError(404, "no"); r.Status != 404 || string(r.Body) != `{"error_code":"RESOURCE_DOES_NOT_EXIST","message":"no"}` {
		t.Errorf("%d %s", r.Status, r.Body)
	}
}

func TestMLflowForgets(t *testing.T) {
	c := &tracker{t: t, m: NewMLflow(newSource())}
	exp := c.must("experiments/create", `{"name":"m"}`, "experiment_id")
	c.m.runs.max = 100
	for range 2 * c.m.runs.max {
		c.must("runs/create", `{"experiment_id":"`+exp+`"}`)
	}
	if n := len(c.m.runs.younger) + len(c.m.runs.older); n > c.m.runs.max {
		t.Errorf("%d runs are remembered", n)
	}
	run := c.must("runs/create", `{"experiment_id":"`+exp+`"}`, "run", "info", "run_id")
	for i := range 2 {
		var params []string
		for k := range maxTrackedNames {
			params = append(params, fmt.Sprintf(`{"key":"p%d-%d","value":"v"}`, i, k))
		}
		c.must("runs/log-batch", `{"run_id":"`+run+`","params":[`+strings.Join(params, ",")+`]}`)
	}
	if r, _ := c.m.runs.get(run); len(r.params) > maxTrackedNames {
		t.Errorf("%d parameters are remembered", len(r.params))
	}
}

func FuzzMLflow(f *testing.F) {
	for i, body := range []string{`{"name":"m"}`, `{"experiment_id":"0","tags":[{"key":"model","value":"m"}]}`, `{"run_id":"r","metrics":[{"key":"a","value":"NaN","timestamp":"1"}]}`} {
		f.Add(uint8(i), []byte(body), false)
		f.Add(uint8(i), []byte(body), true)
	}
	f.Fuzz(func(t *testing.T, at uint8, body []byte, training bool) {
		c := TrackingCall{Body: body, Query: url.Values{"run_id": {string(body)}, "experiment_id": {string(body)}}, Now: now}
		if training {
			c.Run = &TrackedRun{ID: "r", Model: "m"}
		}
		a, err := MLflowEndpoints[int(at)%len(MLflowEndpoints)].Call(NewMLflow(newSource()), c)
		if err != nil {
			if !errors.Is(err, visutility.ErrInvalid) && !errors.Is(err, visutility.ErrNotFound) {
				t.Fatal(err)
			}
			return
		}
		if a.Batch != nil {
			checkBatch(t, a.Batch)
		}
		if _, err := json.Marshal(a.Reply); err != nil {
			t.Fatal(err)
		}
	})
}

func BenchmarkMLflow(b *testing.B) {
	m := NewMLflow(newSource())
	id, err := encodeRunID("fraud", "7")
	if err != nil {
		b.Fatal(err)
	}
	var metrics []string
	for i := range 500 {
		metrics = append(metrics, fmt.Sprintf(`{"key":"accuracy","value":0.9%d,"timestamp":%d,"step":%d}`, i, now.UnixMilli(), i))
	}
	call := TrackingCall{Body: fmt.Appendf(nil, `{"run_id":%q,"metrics":[%s]}`, id, strings.Join(metrics, ",")), Now: now.Add(time.Second)}
	b.SetBytes(int64(len(call.Body)))
	b.ReportAllocs()
	for b.Loop() {
		if a, err := m.logBatch(call); err != nil || len(a.Batch.Events) != 500 {
			b.Fatal(err, a.Batch)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/500, "ns/event")
}
