package trainer

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/visutility/visutility"
)

// resultFile is what the training program leaves in its output directory.
const (
	resultFile   = "result.json"
	progressFile = "progress.json"
)

// maxMetrics bounds the metrics of one result.
const maxMetrics = 256

// A Result is what a training program says of its work, in result.json, and
// a webhook in its last callback. The schema is served at /api/v1/schemas/result.json.
type Result struct {
	// Artifact is a path relative to VISUTILITY_OUTPUT, or a URI, which is kept
	// as it is and never opened. A webhook can only give a URI. Required.
	Artifact string `json:"artifact"`
	// Metrics are what the challenger scored on its hold-out.
	Metrics map[string]float64 `json:"metrics,omitempty"`
	// ChampionMetrics are what the champion scored on the same.
	ChampionMetrics map[string]float64 `json:"champion_metrics,omitempty"`
}

// DecodeResult reads a result strictly: an unknown or repeated field, a metric that
// is not a finite number, a name out of bounds are refused, all of them named.
// Errors are [visutility.ErrInvalid].
func DecodeResult(data []byte) (Result, error) {
	if len(data) > maxFile {
		return Result{}, visutility.Invalidf(resultFile, "too_long", "has more than 1 MiB")
	}
	var r Result
	if err := json.Unmarshal(data, &r, json.RejectUnknownMembers(true)); err != nil {
		return Result{}, explainJSON(data, err)
	}
	return r, r.check()
}

// check returns everything that is wrong with the result, but for the artifact's whereabouts.
func (r Result) check() error {
	var errs []visutility.FieldError
	switch {
	case r.Artifact == "":
		errs = append(errs, visutility.FieldError{Field: "artifact", Reason: "empty", Message: "is missing or empty; it is a path relative to VISUTILITY_OUTPUT, or a URI"})
	case len(r.Artifact) > 4096:
		errs = append(errs, visutility.FieldError{Field: "artifact", Reason: "too_long", Message: "has more than 4096 bytes"})
	case strings.ContainsFunc(r.Artifact, func(c rune) bool { return c < ' ' || c == 0x7f }):
		errs = append(errs, visutility.FieldError{Field: "artifact", Reason: "control_character", Message: "contains a control character"})
	}
	errs = checkMetrics(errs, "metrics", r.Metrics)
	errs = checkMetrics(errs, "champion_metrics", r.ChampionMetrics)
	if len(errs) > 0 {
		return &visutility.InvalidError{Fields: errs}
	}
	return nil
}

// checkMetrics holds metrics against the rules for events: they will be compared with them.
func checkMetrics(errs []visutility.FieldError, field string, metrics map[string]float64) []visutility.FieldError {
	if len(metrics) > maxMetrics {
		return append(errs, visutility.FieldError{Field: field, Reason: "too_many", Message: fmt.Sprintf("has %d metrics; %d are allowed", len(metrics), maxMetrics)})
	}
	for _, name := range slices.Sorted(maps.Keys(metrics)) {
		e := visutility.Event{Model: "m", Metric: name, Value: metrics[name]}
		for _, wrong := range e.Check(nil, "", time.Now()) {
			wrong.Field = field + "." + cmp.Or(name, `""`)
			errs = append(errs, wrong)
		}
	}
	return errs
}

// explainJSON turns a decoding error into one that names the field, or the place.
func explainJSON(data []byte, err error) error {
	var semantic *json.SemanticError
	if errors.As(err, &semantic) {
		field := cmp.Or(strings.ReplaceAll(strings.Trim(string(semantic.JSONPointer), "/"), "/", "."), resultFile)
		if errors.Is(err, json.ErrUnknownName) {
			return visutility.Invalidf(field, "unknown_field", "is not a field of result.json; artifact, metrics and champion_metrics are")
		}
		return visutility.Invalidf(field, "type", "has the wrong type: artifact is a string, metrics and champion_metrics are objects of numbers")
	}
	var syntactic *jsontext.SyntacticError
	if errors.As(err, &syntactic) {
		field := cmp.Or(strings.ReplaceAll(strings.Trim(string(syntactic.JSONPointer), "/"), "/", "."), resultFile)
		if errors.Is(err, jsontext.ErrDuplicateName) {
			return visutility.Invalidf(field, "duplicate_field", "is given twice")
		}
		at := min(int(syntactic.ByteOffset), len(data))
		line := 1 + strings.Count(string(data[:at]), "\n")
		hint := ""
		for _, word := range []string{"NaN", "Infinity", "-Infinity"} {
			if strings.HasPrefix(strings.TrimLeft(string(data[at:]), " \t\r\n:"), word) || strings.HasPrefix(string(data[max(0, at-1):]), word) {
				hint = "; JSON has no " + word + ": leave the metric out"
			}
		}
		return visutility.Invalidf(field, "syntax", "is not JSON at line %d, byte %d%s", line, at, hint)
	}
	return visutility.Invalidf(resultFile, "syntax", "is not JSON: %v", err)
}

