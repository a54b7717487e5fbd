package visutility

import "encoding"

// A Verdict is what a strategy thinks of a model after an event.
type Verdict int

// The verdicts, in order of gravity. Their numbers are stored: never reuse one.
const (
	// Hold: nothing is wrong, as far as the data says.
	Hold Verdict = iota
	// Breach: the condition holds, but not yet for long enough.
	Breach
	// Fire: retrain, if the guardrails allow.
	Fire
)

var verdictNames = [...]string{"hold", "breach", "fire"}

func (v Verdict) String() string { return enumString(verdictNames[:], v) }

// MarshalText writes the verdict's name.
func (v Verdict) MarshalText() ([]byte, error) { return enumText(verdictNames[:], v) }

// UnmarshalText reads the verdict's name.
func (v *Verdict) UnmarshalText(b []byte) error { return enumParse(verdictNames[:], v, b, "verdict") }

// A Strategy folds the events of one model into a verdict: a program's own rule,
// where a condition in a policy file does not say enough. It is deterministic:
// no clock, no randomness, no I/O; the same events give the same verdicts, and
// UnmarshalBinary of what AppendBinary wrote restores it exactly.
// It is used by one goroutine at a time.
type Strategy interface {
	Observe(Event) Verdict
	encoding.BinaryAppender
	encoding.BinaryUnmarshaler
}
