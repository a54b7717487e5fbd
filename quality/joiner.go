package quality

import (
	"fmt"
	"hash/fnv"
	"maps"
	"math"
	"slices"
	"strconv"

	"google.golang.org/protobuf/proto"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/quality/internal/pb"
)

// Limits bound the memory of a joiner. Zero fields have the defaults.
type Limits struct {
	// Pending is how many predictions are held until their labels come, of all models. Defaults to 500,000 (70 MB).
	Pending int
	// Models defaults to 10,000.
	Models int
	// Cohorts is how many versions and segments a window of a model may have. Defaults to 200.
	Cohorts int
	// Columns is how many versions, segments, features and scores of windows that are open are kept, of all models.
	// Defaults to 10,000 (some 15 MB; 95 MB when all are full).
	Columns int
}

func (l Limits) withDefaults() Limits {
	for _, x := range []struct {
		field *int
		value int
	}{{&l.Pending, 500_000}, {&l.Models, 10_000}, {&l.Cohorts, 200}, {&l.Columns, 10_000}} {
		if *x.field <= 0 {
			*x.field = x.value
		}
	}
	return l
}

const (
	// sweepEvery is how often, in milliseconds of the log's time, windows are looked at.
	sweepEvery = 1000
	// earlyFor is how long a label waits for its prediction to arrive, in milliseconds.
	earlyFor = 3600_000
	// earlyShare of Limits.Pending may be labels whose predictions have not arrived.
	earlyShare = 8
	// idleFor is after how long a model without predictions is forgotten, in milliseconds.
	idleFor = 90 * 86400_000
)

// Why samples are dropped, or told apart. The words are labels of the metrics.
const (
	dropDuplicatePrediction = "duplicate_prediction" // the id is known
	dropDuplicateLabel      = "duplicate_label"      // the prediction has its label
	dropLatePrediction      = "late_prediction"      // its window was judged or given up
	dropLateLabel           = "late_label"           // its window was judged
	dropUnmatched           = "unmatched_label"      // no prediction with that id came within an hour
	dropGivenUp             = "given_up"             // predictions of windows that had to make room
	dropLimit               = "limit"                // predictions for which there was no room: models, segments, classes, a single window too large
	dropFeature             = "feature_limit"        // features that were not looked at
	dropAnswer              = "answer"               // labels that do not fit the task
	dropMalformed           = "malformed"            // payloads that cannot be read
)

var reasons = []string{dropDuplicatePrediction, dropDuplicateLabel, dropLatePrediction, dropLateLabel, dropUnmatched, dropGivenUp, dropLimit, dropFeature, dropAnswer, dropMalformed}

// Counts are what a joiner did since it was made.
type Counts struct {
	Predictions, Labels, Joined uint64
	Dropped                     map[string]uint64
}

// A Judged is what a window of a model came to.
type Judged struct {
	Model string
	// Key is always the same for the same window.
	Key string
	// Events have passed [visutility.Event.Check]. There may be none.
	Events []visutility.Event
}

// A Joiner joins the predictions and labels of one partition. It is a pure fold: the same entries
// make the same events. It is used by one goroutine at a time.
type Joiner struct {
	rules   Rules
	limits  Limits
	now     int64 // of the log, in Unix milliseconds
	swept   int64 // when windows were last looked at
	models  map[string]*model
	given   map[Reference]map[string]*standard // of the rules
	pending int
	early   int
	columns int
	counts  Counts
}

// NewJoiner returns a joiner that has seen nothing.
func NewJoiner(rules Rules, limits Limits) *Joiner {
	return &Joiner{rules: rules, limits: limits.withDefaults(), models: map[string]*model{}, given: map[Reference]map[string]*standard{}, counts: Counts{Dropped: map[string]uint64{}}}
}

// Adopt goes on with other rules and reports whether they differ. Windows that are open keep their length.
func (j *Joiner) Adopt(rules Rules) bool {
	if slices.Equal(j.rules, rules) {
		return false
	}
	j.rules = rules
	clear(j.given)
	for _, m := range j.models {
		j.configure(m)
	}
	return true
}

// Counts returns what was done so far.
func (j *Joiner) Counts() Counts {
	c := j.counts
	c.Dropped = maps.Clone(c.Dropped)
	return c
}

// Pending is how many predictions wait for their labels.
func (j *Joiner) Pending() int { return j.pending }