// ReadResult reads result.json from a training program's output directory. The artifact it returns
// has the absolute path of the file for a URI; the file has been seen to lie inside the
// directory, symbolic links followed. What is wrong with the result is [visutility.ErrInvalid].
func ReadResult(output string) (visutility.Artifact, error) {
	root, err := os.OpenRoot(output)
	if err != nil {
		return visutility.Artifact{}, err
	}
	defer root.Close()
	data, err := readRegular(root, resultFile, maxFile+1)
	if errors.Is(err, fs.ErrNotExist) {
		return visutility.Artifact{}, visutility.Invalidf(resultFile, "missing", "is missing: the program must leave it in the directory named by VISUTILITY_OUTPUT")
	}
	if err != nil {
		return visutility.Artifact{}, visutility.Invalidf(resultFile, "unreadable", "cannot be read: %v", err)
	}
	r, err := DecodeResult(data)
	if err != nil {
		return visutility.Artifact{}, err
	}
	a := visutility.Artifact{URI: r.Artifact, Metrics: r.Metrics, ChampionMetrics: r.ChampionMetrics}
	if isURI(r.Artifact) {
		return a, nil
	}
	a.URI, a.Size, err = locate(root, r.Artifact)
	return a, err
}

// locate finds the artifact's file in the output directory.
func locate(root *os.Root, path string) (string, int64, error) {
	if filepath.IsAbs(path) || !filepath.IsLocal(path) {
		return "", 0, visutility.Invalidf("artifact", "outside", "%q is not inside the output directory; give a path relative to it, or a URI", path)
	}
	info, err := root.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", 0, visutility.Invalidf("artifact", "missing", "%q does not exist in the output directory", path)
	case err != nil:
		return "", 0, visutility.Invalidf("artifact", "outside", "%q cannot be reached inside the output directory: %v", path, err)
	case info.IsDir():
		return "", 0, visutility.Invalidf("artifact", "directory", "%q is a directory; pack it into one file, or give a URI", path)
	case !info.Mode().IsRegular():
		return "", 0, visutility.Invalidf("artifact", "not_a_file", "%q is not a regular file", path)
	}
	return filepath.Join(root.Name(), path), info.Size(), nil
}

// isURI tells a URI from a path: it has a scheme of two letters or more, so
// that a drive letter is none.
func isURI(s string) bool {
	u, err := url.Parse(s)
	return err == nil && len(u.Scheme) > 1
}

// readRegular reads a file inside root, of which a program may have made
// anything: a link that leads out, a pipe that never ends.
func readRegular(root *os.Root, name string, limit int64) ([]byte, error) {
	f, err := root.OpenFile(name, os.O_RDONLY|nonBlock, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", name)
	}
	return io.ReadAll(io.LimitReader(f, limit))
}

// A progress is the content of progress.json.
type progress struct {
	Progress float64 `json:"progress"`
	Message  string  `json:"message"`
}

// A progressWatch reports progress.json when it changes.
type progressWatch struct {
	output string
	report func(float64, string)
	last   progress
	next   time.Time
}

// look reads the file, at most every half second. What cannot be read is no progress, not a failure.
func (w *progressWatch) look(now time.Time) {
	if now.Before(w.next) {
		return
	}
	w.next = now.Add(500 * time.Millisecond)
	root, err := os.OpenRoot(w.output)
	if err != nil {
		return
	}
	defer root.Close()
	p, ok := readProgress(root)
	if !ok || p == w.last {
		return
	}
	w.last = p
	w.report(clamp(p.Progress), shorten(p.Message))
}

// readProgress reads progress.json in an output directory, if there is one that can be read.
func readProgress(root *os.Root) (p progress, ok bool) {
	data, err := readRegular(root, progressFile, 64<<10)
	if err != nil || json.Unmarshal(data, &p) != nil {
		return progress{}, false
	}
	return p, true
}

func clamp(x float64) float64 {
	if !(x > 0) { // NaN too
		return 0
	}
	return min(x, 1)
}

// shorten bounds a message from outside to 1,000 bytes.
func shorten(s string) string {
	if len(s) > 1000 {
		s = s[:1000] + "…"
	}
	return strings.ToValidUTF8(s, "�")
}
