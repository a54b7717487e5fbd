package drift

import "math"

// DDM is the drift detection method for errors: it remembers where the
// error rate p plus its standard deviation s was least, and fires when p + s
// exceeds that minimum by Drift times the deviation then.
//
// Input: errors, 0 or 1, or anything between; values outside are clamped. With
// Down, 1 is right and 0 wrong.
//
// Source: J. Gama, P. Medas, G. Castillo, P. Rodrigues, Learning with Drift
// Detection, SBIA 2004. Deviation from it: a rate of exactly 0 or 1 sets no minimum, since its
// estimated deviation of 0 would make the very next error an alarm.
//
// Promise: heuristic. The rate is that of all events since the start, so the
// older the stream the slower: after 20,000 events it needs 1,390 to notice that errors
// doubled from 0.1, and misses 21 %. State: 4 words. Cost: constant.
type DDM struct {
	// Direction is where harm lies: Up or Down. Defaults to Up.
	Direction Direction
	// Drift is the limit, in standard deviations. Defaults to 3.
	Drift float64
	// MinInstances is the number of values before the first minimum. Defaults to 30.
	MinInstances int
}

const (
	ddmCount = iota
	ddmRate
	ddmLeastRate
	ddmLeastDeviation // 0: no minimum yet
	ddmWords
)

func (d DDM) drift() float64 { return or(d.Drift, 3) }

// Validate implements [Detector].
func (d DDM) Validate() error {
	c := check{detector: "ddm"}
	c.direction(d.Direction, Down)
	c.positive("drift", d.drift())
	c.whole("min_instances", or(d.MinInstances, 30), 1, maxBaseline)
	return c.err
}

// Words implements [Detector].
func (d DDM) Words() int { return ddmWords }

// Init implements [Detector].
func (d DDM) Init(state []uint64) { clear(state[:ddmWords]) }

// Add implements [Detector].
func (d DDM) Add(state []uint64, x float64) bool {
	if x != x {
		return false
	}
	if state[ddmCount] == spent {
		d.Init(state)
	}
	state[ddmCount]++
	rate := load(state, ddmRate)
	rate += (d.Direction.unit(x) - rate) / float64(state[ddmCount])
	store(state, ddmRate, rate)
	if state[ddmCount] <= uint64(or(d.MinInstances, 30)) {
		return false
	}
	s, least := d.deviation(state), load(state, ddmLeastDeviation)
	if least == 0 || rate+s <= load(state, ddmLeastRate)+least {
		store(state, ddmLeastRate, rate)
		store(state, ddmLeastDeviation, s)
	}
	if d.Value(state) <= d.drift() {
		return false
	}
	// The spent mark hides the count, on which the value depends: keep what fired.
	store(state, ddmRate, d.Value(state))
	state[ddmCount] = spent
	return true
}

// deviation is the standard deviation of the rate.
func (d DDM) deviation(state []uint64) float64 {
	rate := load(state, ddmRate)
	return math.Sqrt(max(0, rate*(1-rate)) / float64(state[ddmCount]))
}

// Value implements [Detector]: p + s less the least p, in the deviations of then.
func (d DDM) Value(state []uint64) float64 {
	if state[ddmCount] == spent {
		return load(state, ddmRate)
	}
	least := load(state, ddmLeastDeviation)
	if least == 0 {
		return 0
	}
	return (load(state, ddmRate) + d.deviation(state) - load(state, ddmLeastRate)) / least
}

// Limit implements [Detector].
func (d DDM) Limit([]uint64) float64 { return d.drift() }
