package store

import (
	"context"
	"database/sql"
	"encoding/json"

	"github.com/visutility/visutility"
)

// An Announcement is a control that waits in the outbox to be published to the
// log. Its ID grows in the order of commits and is never used again, so that it serves as
// the idempotency key of the publication.
type Announcement struct {
	ID      int64
	Control visutility.Control
}

// Announce puts controls into the outbox.
func (s *Store) Announce(ctx context.Context, controls ...visutility.Control) error {
	return s.write(ctx, "announcing", func(t *tx) error {
		t.outbox = append(t.outbox, controls...)
		return nil
	})
}

// Outbox returns what waits to be published, oldest first, at most limit.
func (s *Store) Outbox(ctx context.Context, limit int) (waiting []Announcement, err error) {
	err = s.read(ctx, "reading the outbox", func(rows *sql.Rows) error {
		var a Announcement
		var body sql.RawBytes
		if err := rows.Scan(&a.ID, &body); err != nil {
			return err
		}
		err := json.Unmarshal(body, &a.Control)
		waiting = append(waiting, a)
		return err
	}, `SELECT id, body FROM outbox ORDER BY id LIMIT $1`, limit)
	return waiting, err
}

// Announced removes what has been published.
func (s *Store) Announced(ctx context.Context, ids ...int64) error {
	if len(ids) == 0 {
		return nil
	}
	return s.write(ctx, "emptying the outbox", func(t *tx) error {
		for _, id := range ids {
			if _, err := t.exec(ctx, `DELETE FROM outbox WHERE id = $1`, id); err != nil {
				return err
			}
		}
		return nil
	})
}
