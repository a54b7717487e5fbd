package trainer

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/visutility/visutility"
)

// The files of an attempt's directory; the package comment says what is in them.
const (
	jobFile      = "job.json"
	outputDir    = "output"
	logFile      = "output.log"
	specFile     = "spec.json"
	lockFile     = "lock"
	startedFile  = "started"
	cancelFile   = "cancel"
	exitFile     = "exit.json"
	superLogFile = "supervisor.log"
	acceptedFile = "accepted"
	callbackFile = "callback.json"
	closedFile   = "closed"
)

// AttemptDir is the directory of an attempt (from 1) in the run's own directory.
func AttemptDir(run string, attempt int) string {
	return filepath.Join(run, "attempt-"+strconv.Itoa(attempt))
}

// LogFile is where the output of an attempt's training program is kept. It
// exists from the moment the program is started.
func LogFile(run string, attempt int) string {
	return filepath.Join(AttemptDir(run, attempt), logFile)
}

// An attempt is one attempt's directory.
type attempt struct{ dir string }

func (a attempt) path(name string) string { return filepath.Join(a.dir, name) }
func (a attempt) output() string          { return a.path(outputDir) }
func (a attempt) has(name string) bool    { return exists(a.path(name)) }

// prepare makes the attempt's directory with job.json, or finds it. The job it returns
// has the deadline of the first call: attaching does not put it off.
func prepare(job visutility.Job) (attempt, visutility.Job, error) {
	switch {
	case job.Run == "" || job.Model == "":
		return attempt{}, job, visutility.Invalidf("job", "empty", "needs a run and a model")
	case job.Attempt < 1:
		return attempt{}, job, visutility.Invalidf("job.attempt", "range", "is %d; attempts count from 1", job.Attempt)
	case job.Dir == "":
		return attempt{}, job, visutility.Invalidf("job.dir", "empty", "is missing: the trainer has nowhere to keep the attempt")
	}
	dir, err := filepath.Abs(job.Dir)
	if err != nil {
		return attempt{}, job, err
	}
	if job.Report == nil {
		job.Report = func(float64, string) {}
	}
	job.Dir = dir
	a := attempt{AttemptDir(dir, job.Attempt)}
	if err := os.MkdirAll(a.output(), 0o700); err != nil {
		return a, job, fmt.Errorf("making the attempt's directory: %w", err)
	}
	var first struct {
		Deadline time.Time `json:"deadline"`
	}
	found, err := readJSON(a.path(jobFile), &first)
	if err != nil {
		return a, job, err
	}
	if found {
		job.Deadline = first.Deadline
		return a, job, nil
	}
	return a, job, writeJSON(a.path(jobFile), job)
}

// tail returns the last lines of the attempt's log, at most n bytes, on one line.
func (a attempt) tail(n int64) string {
	f, err := os.Open(a.path(logFile))
	if err != nil {
		return ""
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return ""
	}
	buf := make([]byte, min(n, info.Size()))
	k, _ := f.ReadAt(buf, info.Size()-int64(len(buf))) // a shorter tail will do
	return lastLines(buf[:k], info.Size() > n)
}

// lastLines returns the last lines of b on one line. cut says that b's first line lacks its beginning.
func lastLines(b []byte, cut bool) string {
	lines := strings.Split(strings.TrimSpace(strings.ToValidUTF8(string(b), "�")), "\n")
	if cut && len(lines) > 1 {
		lines = lines[1:] // the first is cut
	}
	lines = lines[max(0, len(lines)-3):]
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	return strings.Join(lines, " | ")
}
