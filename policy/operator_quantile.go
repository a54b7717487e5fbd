package policy

import "math"

// A histogram of weights over buckets that grow with the value. Buckets are
// ranges of the bits of a float64: at level 0 an octave (a factor of two) has 128 of
// them, and each level up joins them two by two. There is room for 128 buckets side by
// side; the level is the lowest at which the values fit, so that a quantile is
// off by at most
//
//	0.4 %   while all values lie within a factor of 2 of one another,
//	0.8 %   within a factor of 4,   1.6 %   within 16,   3 %   within 256,
//
// and so on: the error doubles whenever the number of octaves does. Values closer to zero than
// 2^-30 are zero; positive and negative values are different octaves. The level goes
// back to 0 when the histogram becomes empty, and with a promotion.
//
// By time: newest pane; level, first bucket, 128 totals; then 12 panes of 128
// counts of 32 bits, which saturate at four billion samples.
const (
	histogramHead = 1
	bucketCount   = 128
	bucketWords   = 2 + bucketCount
	paneWords     = bucketCount / 2
	subBits       = 7 // log2 of the buckets of an octave at level 0
)

// buckets are the words from the level on: with panes behind, or none.
type buckets []uint64

var tiniest = math.Float64bits(0x1p-30)

// bucketKey is the number of a value's bucket at level 0: 0 for zero, growing with the value.
func bucketKey(v float64) int64 {
	b := math.Float64bits(math.Abs(v))
	if b < tiniest {
		return 0
	}
	k := int64((b-tiniest)>>(52-subBits)) + 1
	if v < 0 {
		return -k
	}
	return k
}

// bucketEdge is the least absolute value of bucket k > 0 at level 0.
func bucketEdge(k int64) float64 {
	return min(math.MaxFloat64, math.Float64frombits(tiniest+uint64(k-1)<<(52-subBits)))
}

// bucketValue is the middle of the buckets from a to b-1 of level 0.
func bucketValue(a, b int64) float64 {
	low, high := 0.0, 0.0
	if a > 0 {
		low = bucketEdge(a)
	} else if a < 0 {
		low = -bucketEdge(1 - a)
	}
	if last := b - 1; last > 0 {
		high = bucketEdge(last + 1)
	} else if last < 0 {
		high = -bucketEdge(-last)
	}
	return low/2 + high/2
}

func (b buckets) place(v float64) int64 { return bucketKey(v)>>b[0] - int64(b[1]) }

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
	b[2+i] += count
}

// remove takes back what add counted.
func (b buckets) remove(v, weight float64) {
	i := b.place(v)
	b[2+i] -= uint64(min(weight, math.MaxUint32))
	b.settle()
}

// settle goes back to level 0 when nothing is left.
func (b buckets) settle() {
	for _, c := range b[2:bucketWords] {
		if c > 0 {
			return
		}
	}
	b[0], b[1] = 0, 0
}

// fit returns the place of a value, after making room for it.
func (b buckets) fit(v float64) int64 {
	i := b.place(v)
	if i >= 0 && i < bucketCount {
		return i
	}
	// The buckets in use, and the new one, by number at the present level.
	lowest, highest := bucketKey(v)>>b[0], bucketKey(v)>>b[0]
	for k, c := range b[2:bucketWords] {
		if c > 0 {
			n := int64(b[1]) + int64(k)
			lowest, highest = min(lowest, n), max(highest, n)
		}
	}
	up := uint64(0)
	for highest>>up-lowest>>up >= bucketCount {
		up++
	}
	// Room on both sides, for what comes next.
	used := highest>>up - lowest>>up + 1
	b.move(up, lowest>>up-(bucketCount-used)/2)
	return b.place(v)
}

// move rearranges the counts for another level, up higher, and first bucket.
func (b buckets) move(up uint64, first int64) {
	var moved [bucketCount]uint64
	old := int64(b[1])
	target := func(i int) int64 { return (old+int64(i))>>up - first }
	for i, c := range b[2:bucketWords] {
		if c > 0 {
			moved[target(i)] += c
		}
	}
	copy(b[2:bucketWords], moved[:])
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
	b[0] += up
	b[1] = uint64(first)
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
	clear(b[2:bucketWords])
	for pane := b[bucketWords:]; len(pane) > 0; pane = pane[paneWords:] {
		for i, c := range pane[:paneWords] {
			b[2+2*i] += c & math.MaxUint32
			b[2+2*i+1] += c >> 32
		}
	}
	b.settle()
}

// histogramValue is the q-quantile: the value at or below which that share of the samples lies.
func histogramValue(b buckets, q float64, samples int64) float64 {
	var total uint64
	for _, c := range b[2:bucketWords] {
		total += c
	}
	if total == 0 || float64(total) < float64(samples) {
		return math.NaN()
	}
	rank := q * float64(total)
	var below uint64
	for i, c := range b[2:bucketWords] {
		below += c
		if c > 0 && float64(below) >= rank {
			n := int64(b[1]) + int64(i)
			return bucketValue(n<<b[0], (n+1)<<b[0])
		}
	}
	return math.NaN()
}
