package ingest_test

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/ingest"
)

var clock = time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)

func TestPredictions(t *testing.T) {
	body := `{"model": "fraud", "id": "tx-1", "prediction": true, "score": 0.93, "version": "7", "time": "2026-01-31T10:00:00Z",
		"features": {"amount": 12.5, "country": "DE", "new": false, "unknown": null}, "labels": {"shop": "web"}}
{"model": "price", "id": 18446744073709551617, "prediction": -1.5e3}`
	want := []visutility.Prediction{
		{Model: "fraud", ID: "tx-1", Answer: visutility.Answer{Class: "true"}, Score: 0.93, Version: "7", Time: clock.Add(-2 * time.Hour), Labels: map[string]string{"shop": "web"},
			Features: []visutility.Feature{{Name: "amount", Value: visutility.Answer{Number: 12.5}}, {Name: "country", Value: visutility.Answer{Class: "DE"}}, {Name: "new", Value: visutility.Answer{Class: "false"}}}},
		{Model: "price", ID: "18446744073709551617", Answer: visutility.Answer{Number: -1500}, Score: math.NaN()},
	}
	for _, contentType := range []string{"", "application/x-ndjson"} {
		got, err := ingest.Predictions(contentType, []byte(body), clock)
		if diff := cmp.Diff(want, got, cmpopts.EquateNaNs()); err != nil || diff != "" {
			t.Errorf("%q: %v %s", contentType, err, diff)
		}
	}
	got, err := ingest.Labels("application/json", []byte(`[{"model": "fraud", "id": "tx-1", "label": false, "time": 1769857200}, {"model": "price", "id": 3, "label": "cheap"}]`), clock)
	truths := []visutility.Truth{
		{Model: "fraud", ID: "tx-1", Answer: visutility.Answer{Class: "false"}, Time: clock.Add(-time.Hour)},
		{Model: "price", ID: "3", Answer: visutility.Answer{Class: "cheap"}},
	}
	if diff := cmp.Diff(truths, got); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
}

// TestBadSamplesAreNamed: each body is refused as a whole, with its fault.
func TestBadSamplesAreNamed(t *testing.T) {
	labels := func(body string) error {
		_, err := ingest.Labels("", []byte(body), clock)
		return err
	}
	predictions := func(body string) error {
		_, err := ingest.Predictions("", []byte(body), clock)
		return err
	}
	for _, c := range []struct {
		decode     func(string) error
		body, want string
	}{
		{predictions, `{"model": "m", "id": "1"}`, "prediction: is missing: a text, a boolean or a number"},
		{predictions, `{"model": "m", "prediction": 1}`, "id: is missing or empty"},
		{predictions, `{"id": "1", "prediction": 1}`, "model: is missing or empty"},
		{predictions, `{"model": "m", "id": 1.5, "prediction": 1}`, "id: is 1.5; send a string, or a whole number"},
		{predictions, `{"model": "m", "id": "1", "prediction": ""}`, "prediction: is an empty string"},
		{predictions, `{"model": "m", "id": "1", "prediction": null}`, "prediction: is null; send a text, a boolean or a number"},
		{predictions, `{"model": "m", "id": "1", "prediction": NaN}`, "prediction: is NaN"},
		{predictions, `{"model": "m", "id": "1", "prediction": 1e200}`, "prediction: is not a number up to ±1e100"},
		{predictions, `{"model": "m", "id": "1", "prediction": 1, "score": 1.5}`, "score: is 1.5; send a probability from 0 to 1"},
		{predictions, `{"model": "m", "id": "1", "prediction": 1, "score": NaN}`, "score: is NaN; send a probability from 0 to 1 or nothing"},
		{predictions, `{"model": "m", "id": "1", "prediction": 1, "score": "high"}`, "score: is a string; send a number"},
		{predictions, `{"model": "m", "id": "1", "prediction": 1, "features": [1]}`, "features: is an array; send an object"},
		{predictions, `{"model": "m", "id": "1", "prediction": 1, "features": {"x": [1]}}`, "features.x: is an array; send a text, a boolean or a number"},
		{predictions, `{"model": "m", "id": "1", "prediction": 1, "features": {"x": 1, "x": 2}}`, "features.x: is given twice"},
		{predictions, `{"model": "m", "id": "1", "prediction": 1, "probability": 1}`, `probability: is not a field of a prediction; did you mean "score"?`},
		{predictions, `{"model": "m", "id": "1", "prediction": 1, "time": "2027-01-31T10:00:00Z"}`, "time: 2027-01-31T10:00:00Z is more than a day ahead"},
		{predictions, `{"model": "m", "id": "1", "prediction": 1, "labels": {"a\u0001": "b"}}`, "labels"},
		{predictions, `[{"model": "m", "id": "1", "prediction": 1}, 5]`, "predictions[1]: is a number; send an object"},
		{predictions, ``, `it is empty; send a prediction such as`},
		{labels, `{"model": "m", "id": "1"}`, "label: is missing"},
		{labels, `[{"model": "m", "id": "1", "label": {}}]`, "labels[0].label: is an object; send a text, a boolean or a number"},
		{labels, `{"model": "m", "id": "1", "truth": 1}`, `truth: is not a field of a label; did you mean "label"?`},
		{labels, `{"model": "m", "id": "1", "label": 1, "label": 2}`, "label: is given twice"},
		{labels, `{"model": "m", "id": "1", "label": 1`, "line 1"},
	} {
		if err := c.decode(c.body); err == nil || !strings.Contains(err.Error(), c.want) || !errors.Is(err, visutility.ErrInvalid) {
			t.Errorf("%s: %v; want %q", c.body, err, c.want)
		}
	}
	features := strings.Repeat(`"%": 1, `, 300)
	for i := range 300 {
		features = strings.Replace(features, "%", string(rune('a'+i%26))+strings.Repeat("x", i/26), 1)
	}
	if err := predictions(`{"model": "m", "id": "1", "prediction": 1, "features": {` + features + `"last": 1}}`); err == nil || !strings.Contains(err.Error(), "256 are allowed") {
		t.Errorf("300 features: %v", err)
	}
	if _, err := ingest.Predictions("text/csv", nil, clock); !errors.Is(err, ingest.ErrUnsupported) {
		t.Errorf("text/csv: %v", err)
	}
}

