package drift

import (
	"math"
	"slices"
)

// KSWIN compares the last Stat values with as many drawn at random from the rest of a
// sliding window, by the test of Kolmogorov and Smirnov: so it sees any change of the
// distribution, of its spread too. With one direction it fires if the newest values
// are the greater (Up) or the smaller (Down) ones.
//
// Source: C. Raab, M. Heusinger, F.-M. Schleif, Reactive Soft Prototype Computing
// for Concept Drift Streams, Neurocomputing 416, 2020; with exact p-values, where the paper has
// their asymptote. After firing it keeps the newest Stat values, as in the paper.
//
// Promise: heuristic. Alpha is the level of a single test, and there is one at
// each value: 156 false alarms in 100,000 normal values at the defaults; with Alpha 0.0001, 7, and
// 605 if neighbours are correlated by 0.8. On 0/1 errors, where the test is far from
// its level, it misses 89 % of the changes from 0.1 to 0.2. State: 3 + Window words.
// Cost: a pass over the window and two sorts of Stat values.
type KSWIN struct {
	// Direction is where harm lies. Defaults to Up.
	Direction Direction
	// Alpha is the level of a test, in (0, 1). Defaults to 0.005.
	Alpha float64
	// Window is the number of values in the sliding window, at least twice Stat. Defaults to 100.
	Window int
	// Stat is the number of values compared, at most 256. Defaults to 30.
	Stat int
	// Seed is the start of the random numbers that choose the values. Defaults to 1.
	Seed int
}

const (
	kswinCount    = iota // values in the window; beyond it, the place of the oldest
	kswinRandom          // state of the generator
	kswinDistance        // the latest distance, in steps of 1/Stat
	kswinLimit           // the least distance that fires
	kswinRing
	maxStat = 256
)

func (d KSWIN) window() int { return or(d.Window, 100) }
func (d KSWIN) stat() int   { return or(d.Stat, 30) }

// Validate implements [Detector].
func (d KSWIN) Validate() error {
	c := check{detector: "kswin"}
	c.direction(d.Direction, Both)
	c.between("alpha", or(d.Alpha, 0.005), 0, 1)
	c.whole("stat", d.stat(), 2, maxStat)
	c.whole("window", d.window(), 2*d.stat(), 10_000)
	c.whole("seed", d.Seed, 0, math.MaxInt32)
	return c.err
}

// Words implements [Detector].
func (d KSWIN) Words() int { return kswinRing + d.window() }

// Init implements [Detector].
func (d KSWIN) Init(state []uint64) {
	clear(state[:d.Words()])
	state[kswinRandom] = uint64(or(d.Seed, 1))
	state[kswinLimit] = uint64(d.limit())
}

// limit is the least distance, in steps of 1/Stat, whose probability under
// no change is at most Alpha; more than Stat if there is none.
func (d KSWIN) limit() int {
	for k := 1; k <= d.stat(); k++ {
		if ksEqualSizes(d.stat(), k, d.Direction == Both) <= or(d.Alpha, 0.005) {
			return k
		}
	}
	return d.stat() + 1
}

// Add implements [Detector].
func (d KSWIN) Add(state []uint64, x float64) bool {
	if x != x {
		return false
	}
	window, count := uint64(d.window()), state[kswinCount]
	if count == spent {
		count = d.keepNewest(state)
	}
	store(state, kswinRing+int(count%window), bounded(x))
	if count++; count == 2*window {
		count = window // the same place in the ring, still full
	}
	state[kswinCount] = count
	if count < window {
		return false
	}
	state[kswinDistance] = uint64(d.distance(state, int(count%window)))
	if state[kswinDistance] < state[kswinLimit] {
		return false
	}
	// The ring is turned so that its oldest value is first: its place need not be kept.
	rotate(state[kswinRing:kswinRing+d.window()], int(count%window))
	state[kswinCount] = spent
	return true
}

// keepNewest leaves the newest Stat values in the window, and says how many.
func (d KSWIN) keepNewest(state []uint64) uint64 {
	ring := state[kswinRing : kswinRing+d.window()]
	copy(ring, ring[d.window()-d.stat():])
	clear(ring[d.stat():])
	state[kswinDistance] = 0
	return uint64(d.stat())
}

func rotate(w []uint64, by int) {
	slices.Reverse(w[:by])
	slices.Reverse(w[by:])
	slices.Reverse(w)
}

// distance compares the newest values with some of the older, drawn without
// replacement; oldest is the place of the oldest value.
func (d KSWIN) distance(state []uint64, oldest int) int {
	var drawn, newest [maxStat]float64
	window, stat := d.window(), d.stat()
	ring := state[kswinRing : kswinRing+window]
	random := state[kswinRandom]
	at, taken := oldest, 0
	for left := window - stat; left > 0; left-- {
		// Each is taken with probability (still needed)/(still left).
		if taken < stat && below(&random, uint64(left)) < uint64(stat-taken) {
			drawn[taken] = load(ring, at)
			taken++
		}
		if at++; at == window {
			at = 0
		}
	}
	state[kswinRandom] = random
	for i := range stat {
		newest[i] = load(ring, at)
		if at++; at == window {
			at = 0
		}
	}
	slices.Sort(drawn[:stat])
	slices.Sort(newest[:stat])
	greater, smaller := ksCounts(drawn[:stat], newest[:stat])
	return int(d.Direction.worst(float64(greater), float64(smaller)))
}

// ksCounts is by how many values at most the distribution of the sorted old runs
// ahead of that of new, of equal length (the new values are greater), and behind.
func ksCounts(old, new []float64) (greater, smaller int) {
	for i, j := 0, 0; i < len(old) && j < len(new); {
		x := min(old[i], new[j])
		for i < len(old) && old[i] == x {
			i++
		}
		for j < len(new) && new[j] == x {
			j++
		}
		greater, smaller = max(greater, i-j), max(smaller, j-i)
	}
	return greater, smaller
}

// Value implements [Detector]: the distance of the two distributions, from 0 to 1.
func (d KSWIN) Value(state []uint64) float64 {
	return float64(state[kswinDistance]) / float64(d.stat())
}

// Limit implements [Detector]. It is above 1 if Stat is too small for Alpha.
func (d KSWIN) Limit(state []uint64) float64 {
	return float64(state[kswinLimit]) / float64(d.stat())
}
