package server

import (
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/history"
	"github.com/visutility/visutility/policy"
	"github.com/visutility/visutility/store"
)

func TestFleetTellsAllInOne(t *testing.T) {
	s := serve(t)
	s.models[0].LastDecision, s.models[0].Champion, s.models[0].Policies = "d2", "v3", []string{"p"}
	s.models[0].Metrics = []store.Metric{{Name: "auc", Last: 0.5, LastTime: start}, {Name: "a", Last: 7, LastTime: start}, {Name: "recall", Last: 0.8, LastTime: start}}
	s.policies = []*policy.Policy{{Name: "p", Retrain: policy.Retrain{When: `auc_2 < 1 && avg(recall, "1h") < auc`}, Metrics: map[string]policy.Metric{"recall": {Goal: policy.HigherIsBetter}}}}
	s.versions[2].Metrics = map[string]float64{"recall": 0.9}
	later := start.Add(time.Second)
	s.series = []history.Series{
		{Metric: "recall", Version: "v1", Points: []history.Point{{Time: start, Last: 1}, {Time: later, Last: 2}}},
		{Metric: "recall", Version: "v2", Points: []history.Point{{Time: later, Last: 3}, {Time: later.Add(time.Second), Last: 4}}},
	}
	rows := parse[fleetBody](t, s.get(apiPath+"/fleet?limit=2", 200)).Items
	if len(rows) != 2 {
		t.Fatalf("%d rows", len(rows))
	}
	r := rows[0]
	if r.Name != "model-0" || r.State != "retraining" || r.Run == nil || r.Run.ID != "r0" || r.Decision == nil || r.Decision.ID != "d2" {
		t.Errorf("got %+v", r)
	}
	want := &LeadMetric{
		Metric: "recall", Goal: "higher_is_better", Value: 0.8, Time: start, Baseline: Baseline{new(0.9), "champion"},
		Points: []SparkPoint{{start, 1}, {later, 3}, {later.Add(time.Second), 4}},
	}
	if diff := cmp.Diff(want, r.Lead); diff != "" {
		t.Error(diff)
	}
	if got := parse[fleetBody](t, s.get(apiPath+"/fleet?offset=4", 200)).Items; len(got) != 1 || got[0].Name != "model-4" {
		t.Errorf("from the fourth on: %+v", got)
	}
	counts := parse[FleetCounts](t, s.get(apiPath+"/fleet/counts", 200))
	if counts.Total != 5 || counts.States["retraining"] != 5 {
		t.Errorf("counted %+v", counts)
	}
	for _, q := range []string{"state=x", "sort=x", "offset=-1", "limit=101"} {
		s.get(apiPath+"/fleet?"+q, 422)
	}
}

// TestFleetByBaseline: who falls short the most comes first, whichever way is the better one; without a baseline last.
func TestFleetByBaseline(t *testing.T) {
	s := serve(t)
	s.policies = []*policy.Policy{{Name: "p", Retrain: policy.Retrain{When: "auc < 1 || mae > 1"}, Metrics: map[string]policy.Metric{"auc": {Goal: policy.HigherIsBetter}, "mae": {Goal: policy.LowerIsBetter}}}}
	s.versions[2].Metrics = map[string]float64{"auc": 0.8, "mae": 10}
	for i, m := range []store.Metric{{Name: "auc", Last: 0.72}, {Name: "auc", Last: 0.9}, {Name: "other", Last: 0.1}, {Name: "mae", Last: 12}, {Name: "mae", Last: 9}} {
		s.models[i].Champion, s.models[i].Policies, s.models[i].Metrics = "v3", []string{"p"}, []store.Metric{m}
	}
	names := func(query string) (list []string) {
		for _, r := range parse[fleetBody](t, s.get(apiPath+"/fleet?sort=baseline"+query, 200)).Items {
			list = append(list, r.Name)
		}
		return list
	}
	want := []string{"model-3", "model-0", "model-4", "model-1", "model-2"} // 20 %, 10 %, -10 %, -12.5 %
	if got := names(""); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if got := names("&offset=1&limit=2"); !slices.Equal(got, want[1:3]) {
		t.Errorf("a piece: %v", got)
	}
	if got := names("&q=model-1"); !slices.Equal(got, want[3:4]) {
		t.Errorf("another view: %v", got)
	}
	if got := names("&offset=9"); len(got) > 0 {
		t.Errorf("behind the end: %v", got)
	}
}

