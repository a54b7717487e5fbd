package registry

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/internal/durable"
)

// A source is an artifact in a run's own directory.
type source struct {
	dir  string // the run's directory, absolute
	path string // relative to dir
}

func (s *source) String() string { return filepath.Join(s.dir, s.path) }

// source tells whether v's artifact is to be taken from the run's directory.
// It returns nil when it is elsewhere.
func (b *Builtin) source(v *visutility.Version) (*source, error) {
	path, ok := localPath(v.Artifact.URI)
	if !ok {
		return nil, nil
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("registry: %w", err)
	}
	runs, err := filepath.Abs(b.o.RunsDir)
	if err != nil {
		return nil, fmt.Errorf("registry: %w", err)
	}
	switch inside := b.o.RunsDir != "" && within(runs, abs); {
	case !inside && b.o.RunsDir != "" && strings.HasPrefix(path, runs+string(filepath.Separator)):
		// It names the directory of runs and climbs out of it.
		return nil, visutility.Invalidf("artifact.uri", "outside", "%q leads out of the directory of the runs", v.Artifact.URI)
	case !inside && !filepath.IsAbs(path):
		return nil, visutility.Invalidf("artifact.uri", "relative", "%q is a relative path outside the directory of the run; give a file inside it, or a URI", v.Artifact.URI)
	case !inside:
		return nil, nil
	}
	if v.Run == "." || !filepath.IsLocal(v.Run) || filepath.Base(v.Run) != v.Run || !within(filepath.Join(runs, v.Run), abs) {
		return nil, visutility.Invalidf("artifact.uri", "outside", "%q is not in the directory of run %q", v.Artifact.URI, v.Run)
	}
	dir := filepath.Join(runs, v.Run)
	rel, err := filepath.Rel(dir, abs)
	if err != nil {
		return nil, fmt.Errorf("registry: %w", err)
	}
	return &source{dir, rel}, nil
}

// localPath is the path that uri means on this machine; ok is false for other URIs.
func localPath(uri string) (path string, ok bool) {
	if uri == "" {
		return "", false
	}
	if filepath.IsAbs(uri) {
		return uri, true // whatever it looks like: a path may hold any character
	}
	u, err := url.Parse(uri)
	switch {
	case err != nil || len(u.Scheme) < 2:
		return uri, true
	case strings.EqualFold(u.Scheme, "file") && (u.Host == "" || u.Host == "localhost") && u.Path != "":
		return filepath.FromSlash(u.Path), true
	}
	return "", false
}

// within tells whether a clean absolute path is dir or below it, by name.
func within(dir, path string) bool {
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, string(filepath.Separator))+string(filepath.Separator))
}

// keep puts the bytes of src into the registry's directory and fills in a.
func (b *Builtin) keep(ctx context.Context, src *source, a *visutility.Artifact) error {
	f, err := src.open()
	if err != nil {
		return err
	}
	defer f.Close()
	before, err := f.Stat()
	if err != nil {
		return unavailable("reading "+src.String(), err)
	}
	digest := sha256.New()
	size, err := io.Copy(digest, until(ctx, f))
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return unavailable("reading "+src.String(), err)
	}
	after, err := f.Stat()
	if err != nil {
		return unavailable("reading "+src.String(), err)
	}
	if after.Size() != size || !after.ModTime().Equal(before.ModTime()) {
		return errChanged(src)
	}
	sum := hex.EncodeToString(digest.Sum(nil))
	if a.SHA256 != "" && !strings.EqualFold(a.SHA256, sum) {
		return visutility.Invalidf("artifact.sha256", "mismatch", "is %s, but the file's is %s", a.SHA256, sum)
	}
	dir, err := filepath.Abs(filepath.Join(b.o.Dir, sum[:2], sum))
	if err != nil {
		return fmt.Errorf("registry: %w", err)
	}
	dst := filepath.Join(dir, filepath.Base(src.path))
	if err := b.place(ctx, src, f, dst, size, sum); err != nil {
		return err
	}
	a.URI, a.SHA256, a.Size = (&url.URL{Scheme: "file", Path: filepath.ToSlash(dst)}).String(), sum, size
	return nil
}

// open opens the artifact, refusing everything but a regular file in the run's directory: what
// a training program left may be a link that leads out, or a pipe that never ends.
func (s *source) open() (*os.File, error) {
	root, err := os.OpenRoot(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, visutility.Invalidf("artifact.uri", "missing", "%q does not exist", s)
	}
	if err != nil {
		return nil, unavailable("opening the run's directory", err)
	}
	defer root.Close()
	// Asked before it is opened, since opening a pipe would wait; and after, since it may have changed.
	info, err := root.Stat(s.path)
	if err := s.refuse(info, err); err != nil {
		return nil, err
	}
	f, err := root.OpenFile(s.path, os.O_RDONLY|nonBlock, 0)
	if err != nil {
		return nil, s.refuse(nil, err)
	}
	info, err = f.Stat()
	if err := s.refuse(info, err); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// refuse says what is wrong with an artifact, if anything.
func (s *source) refuse(info fs.FileInfo, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return visutility.Invalidf("artifact.uri", "missing", "%q does not exist", s)
	case err != nil:
		return visutility.Invalidf("artifact.uri", "outside", "%q cannot be reached inside the run's directory: %v", s, err)
	case info.IsDir():
		return visutility.Invalidf("artifact.uri", "directory", "%q is a directory; archive it into one file (tar, zip), or give a URI", s)
	case !info.Mode().IsRegular():
		return visutility.Invalidf("artifact.uri", "not_a_file", "%q is not a regular file", s)
	}
	return nil
}

