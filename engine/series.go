package engine

import (
	"context"
	"fmt"
	"hash/maphash"
	"sync"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/store"
)

// A seriesSet knows the series that were accepted, by hash, to hold the limit on
// their number at the door. 64 bits make a collision, which would admit one series
// too many, a matter of one in billions.
type seriesSet struct {
	seed maphash.Seed
	max  int

	mu   sync.RWMutex
	seen map[uint64]struct{}
}

type seriesKey struct {
	model, metric string
	labels        visutility.Labels
}

func newSeriesSet(max int) *seriesSet {
	return &seriesSet{seed: maphash.MakeSeed(), max: max, seen: make(map[uint64]struct{})}
}

func (s *seriesSet) hash(k seriesKey) uint64 { return maphash.Comparable(s.seed, k) }

func (s *seriesSet) load(ctx context.Context, st *store.Store) error {
	for k, err := range st.SeriesKeys(ctx) {
		if err != nil {
			return fmt.Errorf("loading the series: %w", err)
		}
		s.seen[s.hash(seriesKey{k.Model, k.Metric, k.Labels})] = struct{}{}
	}
	return nil
}

// admit takes in the series of the events, or none of them when that would be too many.
func (s *seriesSet) admit(events []visutility.Event) error {
	var fresh []uint64
	at := 0
	s.mu.RLock()
	for i := range events {
		e := &events[i]
		h := s.hash(seriesKey{e.Model, e.Metric, visutility.MakeLabels(e.Labels)})
		if _, ok := s.seen[h]; !ok {
			if len(fresh) == 0 {
				at = i
			}
			fresh = append(fresh, h)
		}
	}
	s.mu.RUnlock()
	if len(fresh) == 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	// fresh may name a series twice, so near the limit count exactly.
	if len(s.seen)+len(fresh) > s.max {
		distinct := make(map[uint64]struct{}, len(fresh))
		for _, h := range fresh {
			if _, ok := s.seen[h]; !ok {
				distinct[h] = struct{}{}
			}
		}
		if len(s.seen)+len(distinct) > s.max {
			return visutility.Invalidf(fmt.Sprintf("events[%d]", at), "series_limit",
				"would bring the number of series (model, metric, labels) over the limit of %d; remove a label that has many values, or raise --max-series", s.max)
		}
	}
	for _, h := range fresh {
		s.seen[h] = struct{}{}
	}
	return nil
}
