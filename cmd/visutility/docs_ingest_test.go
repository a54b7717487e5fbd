package main

import (
	"bytes"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/visutility/visutility/history"
	"github.com/visutility/visutility/ingest"
)

// runSender runs a snippet of docs/ingest.md, the sender it is of being the real one, and waits until the
// server knows what they all tell: that the accuracy of fraud is 0.91.
func runSender(t *testing.T, s snippet) {
	v := &victim{t: t, dir: t.TempDir()}
	mkdir(t, filepath.Join(v.dir, "policies"))
	first, _, _ := strings.Cut(s.text, "\n")
	if first == "# ingest.yaml" {
		if _, err := ingest.ReadMapping("ingest.yaml", []byte(s.text)); err != nil {
			t.Error(err)
		}
		return
	}
	v.start()
	defer v.kill()
	text := strings.ReplaceAll(s.text, "localhost:8080", strings.TrimPrefix(v.base(), "http://"))
	switch {
	case s.language == "sh":
		if out, err := exec.Command("sh", "-ec", text).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	case first == "# prometheus.yml":
		prometheusSender(t, text)
	default:
		t.Fatalf("no test runs this %s snippet: %s", s.language, first)
	}
	metric := "accuracy"
	if strings.Contains(text, "kubeflow") {
		metric = "prediction"
	}
	v.awaitFraud(metric)
}

// awaitFraud waits for the measurement that the snippets send.
func (v *victim) awaitFraud(metric string) {
	v.t.Helper()
	for end := time.Now().Add(patience); ; pause() {
		series, err := v.history("fraud", metric)
		if err == nil && len(series) > 0 && len(series[0].Points) > 0 {
			if got := series[0].Points[len(series[0].Points)-1].Last; got != 0.91 {
				v.t.Errorf("the %s of fraud is %v, want 0.91", metric, got)
			}
			return
		}
		if time.Now().After(end) {
			v.t.Fatalf("nothing was measured: %v", err)
		}
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
func prometheusSender(t *testing.T, config string) {
	scorer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		_, _ = w.Write([]byte("accuracy{model=\"fraud\"} 0.91\nup_time 5\n")) // Prometheus scrapes again
	}))
	t.Cleanup(scorer.Close)
	file := filepath.Join(t.TempDir(), "prometheus.yml")
	write(t, file, config+"\nglobal: {scrape_interval: 200ms}\nscrape_configs: [{job_name: scorer, static_configs: [{targets: ['"+strings.TrimPrefix(scorer.URL, "http://")+"']}]}]\n")
	background(t, "prometheus", "--config.file="+file, "--storage.tsdb.path=data", "--web.listen-address="+freePort(t))
}
