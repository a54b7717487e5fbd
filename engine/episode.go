package engine

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/backtest"
	"github.com/visutility/visutility/history"
	"github.com/visutility/visutility/policy"
	"github.com/visutility/visutility/store"
)

// Limits on what a test of a decision is made from. They bound its memory, its time and its length.
const (
	maxEpisodeRows = 200_000 // of the history
	maxFirstRows   = 10_000  // after the last promotion, where the others do not reach back to it
	maxPromotions  = 100
)

// DecisionTest makes a test of a policy from one of its decisions: see [backtest.WriteTest]. Errors:
// [visutility.ErrNotFound] for a decision or a history that is not kept, [visutility.ErrInvalid] for a decision
// that no policy took by itself, [visutility.ErrUnavailable] while the history has not come that far.
func (e *Engine) DecisionTest(ctx context.Context, id string) (*backtest.DecisionTest, error) {
	d, err := e.store.Decision(ctx, id)
	if err != nil {
		return nil, err
	}
	if d.Policy == "" || d.Request != "" {
		return nil, fmt.Errorf("%w: decision %s was made by hand (%s): a test can be made of what a policy decided by itself", visutility.ErrInvalid, d.ID, d.Reason)
	}
	if at, err := e.history.Start(ctx, d.Partition); err != nil {
		return nil, err
	} else if at < d.Position {
		return nil, fmt.Errorf("%w: the history has not come to the decision yet", visutility.ErrUnavailable)
	}
	select {
	case e.testing <- struct{}{}: // one at a time: it may take some memory
		defer func() { <-e.testing }()
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: other tests are being made: %w", visutility.ErrOverloaded, context.Cause(ctx))
	}
	x := backtest.Episode{Decision: d, Tick: e.o.Tick}
	for _, gather := range []func(context.Context, *backtest.Episode) error{e.gatherRuns, e.gatherPolicies, e.gatherPromotions, e.gatherHistory} {
		if err := gather(ctx, &x); err != nil {
			return nil, err
		}
	}
	t, err := backtest.WriteTest(ctx, x)
	if err != nil && ctx.Err() != nil {
		return nil, fmt.Errorf("%w: making the test takes too long: %w", visutility.ErrUnavailable, err)
	}
	return t, err
}

// gatherRuns finds what was decided about the model before, and what was run.
func (e *Engine) gatherRuns(ctx context.Context, x *backtest.Episode) (err error) {
	newest := store.Page{Limit: store.MaxLimit}
	model, until := x.Decision.Model, x.Decision.Time
	if x.Decisions, _, err = e.store.Decisions(ctx, store.DecisionFilter{Model: model, Until: until, Page: newest}); err != nil {
		return err
	}
	x.Runs, _, err = e.store.Runs(ctx, store.RunFilter{Model: model, Until: until, Page: newest})
	return err
}

// gatherPolicies finds the policies as they were: the one that decided, and those that opened runs, as far as they are kept.
func (e *Engine) gatherPolicies(ctx context.Context, x *backtest.Episode) error {
	p, warning, err := e.policyThen(ctx, x.Decision.Policy, x.Decision.PolicyRevision)
	if err != nil {
		return err
	}
	if warning != "" {
		x.Warnings = append(x.Warnings, warning)
	}
	p.File = e.policyFile(p, nil)
	x.Policies = []*policy.Policy{p}
	tried := map[string]bool{p.Name: true}
	for _, r := range x.Runs { // newest first, and the newest counts
		if tried[r.Policy] {
			continue
		}
		tried[r.Policy] = true
		p, err := e.policies.at(ctx, r.Policy, r.PolicyRevision)
		if errors.Is(err, visutility.ErrNotFound) || errors.Is(err, visutility.ErrInvalid) {
			continue
		} else if err != nil {
			return err
		}
		p = new(*p)
		p.File = e.policyFile(p, x.Policies)
		x.Policies = append(x.Policies, p)
	}
	return nil
}

// policyThen is a policy at a revision; with a warning at that of today, if the other is not to be had. It is the caller's.
func (e *Engine) policyThen(ctx context.Context, name, revision string) (p *policy.Policy, warning string, err error) {
	p, err = e.policies.at(ctx, name, revision)
	if err != nil {
		now, ok := e.policies.set().Policy(name)
		if !ok {
			return nil, "", err
		}
		p, warning = now, fmt.Sprintf("policy %q is tested as it is now, at revision %s: at revision %s, which decided, it is not to be had (%v)", name, now.Revision, revision, err)
	}
	return new(*p), warning, nil
}

// policyFile is the name under which a test finds a policy: that of its file, if that gives it its name.
func (e *Engine) policyFile(p *policy.Policy, others []*policy.Policy) string {
	good := func(file string) bool {
		again, err := policy.Parse(file, p.Source)
		return err == nil && again.Name == p.Name && !slices.ContainsFunc(others, func(q *policy.Policy) bool { return q.File == file })
	}
	if now, ok := e.policies.set().Policy(p.Name); ok {
		if file := filepath.Base(now.File); good(file) {
			return file
		}
	}
	if file := p.Name + ".yaml"; good(file) {
		return file
	}
	return fmt.Sprintf("policy-%s.yaml", p.Revision) // another's has that name, so the source of this one says its own
}

