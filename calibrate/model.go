package calibrate

import (
	"math"
	"math/rand/v2"
)

// A model is what a history is taken for: a season, and around it an autoregression on
// novelties like those of the history. It can be simulated.
type model struct {
	profile
	autoregression
	novelties
	rest  []float64 // what the season leaves of the history
	steps int       // that a simulation runs before it counts
}

// fit tries every season and takes the best with its best autoregression. Of two that are as good
// it takes the smaller one, which comes first.
func fit(values []float64, tried []season, most int) *model {
	var best *model
	for _, s := range tried {
		p, rest := describe(values, s)
		a := autoregress(rest, most, s.parameters())
		if best == nil || a.score < best.score {
			best = &model{profile: p, autoregression: a, rest: rest}
		}
	}
	best.novelties = distribution(best.innovations(best.rest, best.season.parameters()))
	best.steps = best.settles()
	return best
}

// deviation is the standard deviation of what the season leaves.
func (m *model) deviation() float64 { return math.Sqrt(m.variance * m.gain) }

// effective is how many independent values tell as much about the mean as n of these.
func (m *model) effective(n int) float64 { return float64(n) / max(m.persistence(), 1) }

// A scratch is the memory of one goroutine that simulates.
type scratch struct {
	source rand.PCG
	room   []float64
	stream []float64
	found  []int
}

// places has room for n indices.
func (s *scratch) places(n int) []int {
	if cap(s.found) < n {
		s.found = make([]int, n)
	}
	return s.found[:n]
}

// simulate fills the stream with n values of the model, the first as if at step from of the history.
func (s *scratch) simulate(m *model, n, from int) {
	order := len(m.coefficients)
	lead := order + m.steps
	if len(s.room) < lead+n {
		s.room = make([]float64, lead+n)
	}
	if cap(s.stream) < n {
		s.stream = make([]float64, n)
	}
	y := s.room[:lead+n]
	clear(y[:order])
	for t := order; t < len(y); t++ {
		v := m.draw(&s.source)
		before := y[t-order : t]
		for j, c := range m.coefficients {
			v += c * before[order-1-j]
		}
		y[t] = v
	}
	s.stream = s.stream[:n]
	at := from % len(m.curve)
	for t := range s.stream {
		s.stream[t] = y[lead+t] + m.curve[at]
		if at++; at == len(m.curve) {
			at = 0
		}
	}
}

// What is simulated, each from a source of its own.
const (
	histories = iota // outer replicates
	stretches        // inner replicates
	forecasts        // of the best fit
	shifts
)

// seed makes the source that of one simulation, whatever was simulated before it and by whom.
func (s *scratch) seed(seed, what uint64, outer, inner int) {
	a := mix(seed ^ mix(what+1))
	b := mix(a ^ uint64(outer)<<32 ^ uint64(inner))
	s.source.Seed(a^b, mix(b+1))
}

// mix is the finalizer of splitmix64 (Steele, Lea, Flood, OOPSLA 2014): close words become unlike ones.
func mix(z uint64) uint64 {
	z += 0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}
