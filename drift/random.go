package drift

import "math/bits"

// next is the next number of the splitmix64 generator (Steele, Lea, Flood, Fast
// Splittable Pseudorandom Number Generators, OOPSLA 2014): its state is a
// word, as states here have to be, and the sequence will never change.
func next(state *uint64) uint64 {
	*state += 0x9e3779b97f4a7c15
	z := *state
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// below is a random number less than n. Its bias, of n in 2^64, is far below what
// any statistic here could show.
func below(state *uint64, n uint64) uint64 {
	high, _ := bits.Mul64(next(state), n)
	return high
}
