package bus

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/visutility/visutility"
)

// TestDiskFull fills a small file system for real, then makes room.
func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=24m"); err != nil {
		// TestStoreGivenUp and TestLowSpace show the same without the right to mount.
		t.Logf("a file system cannot be mounted here (%v): the disk is not filled for real", err)
		return
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 16<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	// Without MinFree, so that the server itself meets the full disk.
	l := testLog(t, Options{Dir: filepath.Join(dir, "bus"), MinFree: -1, attempt: 500 * time.Millisecond, Logger: slog.New(slog.DiscardHandler)})
	defer l.Close() // before the file system goes
	read := follow(t, l)
	var acked []int
	var failed error
	n := 0
	for ; failed == nil && n < 10_000; n++ {
		if failed = l.Publish(t.Context(), keyOf(2*n), big(n)); failed == nil {
			acked = append(acked, n)
		}
	}
	if !errors.Is(failed, visutility.ErrUnavailable) {
		t.Fatalf("after %d calls the full disk gave %v; want ErrUnavailable", n, failed)
	}
	t.Logf("full after %d calls: %v", n, failed)
	if err := l.Publish(t.Context(), "", everywhere(1)); !errors.Is(err, visutility.ErrUnavailable) {
		t.Errorf("on a full disk: %v; want ErrUnavailable", err)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	until(t, "publishing after room was made", func() error {
		return l.Publish(t.Context(), keyOf(2*(n-1)), big(n-1)) // the one in doubt, again
	})
	acked = append(acked, n-1)
	if l.Stats().Restarts == 0 {
		t.Error("the server was not started anew: the test did not meet the full disk")
	}
	if err := l.Publish(t.Context(), "", everywhere(-1)); err != nil {
		t.Fatal(err)
	}
	for p, there := range read() {
		for _, n := range acked {
			if there[n] != 10 {
				t.Errorf("partition %d: the reader got %d events of call %d; want 10", p, there[n], n)
			}
		}
	}
	if c := l.Stats().Corrupt; c != 0 {
		t.Errorf("%d entries are reported missing", c)
	}
}
