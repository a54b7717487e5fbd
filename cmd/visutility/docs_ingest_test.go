package main

import (
	"bytes"
	"context"
	"encoding/json"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/visutility/visutility/history"
	"github.com/visutility/visutility/ingest"
	"github.com/visutility/visutility/policy"
)

// A sender is how a snippet of docs/ingest.md is run, the sender it is of being the real one, and what the
// server then knows of the model fraud.
type sender struct {
	mark   string // in the snippet
	run    func(t *testing.T, v *victim, text string)
	metric string
	value  float64
	ingest string // the file of --ingest, if any
}

var senders = []sender{
	{mark: "jetstream.", run: natsSender, metric: "accuracy", value: 0.91},
	{mark: "# prometheus.yml", run: prometheusSender, metric: "accuracy", value: 0.91},
	{mark: "# otelcol.yaml", run: collectorSender, metric: "accuracy", value: 0.91},
	{mark: "# alertmanager.yml", run: alertmanagerSender, metric: "FraudDrift", value: 1},
	{mark: "/api/v1/predictions", run: shellSender, metric: "precision", value: 0.5, ingest: "predictions: {fraud: {window: 1s, mature_after: 1s}}"},
	{mark: "serving.inference.response", run: shellSender, metric: "prediction", value: 0.91},
	{mark: "import ", run: pythonSender, metric: "accuracy", value: 0.91},
	{mark: "curl ", run: shellSender, metric: "accuracy", value: 0.91},
}

func runSender(t *testing.T, s snippet) {
	switch {
	case s.language == "python" && os.Getenv(pythonVariable) == "":
		return // make interop runs it
	case strings.HasPrefix(s.text, "# ingest.yaml"):
		files := fstest.MapFS{"train.csv": {Data: []byte("amount,country\n" + strings.Repeat("310.5,DE\n12,FR\n", 300))}}
		if _, err := ingest.ReadMapping("ingest.yaml", []byte(s.text), files); err != nil {
			t.Error(err)
		}
		return
	case strings.Contains(s.text, "localhost:9090"):
		runQuery(t, s.text)
		return
	case strings.HasPrefix(s.text, "model: "):
		if _, err := policy.Parse("snippet.yaml", []byte(s.text)); err != nil {
			t.Error(err)
		}
		return
	}
	i := slices.IndexFunc(senders, func(x sender) bool { return strings.Contains(s.text, x.mark) })
	if i < 0 {
		t.Fatalf("no test runs this snippet: %s", s.text)
	}
	x := senders[i]
	v := &victim{t: t, dir: t.TempDir()}
	mkdir(t, filepath.Join(v.dir, "policies"))
	if x.ingest != "" {
		file := filepath.Join(v.dir, "ingest.yaml")
		write(t, file, x.ingest)
		v.args = []string{"--ingest", file}
	}
	if s.language == "go" {
		v.args = []string{"--nats-listen", freePort(t)}
	}
	v.start()
	defer v.kill()
	x.run(t, v, strings.ReplaceAll(s.text, "localhost:8080", strings.TrimPrefix(v.base(), "http://")))
	v.await(x)
}

// await waits until the server knows what was sent.
func (v *victim) await(x sender) {
	v.t.Helper()
	for end := time.Now().Add(patience); ; pause() {
		series, err := v.history("fraud", x.metric)
		if err == nil && len(series) > 0 && len(series[0].Points) > 0 {
			if got := series[0].Points[len(series[0].Points)-1].Last; math.Abs(got-x.value) > 1e-9 {
				v.t.Errorf("the %s of fraud is %v, want %v", x.metric, got, x.value)
			}
			return
		}
		if time.Now().After(end) {
			v.t.Fatalf("nothing was measured: %v", err)
		}
	}
}

func shellSender(t *testing.T, _ *victim, text string) {
	if out, err := exec.Command("sh", "-ec", text).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

func (v *victim) history(model, metric string) (series []history.Series, err error) {
	resp, err := http.Get(v.base() + "/api/v1/models/" + model + "/history?metric=" + metric)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var page struct{ Series []history.Series }
	err = json.NewDecoder(resp.Body).Decode(&page)
	return page.Series, err
}

// background starts another program for the length of the test.
func background(t *testing.T, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = t.TempDir()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v: run scripts/setup, which installs what the tests need", err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
		if t.Failed() {
			t.Logf("%s said:\n%s", name, out.String())
		}
	})
}

// freePort is an address on which nobody listens.
func freePort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// prometheusSender has a Prometheus with that configuration scrape a scorer.
func prometheusSender(t *testing.T, _ *victim, config string) {
	scrape(t, scorerServer(t).URL, config)
}

func scorerServer(t *testing.T) *httptest.Server {
	scorer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		_, _ = w.Write([]byte("accuracy{model=\"fraud\"} 0.91\nup_time 5\n")) // Prometheus scrapes again
	}))
	t.Cleanup(scorer.Close)
	return scorer
}

// scrape starts a Prometheus that scrapes a scorer, and returns its address.
func scrape(t *testing.T, scorer, config string) string {
	file := filepath.Join(t.TempDir(), "prometheus.yml")
	addr := freePort(t)
	write(t, file, config+"\nglobal: {scrape_interval: 200ms}\nscrape_configs: [{job_name: scorer, static_configs: [{targets: ['"+strings.TrimPrefix(scorer, "http://")+"']}]}]\n")
	background(t, "prometheus", "--config.file="+file, "--storage.tsdb.path=data", "--web.listen-address="+addr)
	return addr
}

