package trigger

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"

	"github.com/visutility/visutility/store"
)

// snapshot renders the state of a model: the words of its program, little endian, and
// its facts. The layout of the words is noted once per program.
func (m *model) snapshot(t *seriesTable, layouts map[string][]byte) (store.Snapshot, error) {
	s := store.Snapshot{Model: m.name}
	var err error
	if s.Facts, err = m.marshalFacts(t); err != nil || m.prog == nil {
		return s, err
	}
	s.Layout = m.prog.Digest()
	if _, ok := layouts[s.Layout]; !ok {
		layouts[s.Layout] = m.prog.Layout()
	}
	words := m.state()
	s.State = make([]byte, 0, 8*len(words))
	for _, w := range words {
		s.State = binary.LittleEndian.AppendUint64(s.State, w)
	}
	return s, nil
}

// load restores a partition from the store.
func (p *partition) load(ctx context.Context, st *store.Store) error {
	c, err := st.Checkpoint(ctx, p.id)
	if err != nil {
		return err
	}
	p.folded, p.decided = c.Snapshot, c.Position
	for s, err := range st.Snapshots(ctx, p.id) {
		if err != nil {
			return err
		}
		if s.Model == watchName {
			err = json.Unmarshal(s.Facts, &p.watch)
		} else {
			err = p.restore(ctx, st, s)
		}
		if err != nil {
			return fmt.Errorf("snapshot of model %q: %w", s.Model, err)
		}
	}
	p.catchUp()
	return nil
}

func (p *partition) restore(ctx context.Context, st *store.Store, s store.Snapshot) error {
	m := &model{name: s.Model}
	if err := json.Unmarshal(s.Facts, &m.facts); err != nil {
		return err
	}
	for _, k := range m.facts.Metrics {
		x := p.series.at(p.seriesOf(m, k.Name))
		x.last, x.lastTime, x.count, x.events, x.stored = k.Last, k.Time, k.Count, k.Events, k.Stored
		p.events += k.Events
	}
	strategies := m.facts.Strategies
	m.facts.Metrics, m.facts.Strategies = nil, nil
	p.models[m.name] = m
	p.attach(m, p.set.For(m.name))
	if m.prog == nil {
		return nil
	}
	for i := range m.ladder {
		if b := strategies[m.prog.Policies()[m.ladder[i].policy].Name]; b != nil {
			if err := m.ladder[i].unmarshal(b); err != nil {
				return err
			}
		}
	}
	if m.held() != 0 {
		p.wait(m)
	}
	return p.restoreWords(ctx, st, m, s)
}

func (p *partition) restoreWords(ctx context.Context, st *store.Store, m *model, s store.Snapshot) error {
	if len(s.State) == 0 {
		m.seed()
		p.miss(m, nil)
		return nil
	}
	words := make([]uint64, len(s.State)/8)
	for i := range words {
		words[i] = binary.LittleEndian.Uint64(s.State[8*i:])
	}
	if s.Layout == m.prog.Digest() && len(words) == m.prog.Words() {
		copy(m.state(), words)
		return nil
	}
	layout, err := st.Layout(ctx, s.Layout)
	if err != nil {
		return err
	}
	p.carry(m, layout, words)
	p.miss(m, layout)
	return nil
}

// miss notes what a model misses that had another program in its snapshot.
func (p *partition) miss(m *model, layout []byte) {
	first, _ := m.prog.Time(m.state())
	if c, ok := p.cold(m, m.prog, layout, first); ok {
		p.missed = append(p.missed, c)
	}
}
