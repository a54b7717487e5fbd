package registry

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/store"
	"github.com/visutility/visutility/visutilitytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A house is a registry with its directories.
type house struct {
	*Builtin
	dir, runs string
}

func open(t *testing.T) house {
	t.Helper()
	base := t.TempDir()
	st, err := store.Open(t.Context(), store.Options{Path: filepath.Join(base, "visutility.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	h := house{dir: filepath.Join(base, "artifacts"), runs: filepath.Join(base, "runs")}
	h.Builtin = NewBuiltin(st, Options{Dir: h.dir, RunsDir: h.runs})
	return h
}

func TestConformance(t *testing.T) {
	visutilitytest.TestRegistry(t, func(t *testing.T) visutility.Registry { return open(t).Builtin })
}

// leave writes a file into a run's output directory and returns its path.
func (h house) leave(t *testing.T, run, name, content string) string {
	t.Helper()
	path := filepath.Join(h.runs, run, "attempt-1", "output", name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func (h house) register(t *testing.T, run, uri string) (visutility.Version, error) {
	t.Helper()
	return h.Register(t.Context(), visutility.Version{Model: "bike", Run: run, Artifact: visutility.Artifact{URI: uri}})
}

func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

// check demands that v's artifact is a read-only file under its digest with that content.
func (h house) check(t *testing.T, v visutility.Version, name, content string) {
	t.Helper()
	sum := digest(content)
	want := filepath.Join(h.dir, sum[:2], sum, name)
	u, err := url.Parse(v.Artifact.URI)
	if err != nil || u.Scheme != "file" || u.Path != want {
		t.Fatalf("the artifact is at %s, want a file URI of %s", v.Artifact.URI, want)
	}
	if v.Artifact.SHA256 != sum || v.Artifact.Size != int64(len(content)) {
		t.Errorf("digest %s, size %d; want %s, %d", v.Artifact.SHA256, v.Artifact.Size, sum, len(content))
	}
	got, err := os.ReadFile(want)
	if err != nil || string(got) != content {
		t.Errorf("the artifact holds %.40q (%v), want %.40q", got, err, content)
	}
	if info, err := os.Stat(want); err != nil || info.Mode().Perm() != 0o444 {
		t.Errorf("the artifact's mode is %v (%v), want read-only", info.Mode(), err)
	}
}

func TestRegisterMovesTheArtifact(t *testing.T) {
	h := open(t)
	for run, uri := range map[string]func(path string) string{
		"plain":    func(path string) string { return path },
		"file-uri": func(path string) string { return (&url.URL{Scheme: "file", Path: path}).String() },
		"dots":     func(path string) string { return filepath.Dir(path) + "/../output/./" + filepath.Base(path) },
	} {
		t.Run(run, func(t *testing.T) {
			const name = "mödel 100%.bin"
			path := h.leave(t, run, name, "weights of "+run)
			v, err := h.register(t, run, uri(path))
			if err != nil {
				t.Fatal(err)
			}
			h.check(t, v, name, "weights of "+run)
			if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the file is still in the run's directory: %v", err)
			}
			again, err := h.register(t, run, uri(path)) // the bytes are gone from there by now
			if err != nil || again.ID != v.ID {
				t.Errorf("registering again: %s, %v; want %s", again.ID, err, v.ID)
			}
		})
	}
}

func TestRegisterFollowsALinkInsideTheRun(t *testing.T) {
	h := open(t)
	path := h.leave(t, "r1", "epoch-7.bin", "weights")
	link := filepath.Join(filepath.Dir(path), "best.bin")
	if err := os.Symlink("epoch-7.bin", link); err != nil {
		t.Fatal(err)
	}
	v, err := h.register(t, "r1", link)
	if err != nil {
		t.Fatal(err)
	}
	h.check(t, v, "best.bin", "weights")
	u, _ := url.Parse(v.Artifact.URI)
	if info, err := os.Lstat(u.Path); err != nil || !info.Mode().IsRegular() {
		t.Errorf("the artifact is %v (%v), want a regular file", info.Mode(), err)
	}
}

// TestRegisterTakesNothingFromElsewhere is the corpus of paths that lead out of the
// run's directory: each is refused, or kept as a name and never opened.
func TestRegisterTakesNothingFromElsewhere(t *testing.T) {
	h := open(t)
	secret := filepath.Join(filepath.Dir(h.runs), "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o644); err != nil {
		t.Fatal(err)
	}
	other := h.leave(t, "r2", "model.bin", "of another run")
	out := filepath.Dir(h.leave(t, "r1", "model.bin", "weights"))
	for name, target := range map[string]string{
		"absolute-link": secret, "relative-link": "../../../../secret", "link-to-other-run": "../../../r2/attempt-1/output/model.bin",
		"dangling": "nowhere", "loop": "loop", "linked-dir": "../../..",
	} {
		if err := os.Symlink(target, filepath.Join(out, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(out, "dir"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(out, "pipe"), 0o644); err != nil {
		t.Fatal(err)
	}
	for i, c := range []struct{ uri, refused string }{
		{out + "/absolute-link", "outside"},
		{out + "/relative-link", "outside"},
		{out + "/link-to-other-run", "outside"},
		{out + "/linked-dir/r2/attempt-1/output/model.bin", "outside"},
		{out + "/loop", "outside"},
		{out + "/dangling", "missing"},
		{out + "/nothing", "missing"},
		{out + "/model.bin/x", "outside"},
		{out + "/model.bin\x00", "outside"},
		{out + "/dir", "directory"},
		{out, "directory"},
		{h.runs + "/r1", "directory"},
		{out + "/pipe", "not_a_file"},
		{h.runs, "outside"},
		{other, "outside"},
		{out + "/../../../r2/attempt-1/output/model.bin", "outside"},
		{out + "/../../../../secret", "outside"},
		{"file://" + out + "/../../../../secret", "outside"},
		{"file://" + out + "/%2e%2e/%2e%2e/%2e%2e/%2e%2e/secret", "outside"},
		{"file://" + out + "/..%2f..%2f..%2f..%2fsecret", "outside"},
		{"file://localhost" + other, "outside"},
		{out + "/%2e%2e/%2e%2e/%2e%2e/%2e%2e/secret", "missing"}, // no URI: a name with percent signs
		{"model.bin", "relative"},
		{"../../etc/passwd", "relative"},
		{secret, ""}, // elsewhere: a name, kept
		{"file://" + secret, ""},
		{"file://host" + out + "/model.bin", ""},
		{"/etc/passwd", ""},
		{"smb://" + out + "/model.bin", ""},
		{h.runs + "-not/r1/model.bin", ""},
	} {
		if c.refused == "" {
			v, err := h.register(t, fmt.Sprintf("kept-%d", i), c.uri)
			if err != nil || v.Artifact.URI != c.uri || v.Artifact.SHA256 != "" || v.Artifact.Size != 0 {
				t.Errorf("%q: became %+v (%v), want it kept as it is", c.uri, v.Artifact, err)
			}
			continue
		}
		v, err := h.register(t, "r1", c.uri)
		invalid, ok := errors.AsType[*visutility.InvalidError](err)
		if !ok || invalid.Fields[0].Field != "artifact.uri" || invalid.Fields[0].Reason != c.refused {
			t.Errorf("%q: %v (%s), want it refused as %s", c.uri, err, v.Artifact.URI, c.refused)
		}
	}
	if _, err := os.Stat(h.dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("something was taken into %s (%v)", h.dir, err)
	}
	for path, want := range map[string]string{secret: "secret", other: "of another run", filepath.Join(out, "model.bin"): "weights"} {
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Errorf("%s now holds %q (%v)", path, got, err)
		}
	}
}

func TestRegisterRefusesRunsThatAreNoNames(t *testing.T) {
	h := open(t)
	path := h.leave(t, "r1", "model.bin", "weights")
	for _, run := range []string{"", ".", "..", "../runs/r1", "r1/attempt-1", "/"} {
		if v, err := h.register(t, run, path); !errors.Is(err, visutility.ErrInvalid) {
			t.Errorf("run %q: %v, %v; want ErrInvalid", run, v.Artifact, err)
		}
	}
}

func TestRegisterChecksTheDigest(t *testing.T) {
	h := open(t)
	path := h.leave(t, "r1", "model.bin", "weights")
	v := visutility.Version{Model: "bike", Run: "r1", Artifact: visutility.Artifact{URI: path, SHA256: digest("other")}}
	if _, err := h.Register(t.Context(), v); !errors.Is(err, visutility.ErrInvalid) {
		t.Errorf("a wrong digest: %v, want ErrInvalid", err)
	}
	v.Artifact.SHA256 = strings.ToUpper(digest("weights"))
	got, err := h.Register(t.Context(), v)
	if err != nil {
		t.Fatal(err)
	}
	h.check(t, got, "model.bin", "weights")
}

// TestRegisterAgainAfterACrash stops a registration between the two steps and does it again.
func TestRegisterAgainAfterACrash(t *testing.T) {
	h := open(t)
	path := h.leave(t, "r1", "model.bin", "weights")
	src, err := h.source(&visutility.Version{Model: "bike", Run: "r1", Artifact: visutility.Artifact{URI: path}})
	if err != nil {
		t.Fatal(err)
	}
	if err := h.keep(t.Context(), src, new(visutility.Artifact)); err != nil { // and then the process dies
		t.Fatal(err)
	}
	v, err := h.register(t, "r1", path)
	if err != nil {
		t.Fatal(err)
	}
	h.check(t, v, "model.bin", "weights")
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file is still in the run's directory: %v", err)
	}
}

func TestRegisterReplacesADamagedFile(t *testing.T) {
	h := open(t)
	sum := digest("weights")
	dst := filepath.Join(h.dir, sum[:2], sum, "model.bin")
	if err := os.MkdirAll(filepath.Dir(dst), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dst, []byte("wei"), 0o444); err != nil {
		t.Fatal(err)
	}
	v, err := h.register(t, "r1", h.leave(t, "r1", "model.bin", "weights"))
	if err != nil {
		t.Fatal(err)
	}
	h.check(t, v, "model.bin", "weights")
}

// TestCopy covers file systems without hard links, and links that changed under way.
func TestCopy(t *testing.T) {
	h := open(t)
	content := strings.Repeat("0123456789", 100_000)
	path := h.leave(t, "r1", "model.bin", content)
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	src := &source{filepath.Join(h.runs, "r1"), "attempt-1/output/model.bin"}
	dst := filepath.Join(t.TempDir(), "model.bin")
	if err := os.WriteFile(filepath.Join(filepath.Dir(dst), ".part"), bytes.Repeat([]byte("x"), 2_000_000), 0o600); err != nil {
		t.Fatal(err) // what an earlier crash left
	}
	if err := h.copy(t.Context(), src, f, dst, digest(content)); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(dst); err != nil || string(got) != content {
		t.Errorf("the copy has %d bytes (%v), want %d", len(got), err, len(content))
	}
	if err := h.copy(t.Context(), src, f, dst+"2", digest("other")); !errors.Is(err, visutility.ErrInvalid) {
		t.Errorf("a file that changed: %v, want ErrInvalid", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(visutility.ErrShutdown)
	if err := h.copy(ctx, src, f, dst+"3", digest(content)); !errors.Is(err, visutility.ErrShutdown) {
		t.Errorf("a copy whose context ended: %v, want its cause", err)
	}
	if left, err := os.ReadDir(filepath.Dir(dst)); err != nil || len(left) != 1 {
		t.Errorf("left behind: %v (%v), want the copy alone", left, err)
	}
	other := h.leave(t, "r2", "model.bin", content)
	if link(other, dst+"4", f) {
		t.Error("a link to another file than the one that was read counts")
	}
	if _, err := os.Lstat(dst + "4"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the wrong link stayed: %v", err)
	}
}

func TestRegisterSameBytesConcurrently(t *testing.T) {
	h := open(t)
	var wg sync.WaitGroup
	for _, run := range []string{"r1", "r2", "r3", "r4"} {
		path := h.leave(t, run, "model.bin", "the same weights")
		wg.Go(func() {
			v, err := h.register(t, run, path)
			if err != nil {
				t.Errorf("run %s: %v", run, err)
				return
			}
			h.check(t, v, "model.bin", "the same weights")
		})
	}
	wg.Wait()
}

func BenchmarkRegister(b *testing.B) {
	base := b.TempDir()
	st, err := store.Open(b.Context(), store.Options{Path: filepath.Join(base, "visutility.db")})
	if err != nil {
		b.Fatal(err)
	}
	defer st.Close()
	r := NewBuiltin(st, Options{Dir: filepath.Join(base, "artifacts"), RunsDir: filepath.Join(base, "runs")})
	for i := 0; b.Loop(); i++ {
		run := "r" + string(rune('a'+i%26)) + hex.EncodeToString([]byte{byte(i >> 16), byte(i >> 8), byte(i)})
		path := filepath.Join(base, "runs", run, "model.bin")
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(run), 0o644)); err != nil {
			b.Fatal(err)
		}
		if _, err := r.Register(b.Context(), visutility.Version{Model: "bike", Run: run, Artifact: visutility.Artifact{URI: path}}); err != nil {
			b.Fatal(err)
		}
	}
}
