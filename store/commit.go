package store

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/hex"
	"fmt"
	"iter"
	"maps"
	"slices"

	"github.com/visutility/visutility"
)

// A Checkpoint says how far a partition has come.
type Checkpoint struct {
	Position visutility.Position // decided up to here
	Snapshot visutility.Position // the snapshots stand here; never after Position
}

// A Snapshot is the state of the fold of one model. The store does not look into it.
type Snapshot struct {
	Model  string
	Layout string // digest of the layout by which State is read, "" for none
	State  []byte
	Facts  []byte // JSON
}

// A Commit is what folding a partition up to a position brought about.
type Commit struct {
	Partition int
	Epoch     int64               // as Acquire gave it
	Position  visutility.Position // never goes back
	// Snapshots are those of models whose state changed since they were last
	// written. All snapshots of the partition then stand at SnapshotPosition; 0 leaves them as they are.
	Snapshots        []Snapshot
	SnapshotPosition visutility.Position
	Layouts          map[string][]byte     // by digest; known ones are left alone
	Models           []Model               // new or changed
	Series           []Series              // first seen; known ones are left alone
	Decisions        []visutility.Decision // those whose id is known are left alone
	// Runs are those opened. They are left alone when their decision is known.
	Runs []visutility.Run
	// Rollbacks are runs that get [visutility.WishRollback], if they are watched.
	Rollbacks []string
}

// Acquire makes owner the owner of all partitions, 0 to partitions-1, and
// returns its epoch, larger than any before. Commits of earlier epochs are
// fenced from then on. The number of partitions never changes
// ([visutility.ErrInvalid]): models would move to others.
func (s *Store) Acquire(ctx context.Context, partitions int, owner string) (epoch int64, err error) {
	if partitions < 1 {
		return 0, visutility.Invalidf("partitions", "range", "is %d; at least one is needed", partitions)
	}
	err = s.write(ctx, "taking over the partitions", func(t *tx) (err error) {
		// The counter's row is locked first: of two new owners, one comes after the other.
		if epoch, err = t.take(ctx, "epoch", 1); err != nil {
			return err
		}
		var have int
		if _, err := t.get(ctx, []any{&have}, `SELECT COUNT(*) FROM log_partition`); err != nil {
			return err
		}
		if have != 0 && have != partitions {
			return visutility.Invalidf("partitions", "changed", "is %d, but the database was made for %d", partitions, have)
		}
		for id := range partitions {
			if _, err := t.exec(ctx, `INSERT INTO log_partition (id, owner, epoch, position, snapshot) VALUES ($1, $2, $3, 0, 0)
				ON CONFLICT (id) DO UPDATE SET owner = excluded.owner, epoch = excluded.epoch`, id, clean(owner), epoch); err != nil {
				return err
			}
		}
		return nil
	})
	return epoch, err
}

// Checkpoint returns how far a partition has come; zero for one never acquired.
func (s *Store) Checkpoint(ctx context.Context, partition int) (c Checkpoint, err error) {
	err = s.read(ctx, fmt.Sprintf("reading the position of partition %d", partition), func(rows *sql.Rows) error {
		return rows.Scan(&c.Position, &c.Snapshot)
	}, `SELECT position, snapshot FROM log_partition WHERE id = $1`, partition)
	return c, err
}

// snapshotPage bounds the memory that reading snapshots takes.
const snapshotPage = 500

// Snapshots yields the snapshots of a partition, by model. It reads page by
// page: the caller may take its time and call the store meanwhile.
func (s *Store) Snapshots(ctx context.Context, partition int) iter.Seq2[Snapshot, error] {
	return func(yield func(Snapshot, error) bool) {
		page, last := make([]Snapshot, 0, snapshotPage), ""
		for {
			page = page[:0]
			err := s.read(ctx, fmt.Sprintf("reading the snapshots of partition %d", partition), func(rows *sql.Rows) error {
				var n Snapshot
				err := rows.Scan(&n.Model, &n.Layout, &n.State, &n.Facts)
				page = append(page, n)
				return err
			}, `SELECT model, layout, state, facts FROM snapshot WHERE partition_id = $1 AND model > $2 ORDER BY model LIMIT $3`, partition, last, snapshotPage)
			if err != nil {
				yield(Snapshot{}, err)
				return
			}
			for _, n := range page {
				if !yield(n, nil) {
					return
				}
			}
			if len(page) < snapshotPage {
				return
			}
			last = page[len(page)-1].Model
		}
	}
}

// Layout returns the layout with that digest, or ErrNotFound.
func (s *Store) Layout(ctx context.Context, digest string) (body []byte, err error) {
	found := false
	err = s.read(ctx, "reading a layout", func(rows *sql.Rows) error {
		found = true
		return rows.Scan(&body)
	}, `SELECT body FROM layout WHERE digest = $1`, digest)
	if err == nil && !found {
		err = notFound("layout", digest)
	}
	return body, err
}

const (
	queryAdvance = `UPDATE log_partition SET position = $1, snapshot = CASE WHEN $2 > 0 THEN $2 ELSE snapshot END
		WHERE id = $3 AND epoch = $4 AND position <= $1 AND snapshot <= CASE WHEN $2 > 0 THEN $2 ELSE snapshot END`
	queryPaused   = `SELECT name FROM model WHERE paused = 1`
	queryDecided  = `SELECT 1 FROM decision WHERE id = $1`
	queryRollback = `UPDATE run SET wish = $1, wish_by = '' WHERE id = $2 AND state = $3`
)

