package visutility

import (
	"fmt"
	"math"
	"time"
	"unicode"
	"unicode/utf8"
)

// The canonical metrics, whose goals are known without being declared. Any
// other name is allowed; a policy then says whether higher or lower is better.
const (
	Accuracy   = "accuracy"
	Precision  = "precision"
	Recall     = "recall"
	F1Score    = "f1_score"
	DriftScore = "drift_score"
)

// Limits on one event. They bound what a hostile or broken sender can store.
const (
	MaxNameBytes = 256            // model, metric, version, label name, label value
	MaxLabels    = 16             // labels of one event
	MaxAhead     = 24 * time.Hour // how far an event's time may be ahead of the clock
)

// An Event is one measurement of one metric of one model.
type Event struct {
	// Model is the name of the model measured. Required.
	Model string `json:"model"`
	// Metric is the name of what was measured. Required.
	Metric string `json:"metric"`
	// Value is the measurement. It must be finite.
	Value float64 `json:"value"`
	// Time is when the measurement was true, kept in milliseconds.
	// Defaults to the time of receipt.
	Time time.Time `json:"time,omitzero"`
	// Count is the number of samples behind the value: averages weigh by it.
	// Defaults to 1.
	Count uint64 `json:"count,omitempty"`
	// Version is the model version that was measured. Events of a version that
	// has since been replaced do not count against its successor. Optional.
	Version string `json:"version,omitempty"`
	// Labels tell segments of a model apart ("country": "DE"). Optional.
	Labels map[string]string `json:"labels,omitempty"`
}

// Check returns what is wrong with the event, at the given clock reading, with
// field paths that start with prefix, or nil. It appends to errs and returns it,
// so that a request can be told all its faults at once.
func (e *Event) Check(errs []FieldError, prefix string, now time.Time) []FieldError {
	errs = checkName(errs, prefix+"model", e.Model, true)
	if e.Model == "." || e.Model == ".." { // clients and proxies take these out of the paths of the API
		errs = append(errs, FieldError{prefix + "model", fmt.Sprintf("%q cannot name a model", e.Model), "dots"})
	}
	errs = checkName(errs, prefix+"metric", e.Metric, true)
	errs = checkName(errs, prefix+"version", e.Version, false)
	switch {
	case math.IsNaN(e.Value):
		errs = append(errs, FieldError{prefix + "value", "is NaN; send a finite number or nothing", "nan"})
	case math.IsInf(e.Value, 0):
		errs = append(errs, FieldError{prefix + "value", "is infinite; send a finite number or nothing", "inf"})
	}
	if !e.Time.IsZero() {
		if e.Time.After(now.Add(MaxAhead)) {
			errs = append(errs, FieldError{prefix + "time", fmt.Sprintf("%s is more than a day ahead of the server's clock (%s); check the sender's clock and the unit", e.Time.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339)), "future"})
		} else if e.Time.Before(minTime) {
			errs = append(errs, FieldError{prefix + "time", "is before 1970; check the unit", "past"})
		}
	}
	if e.Count > math.MaxInt64 {
		errs = append(errs, FieldError{prefix + "count", "is over 2^63-1", "range"})
	}
	if len(e.Labels) > MaxLabels {
		errs = append(errs, FieldError{prefix + "labels", fmt.Sprintf("has %d labels; %d are allowed", len(e.Labels), MaxLabels), "too_many"})
	}
	for k, v := range e.Labels {
		errs = checkName(errs, prefix+"labels", k, true)
		errs = checkName(errs, prefix+"labels."+k, v, false)
	}
	return errs
}

var minTime = time.Unix(0, 0)

func checkName(errs []FieldError, field, s string, required bool) []FieldError {
	switch {
	case s == "" && required:
		return append(errs, FieldError{field, "is missing or empty", "empty"})
	case len(s) > MaxNameBytes:
		return append(errs, FieldError{field, fmt.Sprintf("has %d bytes; %d are allowed", len(s), MaxNameBytes), "too_long"})
	}
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] == 0x7f {
			return append(errs, FieldError{field, "contains a control character", "control_character"})
		}
		if s[i] >= utf8.RuneSelf {
			return checkWide(errs, field, s[i:])
		}
	}
	return errs
}

// checkWide is checkName of what is not ASCII, from its first character.
func checkWide(errs []FieldError, field, s string) []FieldError {
	if !utf8.ValidString(s) {
		return append(errs, FieldError{field, "is not valid UTF-8", "utf8"})
	}
	for _, r := range s {
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) { // the latter make a name look like another
			return append(errs, FieldError{field, "contains a control character", "control_character"})
		}
	}
	return errs
}
