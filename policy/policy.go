package policy

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/visutility/visutility"
)

// A Goal says which way a metric is better.
type Goal string

// The goals. The zero Goal is a metric of which nothing is known.
const (
	HigherIsBetter Goal = "higher_is_better"
	LowerIsBetter  Goal = "lower_is_better"
)

// canonical are the metrics whose goal need not be declared.
var canonical = map[string]Goal{
	visutility.Accuracy:   HigherIsBetter,
	visutility.Precision:  HigherIsBetter,
	visutility.Recall:     HigherIsBetter,
	visutility.F1Score:    HigherIsBetter,
	visutility.DriftScore: LowerIsBetter,
}

// A Policy is a checked policy file. It is immutable: share it, do not change it.
type Policy struct {
	// Name is the file's name without its extension, unless the file says otherwise.
	Name string
	File string // as given to Parse
	Dir  string // the directory of the file
	// Revision is the first 12 hex digits of the SHA-256 of the source.
	Revision string
	Source   []byte
	// Models are the globs (see [path.Match]) of the models' names.
	Models []string
	// Metrics are those declared, and the canonical ones that a condition reads.
	Metrics  map[string]Metric
	Retrain  Retrain
	Train    Train
	Promote  Promote
	Rollback *Rollback // nil: a promoted version is not watched
	// Warnings are remarks of the kind a linter makes: the policy is good, but perhaps not meant so.
	Warnings Errors

	exact bool // Models is one name, not a glob
	knobs []Knob
}

// A Metric is what a policy knows of a metric.
type Metric struct {
	Goal Goal
	// MinSamples is how many samples an aggregate, or the latest value, must stand on to have a value.
	MinSamples int64
	Baseline   Baseline
	// Source is where the metric comes from when nobody sends it. Defaults to nil: it is sent.
	Source *Query
}

// A Baseline says what baseline.x is: a constant, or the mean of the first events of a champion.
type Baseline struct {
	Constant bool
	Value    float64 // if Constant
	Events   int64   // else: how many events at least. Defaults to 10.
}

// Retrain says when.
type Retrain struct {
	// When and Unless are the conditions as written. When is "" with a Strategy.
	When, Unless string
	// For is how long When must hold. Defaults to 0.
	For time.Duration
	// AfterSuccess and AfterFailure are the cooldown after the end of a run.
	// They default to 0 and one minute.
	AfterSuccess, AfterFailure time.Duration
	// Budget bounds the runs in a period. The zero Budget is none.
	Budget Budget
	// Strategy names a program's own strategy, which decides instead of When.
	Strategy string

	when, unless *condition
}

// A Budget allows so many runs in any stretch of so long.
type Budget struct {
	Runs int
	Per  time.Duration
}

// Train says with what: exactly one of Run, Webhook and Trainer is set.
type Train struct {
	// Run is the argument vector of a command; with Shell it is /bin/sh -c and the line.
	Run   []string
	Shell bool
	// Dir is the working directory of the command, absolute or below the policy's, which is the default.
	Dir string
	// Env are the names of environment variables passed through to the command.
	Env     []string
	Webhook *Webhook
	// Trainer names a trainer that the program brought along.
	Trainer string
	// Timeout is for one attempt. Defaults to 24 hours.
	Timeout time.Duration
	// Retries is how many times a failed attempt is repeated. Defaults to 0.
	Retries int
	// Parameters are handed to the trainer as they are.
	Parameters map[string]any
}

// A Webhook is a trainer at the other end of an HTTP request.
type Webhook struct {
	URL string
	// Heartbeat is how often the other end must give a sign of life. Defaults to 10 minutes.
	Heartbeat time.Duration

	secretEnv, secretFile, dir string
}

// Secret reads the key that signs the requests from where the policy says it is,
// "" if it says nothing. It is read when needed and never kept.
func (w *Webhook) Secret() (string, error) {
	switch {
	case w.secretEnv != "":
		s := os.Getenv(w.secretEnv)
		if s == "" {
			return "", fmt.Errorf("%w: the environment variable %s of the webhook's secret is not set", visutility.ErrNotFound, w.secretEnv)
		}
		return s, nil
	case w.secretFile != "":
		name := w.secretFile
		if !filepath.IsAbs(name) {
			name = filepath.Join(w.dir, name)
		}
		b, err := os.ReadFile(name)
		if err != nil {
			return "", fmt.Errorf("the webhook's secret: %w", err)
		}
		return strings.TrimSpace(string(b)), nil
	}
	return "", nil
}

// Promote says what a challenger must achieve. See [Policy.Validator].
type Promote struct {
	// When is the gate as written, "" to promote whatever a successful run made.
	When string
	// Approval asks for a person's yes before a promotion.
	Approval bool

	gate *condition
}

// Rollback says when a promoted version is taken back.
type Rollback struct {
	// When is the condition as written.
	When string
	// Within is how long a promoted version is watched. Defaults to 7 days.
	Within time.Duration

	when *condition
}

// Reads are the metrics whose events can move the verdict, sorted.
func (p *Policy) Reads() []string {
	if p.Retrain.when == nil {
		return nil
	}
	return slices.Clone(p.Retrain.when.metrics)
}

// Clocked reports whether time alone can move the verdict.
func (p *Policy) Clocked() bool { return p.Retrain.when != nil && p.Retrain.when.clocked }

// WorkDir is the working directory of the training command: Train.Dir, seen from the policy's own.
func (p *Policy) WorkDir() string {
	if filepath.IsAbs(p.Train.Dir) {
		return p.Train.Dir
	}
	return filepath.Join(p.Dir, p.Train.Dir)
}

// Only is the model that the policy is for, "" when it may be for several.
func (p *Policy) Only() string {
	if p.exact {
		return p.Models[0]
	}
	return ""
}

// Matches reports whether the policy is for a model.
func (p *Policy) Matches(model string) bool {
	if p.exact {
		return p.Models[0] == model
	}
	return slices.ContainsFunc(p.Models, func(glob string) bool {
		ok, err := path.Match(glob, model)
		return ok && err == nil // Parse refused malformed globs
	})
}
