package visutility

import (
	"fmt"
	"math"
	"time"
)

// Limits on one prediction.
const (
	MaxFeatures     = 256 // of one prediction
	MaxFeatureBytes = 200 // of a feature's name
)

// A Prediction is what a model said about one case. Its [Truth] comes later, or never.
type Prediction struct {
	// Model is the name of the model. Required.
	Model string
	// ID tells the predictions of a model apart: the truth names it. Required.
	ID string
	// Answer is what the model predicted: a class or a number. Where there is a score it may be left
	// out, with a Number that is NaN: then nothing is told that needs a class.
	Answer Answer
	// Score is the probability, 0 to 1, of the positive class; NaN for none.
	Score float64
	// Features are what it was predicted from, as far as their drift is to be watched. Optional.
	Features []Feature
	// Version is the model version that predicted. Optional.
	Version string
	// Time is when it was predicted, kept in milliseconds. Defaults to the time of receipt.
	Time time.Time
	// Labels tell segments of a model apart; what is measured is measured of each. Optional.
	Labels map[string]string
}

// A Truth is what turned out to be true: the label of a prediction.
type Truth struct {
	// Model and ID are those of the prediction. Required.
	Model, ID string
	// Answer is what would have been right. Required.
	Answer Answer
	// Time is when it became known, kept in milliseconds. Defaults to the time of receipt.
	Time time.Time
}

// An Answer is a class or a number.
type Answer struct {
	// Class is "" where the answer is a number.
	Class string
	// Number is finite.
	Number float64
}

// A Feature is an input of a model: a category or a number.
type Feature struct {
	Name  string
	Value Answer
}

// Answered reports whether there is an answer, not a score alone.
func (p *Prediction) Answered() bool { return p.Answer.Class != "" || !math.IsNaN(p.Answer.Number) }

// Check returns what is wrong with the prediction, see [Event.Check].
func (p *Prediction) Check(errs []FieldError, prefix string, now time.Time) []FieldError {
	errs = checkSample(errs, prefix, p.Model, p.ID, p.Time, now)
	errs = checkName(errs, prefix+"version", p.Version, false)
	if p.Answered() || math.IsNaN(p.Score) {
		errs = p.Answer.check(errs, prefix+"prediction")
	}
	if !math.IsNaN(p.Score) && !(p.Score >= 0 && p.Score <= 1) {
		errs = append(errs, FieldError{prefix + "score", fmt.Sprintf("is %v; send a probability from 0 to 1", p.Score), "range"})
	}
	if len(p.Features) > MaxFeatures {
		errs = append(errs, FieldError{prefix + "features", fmt.Sprintf("has %d features; %d are allowed: send those worth watching", len(p.Features), MaxFeatures), "too_many"})
	}
	for i := range p.Features {
		f := &p.Features[i]
		field := prefix + "features." + f.Name
		if len(f.Name) > MaxFeatureBytes {
			errs = append(errs, FieldError{prefix + "features", fmt.Sprintf("has a name of %d bytes; %d are allowed", len(f.Name), MaxFeatureBytes), "too_long"})
			continue
		}
		errs = checkName(errs, field, f.Name, true)
		errs = f.Value.check(errs, field)
	}
	if len(p.Labels) > 0 { // the same rules as for events
		e := Event{Model: "-", Metric: "-", Labels: p.Labels}
		errs = e.Check(errs, prefix, now)
	}
	return errs
}

// Check returns what is wrong with the truth, see [Event.Check].
func (t *Truth) Check(errs []FieldError, prefix string, now time.Time) []FieldError {
	return t.Answer.check(checkSample(errs, prefix, t.Model, t.ID, t.Time, now), prefix+"label")
}

func checkSample(errs []FieldError, prefix, model, id string, at, now time.Time) []FieldError {
	e := Event{Model: model, Metric: "-", Time: at}
	return checkName(e.Check(errs, prefix, now), prefix+"id", id, true)
}

// maxNumber bounds numbers that are predicted, so that their squares can be added up.
const maxNumber = 1e100

func (a Answer) check(errs []FieldError, field string) []FieldError {
	switch {
	case a.Class != "":
		return checkName(errs, field, a.Class, true)
	case math.IsNaN(a.Number):
		return append(errs, FieldError{field, "is NaN; send a finite number, a text or nothing", "nan"})
	case math.Abs(a.Number) > maxNumber:
		return append(errs, FieldError{field, "is not a number up to ±1e100", "range"})
	}
	return errs
}
