package durable_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/visutility/visutility/internal/durable"
)

func TestWriteFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a.json")
	for _, text := range []string{"one", "", "two, longer"} {
		if err := durable.WriteFile(file, []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(file); err != nil || string(got) != text {
			t.Errorf("read %q, %v", got, err)
		}
	}
	if info, err := os.Stat(file); err != nil || info.Mode() != 0o640 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	alone(t, file)
}

// TestFault: what cannot be put in place changes nothing and leaves nothing.
func TestFault(t *testing.T) {
	taken := filepath.Join(t.TempDir(), "dir")
	if err := os.MkdirAll(filepath.Join(taken, "full"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := durable.WriteFile(taken, []byte("x"), 0o600); err == nil {
		t.Error("a directory was replaced by a file")
	}
	alone(t, taken)
	if err := durable.WriteFile(filepath.Join(taken, "missing", "a"), nil, 0o600); err == nil {
		t.Error("wrote into a directory that is not there")
	}
	if err := durable.SyncDir(filepath.Join(taken, "missing")); err == nil {
		t.Error("synced a directory that is not there")
	}
}

// TestReadersSeeAllOrNothing: while it is replaced, a file is always one of those that were written.
func TestReadersSeeAllOrNothing(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a")
	write := func(c string) {
		if err := durable.WriteFile(file, []byte(strings.Repeat(c, 100_000)), 0o600); err != nil {
			t.Error(err)
		}
	}
	write("a")
	var writers sync.WaitGroup
	for _, c := range []string{"a", "b", "c"} {
		writers.Go(func() {
			for range 10 {
				write(c)
			}
		})
	}
	done := make(chan struct{})
	go func() { writers.Wait(); close(done) }()
	for over := false; !over; {
		select {
		case <-done:
			over = true
		default:
		}
		b, err := os.ReadFile(file)
		if err != nil || len(b) != 100_000 || strings.Count(string(b), string(b[:1])) != len(b) {
			t.Fatalf("read %d bytes: %v", len(b), err)
		}
	}
	alone(t, file)
}

func alone(t *testing.T, file string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(file))
	if err != nil || len(entries) != 1 {
		t.Errorf("beside the file there is something: %v, %v", entries, err)
	}
	if len(entries) == 1 && entries[0].Name() != filepath.Base(file) {
		t.Errorf("%v", fs.FormatDirEntry(entries[0]))
	}
}
