package drift

import "math"

// HDDMA compares the mean of all values with their mean up to the point where
// its upper confidence bound was least, by Hoeffding's inequality.
//
// Input: values in [0, 1], such as errors; values outside are clamped. With Down, 1 is right.
//
// Source: I. Frías-Blanco and others, Online and Non-Parametric Drift Detection
// Methods Based on Hoeffding's Bounds, IEEE TKDE 27(3), 2015 (A-test; with
// ln(2/δ), as its authors' program has it, where the one-sided corollary has ln(1/δ)).
//
// Promise: heuristic. Hoeffding's bound holds for a single comparison at a point
// chosen beforehand, while this one chooses the point and looks at each event; in effect it is conservative: 0.2
// false alarms in 100,000 events, and it misses all changes from 1 % to 2 % of
// errors within 5,000. State: 5 words. Cost: constant.
type HDDMA struct {
	// Direction is where harm lies: Up or Down. Defaults to Up.
	Direction Direction
	// Delta is the probability of error of a single comparison, in (0, 1). Defaults to 0.001.
	Delta float64
}

const (
	hddmaCount = iota
	hddmaMean
	hddmaCutCount
	hddmaCutMean
	hddmaFired // the value that fired
	hddmaWords
)

func (d HDDMA) delta() float64 { return or(d.Delta, 0.001) }

// Validate implements [Detector].
func (d HDDMA) Validate() error {
	c := check{detector: "hddm_a"}
	c.direction(d.Direction, Down)
	c.between("delta", d.delta(), 0, 1)
	return c.err
}

// Words implements [Detector].
func (d HDDMA) Words() int { return hddmaWords }

// Init implements [Detector].
func (d HDDMA) Init(state []uint64) { clear(state[:hddmaWords]) }

// Add implements [Detector].
func (d HDDMA) Add(state []uint64, x float64) bool {
	if x != x {
		return false
	}
	if state[hddmaCount] == spent {
		d.Init(state)
	}
	state[hddmaCount]++
	n := float64(state[hddmaCount])
	mean := load(state, hddmaMean)
	mean += (d.Direction.unit(x) - mean) / n
	store(state, hddmaMean, mean)

	half := -math.Log(d.delta()) / 2
	cut := float64(state[hddmaCutCount])
	if cut == 0 || load(state, hddmaCutMean)+math.Sqrt(half/cut) >= mean+math.Sqrt(half/n) {
		state[hddmaCutCount] = state[hddmaCount]
		store(state, hddmaCutMean, mean)
	}
	value := d.Value(state)
	if value < 1 {
		return false
	}
	store(state, hddmaFired, value)
	state[hddmaCount] = spent
	return true
}

// Value implements [Detector]: the difference of the means in units of its bound.
func (d HDDMA) Value(state []uint64) float64 {
	if state[hddmaCount] == spent {
		return load(state, hddmaFired)
	}
	n, cut := float64(state[hddmaCount]), float64(state[hddmaCutCount])
	if n == cut {
		return 0
	}
	bound := math.Sqrt((n - cut) / (cut * n) / 2 * math.Log(2/d.delta()))
	return (load(state, hddmaMean) - load(state, hddmaCutMean)) / bound
}

// Limit implements [Detector]: 1.
func (d HDDMA) Limit([]uint64) float64 { return 1 }
