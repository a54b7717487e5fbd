package calibrate

import (
	"fmt"
	"math"
	"time"
)

// Harm is where harm lies.
type Harm string

const (
	// Up: more is worse. Errors, losses, distances.
	Up Harm = "up"
	// Down: less is worse. Accuracy and other scores.
	Down Harm = "down"
)

// Options are the promise, and how to find what keeps it.
type Options struct {
	// Levels are what the rule's number may be set to, from nervous to calm, rising or falling;
	// 100 to 300 of them, at even distances on the scale on which errors are alike: for the limit of a detector's
	// statistic a geometric one, for a threshold of the metric itself a linear one. Required.
	Levels []float64
	// MaxFalse is how many false retrains are allowed. Defaults to 1; negative: none.
	MaxFalse int
	// Per is in what time. Defaults to 90 days.
	Per time.Duration
	// Prob is how often the promise is to be kept, of all such times. Defaults to 0.9: 9 times in 10.
	Prob float64
	// Confidence is how often a history is to lead to a level that does so. Defaults to 0.9.
	Confidence float64
	// WarmUp is how many values the rule learns from before it can fire; simulated streams begin with as
	// many, and Per comes after them. Defaults to 100, as the detectors of drift.
	WarmUp int
	// Season is the cycle of the metric. Defaults to finding out whether there is one of a day or a week;
	// negative: none.
	Season time.Duration
	// MaxOrder is from how many values before it a value may follow. Defaults to 12.
	MaxOrder int
	// Outer is how many histories are simulated, Inner how many stretches of length Per from each. Default to 40 and 120.
	Outer, Inner int
	// Seed makes the result. Defaults to 0, a seed as any other.
	Seed uint64
	// Harm is where harm lies. Defaults to Up.
	Harm Harm
	// Shifts are the sizes of harmful shifts to report delays for, in standard deviations of what the
	// cycle leaves of the metric. Defaults to 0.5, 1, 1.5, 2 and 3.
	Shifts []float64
	// Progress is told how much of all the work is done, from several goroutines but one at a time. Defaults to nothing.
	Progress func(done, all int)
}

// Limits that keep the work bounded.
const (
	maxLevels     = 10_000
	maxReplicates = 10_000
	maxHorizon    = 50_000 // steps of one simulated stretch
	maxOrder      = 100
	maxAllowed    = 100 // false retrains
	maxShifts     = 20
)

// complete fills in the defaults for a history, or returns an [*OptionError].
func (o Options) complete(step time.Duration) (Options, error) {
	switch {
	case o.MaxFalse == 0:
		o.MaxFalse = 1
	case o.MaxFalse < 0:
		o.MaxFalse = 0
	}
	o.Per = or(o.Per, 90*day)
	o.Prob, o.Confidence = or(o.Prob, 0.9), or(o.Confidence, 0.9)
	o.WarmUp, o.MaxOrder = or(o.WarmUp, 100), or(o.MaxOrder, 12)
	o.Outer, o.Inner = or(o.Outer, 40), or(o.Inner, 120)
	o.Harm = or(o.Harm, Up)
	if o.Shifts == nil {
		o.Shifts = []float64{0.5, 1, 1.5, 2, 3}
	}
	if o.Progress == nil {
		o.Progress = func(int, int) {}
	}
	return o, o.check(step)
}

func (o *Options) check(step time.Duration) error {
	var err error
	that := func(ok bool, option, format string, args ...any) {
		if !ok && err == nil {
			err = &OptionError{Option: option, Message: fmt.Sprintf(format, args...)}
		}
	}
	that(len(o.Levels) >= 2 && len(o.Levels) <= maxLevels, "Levels", "must be from 2 to %d, not %d", maxLevels, len(o.Levels))
	that(ordered(o.Levels), "Levels", "must be finite, and all rise or all fall, from nervous to calm")
	that(o.MaxFalse <= maxAllowed, "MaxFalse", "must be at most %d, not %d", maxAllowed, o.MaxFalse)
	that(o.Per >= 10*step, "Per", "is %s; it must be at least ten steps of the history, which are %s", o.Per, step)
	that(o.Prob > 0 && o.Prob < 1, "Prob", "must be between 0 and 1, not %v", o.Prob)
	that(o.Confidence >= 0.5 && o.Confidence < 1, "Confidence", "must be from 0.5 to below 1, not %v", o.Confidence)
	that(o.WarmUp >= 0 && o.WarmUp <= maxHorizon, "WarmUp", "must be from 0 to %d, not %d", maxHorizon, o.WarmUp)
	that(o.MaxOrder > 0 && o.MaxOrder <= maxOrder, "MaxOrder", "must be from 1 to %d, not %d", maxOrder, o.MaxOrder)
	that(o.Outer > 0 && o.Outer <= maxReplicates && o.rank() <= o.Outer, "Outer",
		"is %d; it must be from %d, for that Confidence, to %d", o.Outer, int(math.Ceil(o.Confidence/(1-o.Confidence)-tiny)), maxReplicates)
	that(o.Inner > 0 && o.Inner <= maxReplicates && o.misses() >= 1, "Inner",
		"is %d; it must be from %d, for that Prob, to %d", o.Inner, int(math.Ceil(1/(1-o.Prob)-tiny)), maxReplicates)
	that(o.Season < 0 || o.Season%step == 0 && (o.Season == 0 || o.Season >= 2*step), "Season",
		"is %s; it must be a multiple of the step of the history, which is %s", o.Season, step)
	that(o.Harm == Up || o.Harm == Down, "Harm", "must be %q or %q, not %q", Up, Down, o.Harm)
	that(len(o.Shifts) <= maxShifts, "Shifts", "must be at most %d, not %d", maxShifts, len(o.Shifts))
	for _, s := range o.Shifts {
		that(s > 0 && s <= 100, "Shifts", "must be above 0 and at most 100 standard deviations, not %v", s)
	}
	return err
}

// tiny is more than what rounding does to a product of a share and a count.
const tiny = 1e-9

// rank is which of the outer levels, from the most nervous on, Confidence asks for.
func (o *Options) rank() int { return int(math.Ceil(o.Confidence*float64(o.Outer+1) - tiny)) }

// misses is how many of the inner stretches may break the promise.
func (o *Options) misses() int { return int((1-o.Prob)*float64(o.Inner) + tiny) }

// ordered: all rising or all falling, and finite.
func ordered(levels []float64) bool {
	rises := len(levels) > 1 && levels[1] > levels[0]
	for i, l := range levels {
		if math.IsNaN(l) || math.IsInf(l, 0) || i > 0 && (l == levels[i-1] || l > levels[i-1] != rises) {
			return false
		}
	}
	return true
}

// or is v, or its default if it is zero.
func or[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}
