package server

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/visutility/visutility"
)

const (
	defaultTail = 1 << 20  // bytes of a log that are sent unless more are asked for
	maxTail     = 64 << 20 // bytes that can be asked for
	logChunk    = 32 << 10
)

// getLogs sends the end of the log of a run's newest attempt; with follow=true it goes on
// with what is written, through further attempts, until the training is over.
func (s *server) getLogs(w http.ResponseWriter, r *http.Request) {
	follow, tail, err := logQuery(r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	id := r.PathValue("run")
	if _, err := s.Store.Run(r.Context(), id); err != nil {
		s.fail(w, r, err)
		return
	}
	leave, err := s.enterStream()
	if err != nil {
		s.fail(w, r, err)
		return
	}
	defer leave()
	l := logReader{s: s, run: id, tail: tail}
	defer l.close()
	if err := l.open(r.Context()); err != nil && !(follow && errors.Is(err, visutility.ErrNotFound)) {
		s.fail(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if l.skipped > 0 {
		w.Header().Set("Visutility-Log-Skipped", strconv.FormatInt(l.skipped, 10))
	}
	out := stream{w: w, control: http.NewResponseController(w)}
	if err := l.copy(out); err != nil || !follow {
		return
	}
	s.followLog(r.Context(), &l, out)
}

// followLog sends what is added to the log until the training is over.
func (s *server) followLog(ctx context.Context, l *logReader, out stream) {
	if out.send(nil) != nil { // the headers, so that the client knows we are here
		return
	}
	poll := time.NewTicker(s.LogPoll)
	defer poll.Stop()
	for {
		run, err := s.Store.Run(ctx, l.run)
		if err != nil {
			return
		}
		// The state is read before the log: what was written before the end is not missed.
		over := run.State != visutility.Pending && run.State != visutility.Training
		if err := l.advance(ctx, out); err != nil || over {
			return
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			return
		case <-stopping(ctx):
			return
		}
	}
}

func logQuery(r *http.Request) (follow bool, tail int64, err error) {
	q := r.URL.Query()
	if text := q.Get("follow"); text != "" {
		if follow, err = strconv.ParseBool(text); err != nil {
			return false, 0, visutility.Invalidf("query.follow", "syntax", "is neither true nor false")
		}
	}
	tail = defaultTail
	if text := q.Get("tail"); text != "" {
		tail, err = strconv.ParseInt(text, 10, 64)
		if err != nil || tail < 0 || tail > maxTail {
			return false, 0, visutility.Invalidf("query.tail", "range", "is not a number of bytes from 0 to %d", maxTail)
		}
	}
	return follow, tail, nil
}

// A logReader reads the log of a run's newest attempt.
type logReader struct {
	s       *server
	run     string
	tail    int64
	path    string
	file    *os.File
	skipped int64 // bytes before the tail
}

func (l *logReader) close() {
	if l.file != nil {
		_ = l.file.Close() // it was only read
		l.file = nil
	}
}

// open opens the log at its tail. The path is the engine's own, never a client's.
func (l *logReader) open(ctx context.Context) error {
	path, err := l.s.Engine.RunLog(ctx, l.run)
	if err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	l.close()
	l.path, l.file = path, f
	info, err := f.Stat()
	if err != nil {
		return err
	}
	l.skipped, err = seekTail(f, info.Size(), l.tail)
	return err
}

// seekTail goes to the beginning of the first whole line of the last tail bytes.
func seekTail(f io.ReadSeeker, size, tail int64) (skipped int64, err error) {
	if size <= tail {
		return 0, nil
	}
	at := size - tail
	if _, err := f.Seek(at-1, io.SeekStart); err != nil {
		return 0, err
	}
	buf := make([]byte, min(tail+1, logChunk))
	n, err := io.ReadFull(f, buf)
	if err != nil && err != io.ErrUnexpectedEOF {
		return 0, err
	}
	// A line longer than the buffer is cut.
	if end := bytes.IndexByte(buf[:n], '\n'); end >= 0 {
		at += int64(end)
	}
	return f.Seek(at, io.SeekStart)
}

// advance sends what is new, and goes on with the next attempt when there is one.
func (l *logReader) advance(ctx context.Context, out stream) error {
	if err := l.copy(out); err != nil {
		return err
	}
	path, err := l.s.Engine.RunLog(ctx, l.run)
	if errors.Is(err, visutility.ErrNotFound) {
		return nil // not yet
	}
	if err != nil || path == l.path {
		return err
	}
	if err := l.copy(out); err != nil { // what the old attempt wrote meanwhile
		return err
	}
	if err := l.open(ctx); err != nil {
		return err
	}
	return l.copy(out)
}

// copy sends the file from where it is read to its end.
func (l *logReader) copy(out stream) error {
	if l.file == nil {
		return nil
	}
	buf := make([]byte, logChunk)
	for {
		n, err := l.file.Read(buf)
		if n > 0 {
			if err := out.send(buf[:n]); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
