package trigger

import (
	"encoding/json"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/store"
)

// A watch is what a partition knows of the time. It is part of the state: when the clock is
// looked at decides where in the log silence is noticed.
//
// A look at the clock that finds nothing tells the programs the time and changes nothing else; models
// are not stored again for that. A restart tells them that time, from the watch.
// Where the clock was set back, the programs stand at different times, so until it has caught
// up all of them are stored.
type watch struct {
	Looked  int64 `json:"looked"`             // when the clock was last looked at
	Newest  int64 `json:"newest"`             // the latest of those times
	SetBack bool  `json:"set_back,omitempty"` // an entry since then was stored before it
}

// watchName is the name under which the snapshots of a partition keep its watch: no
// model can be called so.
const watchName = "\x01watch"

func (w watch) snapshot() (store.Snapshot, error) {
	facts, err := json.Marshal(w)
	return store.Snapshot{Model: watchName, Facts: facts}, err
}

// setBack notes that the clock was set back.
func (p *partition) setBack() {
	p.watch.SetBack = true
	for _, m := range p.clocked {
		p.touch(m)
	}
}

// catchUp tells the restored models the time that they knew before the restart.
func (p *partition) catchUp() {
	p.watched = p.watch
	if p.watch.SetBack {
		return
	}
	for _, m := range p.clocked {
		m.hear(p.watch.Newest)
	}
}

// hear tells a model's program the time.
func (m *model) hear(now int64) {
	if m.prog != nil {
		m.prog.Hear(m.state(), now)
	}
}

// advance notes that the entries up to a position are folded.
func (p *partition) advance(to visutility.Position) {
	p.folded = to
	if p.active != nil && to >= p.decided {
		p.reconcile()
	}
}

// reconcile holds what the fold believes of active runs against the runs that were active when
// the restart began, once it has come to where it had decided before the restart. They differ only
// when the policies have changed in between. Not earlier: some of the runs are yet to be opened by the
// entries that come. And not later: none of their ends is told before.
func (p *partition) reconcile() {
	for _, r := range p.active {
		if m := p.models[r.Model]; m != nil && m.facts.ActiveRun != r.ID {
			m.facts.ActiveRun = r.ID
			p.touch(m)
		}
	}
	p.active = nil
}
