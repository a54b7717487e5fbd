package drift

// CUSUM is the cumulative sum chart: it adds up by how much the standardized
// values exceed K, never falls below 0, and fires above H. It is the quickest
// chart for a shift of 2K standard deviations.
//
// Source: E. S. Page, Continuous Inspection Schemes, Biometrika 41, 1954;
// self-referenced: mean and deviation are those of the stream's own first values.
//
// Promise: calibrated. With a known baseline and independent normal values the
// defaults make one false alarm in 973 values (one direction; 931 without clipping),
// which is often: at one value an hour, a false alarm within 90 days is likelier than not. If
// neighbours are correlated by 0.5 there are four times as many. Run lengths of
// 10 % and of 90 % of streams, by the baseline: of 30 values 43 to 14,083, of 100 84
// to 3,529, of 500 127 to 2,669, near what a known one has. So choose H on history.
//
// State: 5 words. Cost: constant.
type CUSUM struct {
	// Direction is where harm lies. Defaults to Up.
	Direction Direction
	// K is the slack, in standard deviations: half the shift to be found. Defaults to 0.5.
	K float64
	// H is the limit of the sum, in standard deviations. Defaults to 5.
	H float64
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
	cusumUp = baselineWords + iota
	cusumDown
	cusumWords
)

func (d CUSUM) baseline() baseline {
	return baseline{mean: d.Mean, sigma: d.Sigma, values: or(d.Baseline, defaultBaseline), clip: or(d.Clip, defaultClip)}
}

func (d CUSUM) k() float64 { return or(d.K, 0.5) }
func (d CUSUM) h() float64 { return or(d.H, 5) }

// Validate implements [Detector].
func (d CUSUM) Validate() error {
	c := check{detector: "cusum"}
	c.direction(d.Direction, Both)
	c.positive("k", d.k())
	c.positive("h", d.h())
	d.baseline().validate(&c)
	c.that(d.k() < d.baseline().clip, "k", "is %v, so that no value clipped at %v can exceed it", d.k(), d.baseline().clip)
	return c.err
}

// Words implements [Detector].
func (d CUSUM) Words() int { return cusumWords }

// Init implements [Detector].
func (d CUSUM) Init(state []uint64) { clear(state[:cusumWords]) }

// Add implements [Detector].
func (d CUSUM) Add(state []uint64, x float64) bool {
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
	k := d.k()
	store(state, cusumUp, max(0, load(state, cusumUp)+z-k))
	store(state, cusumDown, max(0, load(state, cusumDown)-z-k))
	if d.Value(state) <= d.h() {
		return false
	}
	state[baseCount] = spent
	return true
}

// Value implements [Detector]: the sum.
func (d CUSUM) Value(state []uint64) float64 {
	return d.Direction.worst(load(state, cusumUp), load(state, cusumDown))
}

// Limit implements [Detector].
func (d CUSUM) Limit([]uint64) float64 { return d.h() }
