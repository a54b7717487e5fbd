package policy

import (
	"fmt"
	"math"
)

// Operators that add up since the last training. A training takes in what there was when its run was
// opened, but only once it has led to a challenger: so a sum has a mark that is proposed when a
// run is opened and holds when the run ends with a promotion or a rejection. A run that failed or
// was canceled has used nothing up.

// Samples: the samples since the model was first heard of, the mark, the proposed mark. They outlive
// promotions: new data are new to whichever version is trained next.
const (
	samplesAll = iota
	samplesMark
	samplesProposed
	samplesWords
)

func newSamples(metric string) *slot {
	return &slot{fn: fnNewSamples, metric: metric, op: newOperator(samples, metric, "")}
}

// Losses: a baseline (events, sum, weight), the accumulated excess, the part of it that the run under way
// was opened for. See [substitution.excess].
const (
	lossBaseline = 0 // three words, as of the operator baseline
	lossSum      = 3
	lossTaken    = 4
	lossWords    = 5
)

// A ledger says how losses are counted.
type ledger struct {
	sign      float64 // of harm: 1 where more is worse, -1 where less is
	constant  bool    // the baseline is known
	level     float64
	tolerance float64
}

func newExcess(metric string, m Metric, l ledger) *slot {
	op := newOperator(losses, metric, fmt.Sprintf("%+v %d events %d samples", l, m.Baseline.Events, m.MinSamples))
	op.ledger, op.events, op.samples = &l, m.Baseline.Events, m.MinSamples
	return &slot{fn: fnExcess, metric: metric, op: op}
}

// foldLosses adds what an event lost against the baseline: weight times the harm beyond the tolerance. The sum
// never falls below zero: what was better than the baseline pays back earlier losses and is no credit on later ones.
func (o *operator) foldLosses(w []uint64, v, weight float64) {
	level := o.ledger.level
	if !o.ledger.constant {
		if !o.baselineComplete(w) {
			o.foldBaseline(w, v, weight)
			return
		}
		level = load(w, 1) / load(w, 2)
	}
	harm := (v-level)*o.ledger.sign - o.ledger.tolerance
	store(w, lossSum, max(0, load(w, lossSum)+harm*weight))
}

func (o *operator) lossValue(w []uint64) float64 {
	if !o.ledger.constant && !o.baselineComplete(w) {
		return math.NaN()
	}
	return load(w, lossSum)
}

// opened notes that a run was opened, at the stored time now.
func (o *operator) opened(w []uint64, now int64) {
	switch o.kind {
	case alarm:
		if w[alarmFired] != 0 {
			w[alarmTaken] = 1
		}
	case samples:
		w[samplesProposed] = w[samplesAll]
	case losses:
		w[lossTaken] = w[lossSum]
	case schedule:
		w[scheduleProposed] = uint64(now)
	}
}

// closed notes that a run is over; learned, that it led to a challenger.
func (o *operator) closed(w []uint64, learned bool) {
	switch o.kind {
	case alarm:
		if learned && w[alarmTaken] != 0 {
			o.initAlarm(w)
			w[alarmKnown] = 1
		}
		w[alarmTaken] = 0
	case samples:
		if learned && w[samplesProposed] != 0 {
			w[samplesMark] = w[samplesProposed]
		}
		w[samplesProposed] = 0
	case losses:
		if learned {
			store(w, lossSum, max(0, load(w, lossSum)-load(w, lossTaken)))
		}
		w[lossTaken] = 0
	case schedule:
		if learned && w[scheduleProposed] != 0 {
			w[scheduleLast], w[scheduleDue] = w[scheduleProposed], 0
		}
		w[scheduleProposed] = 0
	}
}

// usedUp reports whether a training changes the value: whether opened and closed mean anything to the operator.
func (o *operator) usedUp() bool {
	switch o.kind {
	case alarm, samples, losses, schedule:
		return true
	}
	return false
}