// Fold takes in an entry of the log, which was stored at that Unix millisecond, and returns the windows that are mature by then.
func (j *Joiner) Fold(stored int64, payloads [][]byte) []Judged {
	j.now = max(j.now, stored)
	for _, data := range payloads {
		var s pb.Samples
		if err := proto.Unmarshal(data, &s); err != nil {
			j.drop(dropMalformed, 1)
			continue
		}
		for _, p := range s.Predictions {
			j.counts.Predictions++
			alone := p.Score != nil && p.Class == "" && math.IsNaN(p.Number)
			if (alone || sound(p.Number, p.Time)) && sound(0, p.Time) && (p.Score == nil || *p.Score >= 0 && *p.Score <= 1) && !slices.ContainsFunc(p.Features, func(f *pb.Feature) bool { return !sound(f.Number, 0) }) {
				j.predict(p)
			} else {
				j.drop(dropMalformed, 1)
			}
		}
		for _, t := range s.Truths {
			j.counts.Labels++
			if sound(t.Number, t.Time) {
				j.label(t)
			} else {
				j.drop(dropMalformed, 1)
			}
		}
	}
	if j.now-j.swept < sweepEvery {
		return nil
	}
	j.swept = j.now
	return j.sweep()
}

// sound reports whether a number and a time are as they were when they were checked: a damaged log must not
// end the fold.
func sound(v float64, at int64) bool {
	const latest = 1 << 50 // milliseconds: far beyond all times, and sums of it are numbers
	return math.Abs(v) <= maxNumber && at >= 0 && at <= latest
}

const maxNumber = 1e100 // as for [visutility.Answer]

func (j *Joiner) drop(reason string, n int) { j.counts.Dropped[reason] += uint64(n) }

// model returns the model of that name, nil when there are too many.
func (j *Joiner) model(name string) *model {
	m := j.models[name]
	if m == nil && len(j.models) < j.limits.Models {
		m = j.newModel(name)
		j.models[name] = m
	}
	if m != nil {
		m.seen = j.now
	}
	return m
}

func (j *Joiner) predict(p *pb.Prediction) {
	m := j.model(p.Model)
	if m == nil {
		j.drop(dropLimit, 1)
		return
	}
	alone := math.IsNaN(p.Number)
	if alone && m.settings.Task == Regression || p.Class != "" && m.settings.Task == Regression {
		j.drop(dropAnswer, 1)
		return
	}
	id := identify(p.Id)
	if _, known := m.ids[id]; known {
		j.drop(dropDuplicatePrediction, 1)
		return
	}
	w := m.window(p.Time)
	if w == nil || w.judged {
		j.drop(dropLatePrediction, 1)
		return
	}
	if len(m.windows) > maxWindows {
		j.giveUp(m, m.oldest(w))
	}
	c := j.cohort(w, p)
	if c == nil || !j.makeRoom(m, w) {
		j.drop(dropLimit, 1)
		return
	}
	e := entry{cohort: c, class: noClass, value: p.Number, at: int32(p.Time - w.start), arrived: seconds(j.now - w.start)}
	switch asClass := p.Class != "" || p.Score != nil; {
	case alone:
		e.class, e.value = scoreAlone, *p.Score
	case m.settings.Task == Classification || m.settings.Task == "" && asClass:
		if e.class = c.class(className(p.Class, p.Number)); e.class == noClass {
			j.drop(dropLimit, 1)
			return
		}
		if e.value = math.NaN(); p.Score != nil {
			e.value = *p.Score
		}
	}
	j.observe(m, c, p, e)
	m.ids[id] = e
	w.ids = append(w.ids, id)
	w.arrived = max(w.arrived, j.now)
	j.pending++
	if m.since == 0 {
		m.since = j.now
	}
	if t, waits := m.early[id]; waits {
		delete(m.early, id)
		j.early--
		j.join(m, id, t.answer, t.at, t.arrived)
	}
}

// makeRoom gives up the oldest windows but w until a prediction fits in.
func (j *Joiner) makeRoom(m *model, w *window) bool {
	most := j.limits.Pending
	if m.settings.MaxPending > 0 {
		most = min(most, m.settings.MaxPending)
	}
	for len(m.ids) >= most {
		if !j.giveUp(m, m.oldest(w)) {
			return false
		}
	}
	for j.pending >= j.limits.Pending {
		of, oldest := m, m.oldest(w)
		for _, name := range slices.Sorted(maps.Keys(j.models)) {
			x := j.models[name]
			if o := x.oldest(w); o != nil && (oldest == nil || o.before(oldest)) {
				of, oldest = x, o
			}
		}
		if !j.giveUp(of, oldest) {
			return false
		}
	}
	return true
}

