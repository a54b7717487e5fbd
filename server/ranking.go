package server

import (
	"cmp"
	"context"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/policy"
	"github.com/visutility/visutility/store"
)

const (
	rankEvery = 3 * time.Second // an order by baseline is as old as that, or as long as it took to make
	maxRanked = 20_000          // models
)

// A ranking is the fleet in the order in which models fall short of their baselines. No table has that: baselines are in the
// state of policies, or with the registry. So all models are looked at, and the order is kept for a moment, for the next
// piece of the same view. The zero ranking is ready; it is safe for concurrent use.
type ranking struct {
	mu           sync.Mutex
	query, state string
	until        time.Time
	models       []store.FleetModel
}

// byBaseline is a piece of the fleet, the model first that is furthest on the wrong side of its baseline; those that have none, or
// whose metric has no wrong side, come last, by name.
func (s *server) byBaseline(ctx context.Context, f store.FleetQuery) ([]store.FleetModel, error) {
	r := &s.ranking
	r.mu.Lock()
	defer r.mu.Unlock()
	if begun := time.Now(); r.query != f.Query || r.state != f.State || begun.After(r.until) {
		models, err := s.ranked(ctx, f)
		if err != nil {
			return nil, err
		}
		now := time.Now()
		r.query, r.state, r.models, r.until = f.Query, f.State, models, now.Add(max(rankEvery, now.Sub(begun)))
	}
	from := min(f.Offset, len(r.models))
	return slices.Clone(r.models[from:min(from+f.Limit, len(r.models))]), nil
}

func (s *server) ranked(ctx context.Context, f store.FleetQuery) ([]store.FleetModel, error) {
	var all []store.FleetModel
	for page := (store.FleetQuery{Query: f.Query, State: f.State, Limit: store.MaxLimit}); ; page.Offset += page.Limit {
		models, err := s.Store.Fleet(ctx, page)
		if err != nil {
			return nil, err
		}
		if all = append(all, models...); len(models) < page.Limit {
			break
		}
		if len(all) > maxRanked {
			return nil, visutility.Invalidf("query.sort", "too_many", "by baseline is for up to %d models; narrow them down with q or state", maxRanked)
		}
	}
	shortfall := make(map[string]float64, len(all))
	for i := range all {
		shortfall[all[i].Name] = s.shortfall(ctx, &all[i].Model)
	}
	slices.SortStableFunc(all, func(a, b store.FleetModel) int { return cmp.Compare(shortfall[b.Name], shortfall[a.Name]) })
	return all, nil
}

// shortfall is by how much of its baseline a model's lead metric is worse than that; below zero when it is better, -Inf when nobody can tell.
func (s *server) shortfall(ctx context.Context, m *store.Model) float64 {
	lead := s.lead(m)
	if lead == nil {
		return math.Inf(-1)
	}
	goal := s.goal(m.Policies, lead.Name)
	base := s.baseline(ctx, m.Name, m.Champion, lead.Name).Level
	if goal == "" || base == nil || *base == 0 {
		return math.Inf(-1)
	}
	worse := (lead.Last - *base) / math.Abs(*base)
	if goal == string(policy.HigherIsBetter) {
		worse = -worse
	}
	return worse
}
