package policy

import (
	"fmt"
	"math"
	"time"
)

// A slot is a value that a condition reads: a reading of an operator, a fact
// about the model, or (in a gate) a measurement of a version.
type slot struct {
	fn     reader
	typ    kind
	key    string // equal keys mean equal values
	text   string // as the user wrote it
	metric string
	op     *operator // what it reads, nil for facts and measurements
	q      float64   // of fnQuantile
	m      int       // of fnMOfN
	after  int64     // of fnAbsent, milliseconds
	min    int64     // samples without which there is no value
}

// A reader is a way to read an operator.
type reader uint8

const (
	fnLatest reader = iota
	fnAvg
	fnMin
	fnMax
	fnSum
	fnCount
	fnStddev
	fnQuantile
	fnBaseline
	fnPrevious
	fnAbsent
	fnAge
	fnMOfN
	fnAlarm
	fnNewSamples
	fnExcess
	fnCron
	fnWorst
	fnCandidate // of gates
	fnChampion
)

var readerNames = [...]string{
	"latest", "avg", "min", "max", "sum", "count", "stddev", "quantile",
	"baseline", "previous", "absent", "age", "m_of_n", "alarm", "new_samples", "excess", "cron", "worst", "candidate", "champion",
}

func (f reader) String() string { return readerNames[f] }

// setKey derives the key from everything that matters to the value.
func (s *slot) setKey() {
	op := ""
	if s.op != nil {
		op = s.op.key
	}
	s.key = fmt.Sprintf("%s(%q %s q=%v m=%d after=%d min=%d)", s.fn, s.metric, op, s.q, s.m, s.after, s.min)
}

// clocked reports whether time alone can change the value.
func (s *slot) clocked() bool { return s.fn == fnAbsent || s.fn == fnAge || s.fn == fnCron }

// reads are the metrics whose events can change the value.
func (s *slot) reads() []string {
	switch {
	case s.fn == fnMOfN:
		return s.op.cond.metrics
	case s.fn == fnAge || s.fn == fnPrevious || s.fn == fnCron || s.fn >= fnCandidate:
		return nil
	}
	return []string{s.metric}
}

func newLatest(metric string, m Metric) *slot {
	return &slot{fn: fnLatest, metric: metric, min: m.MinSamples, op: newOperator(latest, metric, "")}
}

// newAggregate reads a window; which operator keeps it depends on what is asked of it.
func newAggregate(fn reader, metric string, m Metric, w window, q float64) *slot {
	s := &slot{fn: fn, metric: metric, q: q, min: m.MinSamples}
	if fn == fnCount {
		s.min = 0 // a count is how a condition asks whether there is enough
	}
	kind := moments
	switch {
	case w.n > 0 && fn == fnQuantile:
		kind = histogramRing
	case w.n > 0:
		kind = ring
	case fn == fnStddev:
		kind = spread
	case fn == fnMin || fn == fnMax:
		kind = extremes
	case fn == fnQuantile:
		kind = histogram
	}
	s.op = newOperator(kind, metric, w.String())
	s.op.n = w.n
	s.op.width = int64(w.length/time.Millisecond) / panes
	return s
}

func newBaseline(metric string, m Metric) *slot {
	op := newOperator(baseline, metric, fmt.Sprintf("%d events %d samples", m.Baseline.Events, m.MinSamples))
	op.events, op.samples = m.Baseline.Events, m.MinSamples
	return &slot{fn: fnBaseline, metric: metric, op: op}
}

func newPrevious(metric string) *slot {
	return &slot{fn: fnPrevious, metric: metric, op: newOperator(previous, metric, "")}
}

func newAbsent(metric string, after time.Duration) *slot {
	return &slot{fn: fnAbsent, typ: truth, metric: metric, after: after.Milliseconds(), op: newOperator(seen, metric, "")}
}

func newMOfN(cond *condition, m, n int) *slot {
	op := newOperator(tally, "", fmt.Sprintf("%d: %s", n, cond.key()))
	op.cond, op.n = cond, n
	return &slot{fn: fnMOfN, typ: truth, op: op, m: m}
}

// A clock is what a value may depend on beside its operator: the model's
// clock, in event time, and the time the newest entry was stored; Unix milliseconds.
type clock struct{ event, stored int64 }

// read is the slot's value over a state: NaN for none. It may move a window
// on to the model's clock. o is the slot's operator as placed in the program.
func (s *slot) read(state []uint64, o *operator, at clock) float64 {
	switch s.fn {
	case fnAge:
		if state[headPromoted] == 0 {
			return math.NaN()
		}
		return float64(max(0, at.stored-int64(state[headPromoted])))
	case fnAbsent:
		last := max(int64(state[o.at]), int64(state[headFirstSeen]))
		if last == 0 {
			return math.NaN()
		}
		return triOf(at.stored-last >= s.after).float()
	case fnCron:
		due := o.due(state, state[o.at:o.at+o.words])
		if due == 0 {
			return math.NaN()
		}
		return triOf(at.stored >= due).float()
	}
	return s.readWords(state[o.at:o.at+o.words], o, at)
}

// readWords is read over the words of the operator, for those that need no others.
func (s *slot) readWords(w []uint64, o *operator, at clock) float64 {
	switch o.kind {
	case latest:
		return latestValue(w, s.min)
	case moments:
		o.advanceMoments(w, at.event)
		return momentsValue(w, s.fn, s.min)
	case spread:
		o.advance(w, at.event)
		return spreadValue(w, s.min)
	case extremes:
		o.advanceExtremes(w, at.event)
		return extremesValue(w, s.fn, s.min)
	case histogram:
		o.advanceHistogram(w, at.event)
		return histogramValue(w[histogramHead:], s.q, s.min)
	case ring:
		return o.ringValue(w, s.fn, s.min)
	case histogramRing:
		return histogramValue(w[ringHead+2*o.n:], s.q, s.min)
	case baseline:
		return o.baselineValue(w)
	case previous:
		if w[0] == 0 {
			return math.NaN()
		}
		return load(w, 1)
	case alarm:
		return o.alarmValue(w, at.event)
	case samples:
		return float64(w[samplesAll] - w[samplesMark])
	case losses:
		return o.lossValue(w)
	case segments:
		_, v := o.division.worst(w, at)
		return v
	default: // tally
		if w[1] == 0 {
			return math.NaN()
		}
		return o.tallyValue(w, s.m)
	}
}
