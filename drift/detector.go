package drift

import (
	"fmt"
	"math"
)

// A Detector watches one stream for a change. Its value holds parameters only,
// is not changed by any method, and may be used for many streams and from many
// goroutines; the state of a stream is in the words that are passed in, of which
// one goroutine at a time may make use.
//
// After it fired, a detector starts afresh with the next value, as after Init,
// unless its documentation says otherwise.
type Detector interface {
	// Validate returns a [*ParameterError] that names a parameter out of its
	// range. The other methods may be called only if there is none.
	Validate() error
	// Words is the length of the state: constant for a given detector.
	Words() int
	// Init makes state, of at least Words words, the one before the first value.
	Init(state []uint64)
	// Add takes the next value and reports whether the detector fires at it. It
	// does not allocate. NaN is ignored; a value beyond ±1e100 counts as ±1e100.
	Add(state []uint64, x float64) (fired bool)
	// Value is the current statistic, for explanations; the detector fires where
	// it reaches Limit. After firing it is the value that fired, until the next Add.
	// It is finite, and 0 as long as the detector has not seen enough.
	Value(state []uint64) float64
	// Limit is what Value has to reach.
	Limit(state []uint64) float64
}

// A Direction is where harm lies.
type Direction uint8

const (
	// Up: more is worse. Errors, losses, distances.
	Up Direction = iota
	// Down: less is worse. Accuracy and other scores.
	Down
	// Both: any change.
	Both
)

func (d Direction) String() string {
	switch d {
	case Up:
		return "up"
	case Down:
		return "down"
	case Both:
		return "both"
	}
	return fmt.Sprintf("Direction(%d)", uint8(d))
}

// worst is the greater of the statistics of the directions that count.
func (d Direction) worst(up, down float64) float64 {
	switch d {
	case Up:
		return up
	case Down:
		return down
	}
	return max(up, down)
}

// unit is x as a harm between 0 and 1; d must not be Both.
func (d Direction) unit(x float64) float64 {
	x = min(max(x, 0), 1)
	if d == Down {
		return 1 - x
	}
	return x
}

// A Promise is what a detector promises about false alarms.
type Promise string

const (
	// Heuristic: nothing; rates were measured on some data.
	Heuristic Promise = "heuristic"
	// Calibrated: a rate that follows from an assumption about the distribution.
	Calibrated Promise = "calibrated"
	// Guaranteed: a bound for samples of any size, under a condition that can be checked.
	Guaranteed Promise = "guaranteed"
)

// A ParameterError says which parameter of a detector is wrong, and what would be right.
type ParameterError struct {
	Detector  string // as in [Detectors]
	Parameter string // as in [Kind.Parameters], "direction", or "" for the detector itself
	Message   string
}

func (e *ParameterError) Error() string {
	if e.Parameter == "" {
		return e.Detector + ": " + e.Message
	}
	return e.Detector + ": " + e.Parameter + " " + e.Message
}

// A check collects the first mistake in the parameters of a detector.
type check struct {
	detector string
	err      error
}

func (c *check) that(ok bool, parameter, format string, args ...any) {
	if !ok && c.err == nil {
		c.err = &ParameterError{Detector: c.detector, Parameter: parameter, Message: fmt.Sprintf(format, args...)}
	}
}

// between refuses values outside the open interval.
func (c *check) between(parameter string, v, low, high float64) {
	c.that(v > low && v < high, parameter, "must be between %v and %v, not %v", low, high, v)
}

func (c *check) positive(parameter string, v float64) {
	c.that(v > 0 && v <= maxInput, parameter, "must be a number above 0, not %v", v)
}

func (c *check) whole(parameter string, v, low, high int) {
	c.that(v >= low && v <= high, parameter, "must be from %d to %d, not %d", low, high, v)
}

func (c *check) direction(d, last Direction) {
	switch {
	case d > Both:
		c.that(false, "direction", "must be up, down or both")
	case d > last:
		c.that(false, "direction", "must be up or down: the detector is one-sided")
	}
}

// maxInput bounds inputs, so that sums of squares stay finite.
const maxInput = 1e100

func bounded(x float64) float64 { return min(max(x, -maxInput), maxInput) }

// spent is the value of the first word, a count, of a detector that has fired.
const spent = math.MaxUint64

func load(w []uint64, at int) float64     { return math.Float64frombits(w[at]) }
func store(w []uint64, at int, v float64) { w[at] = math.Float64bits(v) }

// or is v, or its default if it is zero.
func or[T int | float64](v, otherwise T) T {
	if v == 0 {
		return otherwise
	}
	return v
}
