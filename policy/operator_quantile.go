package policy

import "math"

// A histogram of weights, over 128 buckets side by side that grow with the
// value: ranges of the bits of a float64. At level 0 an octave (a factor of two) has 128 buckets; each
// level up joins them two by two. When even level 3, of 16 to the octave, has no room, the floor rises: values below
// it get buckets of equal width, as many as an octave has. So a quantile is off by at most
//
//	0.4 %  while all values lie within a factor of 1.9 of one another,
//	0.8 %  within 3.9,  1.6 %  within 15,  3.2 %  within 240,
//
// and beyond that by 3.2 %, or by 1/2000 of the greatest absolute value (1/128 if there are values of both
// signs), whichever is more. Zero is far from everything; below 2^-30 nothing is told apart by more than 3e-11. The
// level and the floor go back when the histogram becomes empty, and with a promotion.
//
// By time: newest pane; level, raise of the floor, first bucket, 128 totals; then 12
// panes of 128 counts of 32 bits, which saturate at four billion samples.
const (
	histogramHead = 1
	bucketCount   = 128
	bucketsHead   = 3
	bucketWords   = bucketsHead + bucketCount
	paneWords     = bucketCount / 2
	subBits       = 7 // log2 of the keys of an octave
	octave        = 1 << subBits
	maxLevel      = 3
)

// buckets are the words from the level on: with panes behind, or none.
type buckets []uint64

func (b buckets) totals() []uint64 { return b[bucketsHead:bucketWords] }

// A scale says which key, a bucket of level 0, a value has. raise is the exponent
// of the floor above that of the lowest, 2^-30.
type scale struct{ level, raise uint64 }

func (b buckets) scale() scale { return scale{b[0], b[1]} }

func (s scale) floor() float64 { return math.Ldexp(1, int(s.raise)-30) }

// key is the number of a value's key: growing with the value, 0 just above zero and -1 just below.
func (s scale) key(v float64) int64 {
	floor, a := s.floor(), math.Abs(v)
	var k int64
	if a < floor {
		k = int64(a / floor * octave)
	} else {
		k = octave + int64((math.Float64bits(a)-math.Float64bits(floor))>>(52-subBits))
	}
	if v < 0 {
		return -1 - k
	}
	return k
}

// edge is the least absolute value of key k >= 0.
func (s scale) edge(k int64) float64 {
	if k < octave {
		return float64(k) / octave * s.floor()
	}
	return min(math.MaxFloat64, math.Float64frombits(math.Float64bits(s.floor())+uint64(k-octave)<<(52-subBits)))
}

// middle is the value in the middle of bucket n.
func (s scale) middle(n int64) float64 {
	from, to := n<<s.level, (n+1)<<s.level
	if n < 0 {
		return -s.edge(-to)/2 - s.edge(-from)/2
	}
	return s.edge(from)/2 + s.edge(to)/2
}

// rebase is the bucket that takes in bucket n of another scale, no coarser.
func (s scale) rebase(n int64, from scale) int64 {
	k := n << from.level
	negative := k < 0
	if negative {
		k = -1 - k
	}
	if up := s.raise - from.raise; k < octave {
		k >>= up
	} else if o := uint64(k/octave - 1); o >= up {
		k -= octave * int64(up)
	} else {
		k = (octave + k%octave) >> (up - o)
	}
	if negative {
		k = -1 - k
	}
	return k >> s.level
}

func (b buckets) place(v float64) int64 { return b.scale().key(v)>>b[0] - int64(b[2]) }

// add counts a weight, in a pane too unless pane is -1. What does not fit into a pane is not counted.
func (b buckets) add(v, weight float64, pane int64) {
	count := uint64(min(weight, math.MaxUint32))
	i := b.fit(v)
	if pane >= 0 {
		word := &b[bucketWords+pane*paneWords+i/2]
		shift := uint(i%2) * 32
		count = min(count, math.MaxUint32-(*word>>shift)&math.MaxUint32)
		*word += count << shift
	}
	b[bucketsHead+i] += count
}

// remove takes back what add counted.
func (b buckets) remove(v, weight float64) {
	i := b.place(v)
	b[bucketsHead+i] -= uint64(min(weight, math.MaxUint32))
	b.settle()
}

// settle goes back to the finest scale when nothing is left.
func (b buckets) settle() {
	for _, c := range b.totals() {
		if c > 0 {
			return
		}
	}
	clear(b[:bucketsHead])
}

// fit returns the place of a value, after making room for it.
func (b buckets) fit(v float64) int64 {
	i := b.place(v)
	if i >= 0 && i < bucketCount {
		return i
	}
	// The buckets in use, and the new one, by number at the present scale.
	old := b.scale()
	lowest := old.key(v) >> old.level
	highest := lowest
	for k, c := range b.totals() {
		if c > 0 {
			n := int64(b[2]) + int64(k)
			lowest, highest = min(lowest, n), max(highest, n)
		}
	}
	next := old
	for next.rebase(highest, old)-next.rebase(lowest, old) >= bucketCount {
		if next.level < maxLevel {
			next.level++
		} else {
			next.raise++
		}
	}
	// Room on both sides, for what comes next.
	low, high := next.rebase(lowest, old), next.rebase(highest, old)
	b.move(next, low-(bucketCount-(high-low+1))/2)
	return b.place(v)
}

// move rearranges the counts for another scale and first bucket.
func (b buckets) move(next scale, first int64) {
	var moved [bucketCount]uint64
	old, was := b.scale(), int64(b[2])
	target := func(i int) int64 { return next.rebase(was+int64(i), old) - first }
	for i, c := range b.totals() {
		if c > 0 {
			moved[target(i)] += c
		}
	}
	copy(b.totals(), moved[:])
	for pane := b[bucketWords:]; len(pane) > 0; pane = pane[paneWords:] {
		clear(moved[:])
		for i := range bucketCount {
			if c := pane[i/2] >> (uint(i%2) * 32) & math.MaxUint32; c > 0 {
				moved[target(i)] += c
			}
		}
		for i := range paneWords {
			pane[i] = min(moved[2*i], math.MaxUint32) | min(moved[2*i+1], math.MaxUint32)<<32
		}
	}
	b[0], b[1], b[2] = next.level, next.raise, uint64(first)
}

func (o *operator) foldHistogram(w []uint64, now, t int64, v, weight float64) {
	o.advanceHistogram(w, now)
	if k, ok := o.paneOf(w, t); ok {
		buckets(w[histogramHead:]).add(v, weight, k)
	}
}

func (o *operator) advanceHistogram(w []uint64, now int64) {
	b := buckets(w[histogramHead:])
	if !o.expire(w, now, func(k int64) { clear(b[bucketWords+k*paneWords : bucketWords+(k+1)*paneWords]) }) {
		return
	}
	clear(b.totals())
	for pane := b[bucketWords:]; len(pane) > 0; pane = pane[paneWords:] {
		for i, c := range pane[:paneWords] {
			b.totals()[2*i] += c & math.MaxUint32
			b.totals()[2*i+1] += c >> 32
		}
	}
	b.settle()
}

// histogramValue is the q-quantile: the value at or below which that share of the samples lies.
func histogramValue(b buckets, q float64, samples int64) float64 {
	var total uint64
	for _, c := range b.totals() {
		total += c
	}
	if total == 0 || float64(total) < float64(samples) {
		return math.NaN()
	}
	rank := q * float64(total)
	var below uint64
	for i, c := range b.totals() {
		below += c
		if c > 0 && float64(below) >= rank {
			return b.scale().middle(int64(b[2]) + int64(i))
		}
	}
	return math.NaN()
}
