package trigger

import (
	"context"
	"fmt"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/store"
)

// maxUncommitted bounds the decisions of a partition that wait to be committed: beyond it the
// fold waits for the database.
const maxUncommitted = 4096

// An output is what a partition has decided and the committer has yet to store.
type output struct {
	decisions []visutility.Decision
	runs      []visutility.Run
	rollbacks []string
	series    []store.Series
	models    map[*model]struct{} // whose row people should see soon
	answers   []answer
}

// An answer is for somebody who waits for the fold to have seen a control.
type answer struct {
	request  string
	decision *visutility.Decision
}

func (o *output) decide(m *model, d visutility.Decision) {
	o.decisions = append(o.decisions, d)
	o.touched(m)
}

func (o *output) touched(m *model) {
	if o.models == nil {
		o.models = make(map[*model]struct{})
	}
	o.models[m] = struct{}{}
}

func (o *output) answer(request string, d *visutility.Decision) {
	if request != "" {
		o.answers = append(o.answers, answer{request, d})
	}
}

// urgent reports whether somebody waits for the output.
func (o *output) urgent() bool {
	return len(o.decisions) > 0 || len(o.answers) > 0 || len(o.models) > 0 || len(o.series) > 0
}

// take moves the output of a partition into a commit; with snapshot also the state of all
// models that changed since the last one.
func (p *partition) take(epoch int64, snapshot bool) (store.Commit, output, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := p.out
	p.out = output{}
	c := store.Commit{
		Partition: p.id, Epoch: epoch, Position: max(p.folded, p.decided),
		Decisions: out.decisions, Runs: out.runs, Rollbacks: out.rollbacks, Series: out.series,
	}
	if snapshot {
		c.SnapshotPosition = p.folded
		c.Layouts = make(map[string][]byte)
		c.Snapshots = make([]store.Snapshot, 0, len(p.dirty)+1)
		if p.watch != p.watched {
			s, err := p.watch.snapshot()
			if err != nil {
				return c, out, err
			}
			c.Snapshots = append(c.Snapshots, s)
			p.watched = p.watch
		}
		for _, m := range p.dirty {
			s, err := m.snapshot(&p.series, c.Layouts)
			if err != nil {
				return c, out, fmt.Errorf("model %q: %w", m.name, err)
			}
			c.Snapshots = append(c.Snapshots, s)
			m.dirty = false
			for _, k := range m.series {
				p.series.at(k).flags &^= seriesDirty
			}
			out.touched(m)
		}
		p.dirty = p.dirty[:0]
	}
	c.Models = make([]store.Model, 0, len(out.models))
	for m := range out.models {
		c.Models = append(c.Models, m.row(p))
	}
	return c, out, nil
}

// room waits until the partition may fold on.
func (p *partition) room(ctx context.Context) error {
	for {
		p.mu.Lock()
		full := len(p.out.decisions) >= maxUncommitted
		p.mu.Unlock()
		if !full {
			return nil
		}
		p.t.poke()
		select {
		case <-p.t.committed():
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
