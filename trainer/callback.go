package trainer

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"sync"

	"github.com/visutility/visutility"
)

// The states that a callback tells.
const (
	StatusRunning   = "running"
	StatusSucceeded = "succeeded"
	StatusFailed    = "failed"
)

// A Callback is what a webhook's other side says of an attempt. Each one is also a sign of life.
type Callback struct {
	// Status is running, succeeded or failed. The last two end the attempt. Required.
	Status string `json:"status"`
	// Progress is from 0 to 1, for running.
	Progress float64 `json:"progress,omitempty"`
	// Message is a word on the progress, for running; for failed, it stands in for Error.
	Message string `json:"message,omitempty"`
	// Error says why, for failed.
	Error string `json:"error,omitempty"`
	// Result is required for succeeded; its artifact is a URI.
	Result *Result `json:"result,omitempty"`
}

// Check returns what is wrong with the callback, [visutility.ErrInvalid], or nil.
func (c Callback) Check() error {
	switch c.Status {
	case StatusRunning, StatusFailed:
		return nil
	case StatusSucceeded:
		if c.Result == nil {
			return visutility.Invalidf("result", "empty", "is missing: a training that succeeded has one")
		}
		if err := c.Result.check(); err != nil {
			return err
		}
		if !isURI(c.Result.Artifact) {
			return visutility.Invalidf("result.artifact", "not_a_uri", "%q is not a URI; the server cannot reach files of another system", c.Result.Artifact)
		}
		return nil
	}
	return visutility.Invalidf("status", "unknown", "is %q; running, succeeded and failed are known", c.Status)
}

// answer is what a callback that ends the attempt makes Train return.
func (c Callback) answer() (visutility.Artifact, error) {
	if c.Status == StatusSucceeded {
		return visutility.Artifact{URI: c.Result.Artifact, Metrics: c.Result.Metrics, ChampionMetrics: c.Result.ChampionMetrics}, nil
	}
	why := cmp.Or(c.Error, c.Message)
	if why == "" {
		return visutility.Artifact{}, errors.New("the training failed; the webhook gave no reason")
	}
	return visutility.Artifact{}, fmt.Errorf("the training failed: %s", shorten(why))
}

// Callbacks takes the calls for all webhook attempts of a server and hands them to the trainers that wait
// for them. An end that was told is on disk before it is acknowledged, so that it is not lost
// when nobody waits for it at the moment. Safe for concurrent use.
type Callbacks struct {
	dir string
	mu  sync.Mutex // also orders the files of ends: an attempt has one
	// by directory of the attempt, while trainers wait for it
	waiting map[string]*waiters
}

// waiters are the trainers that wait for one attempt: one, as a rule.
type waiters struct {
	calls map[chan Callback]struct{}
	post  chan struct{} // of capacity 1: held while the job is handed over
}

// NewCallbacks makes the hub for the runs whose directories are in dir.
func NewCallbacks(dir string) *Callbacks {
	if abs, err := filepath.Abs(dir); err == nil {
		dir = abs
	}
	return &Callbacks{dir: dir, waiting: make(map[string]*waiters)}
}

// Deliver hands over a callback, whose token has been checked. Repeating one that ended the attempt is
// fine. Of an attempt that is over or was never made, and of one that another
// attempt has replaced, it is [visutility.ErrConflict].
func (h *Callbacks) Deliver(run string, attempt int, c Callback) error {
	if err := c.Check(); err != nil {
		return err
	}
	if !filepath.IsLocal(run) || run != filepath.Base(run) {
		return fmt.Errorf("run %q: %w", run, visutility.ErrNotFound)
	}
	a := h.attempt(run, attempt)
	h.mu.Lock()
	defer h.mu.Unlock()
	var last Callback
	ended, err := readJSON(a.path(callbackFile), &last)
	switch {
	case err != nil:
		return err
	case ended && sameEnd(last, c):
		return nil
	case ended:
		return fmt.Errorf("attempt %d of run %s has %s already: %w", attempt, run, last.Status, visutility.ErrConflict)
	case !a.has(jobFile) || a.has(closedFile) || exists(h.attempt(run, attempt+1).dir):
		return fmt.Errorf("attempt %d of run %s is not under way: %w", attempt, run, visutility.ErrConflict)
	}
	if c.Status != StatusRunning {
		if err := writeJSON(a.path(callbackFile), c); err != nil {
			return fmt.Errorf("%w: keeping the callback: %w", visutility.ErrUnavailable, err)
		}
	}
	if w := h.waiting[a.dir]; w != nil {
		for ch := range w.calls {
			select { // the newest word replaces one that was not taken yet
			case <-ch:
			default:
			}
			ch <- c
		}
	}
	return nil
}

func (h *Callbacks) attempt(run string, n int) attempt {
	return attempt{AttemptDir(filepath.Join(h.dir, run), n)}
}

func sameEnd(a, b Callback) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && string(x) == string(y)
}

// wait registers a trainer for the calls of its attempt. The channel holds the newest.
func (h *Callbacks) wait(a attempt) (calls <-chan Callback, post chan struct{}, stop func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	w := h.waiting[a.dir]
	if w == nil {
		w = &waiters{calls: make(map[chan Callback]struct{}), post: make(chan struct{}, 1)}
		h.waiting[a.dir] = w
	}
	ch := make(chan Callback, 1)
	w.calls[ch] = struct{}{}
	return ch, w.post, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(w.calls, ch)
		if len(w.calls) == 0 {
			delete(h.waiting, a.dir)
		}
	}
}

// close ends an attempt for a reason of our own: later calls are refused. That the
// other side was quicker is fine: the attempt then has the end that was told.
func (h *Callbacks) close(a attempt, why string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if a.has(callbackFile) || a.has(closedFile) {
		return nil
	}
	return writeJSON(a.path(closedFile), closed{why})
}

// closed is the content of the file of that name.
type closed struct {
	Why string `json:"why"`
}

// outcome returns how the attempt ended, if it has.
func (h *Callbacks) outcome(a attempt) (artifact visutility.Artifact, over bool, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var c Callback
	if over, err = readJSON(a.path(callbackFile), &c); err != nil {
		return artifact, true, err
	}
	if over {
		artifact, err = c.answer()
		return artifact, true, err
	}
	var end closed
	if over, err = readJSON(a.path(closedFile), &end); over && err == nil {
		err = errors.New(end.Why)
	}
	return artifact, over || err != nil, err
}