// FuzzSamples: what is accepted passes the check; nothing panics.
func FuzzSamples(f *testing.F) {
	f.Add([]byte(`{"model": "fraud", "id": "tx-1", "prediction": true, "score": 0.93, "features": {"amount": 12.5, "country": "DE", "gone": null}}`))
	f.Add([]byte(`[{"model": "m", "id": 1, "label": "x", "time": 1769857200}]`))
	f.Add([]byte(`{"model": "m", "id": 1, "prediction": NaN, "features": {"x": -Infinity}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		predictions, err := ingest.Predictions("", body, clock)
		if err != nil && len(predictions) > 0 {
			t.Error("something came with an error")
		}
		for i := range predictions {
			if bad := predictions[i].Check(nil, "", clock); len(bad) > 0 {
				t.Errorf("accepted, and bad: %v", bad)
			}
		}
		truths, _ := ingest.Labels("", body, clock)
		for i := range truths {
			if bad := truths[i].Check(nil, "", clock); len(bad) > 0 {
				t.Errorf("accepted, and bad: %v", bad)
			}
		}
	})
}

// A reference is read from a file beside the mapping; what is wrong in it is told by line and column.
func TestReferenceOfPredictions(t *testing.T) {
	files := fstest.MapFS{"data/train.csv": {Data: []byte("amount,country\n" + strings.Repeat("1,DE\n2,FR\n", 20))}, "bad.csv": {Data: []byte("amount\n1\nNaN\n")}}
	read := func(src string) (ingest.Mapping, error) {
		return ingest.ReadMapping("ingest.yaml", []byte("predictions: {a: {"+src+", min_samples: 30}}"), files)
	}
	m, err := read("reference: data/train.csv, drift: chi_square")
	if s := m.Predictions.For("a"); err != nil || s.Reference == "" || s.Distance != "chi_square" {
		t.Errorf("%+v, %v", s, err)
	}
	again, err := read("reference: data/train.csv")
	if err != nil || again.Predictions.For("a").Reference != m.Predictions.For("a").Reference {
		t.Errorf("the same file makes another reference: %v", err)
	}
	if _, err := read("reference: bad.csv"); err == nil || !strings.Contains(err.Error(), `predictions.a.reference: bad.csv: line 3, column "amount": is "NaN"; leave the cell empty`) {
		t.Error(err)
	}
}

func TestSettingsOfPredictions(t *testing.T) {
	m, err := ingest.ReadMapping("ingest.yaml", []byte("predictions:\n  fraud: {window: 1d, mature_after: 30d, positive: true, drift: jensen_shannon, min_samples: 50}\n  \"*\": {mature_after: learned, task: regression}\n"), fstest.MapFS{})
	if err != nil {
		t.Fatal(err)
	}
	if s := m.Predictions.For("fraud"); s.Window != 24*time.Hour || s.MatureAfter != 30*24*time.Hour || s.Positive != "true" || s.Distance != "jensen_shannon" || s.MinSamples != 50 {
		t.Errorf("the settings of fraud are %+v", s)
	}
	if s := m.Predictions.For("price"); s.Window != time.Hour || s.MatureAfter != 0 || s.Task != "regression" || s.Distance != "psi" {
		t.Errorf("the settings of price are %+v", s)
	}
	for src, want := range map[string]string{
		"predictions: {a: {window: 1y}}":            `predictions.a.window: is "1y"; write a duration from 1s to 2w`,
		"predictions: {a: {mature_after: soon}}":    `predictions.a.mature_after: is "soon"`,
		"predictions: {a: {drift: ks}}":             `predictions.a.drift: is "ks"; write psi, jensen_shannon or chi_square`,
		"predictions: {a: {task: ranking}}":         `predictions.a.task: is "ranking"`,
		"predictions: {a: {windows: 1h}}":           `predictions.a`,
		"predictions: {a: {positive: [x]}}":         `predictions.a.positive`,
		"predictions: {\"[\": {window: 1h}}":        `predictions.[: is not a pattern`,
		"predictions: {a: {min_samples: -1}}":       `predictions.a.min_samples: is -1`,
		"predictions: {a: {max_pending: -1}}":       `predictions.a.max_pending: is -1`,
		"predictions: [a]":                          `ingest.yaml`,
		"predictions: {a: {reference: ../x.csv}}":   `predictions.a.reference: is "../x.csv"; write the name of a CSV file that lies beside`,
		"predictions: {a: {reference: /etc/hosts}}": `predictions.a.reference: is "/etc/hosts"`,
		"predictions: {a: {reference: none.csv}}":   `predictions.a.reference: open none.csv: file does not exist`,
	} {
		if _, err := ingest.ReadMapping("ingest.yaml", []byte(src), fstest.MapFS{}); err == nil || !strings.Contains(err.Error(), want) || !errors.Is(err, visutility.ErrInvalid) {
			t.Errorf("%s: %v; want %q", src, err, want)
		}
	}
}

// BenchmarkSamples decodes 500 predictions a body, and 500 labels.
func BenchmarkSamples(b *testing.B) {
	features := strings.Repeat(`"feature_%": 12.25, `, 10)
	for i := range 10 {
		features = strings.Replace(features, "%", strconv.Itoa(i), 1)
	}
	for _, c := range []struct {
		name, one string
		decode    func(body []byte) error
	}{
		{"predictions", `{"model": "fraud", "id": "tx-%", "prediction": true, "score": 0.93, "version": "7", "time": 1769857200}`, decodePredictions},
		{"predictions+features", `{"model": "fraud", "id": "tx-%", "prediction": true, "score": 0.93, "version": "7", "time": 1769857200, "features": {` + features + `"country": "DE"}}`, decodePredictions},
		{"labels", `{"model": "fraud", "id": "tx-%", "label": true, "time": 1769857200}`, func(body []byte) error { _, err := ingest.Labels("", body, clock); return err }},
	} {
		b.Run(c.name, func(b *testing.B) {
			var body []byte
			for i := range 500 {
				body = append(body, strings.Replace(c.one, "%", strconv.Itoa(i), 1)+"\n"...)
			}
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if err := c.decode(body); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/500, "ns/sample")
		})
	}
}

func decodePredictions(body []byte) error { _, err := ingest.Predictions("", body, clock); return err }
