package engine

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/visutility/visutility/history"
	"github.com/visutility/visutility/policy"
)

// TestPull asks a server what a policy wants to know, with its token, and keeps the answer.
func TestPull(t *testing.T) {
	t.Setenv("PROM_TOKEN", "secret")
	asked := make(chan string, 100)
	prom := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil {
			t.Error(err)
		}
		asked <- r.Form.Get("query") + " " + r.Header.Get("Authorization")
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"status":"success","data":{"resultType":"vector","result":[{"metric":{"model":"fraud"},"value":[%s,"0.3"]},{"metric":{},"value":[%[1]s,"1"]}]}}`, r.Form.Get("time"))
	}))
	defer prom.Close()
	pol, err := policy.Parse("p.yaml", fmt.Appendf(nil, `
models: ["*"]
metrics:
  psi: {goal: lower_is_better, source: {prometheus: {url: %q, query: "max by (model) (psi)", every: 1s, token_env: PROM_TOKEN}}}
  lost: {goal: lower_is_better, source: {prometheus: {query: up}}}
retrain: {when: psi > 0.5}
train: {run: x}
`, prom.URL))
	if err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	e, err := Open(t.Context(), Options{Dir: filepath.Join(t.TempDir(), "d"), Policies: []*policy.Policy{pol}, Registerer: registry})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- e.Run(ctx) }()
	if got := <-asked; got != "max by (model) (psi) Bearer secret" {
		t.Error(got)
	}
	for end := time.Now().Add(30 * time.Second); ; {
		series, err := e.History().Select(t.Context(), history.Query{Model: "fraud", Metric: "psi", Points: 10})
		if err == nil && len(series) == 1 && len(series[0].Points) > 0 && series[0].Points[0].Last == 0.3 && pulls(t, registry) == "refused" {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%v %v %s", series, err, pulls(t, registry))
		}
		<-asked // the next time
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// pulls are the results that were counted.
func pulls(t *testing.T, g prometheus.Gatherer) string {
	t.Helper()
	families, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, f := range families {
		if f.GetName() != "visutility_queries_total" {
			continue
		}
		for _, m := range f.Metric {
			for _, l := range m.Label {
				if l.GetName() == "result" {
					all = append(all, l.GetValue())
				}
			}
		}
	}
	return strings.Join(all, " ")
}
