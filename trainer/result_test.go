//go:build unix

package trainer

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/visutility/visutility"
)

// TestResultsThatAreWrong lists what people do wrong, and what they are told.
func TestResultsThatAreWrong(t *testing.T) {
	for _, c := range []struct{ name, json, want string }{
		{"empty", ``, "result.json: is not JSON"},
		{"cut", `{"artifact": "model.bin", "metrics": {"wmape": 0.2`, "is not JSON at line 1, byte 50"},
		{"Python's NaN", "{\"artifact\": \"model.bin\",\n \"metrics\": {\"wmape\": NaN}}", "is not JSON at line 2, byte 48; JSON has no NaN: leave the metric out"},
		{"Python's Infinity", `{"metrics": {"wmape": -Infinity}}`, "JSON has no -Infinity: leave the metric out"},
		{"too large a number", `{"artifact": "model.bin", "metrics": {"wmape": 1e999}}`, "metrics.wmape: has the wrong type"},
		{"a misspelt field", `{"artifact": "model.bin", "metrcs": {}}`, "metrcs: is not a field of result.json; artifact, metrics and champion_metrics are"},
		{"another case", `{"Artifact": "model.bin"}`, "Artifact: is not a field"},
		{"a field twice", `{"artifact": "model.bin", "artifact": "other.bin"}`, "artifact: is given twice"},
		{"a metric twice", `{"artifact": "model.bin", "metrics": {"a": 1, "a": 2}}`, "metrics.a: is given twice"},
		{"a metric that is text", `{"artifact": "model.bin", "metrics": {"wmape": "0.2"}}`, "metrics.wmape: has the wrong type"},
		{"a list", `[]`, "result.json: has the wrong type"},
		{"two values", `{"artifact": "model.bin"} {}`, "is not JSON"},
		{"no artifact", `{"metrics": {"wmape": 0.2}}`, "artifact: is missing or empty"},
		{"a metric without a name", `{"artifact": "model.bin", "metrics": {"": 0.2}}`, `metrics."": is missing or empty`},
		{"all faults at once", `{"artifact": "", "champion_metrics": {"a\u0000b": 1}}`, "contains a control character"},
		{"a long name", `{"artifact": "model.bin", "metrics": {"` + strings.Repeat("x", 257) + `": 0.2}}`, "has 257 bytes; 256 are allowed"},
		{"too long", `{"artifact": "` + strings.Repeat("x", 1<<20) + `"}`, "has more than 1 MiB"},
		{"not UTF-8", "{\"artifact\": \"model\xff.bin\"}", "is not JSON"},
		{"a file that is not there", `{"artifact": "other.bin"}`, `artifact: "other.bin" does not exist in the output directory`},
		{"an absolute path", `{"artifact": "/etc/passwd"}`, "is not inside the output directory"},
		{"a path that leads out", `{"artifact": "../job.json"}`, "is not inside the output directory"},
		{"a detour", `{"artifact": "sub/../../job.json"}`, "is not inside the output directory"},
		{"a link that leads out", `{"artifact": "link"}`, "cannot be reached inside the output directory"},
		{"through a link that leads out", `{"artifact": "up/job.json"}`, "cannot be reached inside the output directory"},
		{"a directory", `{"artifact": "sub"}`, "is a directory"},
		{"a pipe", `{"artifact": "pipe"}`, "is not a regular file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			output := outputDirectory(t, c.json)
			a, err := ReadResult(output)
			if !errors.Is(err, visutility.ErrInvalid) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("ReadResult: %+v, %v; want %q", a, err, c.want)
			}
		})
	}
}

// outputDirectory has what a mischievous program may leave.
func outputDirectory(t *testing.T, result string) string {
	t.Helper()
	dir := t.TempDir()
	output := filepath.Join(dir, "output")
	err := errors.Join(
		os.MkdirAll(filepath.Join(output, "sub"), 0o700),
		os.WriteFile(filepath.Join(dir, "job.json"), []byte("{}"), 0o600),
		os.WriteFile(filepath.Join(output, "model.bin"), []byte("weights"), 0o600),
		os.WriteFile(filepath.Join(output, "result.json"), []byte(result), 0o600),
		os.Symlink("/etc/passwd", filepath.Join(output, "link")),
		os.Symlink("..", filepath.Join(output, "up")),
		os.Symlink("model.bin", filepath.Join(output, "best")),
		syscall.Mkfifo(filepath.Join(output, "pipe"), 0o600),
	)
	if err != nil {
		t.Fatal(err)
	}
	return output
}

func TestResultsThatAreRight(t *testing.T) {
	for artifact, want := range map[string]string{
		"model.bin":               "model.bin",
		"best":                    "best",
		"sub/../model.bin":        "model.bin",
		"s3://bucket/key?v=1":     "s3://bucket/key?v=1",
		"file:///anywhere/at/all": "file:///anywhere/at/all",
	} {
		output := outputDirectory(t, fmt.Sprintf(`{"artifact": %q, "metrics": {"wmape": 0.21}, "champion_metrics": {"wmape": 0.36}}`, artifact))
		a, err := ReadResult(output)
		if !isURI(want) {
			want = filepath.Join(output, want)
		}
		if err != nil || a.URI != want || a.Metrics["wmape"] != 0.21 || a.ChampionMetrics["wmape"] != 0.36 {
			t.Errorf("%s: %+v, %v", artifact, a, err)
		}
	}
}

// TestResultIsAPipe must not wait for somebody to write into it.
func TestResultIsAPipe(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mkfifo(filepath.Join(dir, "result.json"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadResult(dir); !errors.Is(err, visutility.ErrInvalid) {
		t.Errorf("ReadResult: %v", err)
	}
}

func TestProgress(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	var got []string
	w := progressWatch{output: dir, report: func(p float64, m string) { got = append(got, fmt.Sprint(p, " ", m)) }}
	for _, text := range []string{`{"progress": 0.25, "message": "a"}`, `{"progress": 0.25, "message": "a"}`, `{"progress": 7}`, `{"progress": -1}`, `not JSON`, `[]`} {
		write(dir, progressFile, text)
		w.look(now)
		w.look(now) // too soon: not read again
		now = now.Add(time.Second)
	}
	if want := "0.25 a,1 ,0 "; strings.Join(got, ",") != want {
		t.Errorf("reports %q, want %q", got, want)
	}
}

func FuzzDecodeResult(f *testing.F) {
	f.Add([]byte(`{"artifact": "model.bin", "metrics": {"wmape": 0.21}, "champion_metrics": {"wmape": 0.36}}`))
	f.Add([]byte(`{"artifact": "x", "metrics": {"a": NaN}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := DecodeResult(data)
		if err != nil && !errors.Is(err, visutility.ErrInvalid) {
			t.Errorf("%v is not ErrInvalid", err)
		}
		if err == nil && r.check() != nil {
			t.Errorf("accepted %+v, which is wrong", r)
		}
	})
}