// A policy's own baseline goes before what the champion scored.
func TestMetricsHaveBaselineAndGoal(t *testing.T) {
	s := serve(t)
	s.models[0].Champion, s.models[0].Policies = "v3", []string{"none", "p"}
	s.policies[0].Metrics = map[string]policy.Metric{"auc": {Goal: policy.HigherIsBetter}}
	list := parse[pageOf[ModelMetric]](t, s.get(apiPath+"/models/model-0/metrics", 200)).Items
	if len(list) != 1 || list[0].Goal != "higher_is_better" || *list[0].Level != 0.9 || list[0].Source != "champion" {
		t.Fatalf("got %+v", list)
	}
	s.decisions[0].Evidence = []visutility.Term{{Expr: "auc < baseline.auc - 0.1", Terms: []visutility.Term{
		{Expr: "auc", Value: 0.5}, {Expr: "baseline.auc - 0.1", Value: 0.6, Terms: []visutility.Term{{Expr: "baseline.auc", Value: 0.7}}},
	}}}
	list = parse[pageOf[ModelMetric]](t, s.get(apiPath+"/models/model-0/metrics", 200)).Items
	if *list[0].Level != 0.7 || list[0].Source != "policy" {
		t.Errorf("got %+v", list)
	}
	s.get(apiPath+"/models/none/metrics", 404)
}

func TestPromotionsArePlacedAmongTheMeasurements(t *testing.T) {
	s := serve(t)
	s.runs = []visutility.Run{
		{ID: "r1", Model: "model-0", Version: "v1", State: visutility.Succeeded, CreatedAt: start, PromotedAt: start.Add(time.Hour), Window: visutility.Window{To: start.AddDate(-10, 0, 0)}},
		{ID: "r2", Model: "model-0", Version: "v2", State: visutility.RolledBack, CreatedAt: start, PromotedAt: start.Add(2 * time.Hour), EndedAt: start.Add(3 * time.Hour)},
	}
	s.moves = []store.AliasMove{
		{From: "v9", To: "v1", Time: start.Add(time.Hour + 20*time.Second)}, // by a clock that was set back: near v1's own promotion
		{From: "v1", To: "v9", Time: start.Add(4 * time.Hour)},
		{From: "v2", To: "v1", Time: start.Add(3 * time.Hour)},
		{From: "v1", To: "v2", Time: start.Add(2 * time.Hour)},
		{From: "", To: "v1", Time: start.Add(time.Hour)},
	}
	var got []string
	list := parse[pageOf[Promotion]](t, s.get(apiPath+"/models/model-0/promotions", 200)).Items
	for _, p := range list {
		got = append(got, fmt.Sprintf("%s %s again=%v", p.Kind, p.Run, p.Again))
	}
	if diff := cmp.Diff([]string{"by_hand  again=true", "by_hand  again=false", "rolled_back r2 again=true", "promoted r2 again=false", "promoted r1 again=false"}, got); diff != "" {
		t.Fatal(diff)
	}
	if want := start.AddDate(-10, 0, 0).Add(time.Hour); !list[4].EventTime.Equal(want) {
		t.Errorf("placed at %v, want %v: an hour after what was decided upon", list[4].EventTime, want)
	}
	if !list[1].EventTime.Equal(list[1].Time) {
		t.Errorf("placed at %v", list[1].EventTime)
	}
	s.get(apiPath+"/models/none/promotions", 404)
}

func TestPolicyCheckNamesEveryFault(t *testing.T) {
	s := serve(t)
	good := "model: m\nretrain: {when: accuracy < 0.8}\ntrain: {run: ./train}\n"
	c := parse[PolicyCheck](t, s.post(apiPath+"/policies/check", asJSON(t, map[string]string{"name": "../up/fraud.yaml", "source": good}), 200))
	if !c.Valid || c.Policy == nil || c.Policy.Name != "fraud" || len(c.Errors) != 0 {
		t.Errorf("got %+v", c)
	}
	bad := "model: m\nretrain: {when: accurcy <}\ntrian: {run: ./train}\n"
	c = parse[PolicyCheck](t, s.post(apiPath+"/policies/check", asJSON(t, map[string]string{"source": bad}), 200))
	if c.Valid || c.Policy != nil || len(c.Errors) < 2 || c.Errors[0].Line < 2 || c.Errors[0].Message == "" {
		t.Errorf("got %+v", c)
	}
	s.post(apiPath+"/policies/check", `{}`, 422)
	if len(s.acted) > 0 {
		t.Errorf("something was done: %v", s.acted)
	}
}

