package policy

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/visutility/visutility"
)

// Segments keep an operator for each value of a label, in a bounded number of places: worst(accuracy, "country").
// Where all places are taken, a segment that has been silent for the window (a day, where there is none) gives up
// its place; if there is none, the event is left out and counted.
//
// Words: events left out; then the places, each: hash of the label's value (0: free), the first 16 bytes of the
// value (to name it), event time of its newest event, the words of the inner operator.
const (
	segmentsHead = 1

	segmentHash   = 0
	segmentName   = 1
	segmentNewest = 3
	segmentHead   = 4

	segmentNameBytes = 16
	defaultSegments  = 32
	maxSegments      = 256
)

// A division says how a metric is divided.
type division struct {
	label  string
	places int
	inner  *slot // what is read of each segment, over its own operator
	silent int64 // milliseconds after which a segment may have to give up its place
	high   bool  // more is worse
}

// newWorst reads the worst of the segments of a metric: of latest values, or of means over a window.
func newWorst(metric, label string, m Metric, w *window, places int) *slot {
	inner, silent, detail := newLatest(metric, m), 24*time.Hour, "latest"
	if w != nil {
		inner, detail = newAggregate(fnAvg, metric, m, *w, 0), w.String()
		if w.length > 0 {
			silent = w.length
		}
	}
	inner.op.words = inner.op.size()
	high := m.Goal == LowerIsBetter
	op := newOperator(segments, metric, fmt.Sprintf("by %q of %s in %d places, high=%v", label, detail, places, high))
	op.division = &division{label, places, inner, silent.Milliseconds(), high}
	return &slot{fn: fnWorst, metric: metric, min: m.MinSamples, op: op}
}

func (d *division) words() int { return segmentHead + d.inner.op.words }

func (d *division) place(w []uint64, i int) []uint64 {
	at := segmentsHead + i*d.words()
	return w[at : at+d.words()]
}

// labelValue finds the value of a label in the canonical form, without allocating.
func labelValue(l visutility.Labels, name string) (string, bool) {
	for s := string(l); s != ""; {
		key, rest, _ := strings.Cut(s, visutility.LabelSep)
		value, next, _ := strings.Cut(rest, visutility.LabelSep)
		if key == name {
			return value, true
		}
		s = next
	}
	return "", false
}

// hashOf is FNV-1a of 64 bits, never 0. It is stored in states.
func hashOf(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := 0; i < len(s); i++ {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return max(h, 1)
}

// foldSegments folds an event into the segment of its label. Events without the label belong to none.
func (o *operator) foldSegments(w []uint64, now, t int64, v, weight float64, labels visutility.Labels) {
	d := o.division
	value, ok := labelValue(labels, d.label)
	if !ok {
		return
	}
	place := d.find(w, hashOf(value), now)
	if place == nil {
		w[0]++
		return
	}
	if place[segmentHash] == 0 {
		clear(place)
		place[segmentHash] = hashOf(value)
		var name [segmentNameBytes]byte
		copy(name[:], value)
		place[segmentName], place[segmentName+1] = binary.LittleEndian.Uint64(name[:8]), binary.LittleEndian.Uint64(name[8:])
	}
	place[segmentNewest] = uint64(max(t, int64(place[segmentNewest])))
	d.inner.op.foldWords(place[segmentHead:], clock{event: now}, t, v, weight, "")
}

// find is the place of a segment: its own, else the first free one, else that of the segment which has been silent
// longest, and long enough; nil for none. Places are taken in their order and given up only to be taken at once, so
// behind the first free one all are.
func (d *division) find(w []uint64, hash uint64, now int64) []uint64 {
	var oldest []uint64
	for i := range d.places {
		p := d.place(w, i)
		switch {
		case p[segmentHash] == hash || p[segmentHash] == 0:
			return p
		case oldest == nil || p[segmentNewest] < oldest[segmentNewest]:
			oldest = p
		}
	}
	if now-int64(oldest[segmentNewest]) < d.silent {
		return nil
	}
	oldest[segmentHash] = 0
	return oldest
}

// segmentValue is what is read of a place that is taken: NaN where it has too few samples.
func (d *division) segmentValue(p []uint64, at clock) float64 {
	return d.inner.readWords(p[segmentHead:], d.inner.op, at)
}

// worst is the place of the segment that does worst, and its value; NaN when none can be told.
func (d *division) worst(w []uint64, at clock) (worst []uint64, value float64) {
	value = math.NaN()
	for i := range d.places {
		p := d.place(w, i)
		if p[segmentHash] == 0 {
			break
		}
		v := d.segmentValue(p, at)
		if worst == nil && v == v || d.high && v > value || !d.high && v < value {
			worst, value = p, v
		}
	}
	return worst, value
}

// segmentsNote names the worst segment, and says what was left out.
func (o *operator) segmentsNote(w []uint64, at clock) string {
	d := o.division
	told, known := 0, 0
	for i := range d.places {
		p := d.place(w, i)
		if p[segmentHash] != 0 {
			known++
			if v := d.segmentValue(p, at); v == v {
				told++
			}
		}
	}
	note := fmt.Sprintf("no event has the label %q", d.label)
	if known > 0 {
		note = fmt.Sprintf("%d of %s can be told", told, plural(float64(known), "segment"))
	}
	if p, v := d.worst(w, at); v == v {
		note = fmt.Sprintf("%s=%s, %s; %s", d.label, segmentLabel(p), plural(d.inner.op.weight(p[segmentHead:]), "sample"), note)
	}
	if w[0] > 0 {
		note += fmt.Sprintf("; %s of further segments left out: there are %d places", plural(float64(w[0]), "event"), d.places)
	}
	return note
}

// segmentLabel is the value of the label as far as it is kept.
func segmentLabel(p []uint64) string {
	var name [segmentNameBytes]byte
	binary.LittleEndian.PutUint64(name[:8], p[segmentName])
	binary.LittleEndian.PutUint64(name[8:], p[segmentName+1])
	s := strings.TrimRight(string(name[:]), "\x00")
	if len(s) < segmentNameBytes {
		return s
	}
	for !utf8.ValidString(s) && s != "" { // cut amid a character
		s = s[:len(s)-1]
	}
	return s + "…"
}
