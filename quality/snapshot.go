package quality

import (
	"bytes"
	"cmp"
	"encoding/gob"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"

	"github.com/visutility/visutility"
)

// snapshotLayout is the layout of a snapshot. Fields may be added to what follows under the same number;
// what changes meaning gets a new one.
const snapshotLayout = 1

// What a snapshot holds, in gob: columns instead of many small things.
type joinerState struct {
	Layout int
	Rules  Rules
	Now    int64
	Swept  int64
	Models []modelState
}

type modelState struct {
	Name         string
	Windows      []windowState
	Closed       []span
	Before       int64
	EarlyIDs     []byte // 16 each, by arrival
	EarlyAnswers []visutility.Answer
	EarlyTimes   []int64 // when true, when it arrived
	Arrival      sketch
	Since, Seen  int64
	References   []referenceState
}

type referenceState struct {
	Series    series
	Reference reference
}

type windowState struct {
	Start, End, Arrived int64
	Judged              bool
	Cohorts             []cohortState
	IDs                 []byte // 16 each
	Cohort              []uint16
	Value               []float64
	At, Came            []int32
	Class               []int16
	Labelled            []bool
}

type cohortState struct {
	Series    series
	Predicted int64
	Lag       *sketch
	Classes   []string
	Confusion map[pair]int64
	Scored    map[int16]*scored
	Numbers   numbers
	Unclassed int64
	Columns   map[string]*column
}

// AppendBinary appends a snapshot, from which [Joiner.UnmarshalBinary] goes on exactly. The counts are not in it.
func (j *Joiner) AppendBinary(b []byte) ([]byte, error) {
	s := joinerState{Layout: snapshotLayout, Rules: j.rules, Now: j.now, Swept: j.swept}
	for _, name := range slices.Sorted(maps.Keys(j.models)) {
		s.Models = append(s.Models, j.models[name].state())
	}
	var buf bytes.Buffer
	if err := gob.NewEncoder(&buf).Encode(&s); err != nil {
		return b, fmt.Errorf("make a snapshot of the joiner: %w", err)
	}
	sum := crc32.ChecksumIEEE(buf.Bytes())
	b = append(b, byte(sum>>24), byte(sum>>16), byte(sum>>8), byte(sum))
	return append(b, buf.Bytes()...), nil
}

func (m *model) state() modelState {
	s := modelState{Name: m.name, Closed: m.closed, Before: m.before, Arrival: m.arrival, Since: m.since, Seen: m.seen}
	for _, id := range m.queue {
		if e, waits := m.early[id]; waits {
			s.EarlyIDs = append(s.EarlyIDs, id[:]...)
			s.EarlyAnswers = append(s.EarlyAnswers, e.answer)
			s.EarlyTimes = append(s.EarlyTimes, e.at, e.arrived)
		}
	}
	refs := slices.SortedFunc(maps.Keys(m.refs), func(a, b series) int {
		return cmp.Or(cmp.Compare(a.Version, b.Version), cmp.Compare(a.Labels, b.Labels))
	})
	for _, k := range refs {
		s.References = append(s.References, referenceState{k, *m.refs[k]})
	}
	for _, w := range m.windows {
		ws := windowState{Start: w.start, End: w.end, Arrived: w.arrived, Judged: w.judged}
		place := map[*cohort]uint16{}
		for i, c := range w.cohorts {
			place[c] = uint16(i)
			cs := cohortState{Series: c.series, Predicted: c.predicted, Classes: c.classes, Confusion: c.confusion, Scored: c.scored, Numbers: c.numbers, Unclassed: c.unclassed, Columns: c.columns}
			if !w.judged {
				cs.Lag = &c.lag
			}
			ws.Cohorts = append(ws.Cohorts, cs)
		}
		for _, id := range w.ids {
			e, held := m.ids[id]
			if !held {
				continue
			}
			ws.IDs = append(ws.IDs, id[:]...)
			ws.Cohort = append(ws.Cohort, place[e.cohort])
			ws.Value, ws.At, ws.Came = append(ws.Value, e.value), append(ws.At, e.at), append(ws.Came, e.arrived)
			ws.Class, ws.Labelled = append(ws.Class, e.class), append(ws.Labelled, e.labelled)
		}
		s.Windows = append(s.Windows, ws)
	}
	return s
}