func TestPolicyIsApplied(t *testing.T) {
	s := serve(t)
	const good, bad = "model: m\nretrain: {when: accuracy < 0.8}\ntrain: {run: ./train}\n", "model: m\nretrain: {when: accurcy <}\ntrian: {run: ./train}\n"
	apply := func(name, source string, status int) string {
		t.Helper()
		return s.post(apiPath+"/policies/"+name, asJSON(t, map[string]string{"source": source, "revision": "a", "by": "ann"}), status)
	}
	p := parse[Policy](t, apply("fraud", good, 200))
	if p.Name != "fraud" || p.Source != good || p.Revision == "" || !slices.Equal(s.acted, []string{"apply fraud a by ann"}) {
		t.Errorf("%+v, done: %q", p, s.acted)
	}
	faults := parse[Problem](t, apply("fraud", bad, 422))
	if len(faults.Errors) < 2 || faults.Errors[0].Location != "body.source" || faults.Errors[0].Line < 2 {
		t.Errorf("faults: %+v", faults)
	}
	if told := parse[Problem](t, apply("moved-on", good, 409)); !strings.Contains(told.Detail, "is at revision") {
		t.Errorf("%+v", told)
	}
	s.post(apiPath+"/policies/fraud", `{"revision": "a"}`, 422)
	apply("fraud", strings.Repeat("#", maxPolicyBody), 413)
	if len(s.acted) != 1 {
		t.Errorf("done: %q", s.acted)
	}
}

func TestSettingsKeepSecrets(t *testing.T) {
	s := serve(t, func(o *Options) { o.AllowedHosts = []string{"ml.example"} })
	body := s.get(apiPath+"/settings", 200)
	got := parse[Settings](t, body)
	if !got.TokenRequired || got.AllowedHosts[0] != "ml.example" || got.Limits.MaxSeries != 10 || got.Limits.Retention != "1h0m0s" || strings.Contains(body, token) {
		t.Errorf("got %s", body)
	}
}

func TestStreamTellsMeasurements(t *testing.T) {
	s := serve(t)
	all := s.open(apiPath + "/events?measurements=true")
	some := s.open(apiPath + "/events?measurements_of=m&measurements_of=n")
	none := s.open(apiPath + "/events")
	for _, r := range []io.RuneScanner{all, some, none} {
		_, _, err := r.ReadRune() // it has begun
		if err == nil {
			err = r.UnreadRune()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	tell := func(model string) {
		s.Tell(&visutility.Entry{Series: []visutility.Series{{Model: model, Metric: "auc", Version: "v1"}}, Records: []visutility.Record{{Time: start.UnixMilli(), Value: 0.5, Count: 3}}})
	}
	tell("other")
	const other = "event: measurements\ndata: {\"items\":[{\"model\":\"other\",\"metric\":\"auc\",\"version\":\"v1\",\"time\":\"2026-01-31T12:00:00Z\",\"value\":0.5,\"count\":3}],\"dropped\":0}\n"
	if block(t, all); block(t, all) != other {
		t.Error("the stream of all does not tell")
	}
	tell("m")
	if block(t, some); block(t, some) != strings.Replace(other, "other", "m", 1) {
		t.Error("the stream of one does not tell")
	}
	s.happen(1)
	expectIDs(t, none, 1, 1)
	s.get(apiPath+"/events?measurements=x", 422)
	s.get(apiPath+"/events?"+strings.Repeat("measurements_of=m&", 101), 422)
}

func TestPageIsCompressedAndCached(t *testing.T) {
	s := serve(t, func(o *Options) {
		o.UI = fstest.MapFS{"index.html": {Data: []byte("<!doctype html>")}, "assets/app-1.js": {Data: []byte("plain")}, "assets/app-1.js.gz": {Data: []byte("packed")}, "secret": {}, "assets/dir/x.js": {}}
	})
	for _, c := range []struct{ path, encoding, body, cache, kind string }{
		{"/", "identity", "<!doctype html>", "no-cache", "text/html; charset=utf-8"},
		{"/assets/app-1.js", "identity", "plain", "public, max-age=31536000, immutable", "text/javascript; charset=utf-8"},
		{"/assets/app-1.js", "gzip", "packed", "public, max-age=31536000, immutable", "text/javascript; charset=utf-8"},
	} {
		_, body, h := s.do(s.request("GET", c.path, "", "Authorization", "", "Accept-Encoding", c.encoding))
		if body != c.body || h.Get("Cache-Control") != c.cache || h.Get("Content-Type") != c.kind || h.Get("Vary") != "Accept-Encoding" {
			t.Errorf("%s as %s: %q %v", c.path, c.encoding, body, h)
		}
	}
	for _, path := range []string{"/secret", "/index.html", "/assets/", "/assets/dir", "/assets/dir/x.js", "/assets/..%2fsecret"} {
		s.get(path, 404)
	}
}

// TestDocumentIsCommitted keeps the document from which the page's types are made.
func TestDocumentIsCommitted(t *testing.T) {
	s := serve(t)
	const file = "../ui/openapi.json"
	got := s.get(apiPath+"/openapi.json", 200)
	if flag.Lookup("rewrite").Value.String() == "true" { // that of datadriven
		if err := os.WriteFile(file, []byte(got+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got+"\n" != string(want) {
		t.Errorf("%s is old: go test ./server -run TestDocumentIsCommitted -rewrite && make types", file)
	}
}
