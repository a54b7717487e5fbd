package drift

import "math"

// EWMA is the chart of the exponentially weighted moving average, good at small
// lasting shifts. It fires when the average of the standardized values is
// more than L of its own standard deviations on the side of harm. The limits are the exact ones for
// the first values too.
//
// Source: S. W. Roberts, Control Chart Tests Based on Geometric Moving
// Averages, Technometrics 1(3), 1959; limits after Lucas and Saccucci, 1990.
//
// Promise: calibrated. With a known baseline and independent normal values the
// defaults make one false alarm in 593 values (Both) or 1,195 (one
// direction). A baseline that was learned, or correlation, makes them more
// frequent. State: 5 words. Cost: constant.
type EWMA struct {
	// Direction is where harm lies. Defaults to Up.
	Direction Direction
	// Lambda is the weight of the newest value, in (0, 1]. Defaults to 0.2.
	Lambda float64
	// L is the limit, in standard deviations of the average. Defaults to 3.
	L float64
	// Baseline is the number of values to learn mean and deviation from. Defaults to 100.
	Baseline int
	// Mean and Sigma are the values' mean and standard deviation where they are
	// known; Sigma 0 means that they are learned.
	Mean, Sigma float64
	// Clip bounds each value, in standard deviations from the mean. Defaults to 3:
	// then no single value can fire the chart.
	Clip float64
}

const (
	ewmaAverage = baselineWords + iota
	ewmaFading  // (1-λ)^2t, what is left of the first state's variance
	ewmaWords
)

func (d EWMA) baseline() baseline {
	return baseline{mean: d.Mean, sigma: d.Sigma, values: or(d.Baseline, defaultBaseline), clip: or(d.Clip, defaultClip)}
}

func (d EWMA) lambda() float64 { return or(d.Lambda, 0.2) }
func (d EWMA) l() float64      { return or(d.L, 3) }

// Validate implements [Detector].
func (d EWMA) Validate() error {
	c := check{detector: "ewma"}
	c.direction(d.Direction, Both)
	c.that(d.lambda() > 0 && d.lambda() <= 1, "lambda", "must be above 0 and at most 1, not %v", d.Lambda)
	c.positive("l", d.l())
	d.baseline().validate(&c)
	return c.err
}

// Words implements [Detector].
func (d EWMA) Words() int { return ewmaWords }

// Init implements [Detector].
func (d EWMA) Init(state []uint64) {
	clear(state[:ewmaWords])
	store(state, ewmaFading, 1)
}

// Add implements [Detector].
func (d EWMA) Add(state []uint64, x float64) bool {
	if x != x {
		return false
	}
	if state[baseCount] == spent {
		d.Init(state)
	}
	z, ok := d.baseline().score(state, x)
	if !ok {
		return false
	}
	lambda := d.lambda()
	store(state, ewmaAverage, lambda*z+(1-lambda)*load(state, ewmaAverage))
	store(state, ewmaFading, (1-lambda)*(1-lambda)*load(state, ewmaFading))
	if d.Value(state) <= d.l() {
		return false
	}
	state[baseCount] = spent
	return true
}

// Value implements [Detector]: how many standard deviations of the average it is
// off to the side of harm.
func (d EWMA) Value(state []uint64) float64 {
	grown := 1 - load(state, ewmaFading)
	if grown == 0 {
		return 0
	}
	lambda := d.lambda()
	off := load(state, ewmaAverage) / math.Sqrt(lambda/(2-lambda)*grown)
	return d.Direction.worst(off, -off)
}

// Limit implements [Detector].
func (d EWMA) Limit([]uint64) float64 { return d.l() }
