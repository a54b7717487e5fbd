package visutility

import (
	"context"
	"time"
)

// A Trainer runs training jobs: on this machine, or by asking another system.
//
// Train blocks until the job ends. Called again with the same job.Run and
// job.Attempt (after a restart) it attaches to the work already under way and
// never starts it twice. When ctx ends, [context.Cause] says why: [ErrShutdown]
// means leave the work running, anything else ([ErrCanceled], a timeout) means stop it.
// An error that wraps [ErrInvalid] is not retried.
type Trainer interface {
	Train(ctx context.Context, job Job) (Artifact, error)
}

// TrainerFunc lets a function be a [Trainer]. It lives and dies with the process.
type TrainerFunc func(ctx context.Context, job Job) (Artifact, error)

// Train calls f.
func (f TrainerFunc) Train(ctx context.Context, job Job) (Artifact, error) { return f(ctx, job) }

// A Job is the trainer's part of a run. Its JSON form is what a training
// program finds in the file named by VISUTILITY_JOB, and a webhook in its body;
// the schema is served at /api/v1/schemas/job.json.
type Job struct {
	Run      string   `json:"run"`
	Model    string   `json:"model"`
	Policy   string   `json:"policy"`
	Decision Decision `json:"decision"`
	Attempt  int      `json:"attempt"` // from 1
	// Window is the time of the events that the decision looked at.
	Window Window `json:"window"`
	// Champion is the version that serves now, nil for none.
	Champion *Version `json:"champion,omitempty"`
	// Parameters are those of the policy's train section.
	Parameters map[string]any `json:"parameters,omitempty"`
	// Deadline is when the attempt is given up.
	Deadline time.Time `json:"deadline,omitzero"`

	// Dir is the run's own directory, where a trainer keeps what it needs to attach again.
	Dir string `json:"-"`
	// Report tells progress: a fraction from 0 to 1 and a word on it. Never nil. Cheap to call.
	Report func(progress float64, message string) `json:"-"`
}
