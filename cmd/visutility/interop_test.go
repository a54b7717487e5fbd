//go:build interop

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestInteropSnippets runs the Python snippets of docs/ingest.md with the clients that they import.
func TestInteropSnippets(t *testing.T) {
	ran := 0
	for _, s := range snippets(t) {
		if s.language != "python" || strings.HasPrefix(s.text, "# train.py") {
			continue
		}
		ran++
		t.Run("", func(t *testing.T) { runSender(t, s) })
		if strings.Contains(s.text, "OTLPMetricExporter") { // the same over gRPC
			s.text = strings.NewReplacer("proto.http", "proto.grpc", "/v1/metrics", "").Replace(s.text)
			t.Run("grpc", func(t *testing.T) { runSender(t, s) })
		}
	}
	if ran < 2 {
		t.Errorf("%d snippets", ran)
	}
}

// TestInteropTraining launches training programs that know MLflow only: that of docs/ingest.md, and one that does
// what such programs do.
func TestInteropTraining(t *testing.T) {
	for _, s := range snippets(t) {
		if strings.HasPrefix(s.text, "# train.py") {
			t.Run("docs", func(t *testing.T) { trainByMLflow(t, s.text) })
		}
	}
	program, err := os.ReadFile("testdata/mlflow/train.py")
	if err != nil {
		t.Fatal(err)
	}
	t.Run("habits", func(t *testing.T) { trainByMLflow(t, string(program)) })
}

// trainByMLflow launches a program whose challenger scores 0.94 and is a file with the words "the model".
func trainByMLflow(t *testing.T, program string) {
	v := &victim{t: t, dir: t.TempDir()}
	policies := filepath.Join(v.dir, "policies")
	mkdir(t, policies)
	write(t, filepath.Join(policies, "train.py"), program)
	write(t, filepath.Join(policies, "fraud.yaml"), `
model: fraud
retrain: {when: accuracy < 0.8}
train: {run: [`+python(t)+`, train.py]}
promote: {when: candidate.accuracy > 0.9}
`)
	v.start()
	defer v.kill()
	if !v.post(t.Context(), "1", []byte(`{"model": "fraud", "metric": "accuracy", "value": 0.5}`)) {
		t.Fatal("not accepted")
	}
	type version struct {
		Metrics  map[string]float64
		Artifact struct{ Size int64 }
	}
	for end := time.Now().Add(2 * patience); ; pause() {
		got := get[struct{ Items []version }](v, "/api/v1/models/fraud/versions")
		if len(got.Items) == 1 {
			if got.Items[0].Metrics["accuracy"] != 0.94 || got.Items[0].Artifact.Size != int64(len("the model")) || len(got.Items[0].Metrics) != 1 {
				t.Errorf("%+v", got.Items[0])
			}
			return
		}
		if time.Now().After(end) {
			t.Fatalf("no version: %+v", get[map[string]any](v, "/api/v1/runs"))
		}
	}
}
