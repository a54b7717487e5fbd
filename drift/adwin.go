package drift

import "math"

// ADWIN keeps a window of recent values in buckets that double in size. As long
// as some cut divides the window into an older and a newer part whose means
// differ by more than chance explains, it drops the oldest bucket; it fires if the newer
// part is worse. An improvement shrinks the window silently.
//
// Source: A. Bifet, R. Gavaldà, Learning from Time-Changing Data with Adaptive
// Windowing, SIAM Data Mining 2007 (ADWIN2, with the variance of the window).
// After firing, the detector goes on with the window that is left, as in the paper.
//
// Input: a range near 1, as of 0/1 errors: the second term of the bound
// assumes it. On a metric that moves by hundredths it sees nothing, so
// put it behind [Standardized].
//
// Promise: heuristic. The paper's theorem is about its Hoeffding bound and
// independent values; what everybody runs, and this, is an approximation by
// variance. Measured, standardized: 0 false alarms in 100,000 independent
// values, 33 if neighbours are correlated by 0.5, 249 if by 0.8.
//
// State: 5 + Rows·(1 + 2·(MaxBuckets+1)) words, 213 by default. Cost: constant, and
// every Clock values a pass over the buckets.
type ADWIN struct {
	// Direction is where harm lies. Defaults to Up.
	Direction Direction
	// Delta is the confidence: the probability of a false cut, in (0, 1). Defaults to 0.002.
	Delta float64
	// Clock is the number of values between checks. Defaults to 32.
	Clock int
	// MaxBuckets is how many buckets of a size there may be. Defaults to 5.
	MaxBuckets int
	// MinWindow is the least number of values in either part of a cut. Defaults to 5.
	MinWindow int
	// Grace is the number of values up to which it does not check. Defaults to 10.
	Grace int
	// Rows is how many sizes of buckets there are. A window that outgrows them, of about
	// MaxBuckets·2^Rows values, forgets its oldest bucket. Defaults to 16: 330,000 values.
	Rows int
}

// The head of the state; rows of buckets follow, of 2^row values each. A row
// is the number of its buckets, then for each, oldest first, the sum of its values
// and of their squared deviations.
const (
	adwinCount    = iota // values so far, for the clock
	adwinWidth           // values in the window
	adwinTotal           // their sum
	adwinSquares         // and their squared deviations
	adwinEvidence        // of the latest check: the greatest difference, in units of its bound
	adwinHead
)

func (d ADWIN) delta() float64  { return or(d.Delta, 0.002) }
func (d ADWIN) maxBuckets() int { return or(d.MaxBuckets, 5) }
func (d ADWIN) rows() int       { return or(d.Rows, 16) }
func (d ADWIN) rowWords() int   { return 1 + 2*(d.maxBuckets()+1) }

// Validate implements [Detector].
func (d ADWIN) Validate() error {
	c := check{detector: "adwin"}
	c.direction(d.Direction, Both)
	c.between("delta", d.delta(), 0, 1)
	c.whole("clock", or(d.Clock, 32), 1, maxBaseline)
	c.whole("max_buckets", d.maxBuckets(), 2, 100)
	c.whole("min_window", or(d.MinWindow, 5), 1, maxBaseline)
	c.whole("grace", or(d.Grace, 10), 1, maxBaseline)
	c.whole("rows", d.rows(), 2, 40)
	return c.err
}

// Words implements [Detector].
func (d ADWIN) Words() int { return adwinHead + d.rows()*d.rowWords() }

// Init implements [Detector].
func (d ADWIN) Init(state []uint64) { clear(state[:d.Words()]) }

// Add implements [Detector].
func (d ADWIN) Add(state []uint64, x float64) bool {
	if x != x {
		return false
	}
	d.insert(state, bounded(x))
	state[adwinCount]++
	if state[adwinCount]%uint64(or(d.Clock, 32)) != 0 || state[adwinWidth] <= uint64(or(d.Grace, 10)) {
		return false
	}
	store(state, adwinEvidence, 0)
	fired := false
	for {
		cut, harm := d.cut(state)
		if !cut {
			return fired
		}
		fired = fired || harm
		d.drop(state)
	}
}

// row is the words of a row of buckets.
func (d ADWIN) row(state []uint64, i int) []uint64 {
	at := adwinHead + i*d.rowWords()
	return state[at : at+d.rowWords()]
}

