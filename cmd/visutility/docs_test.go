package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/visutility/visutility/backtest"
	"github.com/visutility/visutility/ingest"
	"github.com/visutility/visutility/policy"
	"github.com/visutility/visutility/trainer"
)

// A snippet is a fenced block of a page.
type snippet struct{ page, language, text string }

var fence = regexp.MustCompile("(?ms)^```(\\w+)\n(.*?)^```$")

func snippets(t *testing.T) []snippet {
	t.Helper()
	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	more, err := filepath.Glob("../../examples/*/README.md")
	if err != nil {
		t.Fatal(err)
	}
	var all []snippet
	for _, page := range append(append(pages, more...), "../../README.md") {
		b, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range fence.FindAllStringSubmatch(string(b), -1) {
			all = append(all, snippet{page, m[1], m[2]})
		}
	}
	return all
}

// TestDocs holds every snippet of README and docs against the product. A snippet in
// a language that is not known here fails: find a way to run it.
func TestDocs(t *testing.T) {
	for _, s := range snippets(t) {
		t.Run(filepath.Base(s.page)+"/"+s.language, func(t *testing.T) {
			if filepath.Base(s.page) == "ingest.md" {
				runSender(t, s)
				return
			}
			switch s.language {
			case "yaml":
				if policyTests.MatchString(s.text) {
					runPolicyTests(t, s)
				} else if _, err := policy.Parse("snippet.yaml", []byte(s.text)); err != nil {
					t.Errorf("%v in\n%s", err, s.text)
				}
			case "json":
				checkDocument(t, s.text)
			case "go":
				checkExample(t, s.text)
			case "sh":
				if out, err := exec.Command("sh", "-n", "-c", s.text).CombinedOutput(); err != nil {
					t.Errorf("%v: %s", err, out)
				}
			case "console":
				runSession(t, s)
			default:
				t.Errorf("no test runs snippets in %q", s.language)
			}
		})
	}
}

var policyTests = regexp.MustCompile(`(?m)^tests:`)

// runPolicyTests runs a snippet that is a file of tests, on the policies of its page: each is in
// a file of its name, or that of its model.
func runPolicyTests(t *testing.T, s snippet) {
	t.Helper()
	dir := t.TempDir()
	for _, other := range snippets(t) {
		if other.page != s.page || other.language != "yaml" || policyTests.MatchString(other.text) {
			continue
		}
		p, err := policy.Parse("snippet.yaml", []byte(other.text))
		if err != nil {
			t.Fatal(err)
		}
		name := p.Name
		if name == "snippet" {
			name = p.Models[0]
		}
		write(t, filepath.Join(dir, name+".yaml"), other.text)
	}
	file := filepath.Join(dir, "snippet_test.yaml")
	write(t, file, s.text)
	suite, err := backtest.ReadTests(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range suite.Run("") {
		if !r.Passed {
			t.Errorf("%s:\n%s", r.Name, strings.Join(r.Diff, "\n"))
		}
	}
}

// checkDocument decodes the documents that training programs, score commands and webhooks write.
func checkDocument(t *testing.T, text string) {
	t.Helper()
	var shape map[string]json.RawMessage
	if err := json.Unmarshal([]byte(text), &shape); err != nil {
		t.Fatal(err)
	}
	dec := json.NewDecoder(strings.NewReader(text))
	dec.DisallowUnknownFields()
	var err error
	switch {
	case shape["artifact"] != nil:
		_, err = trainer.DecodeResult([]byte(text))
	case shape["metric"] != nil:
		_, err = ingest.NDJSON([]byte(text), time.Now())
	case shape["status"] != nil:
		err = dec.Decode(new(trainer.Callback))
	case shape["progress"] != nil:
		err = dec.Decode(&struct {
			Progress float64 `json:"progress"`
			Message  string  `json:"message"`
		}{})
	default:
		t.Errorf("no test knows this document: %s", text)
	}
	if err != nil {
		t.Errorf("%v in %s", err, text)
	}
}

// checkExample looks for the snippet in the examples, which the compiler and go test have checked.
func checkExample(t *testing.T, text string) {
	t.Helper()
	files, err := filepath.Glob("../../*/example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	plain := func(s string) string { return strings.Join(strings.Fields(s), " ") }
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(plain(string(b)), plain(text)) {
			return
		}
	}
	t.Errorf("this is in no example_test.go:\n%s", text)
}

// runSession types a terminal session into a shell's place: lines after "$" are commands, what
// follows is their output, where … stands for anything. A command is repeated until its output
// fits, for a run takes a moment. Files are those of the page's other snippets.
func runSession(t *testing.T, s snippet) {
	dir := t.TempDir()
	mkdir(t, filepath.Join(dir, "policies"))
	for _, other := range snippets(t) {
		if other.page != s.page {
			continue
		}
		switch {
		case other.language == "yaml":
			write(t, filepath.Join(dir, "policies", "fraud.yaml"), other.text)
		case other.language == "sh" && strings.HasPrefix(other.text, "#!"):
			path := filepath.Join(dir, "policies", "train.sh")
			write(t, path, other.text)
			if err := os.Chmod(path, 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	v := &victim{t: t, dir: dir}
	for _, step := range strings.Split(strings.TrimPrefix(s.text, "$ "), "\n$ ") {
		command, want, _ := strings.Cut(step, "\n")
		if strings.HasPrefix(command, "visutility serve ") {
			v.start()
			defer v.kill()
			continue
		}
		fits := regexp.MustCompile("^" + strings.ReplaceAll(regexp.QuoteMeta(strings.TrimSpace(want)), "…", "(?s:.*)") + "$")
		args := strings.Fields(command)
		var out []byte
		for end := time.Now().Add(patience); ; pause() {
			cmd := exec.Command(args[0], args[1:]...)
			cmd.Env = append(os.Environ(), "VISUTILITY_SERVER="+v.base())
			var err error
			if out, err = cmd.CombinedOutput(); err != nil {
				t.Fatalf("%s: %v: %s", command, err, out)
			}
			if fits.Match(bytes.TrimSpace(trimLines(out))) {
				break
			}
			if time.Now().After(end) || strings.Contains(command, " publish ") {
				t.Fatalf("%s said\n%s\nwant\n%s", command, out, want)
			}
		}
	}
}

// trimLines removes the blanks with which tables fill their lines.
func trimLines(b []byte) []byte {
	lines := bytes.Split(b, []byte("\n"))
	for i := range lines {
		lines[i] = bytes.TrimRight(lines[i], " ")
	}
	return bytes.Join(lines, []byte("\n"))
}
