package drift

import "math"

// EDetector bets against "the mean harm is still at most what it was". Eight
// gamblers stake more or less on each value; what they would have won, had
// they started at any moment since the beginning, adds up to an e-value, and the
// detector fires when it reaches ARL/Block. It needs no distribution: only values in a
// known range. Where errors are rare, it is the detector to take.
//
// Promise: guaranteed. At least ARL values on average until a false alarm, at any
// sample size and without independence, if the expectation of each
// value given the past is at most the reference mean. The reference is given by
// Mean, or is an upper confidence bound learned from the first bets: then the
// guarantee holds with probability Confidence over those, which must be independent, plus
// whatever Tolerance adds.
//
// The condition fails if errors come in clusters. Of errors in clusters of 20
// events, at an unchanged rate, it makes 1,250 false alarms in 100,000 events, against a
// bound of 10; in blocks of 24 events 23, of 100 events 10. So make Block longer
// than errors hang together (see their autocorrelation).
//
// Source: J. Shin, A. Ramdas, A. Rinaldo, E-detectors: A Nonparametric Framework for
// Sequential Change Detection, NEJSDS 2023 (Shiryaev–Roberts mixture); the
// shape, upper bound of the source and tolerance, A. Podkopaev, A. Ramdas, Tracking
// the Risk of a Deployed Model, 2021; the bound, W. Hoeffding, 1963, Theorem 1.
//
// State: 14 words, 22 for Both. Cost: constant.
type EDetector struct {
	// Direction is where harm lies. Defaults to Up. Both splits the stakes.
	Direction Direction
	// ARL is the promised average number of values until a false alarm, more than Block. Defaults to 10,000.
	ARL float64
	// Low and High are the range of the values, which are clamped to it. Default to 0 and 1.
	Low, High float64
	// Block is the number of values whose mean is one bet. Defaults to 1.
	Block int
	// Baseline is the number of bets to learn the reference mean from. Defaults to 1,000.
	// The rarer the errors, the more it takes: 1,000 put the reference of 1 % at 1.75 %, 5,000 at 1.3 %.
	Baseline int
	// Confidence is that of the bound on the learned mean, in (0, 1). Defaults to 0.95.
	Confidence float64
	// Tolerance is added to the reference, in units of the values: a harm too small to care about. Defaults to 0.
	Tolerance float64
	// Mean is the reference where it is known, inside the range; 0 means that it is learned.
	Mean float64
}

const (
	edCount  = iota // values in the block
	edSum           // of them, in units of the range
	edBets          // so far, while learning
	edMean          // of those bets
	edUp            // the reference upwards; 0 while it is learned
	edDown          // and downwards, where 1−x is the harm
	edStakes        // what the gamblers hold: gamblers words for each direction
	gamblers = 8

	defaultARL = 10_000
)

func (d EDetector) block() int          { return or(d.Block, 1) }
func (d EDetector) baseline() int       { return or(d.Baseline, 1000) }
func (d EDetector) confidence() float64 { return or(d.Confidence, 0.95) }

func (d EDetector) bounds() (low, high float64) {
	if d.Low == 0 && d.High == 0 {
		return 0, 1
	}
	return d.Low, d.High
}

func (d EDetector) sides() int {
	if d.Direction == Both {
		return 2
	}
	return 1
}

// Validate implements [Detector].
func (d EDetector) Validate() error {
	c := check{detector: "edetector"}
	low, high := d.bounds()
	c.direction(d.Direction, Both)
	c.that(math.Abs(low) <= maxInput, "low", "must be a finite number, not %v", low)
	c.that(high > low && high <= maxInput, "high", "must be above low (%v), not %v", low, high)
	c.whole("block", d.block(), 1, maxBaseline)
	arl := or(d.ARL, defaultARL)
	c.that(arl > float64(d.block()) && arl <= maxInput, "arl", "must be more than a block of %d, not %v", d.block(), arl)
	c.whole("baseline", d.baseline(), 2, maxBaseline)
	c.between("confidence", d.confidence(), 0, 1)
	c.that(d.Tolerance >= 0 && d.Tolerance < high-low, "tolerance", "must be from 0 to the range of the values, not %v", d.Tolerance)
	if d.Mean != 0 {
		c.between("mean", d.Mean, low, high)
	}
	return c.err
}