// runQuery runs a policy that asks a Prometheus.
func runQuery(t *testing.T, text string) {
	scorer := scorerServer(t)
	v := &victim{t: t, dir: t.TempDir()}
	mkdir(t, filepath.Join(v.dir, "policies"))
	write(t, filepath.Join(v.dir, "policies", "fraud.yaml"), strings.Replace(text, "localhost:9090", scrape(t, scorer.URL, ""), 1))
	v.start()
	defer v.kill()
	v.await(sender{metric: "accuracy", value: 0.91})
}

// collectorSender has a Collector with that configuration take in a measurement while the server is down: it is delivered once it
// is up again.
func collectorSender(t *testing.T, v *victim, config string) {
	addr := strings.TrimPrefix(v.base(), "http://")
	v.kill()
	gone, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer gone.Close()
	program := filepath.Join(t.TempDir(), "collector")
	if out, err := exec.Command("go", "build", "-C", "../../server/testdata/collector", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	file, otlp := filepath.Join(t.TempDir(), "otelcol.yaml"), freePort(t)
	write(t, file, strings.NewReplacer("localhost:4317", freePort(t), "localhost:4318", otlp).Replace(config))
	t.Setenv("VISUTILITY_TOKEN", "any")
	background(t, program, "--config="+file)
	for end := time.Now().Add(patience); ; pause() {
		resp, err := http.Post("http://"+otlp+"/v1/metrics", "application/json", strings.NewReader(`{"resourceMetrics": [{"scopeMetrics": [{
			"metrics": [{"name": "accuracy", "gauge": {"dataPoints": [{"asDouble": 0.91, "attributes": [{"key": "model", "value": {"stringValue": "fraud"}}]}]}}]}]}]}`))
		if err == nil {
			resp.Body.Close()
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the Collector takes nothing: %v", err)
		}
	}
	if err := gone.(*net.TCPListener).SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	conn, err := gone.Accept() // the first attempt
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	gone.Close()
	v.args = []string{"--listen", addr}
	v.start()
}

// TestCollectorOverGRPC runs the Collector of docs/ingest.md over gRPC, with the server as it is shipped: the libraries of a
// test know compressions that it might not.
func TestCollectorOverGRPC(t *testing.T) {
	for _, s := range snippets(t) {
		if strings.HasPrefix(s.text, "# otelcol.yaml") {
			s.text = strings.NewReplacer("otlp_http", "otlp_grpc", "retry_on_failure:", "tls: {insecure: true}\n    retry_on_failure:").Replace(s.text)
			runSender(t, s)
			return
		}
	}
	t.Error("there is no Collector in the docs")
}

// alertmanagerSender has an Alertmanager with that configuration hear of an alert.
func alertmanagerSender(t *testing.T, _ *victim, config string) {
	file := filepath.Join(t.TempDir(), "alertmanager.yml")
	write(t, file, strings.Replace(config, "group_wait: 10s", "group_wait: 10ms", 1))
	addr := freePort(t)
	background(t, "prometheus-alertmanager", "--config.file="+file, "--storage.path=data", "--web.listen-address="+addr, "--cluster.listen-address=")
	for end := time.Now().Add(patience); ; pause() {
		resp, err := http.Post("http://"+addr+"/api/v2/alerts", "application/json", strings.NewReader(`[{"labels": {"alertname": "FraudDrift", "model": "fraud"}}]`))
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
		if time.Now().After(end) {
			t.Fatalf("Alertmanager does not take the alert: %v", err)
		}
	}
}

// pythonVariable names the interpreter that has the libraries of the Python snippets.
const pythonVariable = "VISUTILITY_PYTHON"

func python(t *testing.T) string {
	t.Helper()
	path := os.Getenv(pythonVariable)
	if path == "" {
		t.Fatalf("%s names no interpreter: run make interop", pythonVariable)
	}
	return path
}

func pythonSender(t *testing.T, _ *victim, text string) {
	file := filepath.Join(t.TempDir(), "snippet.py")
	write(t, file, text)
	cmd := exec.Command(python(t), file)
	cmd.Dir = filepath.Dir(file)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// natsSender publishes with nats.go. That the snippet is the function below is checked here.
func natsSender(t *testing.T, v *victim, text string) {
	source, err := os.ReadFile("docs_ingest_test.go")
	if err != nil {
		t.Fatal(err)
	}
	plain := func(s string) string { return strings.Join(strings.Fields(s), " ") }
	if !strings.Contains(plain(string(source)), plain(text)) {
		t.Errorf("this is no part of docs_ingest_test.go:\n%s", text)
	}
	if err := publishByNATS(t.Context(), "nats://"+v.args[1], ""); err != nil {
		t.Error(err)
	}
}

func publishByNATS(ctx context.Context, url, token string) error {
	nc, err := nats.Connect(url, nats.Token(token)) // "nats://localhost:4222"
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	_, err = js.Publish(ctx, "visutility.metrics", []byte(`{"model": "fraud", "metric": "accuracy", "value": 0.91}`), jetstream.WithMsgID("scorer-1"))
	return err
}
