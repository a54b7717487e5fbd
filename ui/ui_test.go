package ui

import (
	"bytes"
	"compress/gzip"
	"io/fs"
	"regexp"
	"strings"
	"testing"
)

// maxScript bounds the JavaScript that the first page loads, in bytes as they are sent.
const maxScript = 120_000

var (
	loads  = regexp.MustCompile(`(?:src|href)="([^"]+)"`)
	inline = regexp.MustCompile(`(?i)<style|<script(>|[^>]*[^"/]>[^<])|style=|\son\w+=|javascript:|data:`)
)

// TestPage holds whatever page was built, or the one that stands in for it.
func TestPage(t *testing.T) {
	page := FS()
	index, err := fs.ReadFile(page, "index.html")
	if err != nil {
		t.Fatal(err)
	}
	if found := inline.Find(index); found != nil {
		t.Errorf("the content security policy forbids %q", found)
	}
	script := 0
	for _, m := range loads.FindAllSubmatch(index, -1) {
		name := strings.TrimPrefix(string(m[1]), "./")
		if strings.HasPrefix(name, "api/") {
			continue
		}
		if !strings.HasPrefix(name, "assets/") {
			t.Errorf("%s is not served: files are in assets", name)
		}
		b, err := fs.ReadFile(page, name)
		if err != nil {
			t.Error(err)
		}
		if strings.HasSuffix(name, ".js") {
			script += gzipped(t, b)
		}
	}
	t.Logf("the first page loads %d bytes of JavaScript, compressed", script)
	if script > maxScript {
		t.Errorf("that is over %d", maxScript)
	}
}

func gzipped(t *testing.T, b []byte) int {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Len()
}
