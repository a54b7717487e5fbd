package visutility

import (
	"slices"
	"time"
)

// A RunState is a station in the life of a run.
type RunState int

// The stations. Their numbers are stored: never reuse one.
const (
	Pending          RunState = iota // opened by a decision, not yet launched
	Training                         // the trainer is at work (or waits for its next attempt)
	Validating                       // the challenger is held against the champion
	Registering                      // the challenger becomes a version
	AwaitingApproval                 // a person is to say yes
	Promoting                        // the champion alias moves
	Watching                         // promoted; rolled back if it does worse
	Succeeded                        // promoted, and kept
	Failed                           // the trainer, or a step after it, gave up
	Rejected                         // the challenger did not pass the gate
	Canceled                         // somebody stopped it
	RolledBack                       // promoted, did worse, and the alias moved back
)

var runStateNames = [...]string{
	"pending", "training", "validating", "registering", "awaiting_approval", "promoting",
	"watching", "succeeded", "failed", "rejected", "canceled", "rolled_back",
}

// transitions is the one table of the life of a run: what may follow what.
var transitions = [...][]RunState{
	Pending:          {Training, Canceled, Failed},
	Training:         {Validating, Failed, Canceled},
	Validating:       {Registering, Rejected, Failed, Canceled},
	Registering:      {AwaitingApproval, Promoting, Failed, Canceled},
	AwaitingApproval: {Promoting, Canceled, Failed},
	Promoting:        {Watching, Succeeded, Failed},
	Watching:         {Succeeded, RolledBack},
	Succeeded:        nil,
	Failed:           nil,
	Rejected:         nil,
	Canceled:         nil,
	RolledBack:       nil,
}

// CanBecome reports whether a run in state s may go to state to.
func (s RunState) CanBecome(to RunState) bool {
	return int(s) >= 0 && int(s) < len(transitions) && slices.Contains(transitions[s], to)
}

// Next lists the states that may follow s. The slice is shared: do not change it.
func (s RunState) Next() []RunState { return transitions[s] }

// Ended reports whether nothing follows s.
func (s RunState) Ended() bool { return int(s) < len(transitions) && len(transitions[s]) == 0 }

// Active reports whether a run in state s keeps its model from starting
// another. A watched run does not: its champion serves, and may need help.
func (s RunState) Active() bool { return !s.Ended() && s != Watching }

// RunStates lists all states, in the order of life.
func RunStates() []RunState {
	all := make([]RunState, len(runStateNames))
	for i := range all {
		all[i] = RunState(i)
	}
	return all
}

func (s RunState) String() string { return enumString(runStateNames[:], s) }

// MarshalText writes the state's name.
func (s RunState) MarshalText() ([]byte, error) { return enumText(runStateNames[:], s) }

// UnmarshalText reads the state's name.
func (s *RunState) UnmarshalText(b []byte) error {
	return enumParse(runStateNames[:], s, b, "run state")
}

// A Run is one attempt to give a model a better version, from the decision to the end.
type Run struct {
	// ID is derived from model, policy and place in the log, so that a replay
	// opens the same run and not a second one.
	ID       string   `json:"id"`
	Model    string   `json:"model"`
	Policy   string   `json:"policy"`
	State    RunState `json:"state"`
	Decision string   `json:"decision"`
	// PolicyRevision is the digest of the policy file that decided: the run is carried through under it.
	PolicyRevision string `json:"policy_revision,omitempty"`
	// Version is the version registered, "" before.
	Version string `json:"version"`
	// Champion is the version that served when the run was opened, "" for none.
	Champion string `json:"champion"`
	// By says who asked, for runs started by hand.
	By string `json:"by,omitempty"`
	// Window is the time of the events that the decision looked at.
	Window Window `json:"window"`

	Attempt  int       `json:"attempt"`            // of the trainer, from 1; 0 before the first
	Progress float64   `json:"progress"`           // of the attempt, 0 to 1
	Message  string    `json:"message,omitempty"`  // the trainer's word on its progress
	Error    string    `json:"error,omitempty"`    // why the last attempt, or the run, failed
	Artifact *Artifact `json:"artifact,omitempty"` // what training left
	Report   *Report   `json:"report,omitempty"`   // what the gate said
	// ApprovedBy is who approved it, where approval was required.
	ApprovedBy string `json:"approved_by,omitempty"`

	CreatedAt  time.Time `json:"created_at"`
	StartedAt  time.Time `json:"started_at,omitzero"`  // of the first attempt
	NextAt     time.Time `json:"next_at,omitzero"`     // of the next attempt, while waiting for it
	PromotedAt time.Time `json:"promoted_at,omitzero"` //
	WatchUntil time.Time `json:"watch_until,omitzero"` //
	EndedAt    time.Time `json:"ended_at,omitzero"`    //

	// Wish is what somebody asked of the run and the owner has yet to do: WishCancel, WishApprove, WishRollback.
	Wish string `json:"wish,omitempty"`
}

// The wishes that may stand in Run.Wish.
const (
	WishCancel   = "cancel"
	WishApprove  = "approve"
	WishRollback = "rollback"
)

// A Window is a stretch of event time.
type Window struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
}

// A Transition is one step in the life of a run, as recorded.
type Transition struct {
	From RunState  `json:"from"`
	To   RunState  `json:"to"`
	Time time.Time `json:"time"`
	Note string    `json:"note,omitempty"`
}
