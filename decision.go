package visutility

import "time"

// An Outcome is what came of a verdict.
type Outcome int

// The outcomes. Their numbers are stored: never reuse one.
const (
	// Noted: the verdict changed and that was all.
	Noted Outcome = iota
	// Fired: a run was opened.
	Fired
	// Suppressed: the verdict was to retrain; a guardrail stood against it.
	Suppressed
	// RollbackOrdered: the watch after a promotion saw the champion do worse.
	RollbackOrdered
)

var outcomeNames = [...]string{"noted", "fired", "suppressed", "rollback"}

func (o Outcome) String() string { return enumString(outcomeNames[:], o) }

// MarshalText writes the outcome's name.
func (o Outcome) MarshalText() ([]byte, error) { return enumText(outcomeNames[:], o) }

// UnmarshalText reads the outcome's name.
func (o *Outcome) UnmarshalText(b []byte) error { return enumParse(outcomeNames[:], o, b, "outcome") }

// The guardrails that suppress a fire: the values of Decision.SuppressedBy.
const (
	ByPause     = "paused"      // the model is paused
	ByActiveRun = "active_run"  // a run of the model is under way
	ByNoNewData = "no_new_data" // nothing was measured since the last run was opened
	ByCooldown  = "cooldown"    // too soon after the last run
	ByBudget    = "budget"      // too many runs in the period
	ByUnless    = "unless"      // the policy's unless condition holds
)

// A Decision is a recorded verdict: what it was, from which events, with which
// evidence, and what came of it. Decisions not to retrain are recorded too.
// It is immutable.
type Decision struct {
	// ID is derived from model, policy and place in the log: a replay gives the same.
	ID     string `json:"id"`
	Model  string `json:"model"`
	Policy string `json:"policy"`
	// PolicyRevision is the digest of the policy file that decided.
	PolicyRevision string    `json:"policy_revision,omitempty"`
	Partition      int       `json:"partition"`
	Position       Position  `json:"position"`   // the entry that brought the decision about
	Index          int       `json:"index"`      // the event's (or control's) place in that entry
	Since          Position  `json:"since"`      // the entry with which the breach began; Position when there is none
	Time           time.Time `json:"time"`       // when the log stored the entry
	EventTime      time.Time `json:"event_time"` // the model's time: of its newest event
	Verdict        Verdict   `json:"verdict"`    //
	Previous       Verdict   `json:"previous"`   // the verdict before
	Outcome        Outcome   `json:"outcome"`    //
	SuppressedBy   string    `json:"suppressed_by,omitempty"`
	Until          time.Time `json:"until,omitzero"` // when the guardrail opens, where that is known
	// Reason says it in one sentence, for people.
	Reason string `json:"reason"`
	// Evidence is the condition with the value of every part of it.
	Evidence []Term `json:"evidence,omitempty"`
	// Run is the run that was opened (Fired) or is to be rolled back (RollbackOrdered).
	Run string `json:"run,omitempty"`
	// By and Request are those of the [Control] that asked, for decisions made by hand.
	By      string `json:"by,omitempty"`
	Request string `json:"request,omitempty"`
}

// A Term is one sub-expression of a condition with its value: a tree.
type Term struct {
	// Name says which condition of the policy a root term is: "when", "unless",
	// "rollback.when", "promote.when". Empty below the root.
	Name string `json:"name,omitempty"`
	// Expr is the sub-expression's text.
	Expr string `json:"expr"`
	// Value is a float64, bool or string; nil when there is no data to tell.
	Value any `json:"value"`
	// Note adds what the value alone does not say ("23 samples", "since 10:04").
	Note  string `json:"note,omitempty"`
	Terms []Term `json:"terms,omitempty"`
}
