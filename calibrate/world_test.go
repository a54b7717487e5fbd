package calibrate_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/visutility/visutility/calibrate"
	"github.com/visutility/visutility/drift"
)

// A world makes values of a metric that is well; what it does is unknown to the method. Its values
// have a standard deviation near 1 around 0.
type world struct {
	name string
	make func(r *rand.Rand, values []float64)
}

// worlds are those that the promise is held against.
var worlds = []world{
	{"iid", autoregressive(0, 0, normal)},
	{"ar.5", autoregressive(0.5, 0, normal)},
	{"ar.8", autoregressive(0.8, 0, normal)},
	{"ar.5+day", autoregressive(0.5, 1, normal)},
	{"ar.5,t3", autoregressive(0.5, 0, t3)},
}

// beyond are worlds that the model does not know: a cycle too weak to be found, weekends, an average of noise, a slow
// wander under noise, noise that comes in bursts.
var beyond = []world{
	{"ar.5+weak", autoregressive(0.5, 0.4, normal)},
	{"ar.5+week", weekends},
	{"smooth", averaged},
	{"slow", slow},
	{"bursts", bursts},
}

// weekends are lower than the rest of the week, by as much as the deviation of the noise.
func weekends(r *rand.Rand, values []float64) {
	autoregressive(0.5, 0.7, normal)(r, values)
	hour := r.IntN(168)
	for i := range values {
		if (i+hour)%168 >= 120 {
			values[i]--
		}
	}
}

// averaged is the mean of the last 12 values of noise, which no autoregression is.
func averaged(r *rand.Rand, values []float64) {
	var window [12]float64
	for i := -len(window); i < len(values); i++ {
		window[(i+len(window))%len(window)] = r.NormFloat64()
		if i >= 0 {
			values[i] = mean(window[:]) * math.Sqrt(float64(len(window)))
		}
	}
}

// slow is noise on a level that moves, half as far, with half a day's memory.
func slow(r *rand.Rand, values []float64) {
	autoregressive(math.Exp(-1./12), 0, normal)(r, values)
	for i := range values {
		values[i] = 0.5*values[i] + r.NormFloat64()
	}
}

// bursts are autoregressive with noise that is louder after loud noise (GARCH).
func bursts(r *rand.Rand, values []float64) {
	y, variance, noise := 0.0, 1.0, 0.0
	for i := -100; i < len(values); i++ {
		variance = 0.05 + 0.1*noise*noise + 0.85*variance
		noise = math.Sqrt(variance) * r.NormFloat64()
		if y = 0.5*y + noise; i >= 0 {
			values[i] = y
		}
	}
}

func normal(r *rand.Rand) float64 { return r.NormFloat64() }

// t3 is Student's t with three degrees of freedom, of variance 1.
func t3(r *rand.Rand) float64 {
	a, b, c := r.NormFloat64(), r.NormFloat64(), r.NormFloat64()
	return r.NormFloat64() / math.Sqrt(a*a+b*b+c*c)
}

// autoregressive values, with a daily cycle of that height at an unknown hour.
func autoregressive(phi, cycle float64, noise func(*rand.Rand) float64) func(r *rand.Rand, values []float64) {
	return func(r *rand.Rand, values []float64) {
		const settle = 100
		y, hour, rest := 0.0, r.IntN(24), math.Sqrt(1-phi*phi)
		for i := -settle; i < len(values); i++ {
			y = phi*y + rest*noise(r)
			if i >= 0 {
				values[i] = y + cycle*math.Sin(2*math.Pi*float64(i+hour)/24)
			}
		}
	}
}

// hours is a history of hourly values.
func hours(values []float64) *calibrate.History {
	return &calibrate.History{Start: time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC), Step: time.Hour, Values: values}
}

// sixtyDays of hours in a world.
func (w world) sixtyDays(seed uint64) *calibrate.History {
	values := make([]float64, 60*24)
	w.make(rand.New(rand.NewPCG(seed, 60)), values)
	return hours(values)
}

// A trial is a rule to be calibrated, with what it can be set to.
type trial struct {
	name   string
	rule   calibrate.Rule
	levels []float64
	warmUp int
}

var trials = []trial{
	{"cusum", detector{baseline: 336}, geometric(2, 2000, 200), 336},
	{"average", average(24), geometric(0.2, 30, 200), 24},
	{"value", average(1), geometric(1, 60, 200), 1},
}

// A detector is a CUSUM that learns its baseline from the stream.
type detector struct{ baseline int }

func (d detector) Retrains(level float64, stream []float64, at []int) int {
	cusum := drift.CUSUM{H: level, Baseline: d.baseline}
	state := make([]uint64, cusum.Words())
	n := 0
	for i, x := range stream {
		if n == len(at) {
			break
		}
		if cusum.Add(state, x) {
			at[n] = i
			n++
		}
	}
	return n
}

// An average is a threshold for the mean of so many values, those missing left out.
type average int

func (a average) Retrains(level float64, stream []float64, at []int) int {
	n, count, sum := 0, 0, 0.0
	window := make([]float64, a)
	for i, x := range stream {
		if n == len(at) {
			break
		}
		if x != x {
			continue
		}
		sum += x - window[count%int(a)]
		window[count%int(a)] = x
		if count++; count >= int(a) && sum > level*float64(a) {
			at[n] = i
			n++
			count, sum = 0, 0
			clear(window)
		}
	}
	return n
}

// downward turns a rule for values that must not rise into one for values that must not fall.
type downward struct{ calibrate.Rule }

func (d downward) Retrains(level float64, stream []float64, at []int) int {
	turned := make([]float64, len(stream))
	for i, x := range stream {
		turned[i] = -x
	}
	return d.Rule.Retrains(-level, turned, at)
}

func linear(from, to float64, n int) []float64 {
	levels := make([]float64, n)
	for i := range levels {
		levels[i] = from + (to-from)*float64(i)/float64(n-1)
	}
	return levels
}

func geometric(from, to float64, n int) []float64 {
	levels := linear(math.Log(from), math.Log(to), n)
	for i, l := range levels {
		levels[i] = math.Exp(l)
	}
	return levels
}

const horizon = 90 * 24 // hours of a promise

// A truth is what becomes of levels in a world: the least level that each of many stretches needs.
type truth []int

// truthOf plays a trial, with one false retrain allowed, on independent stretches of a world.
func truthOf(w world, t trial, stretches int) truth {
	r := rand.New(rand.NewPCG(uint64(stretches), 4242))
	stream := make([]float64, t.warmUp+horizon)
	all := make(truth, stretches)
	for i := range all {
		w.make(r, stream)
		all[i], _ = slices.BinarySearchFunc(t.levels, 0, func(level float64, _ int) int {
			if t.rule.Retrains(level, stream, make([]int, 2)) > 1 {
				return -1
			}
			return 0
		})
	}
	slices.Sort(all)
	return all
}

// breaks is how often a level breaks the promise.
func (t truth) breaks(levels []float64, level float64) float64 {
	at := slices.Index(levels, level)
	kept, _ := slices.BinarySearch(t, at+1)
	return 1 - float64(kept)/float64(len(t))
}
