package policy

import (
	"fmt"
	"math"
	"math/bits"

	"github.com/robfig/cron/v3"

	"github.com/visutility/visutility"
)

// An operator is a stateful part of a condition: a few words of a model's
// state that events update.
type operator struct {
	kind    operatorKind
	at      int   // place in the state, set by the program
	words   int   // length there
	width   int64 // of a pane, in milliseconds; windows by time
	n       int   // events of a window by count; evaluations of a tally
	events  int64 // of a baseline: how many events at least
	samples int64 // of a baseline: how many samples at least
	metric  string
	key     string     // equal keys mean equal states
	cond    *condition // of a tally

	watch    *watcher      // of an alarm
	ledger   *ledger       // of losses
	times    cron.Schedule // of a schedule
	division *division     // of segments
}

type operatorKind uint8

const (
	latest        operatorKind = iota
	moments                    // window by time: sum and weight
	spread                     // window by time: weight, mean and squared deviations
	extremes                   // window by time: least, greatest, weight
	histogram                  // window by time: a histogram of weights
	ring                       // window by count
	histogramRing              // window by count, with a histogram
	baseline                   // mean of the first events
	previous                   // a number told at promotion
	seen                       // when an event was last stored
	tally                      // the last results of a condition
	alarm                      // a detector, and whether it fired
	samples                    // how many there were since the last training
	losses                     // what was lost against the baseline since then
	schedule                   // times at which to retrain
	segments                   // an operator for each value of a label
)

var operatorNames = [...]string{
	"latest", "moments", "spread", "extremes", "histogram", "ring", "histogram_ring",
	"baseline", "previous", "seen", "tally", "alarm", "samples", "losses", "schedule", "segments",
}

// maxTally bounds the n of m_of_n: results are bits of a word.
const (
	maxTally              = 64
	defaultBaselineEvents = 10
)

func newOperator(k operatorKind, metric, detail string) *operator {
	return &operator{kind: k, metric: metric, key: fmt.Sprintf("%s(%q %s)", operatorNames[k], metric, detail)}
}

// size is the number of words the operator needs.
func (o *operator) size() int {
	switch o.kind {
	case latest, baseline:
		return 3
	case moments:
		return momentsHead + 2*panes
	case spread:
		return 1 + 3*panes
	case extremes:
		return extremesHead + 3*panes
	case histogram:
		return histogramHead + bucketWords + panes*paneWords
	case ring:
		return ringHead + 2*o.n
	case histogramRing:
		return ringHead + 2*o.n + bucketWords
	case seen:
		return 1
	case alarm:
		return alarmHead + o.watch.Words()
	case samples:
		return samplesWords
	case losses:
		return lossWords
	case schedule:
		return scheduleWords
	case segments:
		return segmentsHead + o.division.places*o.division.words()
	default: // previous, tally
		return 2
	}
}

// survives reports whether the state outlives a promotion: it is not about the champion.
func (o *operator) survives() bool { return o.kind == seen || o.kind == samples || o.kind == schedule }

// init makes w the state before the first event.
func (o *operator) init(w []uint64) {
	if o.kind == alarm {
		o.initAlarm(w)
		return
	}
	clear(w)
}

// fold updates the operator with an event: its time (at most at.event), value, weight and labels.
func (o *operator) fold(state []uint64, at clock, t int64, v, weight float64, labels visutility.Labels) {
	o.foldWords(state[o.at:o.at+o.words], at, t, v, weight, labels)
}

func (o *operator) foldWords(w []uint64, at clock, t int64, v, weight float64, labels visutility.Labels) {
	switch o.kind {
	case latest:
		if t >= int64(w[0]) {
			w[0] = uint64(t)
			store(w, 1, v)
			store(w, 2, weight)
		}
	case moments:
		o.foldMoments(w, at.event, t, v, weight)
	case spread:
		o.foldSpread(w, at.event, t, v, weight)
	case extremes:
		o.foldExtremes(w, at.event, t, v, weight)
	case histogram:
		o.foldHistogram(w, at.event, t, v, weight)
	case ring, histogramRing:
		o.foldRing(w, v, weight)
	case baseline:
		if !o.baselineComplete(w) {
			o.foldBaseline(w, v, weight)
		}
	case seen:
		w[0] = uint64(at.stored)
	case alarm:
		o.foldAlarm(w, at.event, v, weight)
	case samples:
		w[samplesAll] += uint64(weight)
	case losses:
		o.foldLosses(w, v, weight)
	case segments:
		o.foldSegments(w, at.event, t, v, weight, labels)
	}
}

func (o *operator) foldBaseline(w []uint64, v, weight float64) {
	w[0]++
	store(w, 1, load(w, 1)+v*weight)
	store(w, 2, load(w, 2)+weight)
}

func store(w []uint64, at int, v float64) { w[at] = math.Float64bits(v) }

func latestValue(w []uint64, samples int64) float64 {
	if weight := load(w, 2); weight == 0 || weight < float64(samples) {
		return math.NaN()
	}
	return load(w, 1)
}

func (o *operator) baselineComplete(w []uint64) bool {
	return int64(w[0]) >= o.events && load(w, 2) >= float64(o.samples)
}

func (o *operator) baselineValue(w []uint64) float64 {
	if !o.baselineComplete(w) {
		return math.NaN()
	}
	return load(w, 1) / load(w, 2)
}

// count adds a result to a tally: w[0] holds the last 64, newest in bit 0, w[1] how many there were.
func (o *operator) count(state []uint64, result tri) {
	if result == unknown {
		return
	}
	w := state[o.at : o.at+o.words]
	w[0] <<= 1
	if result == yes {
		w[0] |= 1
	}
	w[1]++
}

// held is how often the condition was true in the last n results.
func (o *operator) held(w []uint64) int {
	return bits.OnesCount64(w[0] << (maxTally - o.n))
}

func (o *operator) tallyValue(w []uint64, m int) float64 { return triOf(o.held(w) >= m).float() }
