package backtest

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/ingest"
	"github.com/visutility/visutility/policy"
	"github.com/visutility/visutility/trainer"
)

// maxScoreLine bounds one line of a score command's output.
const maxScoreLine = 1 << 20

// A ScoreCommand is a program that says what a version would have scored: for [Simulation].Score. It
// finds the model in VISUTILITY_MODEL, the version and where its artifact is in VISUTILITY_VERSION and VISUTILITY_ARTIFACT, and
// the time in VISUTILITY_FROM and VISUTILITY_TO, both included. It writes the events to its standard output, as JSON, one a line.
type ScoreCommand struct {
	// Argv is the program and its arguments. No shell sees them. It runs in the working directory of this process, and gets
	// the environment that the policy's training command would. Required.
	Argv []string
	// Timeout is how long it may take for one version. Defaults to 10 minutes.
	Timeout time.Duration
	// MaxEvents and MaxBytes bound its output. They default to 2,000,000 and 512 MiB.
	MaxEvents int
	MaxBytes  int64
}

// Score runs the program for a version.
func (c ScoreCommand) Score(ctx context.Context, p *policy.Policy, v visutility.Version, span visutility.Window) (*Data, error) {
	program := trainer.Program{Argv: c.Argv, Env: p.Train.Env, Timeout: c.Timeout, Set: []string{
		"VISUTILITY_MODEL=" + v.Model, "VISUTILITY_VERSION=" + v.ID, "VISUTILITY_ARTIFACT=" + v.Artifact.URI,
		"VISUTILITY_FROM=" + span.From.Format(time.RFC3339Nano), "VISUTILITY_TO=" + span.To.Format(time.RFC3339Nano),
	}}
	r := scoreReader{v: v, span: span, now: time.Now(), left: cmp.Or(c.MaxEvents, 2_000_000), scores: NewData()}
	if err := program.Output(ctx, func(out io.Reader) error { return r.read(out, cmp.Or(c.MaxBytes, 512<<20)) }); err != nil {
		return nil, fmt.Errorf("the score command %q: %w", c.Argv[0], err)
	}
	return r.scores, nil
}

// A scoreReader reads what a score command prints.
type scoreReader struct {
	v      visutility.Version
	span   visutility.Window
	now    time.Time
	left   int // events
	scores *Data
}

// read reads events, one a line. Errors name the line.
func (r *scoreReader) read(from io.Reader, limit int64) error {
	in := &io.LimitedReader{R: from, N: limit + 1}
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, maxScoreLine)
	n, err := 0, error(nil)
	for err == nil && lines.Scan() {
		n++
		err = r.line(bytes.TrimSpace(lines.Bytes()))
	}
	switch {
	case in.N == 0: // and the last line is cut
		return fmt.Errorf("its output: %w: is longer than %d bytes", visutility.ErrInvalid, limit)
	case errors.Is(lines.Err(), bufio.ErrTooLong):
		return fmt.Errorf("its output, line %d: %w: is longer than %d bytes", n+1, visutility.ErrInvalid, maxScoreLine)
	case err != nil:
		return fmt.Errorf("its output, line %d: %w", n, err)
	}
	return lines.Err()
}

func (r *scoreReader) line(text []byte) error {
	if len(text) == 0 {
		return nil
	}
	events, err := ingest.NDJSON(text, r.now)
	if faults, ok := errors.AsType[*visutility.InvalidError](err); ok && len(faults.Fields) > 0 {
		f := faults.Fields[0]
		return fmt.Errorf("%s: %s", strings.TrimSuffix(f.Field, ": "), f.Message)
	} else if err != nil {
		return err
	}
	for _, e := range events {
		if err := r.event(e); err != nil {
			return err
		}
	}
	return nil
}

// event takes an event that is of this model, and in this time.
func (r *scoreReader) event(e visutility.Event) error {
	at := func(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }
	switch {
	case e.Model != r.v.Model:
		return fmt.Errorf("model: is %q; the version is one of %q", e.Model, r.v.Model)
	case e.Version != "" && e.Version != r.v.ID:
		return fmt.Errorf("version: is %q; VISUTILITY_VERSION is %q, and may be left out", e.Version, r.v.ID)
	case e.Time.IsZero():
		return errors.New("time: is missing: the event's place in the past is not known")
	case e.Time.Before(r.span.From) || e.Time.After(r.span.To):
		return fmt.Errorf("time: %s is not between VISUTILITY_FROM %s and VISUTILITY_TO %s", at(e.Time), at(r.span.From), at(r.span.To))
	case r.left == 0:
		return fmt.Errorf("%w: there are more events than are allowed", visutility.ErrInvalid)
	}
	r.left--
	return r.scores.Add(e, false)
}
