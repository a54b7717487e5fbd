package backtest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/policy"
	"github.com/visutility/visutility/registry"
	"github.com/visutility/visutility/store"
	"github.com/visutility/visutility/trainer"
)

// A Simulation has the runs of a backtest trained in truth: by the trainer that the policy names, judged by its gate, and
// from a promotion on with the scores that the new version would have had. Every plan has a registry of its own.
type Simulation struct {
	// Dir is where trainings leave what they make, and where the registries are. It must be empty, or not there yet. Required.
	Dir string
	// Score says what a version would have scored from span.From to span.To, both included: its events, all of
	// them the model's and in that time. p is the policy that had it trained. It is called from several goroutines. Required.
	Score func(ctx context.Context, p *policy.Policy, v visutility.Version, span visutility.Window) (*Data, error)
	// Champions are, by model, the versions that serve at the beginning: those that the data measured. They get an ID of the
	// registry. A model without one has no champion until its first promotion. Defaults to none.
	Champions map[string]visutility.Version
	// Trainer is what trains for a policy. Defaults to the command that the policy names; policies
	// that name something else are then refused.
	Trainer func(*policy.Policy) (visutility.Trainer, error)
	// Now times the trainings, and their timeouts. Defaults to time.Now.
	Now func() time.Time
	// Trained is told of each training that is over, from several goroutines. Defaults to nothing.
	Trained func()
}

// check refuses what cannot be simulated, and fills in what is left out.
func (s *Simulation) check(policies []*policy.Policy) (*Simulation, error) {
	c := *s
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Trained == nil {
		c.Trained = func() {}
	}
	if c.Trainer == nil {
		for _, p := range policies {
			if len(p.Train.Run) == 0 {
				return nil, fmt.Errorf("%w: %s: train names no command but %s: a simulation starts no training on other systems; give it a train.run to simulate with",
					visutility.ErrInvalid, p.File, wayToTrain(p))
			}
		}
		c.Trainer = func(p *policy.Policy) (visutility.Trainer, error) {
			return trainer.Command{Argv: p.Train.Run, Dir: p.WorkDir(), Env: p.Train.Env}, nil
		}
	}
	if c.Score == nil {
		return nil, visutility.Invalidf("score", "missing", "is missing: without it nobody says what a new version would have scored")
	}
	var err error
	if c.Dir, err = emptyDir(c.Dir); err != nil {
		return nil, err
	}
	return &c, nil
}

func wayToTrain(p *policy.Policy) string {
	if p.Train.Webhook != nil {
		return "a webhook"
	}
	return fmt.Sprintf("the trainer %q", p.Train.Trainer)
}

// emptyDir makes a directory, or sees to it that there is nothing in it: a training that is
// found there would be taken for one of this simulation.
func emptyDir(dir string) (string, error) {
	if dir == "" {
		return "", visutility.Invalidf("dir", "missing", "is missing: the trainings need a directory")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("the directory of the simulation: %w", err)
	}
	names, err := os.ReadDir(dir)
	if err != nil {
		return "", fmt.Errorf("the directory of the simulation: %w", err)
	}
	if len(names) > 0 {
		return "", visutility.Invalidf("dir", "not_empty", "%s is not empty: give the simulation a directory of its own", dir)
	}
	return dir, nil
}

// A simulator carries the runs of one plan through.
type simulator struct {
	o   *Simulation
	dir string
	x   *replay
	p   *player

	store    *store.Store
	registry visutility.Registry
	// decisions are those that opened the runs under way, by run.
	decisions map[string]visutility.Decision
	since     map[string]int64 // by model: when its champion began to serve; none: with the data
	scored    map[string]bool  // the metrics of which a promoted version has scores
	tally     tally
	err       error // that ended the simulation
}

func newSimulator(x *replay) *simulator {
	return &simulator{
		o: x.o.Simulate, x: x, dir: filepath.Join(x.o.Simulate.Dir, x.plan.Name),
		decisions: make(map[string]visutility.Decision), since: make(map[string]int64), scored: make(map[string]bool),
		tally: tally{reads: x.o.reads, means: make(map[string]*mean), keep: x.plan.Name == "policy"},
	}
}