// Words implements [Detector].
func (d EDetector) Words() int { return edStakes + gamblers*d.sides() }

// Init implements [Detector].
func (d EDetector) Init(state []uint64) {
	clear(state[:d.Words()])
	if d.Mean != 0 {
		low, high := d.bounds()
		mean := (d.Mean - low) / (high - low)
		d.refer(state, mean, 1-mean)
	}
}

// refer sets the references: bounds of the harm upwards and of that downwards.
func (d EDetector) refer(state []uint64, up, down float64) {
	low, high := d.bounds()
	tolerance := d.Tolerance / (high - low)
	const least, most = 1e-9, 1 - 1e-9
	store(state, edUp, min(max(up+tolerance, least), most))
	store(state, edDown, min(max(down+tolerance, least), most))
}

// Add implements [Detector].
func (d EDetector) Add(state []uint64, x float64) bool {
	if x != x {
		return false
	}
	if state[edCount] == spent {
		d.Init(state)
	}
	low, high := d.bounds()
	sum := load(state, edSum) + (min(max(x, low), high)-low)/(high-low)
	store(state, edSum, sum)
	if state[edCount]++; state[edCount] < uint64(d.block()) {
		return false
	}
	mean := min(1, sum/float64(d.block()))
	state[edCount] = 0
	store(state, edSum, 0)
	if state[edUp] == 0 {
		d.learn(state, mean)
		return false
	}
	d.bet(state, mean)
	if d.Value(state) < d.Limit(state) {
		return false
	}
	state[edCount] = spent
	return true
}

// learn counts a bet towards the reference.
func (d EDetector) learn(state []uint64, x float64) {
	state[edBets]++
	mean := load(state, edMean)
	mean += (x - mean) / float64(state[edBets])
	store(state, edMean, mean)
	if n := float64(d.baseline()); state[edBets] >= uint64(d.baseline()) {
		d.refer(state, upperMean(mean, n, 1-d.confidence()), upperMean(1-mean, n, 1-d.confidence()))
	}
}

// bet settles the stakes. A gambler wins λ(x − µ) of each unit, λ = stake/µ with
// stakes from 2^-8 to 2^-1: those fit a mean that moved that part of the way from µ to 1.
func (d EDetector) bet(state []uint64, x float64) {
	up, down := state[edStakes:edStakes+gamblers], state[edStakes+gamblers*(d.sides()-1):]
	if d.Direction != Down {
		settle(up, x/load(state, edUp)-1)
	}
	if d.Direction != Up {
		settle(down, (1-x)/load(state, edDown)-1)
	}
}

func settle(stakes []uint64, win float64) {
	for k := range stakes[:gamblers] {
		// One unit more starts at each bet: Shiryaev–Roberts.
		win /= 2
		store(stakes, k, (load(stakes, k)+1)*(1+win))
	}
}

// Value implements [Detector]: the e-value, what the gamblers hold on average. It
// grows by at most 1 a bet while nothing has changed.
func (d EDetector) Value(state []uint64) float64 {
	held, n := 0.0, gamblers*d.sides()
	for _, w := range state[edStakes : edStakes+n] {
		held += math.Float64frombits(w)
	}
	return held / float64(n)
}

// Limit implements [Detector]: ARL, counted in bets.
func (d EDetector) Limit([]uint64) float64 { return or(d.ARL, defaultARL) / float64(d.block()) }

// upperMean is the upper confidence bound, by Chernoff and Hoeffding, of the
// mean of independent values in [0, 1] that n of them with the given mean leave:
// the greatest q for which n·KL(mean, q) is at most ln(1/delta).
func upperMean(mean, n, delta float64) float64 {
	budget := -math.Log(delta) / n
	low, high := mean, 1.0
	for range 60 {
		if q := (low + high) / 2; relativeEntropy(mean, q) <= budget {
			low = q
		} else {
			high = q
		}
	}
	return high
}

// relativeEntropy is the Kullback–Leibler divergence of two probabilities of one event.
func relativeEntropy(p, q float64) float64 {
	sum := 0.0
	if p > 0 {
		sum += p * math.Log(p/q)
	}
	if p < 1 {
		sum += (1 - p) * math.Log((1-p)/(1-q))
	}
	return sum
}
