package drift

import "math"

// The words of a baseline, at the start of a state: how many values there were,
// their mean, their squared deviations.
const (
	baseCount = iota
	baseMean
	baseSquares
	baselineWords
)

// A baseline is what the values of a stream are measured by: a mean and a
// standard deviation, known or learned from the first values.
type baseline struct {
	mean, sigma float64 // known if sigma is not zero
	values      int     // to learn from otherwise
	clip        float64 // of what score returns
}

const (
	defaultBaseline = 100
	defaultClip     = 3
	maxBaseline     = 1_000_000
)

func (b baseline) validate(c *check) {
	c.that(b.sigma >= 0 && b.sigma <= maxInput, "sigma", "must be a number above 0, not %v", b.sigma)
	c.that(math.Abs(b.mean) <= maxInput, "mean", "must be a finite number, not %v", b.mean)
	c.that(b.mean == 0 || b.sigma > 0, "mean", "is known, so sigma must be given too")
	c.whole("baseline", b.values, 2, maxBaseline)
	c.that(b.clip > 0, "clip", "must be above 0, not %v", b.clip)
}

// score counts x and returns it in standard deviations from the mean, clipped.
// It is not ok for a value that the baseline is learned from. Learning goes on
// until the values differ: a constant stream has no scale to measure by.
func (b baseline) score(w []uint64, x float64) (z float64, ok bool) {
	x = bounded(x)
	mean, sigma := b.mean, b.sigma
	if sigma == 0 {
		n := float64(w[baseCount])
		mean = load(w, baseMean)
		if w[baseCount] > 1 {
			sigma = math.Sqrt(load(w, baseSquares) / (n - 1))
		}
		if w[baseCount] < uint64(b.values) || sigma <= 1e-12*math.Abs(mean) {
			w[baseCount]++
			off := x - mean
			mean += off / (n + 1)
			store(w, baseMean, mean)
			store(w, baseSquares, load(w, baseSquares)+off*(x-mean))
			return 0, false
		}
	}
	return min(max((x-mean)/sigma, -b.clip), b.clip), true
}

// Standardized measures values in standard deviations from a baseline before it
// hands them to another detector, for those whose parameters assume a certain
// scale: [ADWIN] expects a range near 1, and missed every shift by half a standard
// deviation of raw accuracies.
//
// The baseline is learned from the first values, from constant ones none, and anew
// after the detector has fired. State: 4 words and those of Of. Cost: a
// square root and a division. Promise: that of Of at best.
type Standardized struct {
	// Of takes the standardized values.
	Of Detector
	// Baseline is the number of values to learn from. Defaults to 100.
	Baseline int
	// Clip bounds the standardized values on both sides, in standard deviations, so
	// that one outlier is no change. Defaults to 3.
	Clip float64
}

func (d Standardized) baseline() baseline {
	return baseline{values: or(d.Baseline, defaultBaseline), clip: or(d.Clip, defaultClip)}
}

// standardizedHead: the baseline, and whether the detector has fired.
const standardizedHead = baselineWords + 1

// Validate implements [Detector].
func (d Standardized) Validate() error {
	c := check{detector: "standardized"}
	c.that(d.Of != nil, "of", "must be a detector")
	d.baseline().validate(&c)
	if c.err != nil {
		return c.err
	}
	return d.Of.Validate()
}

// Words implements [Detector].
func (d Standardized) Words() int { return standardizedHead + d.Of.Words() }

// Init implements [Detector].
func (d Standardized) Init(state []uint64) {
	clear(state[:standardizedHead])
	d.Of.Init(state[standardizedHead:d.Words()])
}

// Add implements [Detector].
func (d Standardized) Add(state []uint64, x float64) bool {
	if x != x {
		return false
	}
	if state[baselineWords] == spent {
		d.Init(state)
	}
	z, ok := d.baseline().score(state, x)
	if !ok || !d.Of.Add(state[standardizedHead:], z) {
		return false
	}
	state[baselineWords] = spent
	return true
}

// Value implements [Detector]: the value of Of.
func (d Standardized) Value(state []uint64) float64 { return d.Of.Value(state[standardizedHead:]) }

// Limit implements [Detector]: the limit of Of.
func (d Standardized) Limit(state []uint64) float64 { return d.Of.Limit(state[standardizedHead:]) }