// begin puts the champions in their place, and has the player ask what becomes of runs.
func (s *simulator) begin(ctx context.Context, p *player) error {
	s.p = p
	decided, promoted := p.decided, p.promoted
	p.decided = func(*visutility.Decision) {} // that somebody put them there
	for _, model := range slices.Sorted(maps.Keys(s.o.Champions)) {
		v := s.o.Champions[model]
		v.Model = model
		v, err := s.register(ctx, v)
		if err != nil {
			return fmt.Errorf("registering the champion of %s: %w", model, err)
		}
		p.champion[model] = champion{version: v.ID, metrics: v.Metrics}
		p.put(visutility.Control{Kind: visutility.ControlPromoted, Model: model, Version: v.ID})
	}
	p.decided = func(d *visutility.Decision) {
		if d.Outcome == visutility.Fired {
			s.decisions[d.Run] = *d
		}
		decided(d)
	}
	p.promoted = func(model string, now int64) {
		promoted(model, now)
		s.since[model] = now
		s.x.course.turn(s.x.course.from(now), model, p.champion[model].scores)
		p.turned = true
	}
	p.settle = func(r *playing) { s.settle(ctx, r) }
	return nil
}

// register makes a version of the plan's registry, which is opened when it is needed first: most plans of most pasts
// never do.
func (s *simulator) register(ctx context.Context, v visutility.Version) (visutility.Version, error) {
	if s.registry == nil {
		if err := os.MkdirAll(s.dir, 0o700); err != nil {
			return v, err
		}
		st, err := store.Open(ctx, store.Options{Path: filepath.Join(s.dir, "visutility.db")})
		if err != nil {
			return v, err
		}
		s.store = st
		s.registry = registry.NewBuiltin(st, registry.Options{Dir: filepath.Join(s.dir, "artifacts"), RunsDir: filepath.Join(s.dir, "runs")})
	}
	return s.registry.Register(ctx, v)
}

func (s *simulator) close() error {
	if s.store == nil {
		return nil
	}
	return s.store.Close()
}

// settle trains, and says what became of a run. What is not the run's fault ends the simulation.
func (s *simulator) settle(ctx context.Context, r *playing) {
	told := &s.x.plan.Runs[s.x.at[r.ID]]
	var err error
	if r.state, told.Note, err = s.carry(ctx, r, told); err != nil {
		s.err, s.p.turned = err, true
	}
	told.Note = s.portable(told.Note)
	delete(s.decisions, r.ID)
}

// portable takes the place of the simulation's directory out of a text: it is another one each time.
func (s *simulator) portable(text string) string {
	return strings.ReplaceAll(text, s.o.Dir+string(filepath.Separator), "")
}

// carry does what the runner does in production: train, validate, register; and has the new version scored.
func (s *simulator) carry(ctx context.Context, r *playing, told *Played) (visutility.RunState, string, error) {
	p, ok := s.x.set.Policy(r.Policy)
	if !ok {
		return visutility.Failed, "", fmt.Errorf("run %s: %w: policy %q", r.ID, visutility.ErrNotFound, r.Policy)
	}
	began := s.o.Now()
	artifact, note, err := s.train(ctx, p, r)
	told.TrainingSeconds = s.o.Now().Sub(began).Seconds()
	s.o.Trained()
	if err != nil || note != "" {
		return visutility.Failed, note, err
	}
	serving, err := s.version(ctx, r.Model, s.p.champion[r.Model].version)
	if err != nil {
		return visutility.Failed, "", err
	}
	challenger := visutility.Version{
		Model: r.Model, Artifact: artifact, Metrics: artifact.Metrics, Run: r.ID, Decision: r.Decision, Parent: serving.ID,
		Window: s.window(r), CreatedAt: utc(s.p.now),
	}
	report, err := p.Validator().Validate(ctx, challenger, serving)
	switch {
	case err != nil:
		return visutility.Failed, fmt.Sprintf("the gate could not tell: %v", err), nil
	case !report.Passed:
		return visutility.Rejected, report.Reason, nil
	}
	v, err := s.register(ctx, challenger)
	if errors.Is(err, visutility.ErrInvalid) {
		return visutility.Failed, fmt.Sprintf("the registry refused the version: %v", err), nil
	} else if err != nil {
		return visutility.Failed, "", fmt.Errorf("registering the version of run %s: %w", r.ID, err)
	}
	told.Version, r.version, r.metrics = v.ID, v.ID, v.Metrics
	if serving.ID != "" {
		r.against = artifact.ChampionMetrics
	}
	r.scores, err = s.score(ctx, p, v)
	return visutility.Succeeded, report.Reason, err
}

