package dispatch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/visutility/visutility"
)

// errHung is the cause of the end of a call's context when it took too long.
var errHung = errors.New("the call took too long")

// A panicError is a panic of an observer, as an error.
type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string { return fmt.Sprintf("panic: %v", e.value) }

// errGone is the failure of an observer that ended the goroutine it was called on.
var errGone = errors.New("the observer called runtime.Goexit")

// A call guards the calls of one worker, one at a time: it turns panics into errors
// and keeps watch on the time. The fields but timer are guarded by worker.mu.
type call struct {
	timer  *time.Timer
	began  time.Time // zero between calls
	hung   bool
	cancel context.CancelCauseFunc
}

// arm prepares for calls; disarm ends the watch.
func (c *call) arm(w *worker) {
	c.timer = time.AfterFunc(w.options.HangAfter, func() { c.late(w) })
	c.timer.Stop()
}

func (c *call) disarm() { c.timer.Stop() }

// do calls the observer.
func (c *call) do(parent context.Context, w *worker, b visutility.Batch) error {
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	w.mu.Lock()
	c.began, c.cancel = time.Now(), cancel
	w.mu.Unlock()
	c.timer.Reset(w.options.HangAfter)

	err := observe(ctx, w.observer, b)

	c.timer.Stop()
	w.mu.Lock()
	defer w.mu.Unlock()
	if c.hung && err != nil {
		err = fmt.Errorf("the call was ended after %s: %w", time.Since(c.began), err)
	}
	c.began, c.hung = time.Time{}, false
	return err
}

// late is called by the timer: the call under way has taken too long, unless it
// ended just now and this is the next one.
func (c *call) late(w *worker) {
	w.mu.Lock()
	if c.began.IsZero() || time.Since(c.began) < w.options.HangAfter {
		w.mu.Unlock()
		return
	}
	c.hung = true
	w.view.lastError, w.view.lastErrorAt = fmt.Errorf("%w: more than %s", errHung, w.options.HangAfter), time.Now()
	c.cancel(errHung)
	w.mu.Unlock()
	w.log.LogAttrs(context.Background(), slog.LevelError, "observer hangs: its context has been ended, and it is waited for", slog.Duration("after", w.options.HangAfter))
}

// observe turns a panic into an error.
func observe(ctx context.Context, o visutility.Observer, b visutility.Batch) (err error) {
	returned := false
	defer func() {
		if returned {
			return
		}
		err = &panicError{recover(), debug.Stack()}
	}()
	err = o.Observe(ctx, b)
	returned = true
	return err
}

// inCall reports whether the observer is being called now.
func (w *worker) inCall() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.call.began.IsZero()
}