// insert puts x into the window, as the newest bucket of the first row.
func (d ADWIN) insert(state []uint64, x float64) {
	width, total := float64(state[adwinWidth]), load(state, adwinTotal)
	if width > 0 {
		off := x - total/width
		store(state, adwinSquares, load(state, adwinSquares)+off*off*width/(width+1))
	}
	state[adwinWidth]++
	store(state, adwinTotal, total+x)
	appendBucket(d.row(state, 0), x, 0)
	d.compress(state)
}

// compress merges the two oldest buckets of a full row into one of the next.
func (d ADWIN) compress(state []uint64) {
	size := 1.0
	for i := 0; ; i++ {
		row := d.row(state, i)
		if row[0] <= uint64(d.maxBuckets()) {
			return
		}
		if i == d.rows()-1 {
			d.drop(state)
			return
		}
		sum1, sum2 := load(row, 1), load(row, 3)
		off := (sum1 - sum2) / size
		squares := load(row, 2) + load(row, 4) + off*off*size/2
		removeBuckets(row, 2)
		appendBucket(d.row(state, i+1), sum1+sum2, squares)
		size *= 2
	}
}

func appendBucket(row []uint64, sum, squares float64) {
	at := 1 + 2*int(row[0])
	store(row, at, sum)
	store(row, at+1, squares)
	row[0]++
}

// removeBuckets removes the n oldest buckets of a row.
func removeBuckets(row []uint64, n int) {
	copy(row[1:], row[1+2*n:1+2*int(row[0])])
	row[0] -= uint64(n)
}

// drop removes the oldest bucket from the window.
func (d ADWIN) drop(state []uint64) {
	i := d.rows() - 1
	for i > 0 && d.row(state, i)[0] == 0 {
		i--
	}
	row := d.row(state, i)
	sum, squares, size := load(row, 1), load(row, 2), math.Ldexp(1, i)
	removeBuckets(row, 1)
	state[adwinWidth] -= uint64(1) << i
	width, total := float64(state[adwinWidth]), load(state, adwinTotal)-sum
	if width == 0 {
		store(state, adwinTotal, 0)
		store(state, adwinSquares, 0)
		return
	}
	off := sum/size - total/width
	store(state, adwinTotal, total)
	store(state, adwinSquares, max(0, load(state, adwinSquares)-squares-off*off*size*width/(size+width)))
}

// cut looks for a cut between buckets, from the oldest on, at which the means
// differ by more than the bound, and whether the newer mean is worse.
func (d ADWIN) cut(state []uint64) (found, harm bool) {
	width := float64(state[adwinWidth])
	variance := load(state, adwinSquares) / width
	confidence := math.Log(2 * math.Log(width) / d.delta())
	least := float64(or(d.MinWindow, 5))
	before, sumBefore := 0.0, 0.0
	after, sumAfter := width, load(state, adwinTotal)
	for i := d.rows() - 1; i >= 0; i-- {
		row, size := d.row(state, i), math.Ldexp(1, i)
		for k := range int(row[0]) {
			sum := load(row, 1+2*k)
			before, sumBefore = before+size, sumBefore+sum
			after, sumAfter = after-size, sumAfter-sum
			if after < least || after == 0 {
				return false, false
			}
			if before < least {
				continue
			}
			spread := 1/(before-least+1) + 1/(after-least+1)
			bound := math.Sqrt(2*spread*variance*confidence) + 2./3*confidence*spread
			worse := sumAfter/after - sumBefore/before
			evidence := d.Direction.worst(worse, -worse) / bound
			store(state, adwinEvidence, max(load(state, adwinEvidence), evidence))
			if math.Abs(worse) > bound {
				return true, evidence > 0
			}
		}
	}
	return false, false
}

// Value implements [Detector]: the greatest difference, at the latest check, of
// the means on both sides of a cut, in units of its bound.
func (d ADWIN) Value(state []uint64) float64 { return load(state, adwinEvidence) }

// Limit implements [Detector]: 1.
func (d ADWIN) Limit([]uint64) float64 { return 1 }

// Window is the number of values in the window and their mean, NaN if there are none.
func (d ADWIN) Window(state []uint64) (width int64, mean float64) {
	return int64(state[adwinWidth]), load(state, adwinTotal) / float64(state[adwinWidth])
}