// place makes dst hold the bytes of src, open as f, durably: by a second link
// to the file, or where the file system has none by a copy.
func (b *Builtin) place(ctx context.Context, src *source, f *os.File, dst string, size int64, sum string) error {
	// On disk before it has its name: what is found under a digest is complete.
	if err := f.Sync(); err != nil {
		return unavailable("syncing "+src.String(), err)
	}
	if err := makeDirs(b.o.Dir, filepath.Dir(dst)); err != nil {
		return unavailable("making the artifact's directory", err)
	}
	if info, err := os.Lstat(dst); err == nil {
		if info.Mode().IsRegular() && info.Size() == size {
			return nil // an earlier attempt, or the same bytes from another run
		}
		if err := os.Remove(dst); err != nil {
			return unavailable("replacing a damaged artifact", err)
		}
	}
	if !link(src.String(), dst, f) {
		if err := b.copy(ctx, src, f, dst, sum); err != nil {
			return err
		}
	}
	if err := os.Chmod(dst, 0o444); err != nil {
		return unavailable("protecting the artifact", err)
	}
	if err := durable.SyncDir(filepath.Dir(dst)); err != nil {
		return unavailable("making the artifact durable", err)
	}
	return nil
}

// link makes dst a link to the open file f, found by path, and reports success.
// The path is walked anew and may lead elsewhere by now: the link counts only if it is the same file.
func link(path, dst string, f *os.File) bool {
	if err := os.Link(path, dst); err != nil {
		return errors.Is(err, fs.ErrExist) && sameSize(dst, f) // somebody registers the same bytes
	}
	linked, err := os.Lstat(dst)
	opened, err2 := f.Stat()
	if err != nil || err2 != nil || !os.SameFile(linked, opened) {
		_ = os.Remove(dst) // it was made a moment ago; the copy reports what is wrong
		return false
	}
	return true
}

func sameSize(path string, f *os.File) bool {
	there, err := os.Lstat(path)
	opened, err2 := f.Stat()
	return err == nil && err2 == nil && there.Mode().IsRegular() && there.Size() == opened.Size()
}

// copy writes the bytes of f to dst by way of a file beside it, whose name is
// always the same: what a crash leaves of it is overwritten, not piled up.
func (b *Builtin) copy(ctx context.Context, src *source, f *os.File, dst, sum string) error {
	b.copying.Lock()
	defer b.copying.Unlock()
	what := "copying to " + dst
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return unavailable(what, err)
	}
	part := filepath.Join(filepath.Dir(dst), ".part")
	out, err := os.OpenFile(part, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return unavailable(what, err)
	}
	digest := sha256.New()
	_, err = io.Copy(io.MultiWriter(out, digest), until(ctx, f))
	if err = errors.Join(err, out.Sync(), out.Close()); err != nil {
		return unavailable(what, errors.Join(err, os.Remove(part)))
	}
	if hex.EncodeToString(digest.Sum(nil)) != sum {
		return errors.Join(errChanged(src), os.Remove(part))
	}
	if err := os.Rename(part, dst); err != nil {
		return unavailable(what, errors.Join(err, os.Remove(part)))
	}
	return nil
}

func errChanged(src *source) error {
	return visutility.Invalidf("artifact.uri", "changed", "%q changed while it was read; a training must be done with it when it ends", src)
}

// discard removes the artifact from the run's directory. A failure leaves a
// file too many, which goes with that directory.
func (s *source) discard() {
	root, err := os.OpenRoot(s.dir)
	if err != nil {
		return
	}
	defer root.Close()
	_ = root.Remove(s.path)
}

// makeDirs makes the directory dir below base, with their names on disk.
func makeDirs(base, dir string) error {
	base, err := filepath.Abs(base)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for d := dir; within(base, d); d = filepath.Dir(d) {
		if err := durable.SyncDir(filepath.Dir(d)); err != nil {
			return err
		}
	}
	return nil
}

// A readerFunc lets a function be an [io.Reader].
type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// until is r, until ctx ends: large files take a while.
func until(ctx context.Context, r io.Reader) io.Reader {
	return readerFunc(func(p []byte) (int, error) {
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		return r.Read(p)
	})
}
