//go:build unix

package trainer

import (
	"errors"
	"os"
	"syscall"
)

// nonBlock keeps the opening of a named pipe from waiting for its other end.
const nonBlock = syscall.O_NONBLOCK

// ownSession lets a supervisor outlive the server, and Ctrl-C in its terminal.
func ownSession() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

// signalGroup signals a whole process group; that it has gone already is fine.
// The number of a group stays taken while the group has a member.
func signalGroup(pgid int, sig syscall.Signal) {
	if pgid > 1 { // 0 would be our own group and -1 everybody
		_ = syscall.Kill(-pgid, sig) // ESRCH: gone
	}
}

// reap looks whether a child has ended, without waiting.
func reap(pid int) (status syscall.WaitStatus, ended, child bool) {
	for {
		got, err := syscall.Wait4(pid, &status, syscall.WNOHANG, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case err != nil:
			return 0, false, false
		}
		return status, got == pid, true
	}
}

// A fileLock is held on an attempt: flock, so that the kernel lets go of it
// when the holder dies, however it dies.
type fileLock struct{ f *os.File }

// tryLock takes the lock, or returns nil when somebody else holds it.
func tryLock(path string) (*fileLock, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err == nil {
		return &fileLock{f}, nil
	}
	closeErr := f.Close()
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, closeErr
	}
	return nil, err
}

func (l *fileLock) unlock() { _ = l.f.Close() } // nothing was written to it
