package store

import (
	"context"
	"time"

	"github.com/visutility/visutility"
)

// Retention says how long what is over is kept. Zero keeps it for ever.
type Retention struct {
	Decisions  time.Duration // except those of kept runs and the last one of each model
	Runs       time.Duration // after their end; with their transitions
	Activities time.Duration
}

// pruneBatch bounds how long one transaction of Prune keeps other writers waiting.
const pruneBatch = 1000

// The statements of Prune: $1 is the oldest time kept, $2 a number of rows.
const (
	pruneRuns = `DELETE FROM run WHERE id IN (SELECT id FROM run WHERE ended = 1 AND ended_at < $1 ORDER BY ended_at, id LIMIT $2)`

	pruneDecisions = `DELETE FROM decision WHERE id IN (SELECT id FROM decision AS d WHERE time < $1
		AND NOT EXISTS (SELECT 1 FROM run WHERE run.decision = d.id)
		AND NOT EXISTS (SELECT 1 FROM model WHERE model.last_decision = d.id)
		ORDER BY time, id LIMIT $2)`

	pruneActivities = `DELETE FROM activity WHERE seq IN (SELECT seq FROM activity WHERE time < $1 ORDER BY time, seq LIMIT $2)`
)

// Prune deletes what is older than its retention, in small transactions, and
// returns how many rows went. Versions, aliases and policies are always kept.
func (s *Store) Prune(ctx context.Context, keep Retention) (deleted int64, err error) {
	now := s.now()
	// Runs before decisions: a run keeps its decision.
	for _, p := range []struct {
		what, query string
		keep        time.Duration
	}{
		{"runs", pruneRuns, keep.Runs},
		{"decisions", pruneDecisions, keep.Decisions},
		{"activities", pruneActivities, keep.Activities},
	} {
		if p.keep < 0 {
			return deleted, visutility.Invalidf(p.what, "range", "are to be kept for %s; a negative time makes no sense", p.keep)
		}
		for n := int64(pruneBatch); p.keep > 0 && n == pruneBatch; deleted += n {
			if err := s.write(ctx, "deleting old "+p.what, func(t *tx) (err error) {
				n, err = t.exec(ctx, p.query, millis(now.Add(-p.keep)), pruneBatch)
				return err
			}); err != nil {
				return deleted, err
			}
		}
	}
	return deleted, nil
}
