package policy

import (
	"fmt"
	"math"
	"time"

	"github.com/visutility/visutility/drift"
)

// An alarm keeps a detector of package drift over the events of a metric. A detector fires in an
// instant, and a guardrail may stand against a run just then; so its alarm stays: until a run that
// began after it has taken the data in (or the champion moves), or for as long as hold says, in event time.
// While it lasts the detector rests.
//
// Its words: when it fired (event time, 0 for not), whether a run was opened since, how many events the
// detector was handed, whether there is anything to tell; then the detector's own.
const (
	alarmFired = iota
	alarmTaken
	alarmEvents
	alarmKnown
	alarmHead
)

// A watcher is what an alarm watches with.
type watcher struct {
	drift.Detector
	hold int64 // milliseconds; 0 until a run takes the alarm up
}

func newAlarm(metric, name string, m Metric, d drift.Detector, hold time.Duration) *slot {
	op := newOperator(alarm, metric, fmt.Sprintf("%s %+v hold=%v min=%d", name, d, hold, m.MinSamples))
	op.watch = &watcher{d, hold.Milliseconds()}
	op.samples = m.MinSamples
	return &slot{fn: fnAlarm, typ: truth, metric: metric, op: op}
}

func (o *operator) initAlarm(w []uint64) {
	clear(w[:alarmHead])
	o.watch.Init(w[alarmHead:])
}

func (o *operator) foldAlarm(w []uint64, now int64, v, weight float64) {
	if w[alarmFired] != 0 {
		if o.alarmed(w, now) {
			return
		}
		w[alarmFired], w[alarmTaken] = 0, 0
	}
	if weight < float64(o.samples) {
		return
	}
	w[alarmEvents]++
	w[alarmKnown] = 1
	if o.watch.Add(w[alarmHead:], v) {
		w[alarmFired] = uint64(max(now, 1))
	}
}

// alarmed reports whether an alarm lasts.
func (o *operator) alarmed(w []uint64, now int64) bool {
	return w[alarmFired] != 0 && (o.watch.hold == 0 || now-int64(w[alarmFired]) < o.watch.hold)
}

// alarmValue is unknown before the first event of a champion: a detector without data says nothing. An alarm that a
// run has taken up is over, and known to be.
func (o *operator) alarmValue(w []uint64, now int64) float64 {
	if w[alarmKnown] == 0 {
		return math.NaN()
	}
	return triOf(o.alarmed(w, now)).float()
}

func (o *operator) alarmNote(w []uint64, now int64) string {
	if w[alarmEvents] == 0 {
		return "no event yet"
	}
	d := w[alarmHead:]
	if w[alarmFired] != 0 {
		ago := FormatDuration(time.Duration(max(0, now-int64(w[alarmFired]))) * time.Millisecond)
		return fmt.Sprintf("fired %s ago, at %.4g of %.4g, after %s", ago, o.watch.Value(d), o.watch.Limit(d), plural(float64(w[alarmEvents]), "event"))
	}
	return fmt.Sprintf("at %.4g of %.4g after %s", o.watch.Value(d), o.watch.Limit(d), plural(float64(w[alarmEvents]), "event"))
}
