package engine

import (
	"context"
	"fmt"
	"net/url"
	"path/filepath"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/trainer"
)

// CheckToken reports, by [trainer.ErrToken], whether a token was made for an attempt of the run. The attempt
// may be over.
func (e *Engine) CheckToken(run, token string) error {
	_, err := e.tokens.Check(run, token)
	return err
}

// Tracked returns the run that a training program works for, and the URL of the directory in which its
// tracking client may leave artifacts. The token is good for one attempt of one run; [visutility.ErrConflict]
// when that attempt is over.
func (e *Engine) Tracked(ctx context.Context, run, token string) (visutility.Run, string, error) {
	attempt, err := e.tokens.Check(run, token)
	if err != nil {
		return visutility.Run{}, "", err
	}
	r, err := e.store.Run(ctx, run)
	if err != nil {
		return visutility.Run{}, "", err
	}
	if r.State != visutility.Training || r.Attempt != attempt {
		return visutility.Run{}, "", fmt.Errorf("%w: attempt %d of run %s is over (the run is %s)", visutility.ErrConflict, attempt, run, r.State)
	}
	dir := url.URL{Scheme: "file", Path: filepath.ToSlash(filepath.Join(e.tracker.Output(run, attempt), trainer.TrackingDir))}
	return r, dir.String(), nil
}

// Track keeps what a training program logged, whose token was found good by [Engine.Tracked].
func (e *Engine) Track(_ context.Context, run, token string, said trainer.Tracking) error {
	attempt, err := e.tokens.Check(run, token)
	if err != nil {
		return err
	}
	return e.tracker.Track(run, attempt, said)
}
