package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"time"
)

// The kinds of activity, and what Data holds.
const (
	ActivityDecision = "decision" // the visutility.Decision
	ActivityRun      = "run"      // the visutility.Run, after the change
	ActivityProgress = "progress" // attempt, progress, message
	ActivityAlias    = "alias"    // the AliasMove
	ActivityModel    = "model"    // paused, by, reason
	ActivityPolicy   = "policy"   // as the caller of AddActivity has it
)

// An Activity is something that happened, for those who look on.
type Activity struct {
	// Seq grows by one from each activity to the next, in the order of commits.
	Seq   int64           `json:"seq"`
	Time  time.Time       `json:"time"`
	Kind  string          `json:"kind"`
	Model string          `json:"model"`
	ID    string          `json:"id"` // of the decision, run, alias, model or policy
	Data  json.RawMessage `json:"data"`
}

// AddActivity records activities. Seq is not looked at; Time is filled in where it is missing.
func (s *Store) AddActivity(ctx context.Context, activities ...Activity) error {
	return s.write(ctx, "recording activity", func(t *tx) error {
		for _, a := range activities {
			if a.Time.IsZero() {
				a.Time = s.now()
			}
			if len(a.Data) == 0 {
				a.Data = json.RawMessage("null")
			}
			t.activity = append(t.activity, a)
		}
		return nil
	})
}

// Activities returns what came after an activity (0: from the oldest kept), in
// order, at most limit.
func (s *Store) Activities(ctx context.Context, after int64, limit int) (list []Activity, err error) {
	err = s.read(ctx, "reading activity", func(rows *sql.Rows) error {
		var a Activity
		var at int64
		err := rows.Scan(&a.Seq, &at, &a.Kind, &a.Model, &a.ID, (*[]byte)(&a.Data))
		a.Time = fromMillis(at)
		list = append(list, a)
		return err
	}, `SELECT seq, time, kind, model, id, data FROM activity WHERE seq > $1 ORDER BY seq LIMIT $2`, after, limit)
	return list, err
}

// LastActivity is the Seq of the newest activity ever, 0 for none.
func (s *Store) LastActivity(ctx context.Context) (seq int64, err error) {
	err = s.read(ctx, "reading the newest activity", func(rows *sql.Rows) error { return rows.Scan(&seq) },
		`SELECT value FROM counter WHERE name = 'activity'`)
	return seq, err
}
