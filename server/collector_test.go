package server

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"

	"github.com/visutility/visutility"
)

// TestCollector has an OpenTelemetry Collector, built from testdata/collector, take in what an SDK sends and export it
// to two servers: to one over gRPC, to the other over HTTP, both with gzip.
func TestCollector(t *testing.T) {
	program := filepath.Join(t.TempDir(), "collector")
	if out, err := exec.Command("go", "build", "-C", "testdata/collector", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Run("exports", func(t *testing.T) { collectorExports(t, program) })
	t.Run("is told what is refused", func(t *testing.T) { collectorIsRefused(t, program) })
	t.Run("is not let in", func(t *testing.T) { collectorIsNotLetIn(t, program) })
	t.Run("tries again", func(t *testing.T) { collectorTriesAgain(t, program) })
}

// The routes by which a Collector exports.
const (
	byGRPC = `route="POST /opentelemetry.proto.collector.metrics.v1.MetricsService/Export"`
	byHTTP = `route="POST /v1/metrics"`
)

// A collector is a Collector that runs, and the servers behind it by the routes that it takes to them.
type collector struct {
	t       *testing.T
	addr    string
	cmd     *exec.Cmd
	said    bytes.Buffer // to be read when it has ended
	servers map[string]*site
}

func startCollector(t *testing.T, program, token string) *collector {
	t.Helper()
	c := &collector{t: t, addr: freeAddr(t), servers: map[string]*site{byGRPC: serve(t), byHTTP: serve(t)}}
	config := filepath.Join(t.TempDir(), "otelcol.yaml")
	if err := os.WriteFile(config, fmt.Appendf(nil, `
receivers: {otlp: {protocols: {http: {endpoint: %q}}}}
processors: {batch: {timeout: 100ms}}
exporters:
  otlp_grpc: {endpoint: %q, tls: {insecure: true}, headers: {authorization: %q}, retry_on_failure: {initial_interval: 100ms}}
  otlp_http: {endpoint: %[4]q, headers: {authorization: %[3]q}, retry_on_failure: {initial_interval: 100ms}}
service: {pipelines: {metrics: {receivers: [otlp], processors: [batch], exporters: [otlp_grpc, otlp_http]}}}
`, c.addr, strings.TrimPrefix(c.servers[byGRPC].url, "http://"), "Bearer "+token, c.servers[byHTTP].url), 0o600); err != nil {
		t.Fatal(err)
	}
	c.cmd = exec.Command(program, "--config="+config)
	c.cmd.Stdout, c.cmd.Stderr = &c.said, &c.said
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if c.cmd.ProcessState == nil {
			_ = c.cmd.Process.Kill()
			_ = c.cmd.Wait() // it was killed
		}
		if t.Failed() {
			t.Logf("the Collector said:\n%s", c.said.String())
		}
	})
	await(t, "the Collector to listen", func() bool {
		conn, err := net.Dial("tcp", c.addr)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	return c
}

// stop ends the Collector, which delivers what it still holds, and returns what it said.
func (c *collector) stop() string {
	c.t.Helper()
	if err := c.cmd.Process.Signal(os.Interrupt); err != nil {
		c.t.Fatal(err)
	}
	if err := c.cmd.Wait(); err != nil {
		c.t.Error(err)
	}
	return c.said.String()
}

// measure has an SDK measure and send it to the Collector.
func (c *collector) measure() {
	c.t.Helper()
	exporter, err := otlpmetrichttp.New(c.t.Context(), otlpmetrichttp.WithEndpointURL("http://"+c.addr+"/v1/metrics"))
	if err != nil {
		c.t.Fatal(err)
	}
	measure(c.t, exporter)
}

// post sends the Collector two measurements, of which one names no model.
func (c *collector) post() {
	c.t.Helper()
	res, err := http.Post("http://"+c.addr+"/v1/metrics", "application/json", strings.NewReader(`{"resourceMetrics":[{"scopeMetrics":[{
		"metrics":[{"name":"auc","gauge":{"dataPoints":[
			{"asDouble":0.5,"attributes":[{"key":"model","value":{"stringValue":"churn"}}]},
			{"asDouble":0.6}]}}]}]}]}`))
	if err != nil {
		c.t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusOK {
		c.t.Fatal(res.Status)
	}
}

func collectorExports(t *testing.T, program string) {
	c := startCollector(t, program, token)
	c.measure()
	said := c.stop()
	for _, s := range c.servers {
		s.measured()
	}
	if strings.Contains(said, `"level":"warn"`) || strings.Contains(said, `"level":"error"`) {
		t.Error("it complains")
	}
}

// What names no model is refused once, and the Collector says why.
func collectorIsRefused(t *testing.T, program string) {
	c := startCollector(t, program, token)
	c.post()
	said := c.stop()
	for route, s := range c.servers {
		if got := s.events(); len(got) != 1 || got[0].Model != "churn" {
			t.Errorf("%s: %+v", route, got)
		}
		if n := s.counter(`visutility_http_requests_total{code="200",` + route + `}`); n != "1" {
			t.Errorf("%s: it was sent %s times", route, n)
		}
	}
	if strings.Count(said, "dataPoints[1]") != 2 {
		t.Error("it does not say what was refused")
	}
}

// A wrong token is nothing that trying again would help.
func collectorIsNotLetIn(t *testing.T, program string) {
	c := startCollector(t, program, "wrong")
	c.post()
	said := c.stop()
	for route, s := range c.servers {
		if n := len(s.events()); n > 0 {
			t.Errorf("%s: %d events", route, n)
		}
	}
	if strings.Count(said, "not retryable error") != len(c.servers) || strings.Contains(said, "Will retry") {
		t.Error("it does not give up")
	}
}

// A busy server, and one that is unavailable, is tried again when it said, and gets each measurement once.
func collectorTriesAgain(t *testing.T, program string) {
	c := startCollector(t, program, token)
	for _, s := range c.servers {
		var tries atomic.Int32
		s.publish = func(context.Context, []visutility.Event) error {
			switch tries.Add(1) {
			case 1:
				return visutility.ErrOverloaded
			case 2:
				return visutility.ErrUnavailable
			}
			return nil
		}
	}
	c.measure()
	for _, s := range c.servers {
		s.awaitEvent("the accuracy", func(e visutility.Event) bool { return e.Metric == "accuracy" })
	}
	said := c.stop()
	for _, s := range c.servers {
		s.measured()
	}
	for _, wait := range []time.Duration{retryOverloaded, retryUnavailable} {
		if strings.Count(said, fmt.Sprintf("Throttle (%v)", wait)) < len(c.servers) {
			t.Errorf("it did not wait for %v", wait)
		}
	}
}
