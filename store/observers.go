package store

import (
	"context"
	"database/sql"
	"maps"
	"slices"

	"github.com/visutility/visutility"
)

// ObserverPosition is the position up to which an observer has seen a
// partition; ok is false when it is not known.
func (s *Store) ObserverPosition(ctx context.Context, name string, partition int) (position visutility.Position, ok bool, err error) {
	err = s.read(ctx, "reading the position of observer "+name, func(rows *sql.Rows) error {
		ok = true
		return rows.Scan(&position)
	}, `SELECT position FROM observer_position WHERE name = $1 AND partition_id = $2`, clean(name), partition)
	return position, ok, err
}

// SetObserverPositions notes how far an observer has come, by partition.
func (s *Store) SetObserverPositions(ctx context.Context, name string, positions map[int]visutility.Position) error {
	if len(positions) == 0 {
		return nil
	}
	return s.write(ctx, "saving the positions of observer "+name, func(t *tx) error {
		for _, p := range slices.Sorted(maps.Keys(positions)) { // in one order, so that writers cannot lock each other out
			if _, err := t.exec(ctx, `INSERT INTO observer_position (name, partition_id, position) VALUES ($1, $2, $3)
				ON CONFLICT (name, partition_id) DO UPDATE SET position = excluded.position`, clean(name), p, int64(positions[p])); err != nil {
				return err
			}
		}
		return nil
	})
}

// DeleteObserver forgets the positions of an observer.
func (s *Store) DeleteObserver(ctx context.Context, name string) error {
	return s.write(ctx, "forgetting observer "+name, func(t *tx) error {
		_, err := t.exec(ctx, `DELETE FROM observer_position WHERE name = $1`, clean(name))
		return err
	})
}
