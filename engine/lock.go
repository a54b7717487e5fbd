package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/gofrs/flock"

	"github.com/visutility/visutility"
)

// A dirLock holds a data directory for one process.
type dirLock struct{ f *flock.Flock }

// lockPatience is how long to wait for a lock whose holder is dead: a child that the holder was
// just about to start has it until it becomes another program.
const lockPatience = 3 * time.Second

// lockDir makes the directory if need be and takes it. The lock is the kernel's: it goes with
// the process, however that ends. The pid in the file is for people.
func lockDir(ctx context.Context, dir string) (*dirLock, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the data directory: %w", err)
	}
	path := filepath.Join(dir, "visutility.lock")
	f := flock.New(path, flock.SetFlag(os.O_CREATE|os.O_RDWR), flock.SetPermissions(0o600))
	for start := time.Now(); ; {
		ok, err := f.TryLock()
		if err != nil {
			return nil, fmt.Errorf("locking the data directory: %w", err)
		}
		if ok {
			break
		}
		if pid := holder(path); alive(pid) || time.Since(start) > lockPatience {
			return nil, fmt.Errorf("%w: the data directory %s is in use by process %d; stop it, or choose another with --data",
				visutility.ErrConflict, dir, pid)
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	if err := os.WriteFile(path, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("writing the pid to the lock: %w", err), f.Unlock())
	}
	return &dirLock{f}, nil
}

// holder reads the pid in the lock's file, 0 when there is none yet.
func holder(path string) int {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return 0
	}
	return pid
}

func alive(pid int) bool {
	p, err := os.FindProcess(pid)
	return pid > 0 && err == nil && !errors.Is(p.Signal(syscall.Signal(0)), os.ErrProcessDone)
}

// Close gives the directory back.
func (l *dirLock) Close() error { return l.f.Unlock() }
