package bikedemand

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/backtest"
	"github.com/visutility/visutility/policy"
	"github.com/visutility/visutility/trainer"
)

// Compare returns what a backtest needs to say what the policy, and schedules in its place, would have made of the
// stream: every run is trained in truth, in this process, and what it leaves is in dir, which must not be there yet.
func Compare(s *Stream, p *policy.Policy, dir string) (o backtest.Options, past *backtest.Data, err error) {
	first := filepath.Join(dir, "first")
	if err := os.MkdirAll(first, 0o700); err != nil {
		return o, nil, fmt.Errorf("make the directory: %w", err)
	}
	model, err := s.leaveFirst(first, io.Discard)
	if err != nil {
		return o, nil, err
	}
	if past, err = s.scores(model, visutility.Event{Model: ModelName}, model.To.Add(week), s.End()); err != nil {
		return o, nil, err
	}
	champion, err := trainer.ReadResult(first)
	if err != nil {
		return o, nil, err
	}
	champion.URI = (&url.URL{Scheme: "file", Path: filepath.ToSlash(champion.URI)}).String()
	// One processor is left to whoever else works in this process: the replay, where there is one.
	free := make(chan struct{}, max(1, runtime.GOMAXPROCS(0)-1))
	train := func(ctx context.Context, job visutility.Job) (visutility.Artifact, error) {
		select {
		case free <- struct{}{}:
			defer func() { <-free }()
			return s.trainHere(job)
		case <-ctx.Done():
			return visutility.Artifact{}, context.Cause(ctx)
		}
	}
	return backtest.Options{Policies: []*policy.Policy{p}, Simulate: &backtest.Simulation{
		Dir:       filepath.Join(dir, "plans"),
		Champions: map[string]visutility.Version{ModelName: {Artifact: champion, Metrics: champion.Metrics}},
		Trainer: func(*policy.Policy) (visutility.Trainer, error) {
			return visutility.TrainerFunc(train), nil
		},
		Score: func(_ context.Context, _ *policy.Policy, v visutility.Version, span visutility.Window) (*backtest.Data, error) {
			m, err := loadArtifact(v.Artifact)
			if err != nil {
				return nil, err
			}
			return s.scores(m, visutility.Event{Model: ModelName, Version: v.ID}, span.From, span.To)
		},
	}}, past, nil
}

// scores are what measure writes.
func (s *Stream) scores(m *Model, like visutility.Event, from, to time.Time) (*backtest.Data, error) {
	var text bytes.Buffer
	if _, err := s.measure(&text, m, like, from, to); err != nil {
		return nil, err
	}
	data := backtest.NewData()
	for lines := bufio.NewScanner(&text); lines.Scan(); {
		var e visutility.Event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return nil, err
		}
		if err := data.Add(e, false); err != nil {
			return nil, err
		}
	}
	return data, nil
}

// trainHere runs the training program in this process.
func (s *Stream) trainHere(job visutility.Job) (a visutility.Artifact, err error) {
	out, file := filepath.Join(job.Dir, "output"), filepath.Join(job.Dir, "job.json")
	if err := os.MkdirAll(out, 0o700); err != nil {
		return a, fmt.Errorf("make the output directory: %w", err)
	}
	if err := writeJSON(file, job); err != nil {
		return a, err
	}
	vars := map[string]string{"VISUTILITY_JOB": file, "VISUTILITY_OUTPUT": out}
	if err := Train(s, func(name string) string { return vars[name] }, io.Discard, io.Discard); err != nil {
		return a, err
	}
	return trainer.ReadResult(out)
}