// gatherPromotions finds when the champion changed before the decision, and what the versions scored.
func (e *Engine) gatherPromotions(ctx context.Context, x *backtest.Episode) error {
	d := &x.Decision
	moves, err := e.store.AliasMoves(ctx, d.Model, visutility.Champion, store.MaxLimit)
	if err != nil {
		return err
	}
	if e.o.Registry != nil { // it keeps its own aliases: only what runs did is known
		moves = movesOf(x.Runs)
	}
	for _, m := range moves {
		if m.Time.Before(d.Time) && len(x.Promotions) < maxPromotions { // the fold hears of a move after it is made
			x.Promotions = append(x.Promotions, backtest.Promotion{Version: m.To, Replaced: m.From, Time: m.Time})
		}
	}
	if !slices.ContainsFunc(x.Policies, func(p *policy.Policy) bool { return p.Rollback != nil }) {
		return nil // nobody asks for scores
	}
	x.Scores = make(map[string]map[string]float64)
	for _, p := range x.Promotions {
		for _, id := range []string{p.Version, p.Replaced} {
			if _, known := x.Scores[id]; known || id == "" {
				continue
			}
			v, err := e.registry.Resolve(ctx, d.Model, id)
			if err != nil && !errors.Is(err, visutility.ErrNotFound) {
				return err
			}
			x.Scores[id] = v.Metrics
		}
	}
	return nil
}

// movesOf are the moves of the champion that runs made, newest first.
func movesOf(runs []visutility.Run) (moves []store.AliasMove) {
	for _, r := range runs {
		if !r.PromotedAt.IsZero() {
			moves = append(moves, store.AliasMove{From: r.Champion, To: r.Version, Time: r.PromotedAt})
		}
		if r.State == visutility.RolledBack {
			moves = append(moves, store.AliasMove{From: r.Version, To: r.Champion, Time: r.EndedAt})
		}
	}
	slices.SortFunc(moves, func(a, b store.AliasMove) int { return b.Time.Compare(a.Time) })
	return moves
}

func (e *Engine) gatherHistory(ctx context.Context, x *backtest.Episode) error {
	return gatherRows(ctx, e.history, x, maxEpisodeRows, maxFirstRows)
}

// gatherRows reads what was measured up to the decision: the newest, as much as there is room for, and
// where that does not reach back to the last promotion, or the beginning, what came first.
func gatherRows(ctx context.Context, h *history.History, x *backtest.Episode, most, first int) error {
	set, err := policy.NewSet(x.Policies...)
	if err != nil {
		return err
	}
	moment := x.Decision.Time.Add(time.Second)
	q := history.RowQuery{Model: x.Decision.Model, To: moment, Limit: most}
	if t := x.Decision.EventTime; !t.IsZero() {
		q.To = t.Add(time.Second)
	}
	if prog := set.For(q.Model); prog != nil {
		q.Metrics = prog.Reach().Metrics
	}
	series, covered, err := h.Rows(ctx, q)
	if err != nil {
		return err
	}
	begin := time.Time{}
	if len(x.Promotions) > 0 {
		begin = x.Promotions[0].Time
	}
	if x.Missing.To = covered.From; begin.Before(covered.From) {
		oldest, before, err := h.Rows(ctx, history.RowQuery{
			Model: q.Model, Metrics: q.Metrics, From: begin, To: covered.From, Limit: first, Oldest: true,
		})
		if err != nil {
			return err
		}
		if x.Missing.From = before.To; !before.To.Before(covered.From) {
			x.Missing = visutility.Window{To: begin} // nothing between; what was before was not read
		}
		series = joined(oldest, series)
	}
	x.Series = series
	others, err := h.Metrics(ctx, q.Model) // that no policy reads
	others = slices.DeleteFunc(others, func(m string) bool { return slices.Contains(q.Metrics, m) })
	if err != nil || len(others) == 0 {
		return err
	}
	more, _, err := h.Rows(ctx, history.RowQuery{Model: q.Model, Metrics: others, From: covered.From, To: moment, Limit: most})
	x.Series = append(x.Series, more...)
	return err
}

// joined puts later rows of series behind earlier ones.
func joined(first, then []history.Series) []history.Series {
	key := func(s *history.Series) string {
		return s.Metric + "\xff" + s.Version + "\xff" + string(visutility.MakeLabels(s.Labels))
	}
	at := make(map[string]int)
	for i := range first {
		at[key(&first[i])] = i
	}
	for i := range then {
		if k, ok := at[key(&then[i])]; ok {
			first[k].Points = append(first[k].Points, then[i].Points...)
		} else {
			first = append(first, then[i])
		}
	}
	return first
}
