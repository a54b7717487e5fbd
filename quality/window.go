package quality

import (
	"cmp"
	"slices"
	"strings"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/quality/internal/pb"
)

const (
	// maxClosed is how many windows that are over are known as such. What is older than all of them is late.
	maxClosed = 1024
	// maxWindows is how many windows of a model are held; the oldest is given up for one more.
	maxWindows = 10_000
	// maxReferences is how many cohorts of a model have a reference; those not seen for longest go first.
	maxReferences = 256

	learnFrom = 100    // labels that must have come before their delay is believed
	learnTo   = 0.95   // the share of labels to wait for
	minMature = 60_000 // milliseconds, the least that is learned
	unlearned = 86400_000
	fade      = 0.8  // weight of the delays known when a window is judged …
	fadeFrom  = 1000 // … if there are as many
)

// A model is what is known of one.
type model struct {
	name     string
	settings Settings
	ids      map[[16]byte]entry
	windows  []*window // by start
	closed   []span    // windows that are over, by start
	before   int64     // what is predicted before is late
	early    map[[16]byte]early
	queue    [][16]byte // early, by arrival
	arrival  sketch     // how long labels took, in seconds
	since    int64      // when the first prediction arrived
	seen     int64
	refs     map[series]*reference
	given    map[string]*standard // of the settings, by metric
}

// newModel returns a model that nothing is known of.
func (j *Joiner) newModel(name string) *model {
	m := &model{name: name, ids: map[[16]byte]entry{}, early: map[[16]byte]early{}, arrival: newSketch(), refs: map[series]*reference{}}
	j.configure(m)
	return m
}

// configure gives a model the settings that the rules have for it. Models share what they are held against.
func (j *Joiner) configure(m *model) {
	m.settings = j.rules.For(m.name)
	given, known := j.given[m.settings.Reference]
	if !known {
		given, _ = m.settings.Reference.standards() // whoever brings rules checks them
		j.given[m.settings.Reference] = given
	}
	m.given = given
}

// A span is a window's time, in Unix milliseconds, without its end.
type span struct{ Start, End int64 }

// An entry is a prediction that is held.
type entry struct {
	cohort   *cohort
	value    float64 // the number, or the score of a class; NaN for none
	at       int32   // milliseconds from the start of the window
	arrived  int32   // seconds from the start of the window
	class    int16   // of the cohort's; noClass for a number
	labelled bool
}

// An early is a label that came before its prediction.
type early struct {
	answer      visutility.Answer
	at, arrived int64
}

// A window is a stretch of predictions.
type window struct {
	start, end int64
	arrived    int64 // when its last prediction arrived
	judged     bool
	cohorts    []*cohort
	ids        [][16]byte
}

// before says which of two windows is worth less: what was judged, then what is older.
func (w *window) before(other *window) bool {
	if w.judged != other.judged {
		return w.judged
	}
	return w.start < other.start
}

// window returns the window of a time, a new one if need be, nil where it is over.
func (m *model) window(t int64) *window {
	next, _ := slices.BinarySearchFunc(m.windows, t+1, func(x *window, t int64) int { return cmp.Compare(x.start, t) })
	if next > 0 && t < m.windows[next-1].end {
		return m.windows[next-1]
	}
	length := m.settings.Window.Milliseconds()
	w := &window{start: t - t%length, end: t - t%length + length}
	if t < m.before {
		return nil
	}
	w.start = max(w.start, m.before)
	for _, s := range m.closed {
		if s.Start <= t && t < s.End {
			return nil
		}
		w.clip(t, s)
	}
	for _, x := range m.windows[max(0, next-1):min(next+1, len(m.windows))] { // its neighbours
		w.clip(t, span{x.start, x.end})
	}
	m.windows = slices.Insert(m.windows, next, w)
	return w
}

// clip keeps a new window off another, which may have had another length.
func (w *window) clip(t int64, s span) {
	if s.End <= t {
		w.start = max(w.start, s.End)
	} else {
		w.end = min(w.end, s.Start)
	}
}

// oldest is the window that is given up first, but never w.
func (m *model) oldest(w *window) *window {
	var oldest *window
	for _, x := range m.windows {
		if x != w && (oldest == nil || x.before(oldest)) {
			oldest = x
		}
	}
	return oldest
}

// forget closes a window.
func (m *model) forget(w *window) {
	m.windows = slices.DeleteFunc(m.windows, func(x *window) bool { return x == w })
	i, _ := slices.BinarySearchFunc(m.closed, w.start, func(s span, t int64) int { return cmp.Compare(s.Start, t) })
	m.closed = slices.Insert(m.closed, i, span{w.start, w.end})
	if len(m.closed) > maxClosed {
		m.before = max(m.before, m.closed[0].End)
		m.closed = m.closed[1:]
	}
}

// due is when a window is mature.
func (m *model) due(w *window, now int64) int64 {
	return max(w.end, w.arrived) + m.matureAfter(now)
}

// matureAfter is how long labels are waited for, in milliseconds. What was learned is believed when it was
// watched for twice as long: until then, labels that take longer cannot have been seen.
func (m *model) matureAfter(now int64) int64 {
	if m.settings.MatureAfter > 0 {
		return m.settings.MatureAfter.Milliseconds()
	}
	if m.arrival.GetCount() < learnFrom {
		return unlearned
	}
	learned := int64(m.arrival.quantile(learnTo) * 1000)
	if now-m.since < 2*learned {
		return max(unlearned, learned)
	}
	return min(max(learned, minMature), MaxMature.Milliseconds())
}

// settle follows a judgement: newer delays weigh more than older.
func (m *model) settle() {
	if m.arrival.GetCount() > fadeFrom {
		_ = m.arrival.Reweight(fade) // the constant is good
	}
}

// A series is a version and a segment.
type series struct {
	Version string
	Labels  visutility.Labels
}

// cohort is where a prediction is counted, nil when there are too many.
func (j *Joiner) cohort(w *window, p *pb.Prediction) *cohort {
	s := series{p.Version, visutility.Labels(strings.Join(p.Labels, visutility.LabelSep))}
	for _, c := range w.cohorts {
		if c.series == s {
			return c
		}
	}
	if len(w.cohorts) >= j.limits.Cohorts || j.columns >= j.limits.Columns {
		return nil
	}
	c := newCohort(w, s)
	j.columns += c.size()
	w.cohorts = append(w.cohorts, c)
	return c
}