// version is a version of the plan's registry, the zero Version for none.
func (s *simulator) version(ctx context.Context, model, id string) (visutility.Version, error) {
	if id == "" {
		return visutility.Version{}, nil
	}
	v, err := s.registry.Resolve(ctx, model, id)
	if err != nil {
		return v, fmt.Errorf("resolving the champion of %s: %w", model, err)
	}
	return v, nil
}

// train makes as many attempts as the policy allows, without the pauses between them. note says why none succeeded.
func (s *simulator) train(ctx context.Context, p *policy.Policy, r *playing) (a visutility.Artifact, note string, err error) {
	t, err := s.o.Trainer(p)
	if err != nil {
		return a, fmt.Sprintf("there is no trainer: %v", err), nil
	}
	job := visutility.Job{
		Run: r.ID, Model: r.Model, Policy: r.Policy, Decision: s.decisions[r.ID], Window: s.window(r),
		Parameters: p.Train.Parameters, Dir: filepath.Join(s.dir, "runs", r.ID), Report: func(float64, string) {},
	}
	if serving, err := s.version(ctx, r.Model, r.Champion); err != nil {
		return a, "", err
	} else if serving.ID != "" {
		job.Champion = &serving
	}
	for {
		job.Attempt++
		if p.Train.Timeout > 0 {
			job.Deadline = s.o.Now().Add(p.Train.Timeout).UTC()
		}
		a, err := t.Train(ctx, job)
		switch {
		case ctx.Err() != nil:
			return a, "", context.Cause(ctx)
		case err == nil:
			return a, "", nil
		case errors.Is(err, visutility.ErrInvalid) || job.Attempt > p.Train.Retries:
			return a, fmt.Sprintf("attempt %d of %d failed: %v", job.Attempt, p.Train.Retries+1, err), nil
		}
	}
}

// window is the time of the events that a run's training is to look at. A schedule looks at no events: its
// runs are trained on what there is at that moment.
func (s *simulator) window(r *playing) visutility.Window {
	if !s.x.scheduled {
		return r.Window
	}
	from, ok := s.since[r.Model]
	if !ok || from > r.CreatedAt.UnixMilli() {
		from = s.x.first[r.Model]
	}
	return visutility.Window{From: utc(from), To: r.CreatedAt}
}

// score is what a version that is promoted now would have scored until the end, nil when nothing comes any more.
func (s *simulator) score(ctx context.Context, p *policy.Policy, v visutility.Version) (*Data, error) {
	_, to := s.x.data.span()
	from := s.x.course.from(s.p.now)
	if from > to {
		return nil, nil
	}
	scores, err := s.o.Score(ctx, p, v, visutility.Window{From: utc(from), To: utc(to)})
	if err != nil {
		return nil, fmt.Errorf("scoring %s of %s under the plan %q: %w", v.ID, v.Model, s.x.plan.Name, err)
	}
	if scores.Events() == 0 && s.x.data.measured(v.Model, from) {
		return nil, fmt.Errorf("scoring %s of %s under the plan %q: %w: there is no event from %s to %s; what it would have scored is not known",
			v.ID, v.Model, s.x.plan.Name, visutility.ErrInvalid, minute(utc(from)), minute(utc(to)))
	}
	scores.sort()
	for i := range scores.series {
		s.scored[scores.series[i].Metric] = true
	}
	return scores, nil
}

// measured reports whether there are events of a model from a time on.
func (d *Data) measured(model string, from int64) bool {
	return slices.ContainsFunc(d.records[after(d.records, from):], func(r record) bool { return d.series[r.series].Model == model })
}
