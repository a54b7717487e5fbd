package engine

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/backtest"
	"github.com/visutility/visutility/store"
)

// maxReplays is how many backtests may be under way at once: each holds a hundred megabytes or so, and
// takes a processor from what else there is to do.
const maxReplays = 2

// Backtest replays what the history has, from ≤ t < to (zero for all), of the models that o.Policies watch and whose
// names match one of the globs (none for all), beside the policies in force for them. It replays one plan at a
// time, on a goroutine of its own. [visutility.ErrOverloaded]: two are under way already. [visutility.ErrInvalid]: there
// is nothing to replay, or more than Options.MaxBacktest events.
func (e *Engine) Backtest(ctx context.Context, o backtest.Options, globs []string, from, to time.Time) (*backtest.Report, error) {
	select {
	case e.replays <- struct{}{}:
		defer func() { <-e.replays }()
	default:
		return nil, fmt.Errorf("%w: %d backtests are under way; try again when one has ended", visutility.ErrOverloaded, maxReplays)
	}
	known, err := e.modelNames(ctx)
	if err != nil {
		return nil, err
	}
	models, err := backtest.Watched(known, o.Policies, globs)
	if err != nil {
		return nil, err
	}
	var caveat string
	o.Against, caveat = backtest.Running(e.Policies(), models)
	o.AgainstName, o.Workers = backtest.RunningPlan, 1
	data, err := backtest.Excerpt{
		Policies: slices.Concat(o.Policies, o.Against), Models: models, From: from, To: to, Max: e.o.MaxBacktest,
	}.Read(ctx, e.history)
	if err != nil {
		return nil, err
	}
	if caveat != "" {
		data.Caveat(caveat)
	}
	return backtest.Run(ctx, o, data)
}

// modelNames are the names of all models.
func (e *Engine) modelNames(ctx context.Context) ([]string, error) {
	var names []string
	for page := (store.Page{Limit: store.MaxLimit}); ; {
		models, next, err := e.store.Models(ctx, page, store.ModelFilter{})
		if err != nil {
			return nil, err
		}
		for _, m := range models {
			names = append(names, m.Name)
		}
		if next == "" {
			return names, nil
		}
		page.Cursor = next
	}
}