var (
	insertLayout = insert{`INSERT INTO layout (digest, body)`, 2, `ON CONFLICT (digest) DO NOTHING`}

	insertSnapshot = insert{`INSERT INTO snapshot (partition_id, model, layout, state, facts)`, 5,
		`ON CONFLICT (partition_id, model) DO UPDATE SET layout = excluded.layout, state = excluded.state, facts = excluded.facts`}

	insertModel = insert{`INSERT INTO model (name, paused, verdict, watched, last_event_at, last_decision, body)`, 7,
		`ON CONFLICT (name) DO UPDATE SET paused = excluded.paused, verdict = excluded.verdict, watched = excluded.watched,
			last_event_at = excluded.last_event_at, last_decision = excluded.last_decision, body = excluded.body`}

	insertSeries = insert{`INSERT INTO series (digest, model, metric, labels)`, 4, `ON CONFLICT (digest) DO NOTHING`}

	insertDecision = insert{`INSERT INTO decision (id, model, policy, outcome, request, time, body)`, 7,
		`ON CONFLICT (id) DO NOTHING RETURNING id`}

	insertOutbox   = insert{`INSERT INTO outbox (id, body)`, 2, ``}
	insertActivity = insert{`INSERT INTO activity (seq, time, kind, model, id, data)`, 6, ``}
)

// prepare compiles the statements of Commit once, for SQLite.
func (s *Store) prepare(ctx context.Context) error {
	if s.postgres {
		return nil
	}
	texts := []string{queryAdvance, queryPaused, queryDecided, queryRollback, queryTake, queryInsertRun}
	for _, q := range []insert{insertSnapshot, insertModel, insertDecision, insertActivity, insertOutbox} {
		for _, n := range insertSizes {
			texts = append(texts, q.text(n))
		}
	}
	s.prepared = make(map[string]*sql.Stmt, len(texts))
	for _, text := range texts {
		st, err := s.w.PrepareContext(ctx, text)
		if err != nil {
			return err
		}
		s.prepared[text] = st
	}
	return nil
}

// Commit writes all commits in one transaction; when it returns nil, they are
// on disk. It returns [ErrFenced], and changes nothing, when the epoch of one is over.
//
// A run whose model has an active run already is not opened: its decision is
// stored as suppressed by the active run instead, and the outbox tells the log that the run
// has ended as canceled, since the fold believes it open.
//
// Each new decision and run, and each change of Paused, is also an activity.
func (s *Store) Commit(ctx context.Context, commits ...Commit) error {
	// In one order everywhere, so that two owners never wait for each other in a ring.
	commits = slices.SortedFunc(slices.Values(commits), func(a, b Commit) int { return cmp.Compare(a.Partition, b.Partition) })
	for _, c := range commits {
		if c.SnapshotPosition > c.Position {
			return visutility.Invalidf("snapshot_position", "range", "of partition %d is %d, after the position %d", c.Partition, c.SnapshotPosition, c.Position)
		}
	}
	return s.write(ctx, "committing", func(t *tx) error {
		for i := range commits {
			if err := t.commit(ctx, &commits[i]); err != nil {
				return err
			}
		}
		return nil
	})
}

func (t *tx) commit(ctx context.Context, c *Commit) error {
	if err := t.advance(ctx, c); err != nil {
		return err
	}
	digests := slices.Sorted(maps.Keys(c.Layouts))
	if err := t.insert(ctx, insertLayout, len(digests), func(args []any, i int) []any {
		return append(args, digests[i], blob(c.Layouts[digests[i]]))
	}, nil); err != nil {
		return err
	}
	snapshots := lastOf(c.Snapshots, func(n *Snapshot) string { return n.Model })
	if err := t.insert(ctx, insertSnapshot, len(snapshots), func(args []any, i int) []any {
		n := &snapshots[i]
		return append(args, c.Partition, n.Model, n.Layout, blob(n.State), string(n.Facts))
	}, nil); err != nil {
		return err
	}
	if err := t.saveModels(ctx, c.Models); err != nil {
		return err
	}
	if err := t.saveSeries(ctx, c.Series); err != nil {
		return err
	}
	if err := t.saveDecisions(ctx, c.Decisions, c.Runs); err != nil {
		return err
	}
	for _, run := range c.Rollbacks {
		if _, err := t.exec(ctx, queryRollback, visutility.WishRollback, run, int(visutility.Watching)); err != nil {
			return err
		}
	}
	return nil
}

// advance moves the position of a partition, and is the fence: the row stays
// locked until the transaction ends.
func (t *tx) advance(ctx context.Context, c *Commit) error {
	n, err := t.exec(ctx, queryAdvance, int64(c.Position), int64(c.SnapshotPosition), c.Partition, c.Epoch)
	if err != nil || n == 1 {
		return err
	}
	var epoch, position int64
	found, err := t.get(ctx, []any{&epoch, &position}, `SELECT epoch, position FROM log_partition WHERE id = $1`, c.Partition)
	switch {
	case err != nil:
		return err
	case !found:
		return fmt.Errorf("partition %d was never acquired: %w", c.Partition, visutility.ErrInvalid)
	case epoch != c.Epoch:
		return fmt.Errorf("partition %d, epoch %d (now %d): %w", c.Partition, c.Epoch, epoch, ErrFenced)
	}
	return fmt.Errorf("partition %d stands at position %d: it cannot go back to %d, nor can its snapshots: %w", c.Partition, position, c.Position, visutility.ErrConflict)
}

// lastOf returns list with only the last of those that have the same key, in
// order: PostgreSQL refuses to update a row twice in one statement.
func lastOf[T any](list []T, key func(*T) string) []T {
	at := make(map[string]int, len(list))
	for i := range list {
		at[key(&list[i])] = i
	}
	if len(at) == len(list) {
		return list
	}
	var kept []T
	for i := range list {
		if at[key(&list[i])] == i {
			kept = append(kept, list[i])
		}
	}
	return kept
}

func digestHex(b []byte) string { return hex.EncodeToString(b) }
