package trainer

import (
	"fmt"
	"io"
	"os"
)

// defaultMaxLog bounds the log of one attempt.
const defaultMaxLog = 64 << 20

// A cappedLog writes to w up to a limit, says so once, and takes the rest
// without keeping it: the writer never waits and the disk never fills.
type cappedLog struct {
	w    io.Writer
	left int64
	full bool
}

func (l *cappedLog) Write(p []byte) (int, error) {
	n := len(p)
	if l.full {
		return n, nil
	}
	keep := p[:min(int64(n), l.left)]
	_, err := l.w.Write(keep)
	l.left -= int64(len(keep))
	switch {
	case err != nil: // the disk is full, most likely; the training is not to die of it
		l.full = true
		fmt.Fprintf(l.w, "\n[visutility] the log cannot be written: %v; further output is dropped\n", err)
	case len(keep) < n:
		l.full = true
		fmt.Fprintf(l.w, "\n[visutility] the log has reached its limit; further output is dropped\n")
	}
	return n, nil
}

// copyLog copies a program's output to its log until every writer has gone,
// and closes the log.
func copyLog(log *os.File, r io.Reader, limit int64) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer log.Close()
		_, _ = io.Copy(&cappedLog{w: log, left: limit}, r) // ends when the pipe does
	}()
	return done
}