// giveUp forgets a window.
func (j *Joiner) giveUp(m *model, w *window) bool {
	if w == nil {
		return false
	}
	if !w.judged {
		j.drop(dropGivenUp, len(w.ids))
	}
	j.release(m, w)
	m.forget(w)
	return true
}

// release lets go of all that a window holds.
func (j *Joiner) release(m *model, w *window) {
	for _, id := range w.ids {
		if _, held := m.ids[id]; held {
			delete(m.ids, id)
			j.pending--
		}
	}
	for _, c := range w.cohorts {
		j.columns -= c.size()
	}
	w.ids, w.cohorts = nil, nil
}

func (j *Joiner) label(t *pb.Truth) {
	m := j.model(t.Model)
	if m == nil {
		j.drop(dropUnmatched, 1)
		return
	}
	id, a := identify(t.Id), visutility.Answer{Class: t.Class, Number: t.Number}
	if _, known := m.ids[id]; known {
		j.join(m, id, a, t.Time, j.now)
		return
	}
	if _, twice := m.early[id]; twice {
		j.drop(dropDuplicateLabel, 1)
		return
	}
	if j.early >= j.limits.Pending/earlyShare {
		j.drop(dropUnmatched, 1)
		return
	}
	m.early[id] = early{answer: a, at: t.Time, arrived: j.now}
	m.queue = append(m.queue, id)
	j.early++
}

// join gives a prediction its label.
func (j *Joiner) join(m *model, id [16]byte, a visutility.Answer, at, arrived int64) {
	e := m.ids[id]
	if e.labelled {
		j.drop(dropDuplicateLabel, 1)
		return
	}
	w := e.cohort.window
	came := w.start + int64(e.arrived)*1000
	predicted := w.start + int64(e.at)
	m.arrival.add(float64(max(0, arrived-max(came, predicted))) / 1000)
	if w.judged {
		j.drop(dropLateLabel, 1)
		delete(m.ids, id)
		j.pending--
		return
	}
	if !e.cohort.join(e, a, m.settings.Task) {
		j.drop(dropAnswer, 1)
		return
	}
	e.cohort.lag.add(float64(max(0, at-predicted)) / 1000)
	e.labelled = true
	m.ids[id] = e
	j.counts.Joined++
}

// sweep judges what is mature, in the order of names and time, and forgets what is too old.
func (j *Joiner) sweep() []Judged {
	var out []Judged
	for _, name := range slices.Sorted(maps.Keys(j.models)) {
		m := j.models[name]
		for len(m.queue) > 0 {
			t, waits := m.early[m.queue[0]]
			if waits && j.now-t.arrived < earlyFor {
				break
			}
			if waits {
				delete(m.early, m.queue[0])
				j.early--
				j.drop(dropUnmatched, 1)
			}
			m.queue = m.queue[1:]
		}
		for _, w := range slices.Clone(m.windows) {
			switch {
			case w.judged && j.now > w.arrived+MaxMature.Milliseconds():
				j.release(m, w)
				m.forget(w)
			case !w.judged && j.now >= m.due(w, j.now):
				out = append(out, j.judge(m, w))
			}
		}
		// Labels alone make no model.
		if len(m.windows) == 0 && len(m.early) == 0 && (m.since == 0 || j.now-m.seen > idleFor) {
			delete(j.models, name)
		}
	}
	return out
}

func (j *Joiner) judge(m *model, w *window) Judged {
	// No key of a sender has a control character.
	out := Judged{Model: m.name, Key: fmt.Sprintf("\x00predictions/%x/%d", identify(m.name), w.start)}
	for _, c := range w.cohorts {
		out.Events = append(out.Events, c.events(m)...)
		j.columns -= c.size()
		c.settle()
	}
	left := w.ids[:0]
	for _, id := range w.ids {
		if m.ids[id].labelled {
			delete(m.ids, id)
			j.pending--
		} else {
			left = append(left, id)
		}
	}
	w.ids, w.judged = slices.Clip(left), true
	m.settle()
	return out
}

func identify(id string) (sum [16]byte) {
	h := fnv.New128a()
	h.Write([]byte(id)) // never fails
	h.Sum(sum[:0])
	return sum
}

// className is the class that an answer names.
func className(class string, number float64) string {
	if class != "" {
		return class
	}
	return strconv.FormatFloat(number, 'g', -1, 64)
}

func seconds(ms int64) int32 { return int32(min(max(ms/1000, math.MinInt32), math.MaxInt32)) }
