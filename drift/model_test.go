package drift_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/visutility/visutility/drift"
	"pgregory.net/rapid"
)

// adwinModel is ADWIN with buckets that keep all their values, newest last.
type adwinModel struct {
	d       drift.ADWIN
	count   int
	buckets [][]float64
}

func mean(s []float64) (m float64) {
	for _, x := range s {
		m += x / float64(len(s))
	}
	return m
}

func (m *adwinModel) add(x float64) (fired bool) {
	m.buckets = append(m.buckets, []float64{x})
	for size := 1; ; size *= 2 {
		of := func(b []float64) bool { return len(b) == size }
		i := slices.IndexFunc(m.buckets, of)
		if i < 0 || i+m.d.MaxBuckets >= len(m.buckets) || !of(m.buckets[i+m.d.MaxBuckets]) {
			break
		}
		if size == 1<<(m.d.Rows-1) {
			m.buckets = m.buckets[1:]
			break
		}
		merged := slices.Concat(m.buckets[i], m.buckets[i+1])
		m.buckets = slices.Replace(m.buckets, i, i+2, merged)
	}
	if m.count++; m.count%m.d.Clock != 0 || len(slices.Concat(m.buckets...)) <= m.d.Grace {
		return false
	}
	for {
		worse, cut := m.cut()
		if !cut {
			return fired
		}
		fired = fired || worse > 0
		m.buckets = m.buckets[1:]
	}
}

func (m *adwinModel) cut() (worse float64, cut bool) {
	all := slices.Concat(m.buckets...)
	n, center, variance := float64(len(all)), mean(all), 0.0
	for _, x := range all {
		variance += (x - center) * (x - center) / n
	}
	at := 0
	for _, b := range m.buckets {
		at += len(b)
		if at < m.d.MinWindow || len(all)-at < max(m.d.MinWindow, 1) {
			continue
		}
		least := float64(m.d.MinWindow)
		spread := 1/(float64(at)-least+1) + 1/(float64(len(all)-at)-least+1)
		confidence := math.Log(2 * math.Log(n) / m.d.Delta)
		worse = mean(all[at:]) - mean(all[:at])
		if math.Abs(worse) > math.Sqrt(2*spread*variance*confidence)+2./3*confidence*spread {
			return worse, true
		}
	}
	return 0, false
}

func TestADWINModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := drift.ADWIN{
			Delta: rapid.SampledFrom([]float64{0.002, 0.3, 0.9}).Draw(t, "delta"), Clock: rapid.IntRange(1, 5).Draw(t, "clock"),
			MaxBuckets: rapid.IntRange(2, 5).Draw(t, "buckets"), MinWindow: rapid.IntRange(1, 6).Draw(t, "min"),
			Grace: rapid.IntRange(1, 20).Draw(t, "grace"), Rows: rapid.IntRange(2, 6).Draw(t, "rows"),
		}
		m := adwinModel{d: d}
		state := make([]uint64, d.Words())
		d.Init(state)
		for i, x := range numbers().Draw(t, "stream") {
			if got, want := d.Add(state, x), m.add(x); got != want {
				t.Fatalf("value %d: fired is %v, the model says %v", i, got, want)
			}
			all := slices.Concat(m.buckets...)
			if width, center := d.Window(state); width != int64(len(all)) || math.Abs(center-mean(all)) > 1e-9 {
				t.Fatalf("value %d: a window of %d values of mean %v, in the model %d of %v", i, width, center, len(all), mean(all))
			}
		}
	})
}

// TestEDetectorModel: the e-value by its definition, a sum over all starts of the
// products of what was won since.
func TestEDetectorModel(t *testing.T) {
	r := rand.New(rand.NewPCG(51, 52))
	d := drift.EDetector{Mean: 0.3, Block: 2, ARL: 1e9}
	state := make([]uint64, d.Words())
	d.Init(state)
	var bets []float64
	for range 60 {
		a, b := r.Float64(), r.Float64()
		d.Add(state, a)
		d.Add(state, b)
		bets = append(bets, (a+b)/2)
		want := 0.0
		for stake := 0.5; stake >= 1./256; stake /= 2 {
			for start := range bets {
				product := 1.0
				for _, x := range bets[start:] {
					product *= 1 + stake/0.3*(x-0.3)
				}
				want += product / 8
			}
		}
		if got := d.Value(state); math.Abs(got-want) > 1e-9*want {
			t.Fatalf("after %d bets %v, by definition %v", len(bets), got, want)
		}
	}
	if got := d.Limit(state); got != 5e8 {
		t.Errorf("the limit is %v bets, ARL is 1e9 values in blocks of 2", got)
	}
}

// TestKSWINKeepsTheNewest: after firing, it goes on as if it had seen the newest values alone.
func TestKSWINKeepsTheNewest(t *testing.T) {
	d := drift.KSWIN{Window: 20, Stat: 10, Alpha: 0.05} // nothing is left to chance
	r := rand.New(rand.NewPCG(61, 62))
	var stream []float64
	for i := range 2000 {
		stream = append(stream, r.NormFloat64()+float64(i/100))
	}
	whole, part := make([]uint64, d.Words()), make([]uint64, d.Words())
	d.Init(whole)
	fired := 0
	for i, x := range stream {
		got := d.Add(whole, x)
		if fired > 0 && (got != d.Add(part, x) || d.Value(whole) != d.Value(part)) {
			t.Fatalf("value %d: the detector remembers more than the newest values", i)
		}
		if got {
			fired++
			d.Init(part)
			for _, x := range stream[i-9 : i+1] {
				d.Add(part, x)
			}
		}
	}
	if fired < 10 {
		t.Errorf("fired %d times only", fired)
	}
}

// TestKSWINDraws: over a window that repeats itself the distance varies with what is
// drawn, and depends on the seed alone.
func TestKSWINDraws(t *testing.T) {
	distances := func(seed int) (all []float64) {
		d := drift.KSWIN{Alpha: 1e-9, Seed: seed}
		state := make([]uint64, d.Words())
		d.Init(state)
		for i := range 3000 {
			d.Add(state, float64(i*37%100))
			if i%100 == 99 {
				all = append(all, d.Value(state))
			}
		}
		return all
	}
	one := distances(1)
	if slices.Min(one) == slices.Max(one) {
		t.Error("every draw is the same")
	}
	if !slices.Equal(one, distances(1)) || slices.Equal(one, distances(2)) {
		t.Error("the draws do not depend on the seed, or not on it alone")
	}
}

func TestStandardizedLearnsAnew(t *testing.T) {
	d := drift.Standardized{Of: drift.PageHinkley{Threshold: 5}, Baseline: 20}
	used, fresh := make([]uint64, d.Words()), make([]uint64, d.Words())
	d.Init(used)
	for i := 0; !d.Add(used, float64(i%3)+float64(i/40)); i++ {
		if i > 1000 {
			t.Fatal("never fired")
		}
	}
	d.Init(fresh)
	d.Add(fresh, 7)
	d.Add(used, 7)
	if !slices.Equal(used, fresh) {
		t.Errorf("after firing the state is %v, not %v", used, fresh)
	}
}