// UnmarshalBinary restores a snapshot into a new joiner, with the rules it had then.
func (j *Joiner) UnmarshalBinary(b []byte) error {
	const head = 4
	if len(b) < head || crc32.ChecksumIEEE(b[head:]) != uint32(b[0])<<24|uint32(b[1])<<16|uint32(b[2])<<8|uint32(b[3]) {
		return fmt.Errorf("%w: the snapshot of the joiner is damaged", visutility.ErrInvalid)
	}
	var s joinerState
	if err := gob.NewDecoder(bytes.NewReader(b[head:])).Decode(&s); err != nil {
		return fmt.Errorf("%w: the snapshot of the joiner cannot be read: %w", visutility.ErrInvalid, err)
	}
	if s.Layout != snapshotLayout {
		return fmt.Errorf("%w: the snapshot of the joiner has layout %d; this release knows %d", visutility.ErrInvalid, s.Layout, snapshotLayout)
	}
	if err := s.Rules.check(); err != nil {
		return err
	}
	j.rules, j.now, j.swept = s.Rules, s.Now, s.Swept
	for i := range s.Models {
		m := j.newModel(s.Models[i].Name)
		if err := j.restore(m, &s.Models[i]); err != nil {
			return err
		}
		j.models[m.name] = m
	}
	return nil
}

func (j *Joiner) restore(m *model, s *modelState) error {
	m.closed, m.before, m.arrival, m.since, m.seen = s.Closed, s.Before, s.Arrival, s.Since, s.Seen
	bad := fmt.Errorf("%w: the snapshot of model %q contradicts itself", visutility.ErrInvalid, m.name)
	if len(s.EarlyIDs) != 16*len(s.EarlyAnswers) || len(s.EarlyTimes) != 2*len(s.EarlyAnswers) || m.arrival.DDSketch == nil {
		return bad
	}
	for i, a := range s.EarlyAnswers {
		id := [16]byte(s.EarlyIDs[16*i:])
		m.early[id] = early{answer: a, at: s.EarlyTimes[2*i], arrived: s.EarlyTimes[2*i+1]}
		m.queue = append(m.queue, id)
		j.early++
	}
	for i := range s.References {
		r := s.References[i].Reference
		if r.Columns == nil {
			r.Columns = map[string]*standard{}
		}
		m.refs[s.References[i].Series] = &r
	}
	for i := range s.Windows {
		ws := &s.Windows[i]
		w := &window{start: ws.Start, end: ws.End, arrived: ws.Arrived, judged: ws.Judged}
		m.windows = append(m.windows, w)
		for k := range ws.Cohorts {
			c := restoreCohort(w, &ws.Cohorts[k])
			w.cohorts = append(w.cohorts, c)
			j.columns += c.size()
		}
		n := len(ws.Value)
		if len(ws.IDs) != 16*n || len(ws.Cohort) != n || len(ws.At) != n || len(ws.Came) != n || len(ws.Class) != n || len(ws.Labelled) != n {
			return bad
		}
		for k := range n {
			if int(ws.Cohort[k]) >= len(w.cohorts) {
				return bad
			}
			id := [16]byte(ws.IDs[16*k:])
			w.ids = append(w.ids, id)
			m.ids[id] = entry{cohort: w.cohorts[ws.Cohort[k]], value: ws.Value[k], at: ws.At[k], arrived: ws.Came[k], class: ws.Class[k], labelled: ws.Labelled[k]}
		}
		j.pending += n
	}
	return nil
}

func restoreCohort(w *window, s *cohortState) *cohort {
	c := newCohort(w, s.Series)
	if w.judged {
		c.settle()
		return c
	}
	c.predicted, c.classes, c.numbers, c.unclassed = s.Predicted, s.Classes, s.Numbers, s.Unclassed
	if s.Lag != nil {
		c.lag = *s.Lag
	}
	// Gob leaves out what is empty.
	if s.Confusion != nil {
		c.confusion = s.Confusion
	}
	if s.Scored != nil {
		c.scored = s.Scored
	}
	if s.Columns != nil {
		c.columns = s.Columns
	}
	return c
}
