package server

import (
	"context"
	"slices"
	"time"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/store"
)

// maxPromotions bounds the list of a model's promotions.
const maxPromotions = 1000

// A Promotion is one change of the champion.
type Promotion struct {
	Kind string    `json:"kind" enum:"promoted,rolled_back,by_hand" doc:"How it came about: by a run that was promoted, by one that was rolled back, or by hand."`
	From string    `json:"from" doc:"The version before, empty for none."`
	To   string    `json:"to" doc:"The version that serves from then on."`
	Run  string    `json:"run,omitempty" doc:"The run that was promoted or rolled back."`
	Time time.Time `json:"time"`
	// Again says that the champion went back.
	Again bool `json:"again,omitempty" doc:"The version had been the champion before."`
	// EventTime places it among the measurements.
	EventTime time.Time `json:"event_time" doc:"The same in the time of the model's events, which may be another than the server's: when the run was decided, and as much later as the promotion was."`
}

func (s *server) listPromotions(ctx context.Context, in *ModelPath) (*reply[pageOf[Promotion]], error) {
	if _, err := s.Store.Model(ctx, in.Model); err != nil {
		return nil, err
	}
	moves, err := s.Store.AliasMoves(ctx, in.Model, visutility.Champion, maxPromotions)
	if err != nil {
		return nil, err
	}
	runs, _, err := s.Store.Runs(ctx, store.RunFilter{Model: in.Model, Page: store.Page{Limit: store.MaxLimit}})
	if err != nil {
		return nil, err
	}
	byVersion := make(map[string]*visutility.Run, len(runs))
	for i := range runs {
		if runs[i].Version != "" {
			byVersion[runs[i].Version] = &runs[i]
		}
	}
	list := make([]Promotion, len(moves))
	for i, m := range moves {
		again := slices.ContainsFunc(moves[i+1:], func(before store.AliasMove) bool { return before.To == m.To })
		list[i] = promotion(m, byVersion[m.To], byVersion[m.From], again)
	}
	return page(list, ""), nil
}

// near is how far a run's own record of a promotion may be from that of the move.
const near = time.Minute

// promotion tells what moved the champion: the run that made the version moved to, if it says that it was promoted then,
// or that of the version moved from, if it ended rolled back then.
func promotion(m store.AliasMove, to, from *visutility.Run, again bool) Promotion {
	p := Promotion{Kind: "by_hand", From: m.From, To: m.To, Again: again, Time: m.Time, EventTime: m.Time}
	var run *visutility.Run
	switch {
	case !again && to != nil && m.Time.Sub(to.PromotedAt).Abs() < near:
		p.Kind, run = "promoted", to
	case from != nil && from.State == visutility.RolledBack && m.Time.Sub(from.EndedAt).Abs() < near:
		p.Kind, run = "rolled_back", from
	default:
		return p
	}
	p.Run = run.ID
	if !run.Window.To.IsZero() {
		p.EventTime = run.Window.To.Add(max(0, m.Time.Sub(run.CreatedAt)))
	}
	return p
}
