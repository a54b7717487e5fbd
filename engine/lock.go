package engine

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/gofrs/flock"

	"github.com/visutility/visutility"
)

// A dirLock holds a data directory for one process.
type dirLock struct{ f *flock.Flock }

// lockDir makes the directory if need be and takes it. The lock is the kernel's: it goes with
// the process, however that ends. The pid in the file is for people.
func lockDir(dir string) (*dirLock, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the data directory: %w", err)
	}
	path := filepath.Join(dir, "visutility.lock")
	f := flock.New(path, flock.SetFlag(os.O_CREATE|os.O_RDWR), flock.SetPermissions(0o600))
	ok, err := f.TryLock()
	if err != nil {
		return nil, fmt.Errorf("locking the data directory: %w", err)
	}
	if !ok {
		pid, _ := os.ReadFile(path) // best effort: it only makes the message better
		return nil, fmt.Errorf("%w: the data directory %s is in use by process %s; stop it, or choose another with --data",
			visutility.ErrConflict, dir, strings.TrimSpace(string(pid)))
	}
	if err := os.WriteFile(path, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o600); err != nil {
		_ = f.Unlock()
		return nil, fmt.Errorf("writing the pid to the lock: %w", err)
	}
	return &dirLock{f}, nil
}

// Close gives the directory back.
func (l *dirLock) Close() error { return l.f.Unlock() }
