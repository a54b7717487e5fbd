package policy

import "math"

// Ring: place of the next event, number of events, total sum, total weight; then
// the values, then their weights, by arrival. A histogram ring has a histogram
// behind. The totals are computed anew each time the ring has gone round.
const ringHead = 4

func (o *operator) foldRing(w []uint64, v, weight float64) {
	next, n := int(w[0]), uint64(o.n)
	values, weights := w[ringHead:ringHead+o.n], w[ringHead+o.n:ringHead+2*o.n]
	if w[1] == n {
		out, outWeight := load(values, next), load(weights, next)
		store(w, 2, load(w, 2)-out*outWeight)
		store(w, 3, load(w, 3)-outWeight)
		if o.kind == histogramRing {
			buckets(w[ringHead+2*o.n:]).remove(out, outWeight)
		}
	} else {
		w[1]++
	}
	store(values, next, v)
	store(weights, next, weight)
	store(w, 2, load(w, 2)+v*weight)
	store(w, 3, load(w, 3)+weight)
	if o.kind == histogramRing {
		buckets(w[ringHead+2*o.n:]).add(v, weight, -1)
	}
	if next++; next == o.n {
		next = 0
		var sum, total float64
		for i := range values {
			sum += load(values, i) * load(weights, i)
			total += load(weights, i)
		}
		store(w, 2, sum)
		store(w, 3, total)
	}
	w[0] = uint64(next)
}

// ringValue reads a ring: sums in constant time, the rest by walking it.
func (o *operator) ringValue(w []uint64, fn reader, samples int64) float64 {
	sum, weight := load(w, 2), load(w, 3)
	switch {
	case fn == fnCount:
		return weight
	case w[1] == 0 || weight < float64(samples):
		return math.NaN()
	case fn == fnSum:
		return sum
	case fn == fnAvg:
		return sum / weight
	}
	values, weights := w[ringHead:ringHead+int(w[1])], w[ringHead+o.n:ringHead+o.n+int(w[1])]
	if fn == fnStddev {
		var all deviations
		for i := range values {
			all.add(deviations{weight: load(weights, i), mean: load(values, i)})
		}
		return math.Sqrt(all.squares / all.weight)
	}
	least, greatest := load(values, 0), load(values, 0)
	for i := range values {
		least, greatest = min(least, load(values, i)), max(greatest, load(values, i))
	}
	if fn == fnMin {
		return least
	}
	return greatest
}
