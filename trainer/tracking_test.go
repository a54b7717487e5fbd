package trainer

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/visutility/visutility"
)

// trackedAttempt makes the directory of a first attempt, and a tracker for it.
func trackedAttempt(t *testing.T) (*Tracker, attempt) {
	t.Helper()
	tr := &Tracker{Dir: t.TempDir()}
	a, _, err := prepare(visutility.Job{Run: "r1", Model: "m", Attempt: 1, Dir: filepath.Join(tr.Dir, "r1")})
	if err != nil {
		t.Fatal(err)
	}
	return tr, a
}

func leave(t *testing.T, a attempt, name, text string) {
	t.Helper()
	path := filepath.Join(a.output(), name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestTrackedMetricsCompleteTheResult(t *testing.T) {
	tr, a := trackedAttempt(t)
	for _, said := range []Tracking{{map[string]float64{"auc": 0.5, "loss": 2}, 1}, {map[string]float64{"auc": 0.9, "progress": 0.4}, 2}} {
		if err := tr.Track("r1", 1, said); err != nil {
			t.Fatal(err)
		}
	}
	var reported float64
	var word string
	w := progressWatch{output: a.output(), report: func(p float64, message string) { reported, word = p, message }}
	w.look(w.next)
	if reported != 0.4 || word != "step 2, auc 0.9" {
		t.Errorf("%v %q", reported, word)
	}
	leave(t, a, "model.bin", "x")
	leave(t, a, resultFile, `{"artifact":"model.bin","metrics":{"loss":1}}`)
	for _, ended := range []bool{true, false} {
		found, err := a.result(ended)
		if err != nil || !cmp.Equal(found.Metrics, map[string]float64{"auc": 0.9, "loss": 1}) || filepath.Base(found.URI) != "model.bin" {
			t.Errorf("%v %+v", err, found)
		}
	}
}

func TestTheOneTrackedArtifactIsTheResult(t *testing.T) {
	tr, a := trackedAttempt(t)
	if err := tr.Track("r1", 1, Tracking{Metrics: map[string]float64{"auc": 0.9}}); err != nil {
		t.Fatal(err)
	}
	if _, err := a.result(true); !errors.Is(err, visutility.ErrInvalid) || !strings.Contains(err.Error(), "no artifact") {
		t.Error(err)
	}
	leave(t, a, "mlflow/models/model.bin", "xyz")
	if _, err := a.result(false); err == nil {
		t.Error("a program that may have been in the middle of it is taken to have succeeded")
	}
	found, err := a.result(true)
	if err != nil || found.Size != 3 || !strings.HasSuffix(filepath.ToSlash(found.URI), "mlflow/models/model.bin") || found.Metrics["auc"] != 0.9 {
		t.Errorf("%v %+v", err, found)
	}
	leave(t, a, "mlflow/plot.png", "p")
	if _, err := a.result(true); !errors.Is(err, visutility.ErrInvalid) || !strings.Contains(err.Error(), "several files") {
		t.Error(err)
	}
	leave(t, a, resultFile, "{")
	if _, err := a.result(true); !errors.Is(err, visutility.ErrInvalid) || !strings.Contains(err.Error(), "is not JSON") {
		t.Errorf("a wrong result is passed over: %v", err)
	}
}

func TestTrackRefuses(t *testing.T) {
	tr, a := trackedAttempt(t)
	many := map[string]float64{}
	for i := range maxMetrics + 1 {
		many[strings.Repeat("x", i+1)] = 1
	}
	for name, c := range map[string]struct {
		run     string
		attempt int
		said    map[string]float64
		want    error
	}{
		"run":      {"r2", 1, nil, visutility.ErrNotFound},
		"attempt":  {"r1", 2, nil, visutility.ErrNotFound},
		"path":     {"../r1", 1, nil, visutility.ErrNotFound},
		"no run":   {"", 1, nil, visutility.ErrNotFound},
		"infinite": {"r1", 1, map[string]float64{"x": math.Inf(1)}, visutility.ErrInvalid},
		"name":     {"r1", 1, map[string]float64{"a\nb": 1}, visutility.ErrInvalid},
		"many":     {"r1", 1, many, visutility.ErrInvalid},
	} {
		if err := tr.Track(c.run, c.attempt, Tracking{Metrics: c.said}); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if a.has(trackedFile) {
		t.Error("something was kept")
	}
	if err := writeJSON(a.path(exitFile), exit{}); err != nil {
		t.Fatal(err)
	}
	if err := tr.Track("r1", 1, Tracking{}); !errors.Is(err, visutility.ErrConflict) {
		t.Errorf("of an attempt that is over: %v", err)
	}
}

func TestTrackingEnvironment(t *testing.T) {
	tokens, err := OpenTokens(filepath.Join(t.TempDir(), "key"))
	if err != nil {
		t.Fatal(err)
	}
	_, a := trackedAttempt(t)
	job := visutility.Job{Run: "r1", Model: "m", Attempt: 1}
	find := func(c Command) string {
		for _, v := range c.environment(a, job) {
			if rest, ok := strings.CutPrefix(v, "MLFLOW_TRACKING_TOKEN="); ok {
				return rest
			}
		}
		return ""
	}
	token, ok := strings.CutPrefix(find(Command{TrackingURL: "http://x", Tokens: tokens}), "r1:")
	if n, err := tokens.Check("r1", token); !ok || err != nil || n != 1 {
		t.Errorf("%q: %v", token, err)
	}
	if got := find(Command{TrackingURL: "http://x", Tokens: tokens, Env: []string{"MLFLOW_TRACKING_URI"}}) + find(Command{Tokens: tokens}); got != "" {
		t.Errorf("a program that has a tracking server of its own is told of ours: %q", got)
	}
}
