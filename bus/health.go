package bus

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/visutility/visutility"
)

const freeFor = 100 * time.Millisecond // how long a look at the disk holds good

// A space tells how many bytes are free on the file system of the log.
type space struct {
	dir  string
	free func(dir string) (int64, error)

	mu    sync.Mutex
	at    time.Time
	bytes int64
	err   error
}

// check returns ErrUnavailable when less than least bytes are free.
func (s *space) check(least int64) error {
	if least < 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); s.at.IsZero() || now.Sub(s.at) >= freeFor {
		s.bytes, s.err = s.free(s.dir)
		s.at = now
	}
	switch {
	case s.err != nil:
		return fmt.Errorf("%w: ask for the free space of the log's disk: %w", visutility.ErrUnavailable, s.err)
	case s.bytes < least:
		return fmt.Errorf("%w: the log's disk has %d MiB free; it takes events again from %d MiB on", visutility.ErrUnavailable, s.bytes>>20, least>>20)
	}
	return nil
}

// The highest position ever acknowledged is kept in a file beside the stream.
// It is written after each flush but not synced, so that it costs no time and
// can never be ahead of what is on disk; it is synced when the log is closed.
// A stream that ends before it has lost its tail.
const highFile = "last"

type high struct {
	mu   sync.Mutex
	f    *os.File
	seq  uint64
	data [16]byte
}

func openHigh(dir string) (*high, error) {
	f, err := os.OpenFile(filepath.Join(dir, highFile), os.O_CREATE|os.O_RDWR, markPermission)
	if err != nil {
		return nil, fmt.Errorf("%w: open the file of the last position: %w", visutility.ErrUnavailable, err)
	}
	h := &high{f: f}
	if _, err := f.ReadAt(h.data[:], 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, errors.Join(fmt.Errorf("%w: read the last position: %w", visutility.ErrUnavailable, err), f.Close())
	}
	// A torn or empty file says nothing.
	if seq := binary.LittleEndian.Uint64(h.data[:]); binary.LittleEndian.Uint64(h.data[8:]) == ^seq {
		h.seq = seq
	}
	return h, nil
}

// set keeps seq if it is higher than what is there.
func (h *high) set(seq uint64) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if seq <= h.seq {
		return nil
	}
	h.seq = seq
	binary.LittleEndian.PutUint64(h.data[:], seq)
	binary.LittleEndian.PutUint64(h.data[8:], ^seq)
	_, err := h.f.WriteAt(h.data[:], 0)
	return err
}

func (h *high) get() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.seq
}

func (h *high) close() error { return errors.Join(h.f.Sync(), h.f.Close()) }
