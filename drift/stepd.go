package drift

import "math"

// STEPD compares the error rate of the last Window events with that of all before,
// by the test of equal proportions with continuity correction.
//
// Input: errors; a value of at least 0.5 is one. With Down, a value below 0.5 is
// one. Between events with errors only, or with none, nothing can be compared.
// Where errors are rare the normal approximation breaks down: after 3,000 events
// without any, a single one fires it.
//
// Source: K. Nishida, K. Yamauchi, Detecting Concept Drift Using Statistical
// Testing, Discovery Science 2007; one-sided, since more errors alone are harm.
//
// Promise: heuristic. Alpha is the level of a single test, and there is one at each event:
// 51 false alarms in 100,000 events with errors of probability 0.1. State: 4 words and one for each 64 events of
// Window. Cost: constant.
type STEPD struct {
	// Direction is where harm lies: Up or Down. Defaults to Up.
	Direction Direction
	// Window is the number of recent events. Defaults to 30.
	Window int
	// Alpha is the level of a test, in (0, 0.5). Defaults to 0.003.
	Alpha float64
}

const (
	stepdCount  = iota
	stepdOlder  // errors before the window
	stepdRecent // errors in it
	stepdLimit  // quantile of the normal distribution
	stepdRing   // the window, a bit an event
)

func (d STEPD) window() int { return or(d.Window, 30) }

// Validate implements [Detector].
func (d STEPD) Validate() error {
	c := check{detector: "stepd"}
	c.direction(d.Direction, Down)
	c.whole("window", d.window(), 2, 10_000)
	c.between("alpha", or(d.Alpha, 0.003), 0, 0.5)
	return c.err
}

// Words implements [Detector].
func (d STEPD) Words() int { return stepdRing + (d.window()+63)/64 }

// Init implements [Detector].
func (d STEPD) Init(state []uint64) {
	clear(state[:d.Words()])
	store(state, stepdLimit, normalQuantile(1-or(d.Alpha, 0.003)))
}

// Add implements [Detector].
func (d STEPD) Add(state []uint64, x float64) bool {
	if x != x {
		return false
	}
	if state[stepdCount] == spent {
		d.Init(state)
	}
	window := uint64(d.window())
	at := state[stepdCount] % window
	word, bit := &state[stepdRing+at/64], uint64(1)<<(at%64)
	if *word&bit != 0 {
		state[stepdRecent]--
		state[stepdOlder]++
		*word &^= bit
	}
	if d.Direction.unit(x) >= 0.5 {
		state[stepdRecent]++
		*word |= bit
	}
	state[stepdCount]++
	value := d.Value(state)
	if value <= load(state, stepdLimit) {
		return false
	}
	store(state, stepdLimit, value)
	state[stepdCount] = spent
	return true
}

// Value implements [Detector]: the normal score of the difference of the rates.
func (d STEPD) Value(state []uint64) float64 {
	count, window := state[stepdCount], float64(d.window())
	if count == spent {
		return load(state, stepdLimit)
	}
	if count < 2*uint64(d.window()) {
		return 0
	}
	older := float64(count) - window
	rate := float64(state[stepdOlder]+state[stepdRecent]) / float64(count)
	sizes := 1/older + 1/window
	if rate == 0 || rate == 1 {
		return 0
	}
	worse := float64(state[stepdRecent])/window - float64(state[stepdOlder])/older
	return (worse - sizes/2) / math.Sqrt(rate*(1-rate)*sizes)
}

// Limit implements [Detector]: the quantile of the normal distribution for Alpha.
func (d STEPD) Limit([]uint64) float64 { return normalQuantile(1 - or(d.Alpha, 0.003)) }
