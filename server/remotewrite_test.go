package server

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/exp/api/remote"
	writev2 "github.com/prometheus/client_golang/exp/api/remote/genproto/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/visutility/visutility"
)

// patience is how long a test waits for another program: far longer than it takes.
const patience = 30 * time.Second

// events are all events published so far.
func (f *fake) events() []visutility.Event {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []visutility.Event
	for _, p := range f.published {
		all = append(all, p...)
	}
	return all
}

// await waits for a condition, looking again and again.
func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !done(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("waited %v for %s", patience, what)
		}
	}
}

// awaitEvent waits for an event of that kind.
func (s *site) awaitEvent(what string, is func(visutility.Event) bool) (found visutility.Event) {
	s.t.Helper()
	await(s.t, what, func() bool {
		for _, e := range s.events() {
			if is(e) {
				found = e
				return true
			}
		}
		return false
	})
	return found
}

// counter is a line of /metrics without its value, and the value; "" when there is none.
func (s *site) counter(series string) string {
	s.t.Helper()
	for line := range strings.Lines(s.get("/metrics", 200)) {
		if v, ok := strings.CutPrefix(line, series+" "); ok {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// program starts another program for the length of the test. Its output is shown when the test fails.
func program(t *testing.T, name string, args ...string) {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%v: run scripts/setup, which installs what the tests need", err)
	}
	cmd := exec.Command(path, args...)
	cmd.Dir = t.TempDir()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
		if t.Failed() {
			t.Logf("%s said:\n%s", name, out.String())
		}
	})
}

// freeAddr is an address on which nobody listens.
func freeAddr(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// TestPrometheus lets a Prometheus server scrape a scorer and remote-write to us.
func TestPrometheus(t *testing.T) {
	s := serve(t)
	registry := prometheus.NewRegistry()
	accuracy := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "accuracy", Help: "a"}, []string{"model", "model_version", "country"})
	errors := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "abs_error", Help: "e", NativeHistogramBucketFactor: 1.1, ConstLabels: prometheus.Labels{"model": "fraud"}})
	registry.MustRegister(accuracy, errors)
	accuracy.WithLabelValues("fraud", "7", "DE").Set(0.91)
	errors.Observe(100)
	scorer := httptest.NewServer(promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	defer scorer.Close()

	config := filepath.Join(t.TempDir(), "prometheus.yml")
	if err := os.WriteFile(config, fmt.Appendf(nil, `
global: {scrape_interval: 200ms}
scrape_configs:
  - {job_name: scorer, static_configs: [{targets: [%q]}], metric_relabel_configs: [{source_labels: [model], regex: .+, action: keep}]}
remote_write:
  - url: %s/api/v1/write
    authorization: {credentials: %s}
    send_native_histograms: true
    queue_config: {batch_send_deadline: 100ms}
    write_relabel_configs: [{source_labels: [model], regex: .+, action: keep}]
`, strings.TrimPrefix(scorer.URL, "http://"), s.url, "'"+token+"'"), 0o600); err != nil {
		t.Fatal(err)
	}
	program(t, "prometheus", "--config.file="+config, "--storage.tsdb.path=data", "--enable-feature=native-histograms", "--web.listen-address="+freeAddr(t))

	e := s.awaitEvent("a gauge", func(e visutility.Event) bool { return e.Metric == "accuracy" })
	if e.Model != "fraud" || e.Version != "7" || e.Value != 0.91 || e.Labels["country"] != "DE" || len(e.Labels) != 1 || time.Since(e.Time) > patience {
		t.Errorf("%+v", e)
	}
	await(t, "the first histogram", func() bool {
		return s.counter(`visutility_ingest_ignored_total{format="remote_write",reason="first"}`) != ""
	})
	errors.Observe(3)
	e = s.awaitEvent("a histogram", func(e visutility.Event) bool { return e.Metric == "abs_error" })
	if e.Value != 3 || e.Count != 1 || e.Model != "fraud" {
		t.Errorf("%+v", e)
	}
	scorer.Close()
	await(t, "the stale markers", func() bool {
		return s.counter(`visutility_ingest_ignored_total{format="remote_write",reason="stale"}`) != ""
	})
	if n := s.counter(`visutility_events_refused_total{format="remote_write",reason="nan"}`); n != "" {
		t.Errorf("%s stale markers were taken for measurements", n)
	}
}

// TestRemoteWriteClient sends version 2.0 by the Prometheus project's own client, which holds the answer
// against the specification.
func TestRemoteWriteClient(t *testing.T) {
	s := serve(t)
	api, err := remote.NewAPI(s.url, remote.WithAPIPath("api/v1/write"), remote.WithAPIHTTPClient(&http.Client{Transport: bearer{s.client.Transport}}))
	if err != nil {
		t.Fatal(err)
	}
	symbols := writev2.NewSymbolTable()
	req := &writev2.Request{}
	for i, model := range []string{"model", "other"} {
		req.Timeseries = append(req.Timeseries, &writev2.TimeSeries{
			LabelsRefs: symbols.SymbolizeLabels([]string{"__name__", "auc", model, "churn"}, nil),
			Samples:    []*writev2.Sample{{Value: 0.5 + float64(i), Timestamp: start.UnixMilli()}},
		})
	}
	req.Symbols = symbols.Symbols()
	stats, err := api.Write(t.Context(), remote.WriteV2MessageType, req)
	if err == nil || !strings.Contains(err.Error(), "timeseries[1].samples[0]") || stats.Samples != 1 {
		t.Errorf("in part: %+v, %v", stats, err)
	}
	req.Timeseries = req.Timeseries[:1]
	if stats, err = api.Write(t.Context(), remote.WriteV2MessageType, req); err != nil || stats.Samples != 1 {
		t.Errorf("%+v, %v", stats, err)
	}
	if got := s.events(); len(got) != 2 || got[0].Model != "churn" || got[0].Value != 0.5 || !got[0].Time.Equal(start) {
		t.Errorf("%+v", got)
	}
	if len(s.keys) != 2 || s.keys[0] == s.keys[1] || !strings.HasPrefix(s.keys[0], "rw:") {
		t.Errorf("keys %q", s.keys)
	}
}

// bearer adds the token to requests.
type bearer struct{ next http.RoundTripper }

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+token)
	return b.next.RoundTrip(r)
}

// Prometheus gives up what is answered 429 unless it is told otherwise, but repeats what is answered 503.
func TestRemoteWriteOverload(t *testing.T) {
	s := serve(t)
	s.publish = func(context.Context, []visutility.Event) error { return visutility.ErrOverloaded }
	symbols := writev2.NewSymbolTable()
	refs := symbols.SymbolizeLabels([]string{"__name__", "auc", "model", "churn"}, nil)
	body, err := (&writev2.Request{Symbols: symbols.Symbols(), Timeseries: []*writev2.TimeSeries{{LabelsRefs: refs, Samples: []*writev2.Sample{{Value: 1}}}}}).MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	r := s.request("POST", "/api/v1/write", string(body), "Content-Type", "application/x-protobuf;proto=io.prometheus.write.v2.Request")
	status, text, h := s.do(r)
	if status != 503 || h.Get("Retry-After") == "" || h.Get("X-Prometheus-Remote-Write-Samples-Written") != "0" {
		t.Errorf("%d %s %v", status, text, h)
	}
	if n := s.counter(`visutility_events_refused_total{format="remote_write",reason="overloaded"}`); n != "1" {
		t.Errorf("counted %q", n)
	}
}
