package trainer

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/visutility/visutility"
)

// trackedFile, in an attempt's directory, has what its program logged by a tracking protocol.
const trackedFile = "tracked.json"

// TrackingDir, in the output directory, is where a program's tracking client puts artifacts.
const TrackingDir = "mlflow"

// progressMetric is the metric by which a program that tracks tells how far it is, from 0 to 1.
const progressMetric = "progress"

// A Tracking is what a training program logs by MLflow's tracking protocol. The last value of each metric is what the
// challenger scored, where result.json does not say otherwise.
type Tracking struct {
	Metrics map[string]float64 `json:"metrics"`
	Step    int64              `json:"step"`
}

// A Tracker keeps what training programs log, for the runs whose directories are in Dir. Safe for concurrent use.
type Tracker struct {
	Dir string
	mu  sync.Mutex
}

// Output is the output directory of an attempt.
func (t *Tracker) Output(run string, n int) string { return t.attempt(run, n).output() }

func (t *Tracker) attempt(run string, n int) attempt {
	return attempt{AttemptDir(filepath.Join(t.Dir, run), n)}
}

// Track adds to what an attempt logged; it is on disk when Track returns. An attempt that was never made is
// [visutility.ErrNotFound], one that is over [visutility.ErrConflict]; more than 256 metrics, or names and values that no
// event could have, are [visutility.ErrInvalid].
func (t *Tracker) Track(run string, n int, said Tracking) error {
	if !filepath.IsLocal(run) || run != filepath.Base(run) {
		return fmt.Errorf("run %q: %w", run, visutility.ErrNotFound)
	}
	a := t.attempt(run, n)
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case !a.has(jobFile):
		return fmt.Errorf("attempt %d of run %s: %w", n, run, visutility.ErrNotFound)
	case a.has(exitFile):
		return fmt.Errorf("attempt %d of run %s is over: %w", n, run, visutility.ErrConflict)
	}
	var all Tracking
	if _, err := readJSON(a.path(trackedFile), &all); err != nil {
		return err
	}
	if all.Metrics == nil {
		all.Metrics = map[string]float64{}
	}
	fraction, tells := said.Metrics[progressMetric]
	maps.Copy(all.Metrics, said.Metrics)
	delete(all.Metrics, progressMetric)
	all.Step = max(all.Step, said.Step)
	if errs := checkMetrics(nil, "metrics", all.Metrics); len(errs) > 0 {
		return &visutility.InvalidError{Fields: errs}
	}
	if err := writeJSON(a.path(trackedFile), all); err != nil {
		return fmt.Errorf("%w: keeping what was logged: %w", visutility.ErrUnavailable, err)
	}
	var p progress
	if root, err := os.OpenRoot(a.output()); err == nil {
		p, _ = readProgress(root) // none yet: it begins with this
		_ = root.Close()          // only read
	}
	if tells {
		p.Progress = clamp(fraction)
	}
	p.Message = shorten(said.message())
	return writeJSON(filepath.Join(a.output(), progressFile), p)
}

// message says in a line what was logged.
func (s Tracking) message() string {
	var parts []string
	if s.Step > 0 {
		parts = append(parts, fmt.Sprintf("step %d", s.Step))
	}
	for _, name := range slices.Sorted(maps.Keys(s.Metrics)) {
		if name != progressMetric && len(parts) < 6 {
			parts = append(parts, fmt.Sprintf("%s %.4g", name, s.Metrics[name]))
		}
	}
	return strings.Join(parts, ", ")
}

// result is what the program left: result.json, completed by what it logged. One that ended well without
// result.json, but logged one file by its tracking client, has that for its artifact.
func (a attempt) result(ended bool) (visutility.Artifact, error) {
	found, err := ReadResult(a.output())
	var said Tracking
	if ok, readErr := readJSON(a.path(trackedFile), &said); readErr != nil || !ok {
		return found, errors.Join(err, readErr)
	}
	if err != nil && ended && !exists(filepath.Join(a.output(), resultFile)) {
		found, err = a.logged()
	}
	if err != nil {
		return found, err
	}
	metrics := map[string]float64{}
	maps.Copy(metrics, said.Metrics)
	maps.Copy(metrics, found.Metrics)
	if errs := checkMetrics(nil, "metrics", metrics); len(errs) > 0 {
		return found, &visutility.InvalidError{Fields: errs}
	}
	found.Metrics = metrics
	return found, nil
}

// logged is the artifact of a program that left it by its tracking client.
func (a attempt) logged() (found visutility.Artifact, err error) {
	file, err := soleFile(a.output())
	if err != nil {
		return found, err
	}
	root, err := os.OpenRoot(a.output())
	if err != nil {
		return found, err
	}
	defer root.Close()
	found.URI, found.Size, err = locate(root, file)
	return found, err
}

// soleFile finds the one file that a program logged as an artifact, relative to the output directory.
func soleFile(output string) (string, error) {
	var files []string
	seen := 0
	err := filepath.WalkDir(filepath.Join(output, TrackingDir), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if seen++; seen > 1 {
			return fs.SkipAll
		}
		rel, err := filepath.Rel(output, path)
		files = append(files, rel)
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if seen != 1 {
		return "", visutility.Invalidf(resultFile, "missing", "is missing, and the program logged %s: leave result.json in the directory named by VISUTILITY_OUTPUT, or log one file with mlflow.log_artifact",
			map[bool]string{true: "no artifact", false: "several files"}[seen == 0])
	}
	return files[0], nil
}
