package policy

import "math"

// Windows by time are kept in panes aligned to multiples of their width. The
// first word of each is the number of the newest pane, p; the panes p-11 … p are
// live, pane k in the place k mod 12. So a window covers between 11/12 and all of
// its length, and a late event finds the pane of its own time.
const panes = 12

// expire moves the window on to the pane of the model's clock and calls drop
// for the place of every pane that leaves. It reports whether any did.
func (o *operator) expire(w []uint64, now int64, drop func(place int64)) bool {
	p := int64(w[0])
	if now-p*o.width < o.width {
		return false
	}
	newest := now / o.width
	w[0] = uint64(newest)
	for k := max(p+1, newest-panes+1); k <= newest; k++ {
		drop(k % panes)
	}
	return true
}

// paneOf is the place of the pane of time t in a window that has been moved on; false if it has left.
// It divides rather than compares with the newest pane, so that the processor can fetch the
// pane before it has the word that says which is the newest.
func (o *operator) paneOf(w []uint64, t int64) (int64, bool) {
	k := t / o.width
	return k % panes, k > int64(w[0])-panes
}

// Moments: newest pane, total sum, total weight; then (sum, weight) by pane. The
// totals are kept up to date by addition and computed anew whenever a pane leaves,
// so that rounding errors do not pile up.
const momentsHead = 3

func (o *operator) foldMoments(w []uint64, now, t int64, v, weight float64) {
	o.advanceMoments(w, now)
	k, ok := o.paneOf(w, t)
	if !ok {
		return
	}
	pane := w[momentsHead+2*k : momentsHead+2*k+2]
	sum := v * weight
	store(pane, 0, load(pane, 0)+sum)
	store(pane, 1, load(pane, 1)+weight)
	store(w, 1, load(w, 1)+sum)
	store(w, 2, load(w, 2)+weight)
}

func (o *operator) advanceMoments(w []uint64, now int64) {
	if now-int64(w[0])*o.width >= o.width {
		o.expireMoments(w, now)
	}
}

func (o *operator) expireMoments(w []uint64, now int64) {
	o.expire(w, now, func(k int64) { clear(w[momentsHead+2*k : momentsHead+2*k+2]) })
	var sum, weight float64
	for i := momentsHead; i < len(w); i += 2 {
		sum += load(w, i)
		weight += load(w, i+1)
	}
	store(w, 1, sum)
	store(w, 2, weight)
}

func momentsValue(w []uint64, fn reader, samples int64) float64 {
	sum, weight := load(w, 1), load(w, 2)
	switch {
	case fn == fnCount:
		return weight
	case weight == 0 || weight < float64(samples):
		return math.NaN()
	case fn == fnSum:
		return sum
	}
	return sum / weight
}

// Spread: newest pane; then (weight, mean, sum of squared deviations) by pane,
// by the recurrences of West and of Chan, which do not cancel.
func (o *operator) foldSpread(w []uint64, now, t int64, v, weight float64) {
	o.advance(w, now)
	k, ok := o.paneOf(w, t)
	if !ok {
		return
	}
	pane := w[1+3*k : 1+3*k+3]
	a := deviations{load(pane, 0), load(pane, 1), load(pane, 2)}
	a.add(deviations{weight: weight, mean: v})
	store(pane, 0, a.weight)
	store(pane, 1, a.mean)
	store(pane, 2, a.squares)
}

// advance moves a spread's window on.
func (o *operator) advance(w []uint64, now int64) {
	o.expire(w, now, func(k int64) { clear(w[1+3*k : 1+3*k+3]) })
}

type deviations struct{ weight, mean, squares float64 }

func (a *deviations) add(b deviations) {
	if b.weight == 0 {
		return
	}
	weight := a.weight + b.weight
	d := b.mean - a.mean
	a.squares += b.squares + d*d*a.weight*b.weight/weight
	a.mean += d * b.weight / weight
	a.weight = weight
}

func spreadValue(w []uint64, samples int64) float64 {
	var all deviations
	for i := 1; i < len(w); i += 3 {
		all.add(deviations{load(w, i), load(w, i+1), load(w, i+2)})
	}
	if all.weight == 0 || all.weight < float64(samples) {
		return math.NaN()
	}
	return math.Sqrt(all.squares / all.weight)
}

// Extremes: newest pane, least, greatest, weight; then the same three by pane.
// An empty pane has no weight and its extremes mean nothing.
const extremesHead = 4

func (o *operator) foldExtremes(w []uint64, now, t int64, v, weight float64) {
	o.advanceExtremes(w, now)
	k, ok := o.paneOf(w, t)
	if !ok {
		return
	}
	at := extremesHead + 3*k
	widen(w[at:at+3], v, v, weight)
	widen(w[1:4], v, v, weight)
}

// widen takes in a range of values with a weight.
func widen(r []uint64, least, greatest, weight float64) {
	if load(r, 2) == 0 || least < load(r, 0) {
		store(r, 0, least)
	}
	if load(r, 2) == 0 || greatest > load(r, 1) {
		store(r, 1, greatest)
	}
	store(r, 2, load(r, 2)+weight)
}

func (o *operator) advanceExtremes(w []uint64, now int64) {
	if !o.expire(w, now, func(k int64) { clear(w[extremesHead+3*k : extremesHead+3*k+3]) }) {
		return
	}
	clear(w[1:4])
	for i := extremesHead; i < len(w); i += 3 {
		if weight := load(w, i+2); weight > 0 {
			widen(w[1:4], load(w, i), load(w, i+1), weight)
		}
	}
}

func extremesValue(w []uint64, fn reader, samples int64) float64 {
	if weight := load(w, 3); weight == 0 || weight < float64(samples) {
		return math.NaN()
	}
	if fn == fnMin {
		return load(w, 1)
	}
	return load(w, 2)
}
