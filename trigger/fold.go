package trigger

import (
	"log/slog"
	"time"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/policy"
)

// A Fold is the fold by itself: no store, no log, no goroutine. It is what the Trigger
// runs on each partition, for whoever wants its decisions on entries of their own: tests of policies, and
// backtests on history. It is used by one goroutine at a time.
type Fold struct{ p *partition }

// NewFold returns a fold under policies. strategies are those that policies may name; nil for none.
func NewFold(policies *policy.Set, strategies map[string]func(model string) visutility.Strategy) *Fold {
	t := &Trigger{o: Options{Strategies: strategies}, log: slog.New(slog.DiscardHandler)}
	return &Fold{newPartition(t, 0, policies)}
}

// Entry folds one entry, whose position must be above that of the last, and returns what was
// decided and which runs were opened. The caller plays the runs: it tells their ends and promotions by
// entries with controls, as the engine does.
func (f *Fold) Entry(e *visutility.Entry) ([]visutility.Decision, []visutility.Run) {
	f.p.fold(visutility.Batch{Entries: []visutility.Entry{*e}})
	f.p.mu.Lock()
	defer f.p.mu.Unlock()
	out := f.p.out
	f.p.out = output{}
	return out.decisions, out.runs
}

// Explain tells how a model stands, as [Trigger.Explain] does.
func (f *Fold) Explain(model string, now time.Time) (Explanation, error) {
	return f.p.explain(model, now)
}
