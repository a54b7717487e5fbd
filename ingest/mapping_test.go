package ingest

import (
	"errors"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/visutility/visutility"
)

func TestReadMapping(t *testing.T) {
	m, err := ReadMapping("ingest.yaml", []byte(`
model: [app.model]
version: [app.version, release]
metrics:
  model_accuracy: accuracy
  "*_psi": drift_score
  "go_*": ""
others: ignore
without_model: ignore
labels: [country, "team_*", service.name]
drop_labels: [team_id]
max_series: 5
`), fstest.MapFS{})
	if err != nil {
		t.Fatal(err)
	}
	want := Mapping{
		Model: []string{"app.model"}, Version: []string{"app.version", "release"},
		Metrics:       []MetricName{{"model_accuracy", "accuracy"}, {"*_psi", "drift_score"}, {"go_*", ""}},
		OthersIgnored: true, Labels: []string{"country", "team_*", "service.name"}, DropLabels: []string{"team_id"}, MaxSeries: 5,
	}
	if diff := cmp.Diff(want, m); diff != "" {
		t.Error(diff)
	}
	for name, want := range map[string]string{"model_accuracy": "accuracy", "a/b_psi": "drift_score", "go_x": "", "other": ""} {
		if got, keep := m.metric(name); keep != (want != "") || keep && got != want {
			t.Errorf("%s becomes %q, %v", name, got, keep)
		}
	}
	id := NewSource(m, now).identify([]attribute{{"country", "DE", true}, {"team_a", "x", true}, {"team_id", "1", true}, {"release", "7", true}, {"zone", "b", true},
		{"app.model", "fraud", false}, {"service.name", "scorer", false}, {"team_b", "y", false}, {"country", "FR", false}})
	if diff := cmp.Diff(identity{"fraud", "7", map[string]string{"country": "DE", "team_a": "x", "service.name": "scorer"}}, id, cmp.AllowUnexported(identity{})); diff != "" {
		t.Error(diff)
	}
	if m, err := ReadMapping("ingest.yaml", []byte("# nothing\n"), fstest.MapFS{}); err != nil || !cmp.Equal(m, DefaultMapping()) {
		t.Errorf("an empty file: %+v, %v", m, err)
	}
}

func TestReadMappingRefuses(t *testing.T) {
	for src, want := range map[string]string{
		"modle: [a]":                        `unknown field "modle"`,
		"model: a":                          "[1:8]",
		"model: []":                         "model: names no attribute",
		"model: [\"\"]":                     "model[0]",
		"labels: [\"[\"]":                   "labels[0]",
		"metrics: {\"[\": x}":               "metrics.[",
		"metrics: {a: 5}":                   "metrics.a: is 5",
		"metrics: {a: }":                    "metrics.a: has no name",
		"metrics: {a: b, a: c}":             "already defined",
		"metrics: {a: \"x\\ny\"}":           "control character",
		"others: drop":                      "write keep or ignore",
		"without_model: keep":               "write refuse or ignore",
		"max_series: -1":                    "max_series",
		"model: [a":                         "ingest.yaml",
		strings.Repeat("#", maxMapping+1):   "bytes",
		"others: x\nwithout_model: y":       "write refuse or ignore",
		"model: [a]\n---\nversion: [b]":     "second document",
		"model: [a]\n---\nversion: [[[[]]]": "ingest.yaml",
	} {
		_, err := ReadMapping("ingest.yaml", []byte(src), fstest.MapFS{})
		if !errors.Is(err, visutility.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, want %q", src, err, want)
		}
	}
}

func FuzzReadMapping(f *testing.F) {
	f.Add([]byte("model: [a]\nmetrics: {\"a*\": b}\n"))
	f.Fuzz(func(t *testing.T, src []byte) {
		if _, err := ReadMapping("f", src, fstest.MapFS{}); err != nil && !errors.Is(err, visutility.ErrInvalid) {
			t.Fatal(err)
		}
	})
}

func TestTotalsAreBounded(t *testing.T) {
	s := newSource(func(m *Mapping) { m.MaxSeries = 10 })
	for i := range 1000 {
		s.totals.commit([]totalUpdate{{uint64(i), total{count: 1}}})
	}
	if n := len(s.totals.younger) + len(s.totals.older); n > 20 {
		t.Errorf("%d totals are remembered", n)
	}
	if _, ok := s.totals.get(999); !ok {
		t.Error("the newest is forgotten")
	}
}
