package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"strings"
	"time"

	"github.com/visutility/visutility"
)

const (
	// Any unique index may refuse: the id (a replay) or the model's active run.
	queryInsertRun = `INSERT INTO run (id, model, decision, state, active, ended, attempt, progress, message, progress_at, wish, wish_by, created_at, ended_at, body)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 0, '', '', $10, $11, $12) ON CONFLICT DO NOTHING`

	// Writing a column as it is locks the row, in both databases.
	queryClaimRun = `UPDATE run SET state = $1 WHERE id = $2 AND state = $1 RETURNING wish, wish_by`

	queryUpdateRun = `UPDATE run SET state = $1, active = $2, ended = $3, attempt = $4, progress = $5, message = $6, wish = $7, wish_by = $8, ended_at = $9, body = $10
		WHERE id = $11`

	selectRun = `SELECT body, progress, message, wish, wish_by FROM run`
)

// progressEvery is how often at most the progress of a run becomes an activity.
const progressEvery = time.Second

// openRun inserts a run. refusal says why not: the model has an active run.
func (t *tx) openRun(ctx context.Context, r *visutility.Run) (refusal string, isNew bool, err error) {
	body, err := runJSON(*r)
	if err != nil {
		return "", false, err
	}
	n, err := t.exec(ctx, queryInsertRun, r.ID, r.Model, r.Decision, int(r.State), flag(r.State.Active()), flag(r.State.Ended()),
		r.Attempt, r.Progress, clean(r.Message), millis(r.CreatedAt), millis(r.EndedAt), body)
	if err != nil || n == 1 {
		return "", n == 1, err
	}
	var other string
	if known, err := t.get(ctx, []any{&other}, `SELECT id FROM run WHERE id = $1`, r.ID); err != nil || known {
		return "", false, err
	}
	if _, err := t.get(ctx, []any{&other}, `SELECT id FROM run WHERE model = $1 AND active = 1`, r.Model); err != nil {
		return "", false, err
	}
	return "run " + other + " of the model is under way", false, nil
}

// runJSON is the stored form of a run. A number that JSON has no form for must
// not keep a run from moving on: a score that is no number is no score.
func runJSON(r visutility.Run) (string, error) {
	text, err := evidenceJSON(r, func(r visutility.Run) visutility.Run {
		if r.Report != nil {
			report := *r.Report
			report.Evidence = finite(report.Evidence)
			r.Report = &report
		}
		if r.Artifact != nil {
			a := *r.Artifact
			a.Metrics, a.ChampionMetrics = finiteMetrics(a.Metrics), finiteMetrics(a.ChampionMetrics)
			r.Artifact = &a
		}
		return r
	})
	if err != nil {
		return "", fmt.Errorf("run %q: %w", r.ID, err)
	}
	return text, nil
}

func (t *tx) logRun(r visutility.Run) error {
	body, err := runJSON(r)
	if err != nil {
		return err
	}
	return t.log(ActivityRun, r.Model, r.ID, json.RawMessage(body))
}

func finiteMetrics(m map[string]float64) map[string]float64 {
	m = maps.Clone(m)
	maps.DeleteFunc(m, func(_ string, v float64) bool { return math.IsNaN(v) || math.IsInf(v, 0) })
	return m
}

// scanRun reads a row of selectRun: the columns are newer than the body.
func scanRun(rows *sql.Rows) (r visutility.Run, err error) {
	var body sql.RawBytes
	var progress float64
	var message, wish, by string
	if err := rows.Scan(&body, &progress, &message, &wish, &by); err != nil {
		return r, err
	}
	if err := json.Unmarshal(body, &r); err != nil {
		return r, err
	}
	r.Progress, r.Message, r.Wish = progress, message, wish
	if wish == visutility.WishApprove {
		r.ApprovedBy = by
	}
	return r, nil
}

func (s *Store) readRuns(ctx context.Context, what string, q *query) (runs []visutility.Run, err error) {
	err = s.read(ctx, what, func(rows *sql.Rows) error {
		r, err := scanRun(rows)
		runs = append(runs, r)
		return err
	}, q.text.String(), q.args...)
	return runs, err
}

// Run returns the run with that id, or ErrNotFound.
func (s *Store) Run(ctx context.Context, id string) (visutility.Run, error) {
	q := newQuery(selectRun)
	q.and(`id = ?`, clean(id))
	runs, err := s.readRuns(ctx, "reading run "+id, q)
	switch {
	case err != nil:
		return visutility.Run{}, err
	case len(runs) == 0:
		return visutility.Run{}, notFound("run", id)
	}
	return runs[0], nil
}

// A RunFilter selects runs; an empty field selects all.
type RunFilter struct {
	Model  string
	States []visutility.RunState
	// Until selects what was opened at that time or before.
	Until time.Time
	Page
}

// Runs lists runs, newest first. next is the cursor of the next page, "" at the end.
func (s *Store) Runs(ctx context.Context, f RunFilter) (runs []visutility.Run, next string, err error) {
	limit, err := f.limit()
	if err != nil {
		return nil, "", err
	}
	before, ok, err := f.cursor('r')
	if err != nil {
		return nil, "", err
	}
	q := newQuery(selectRun)
	if f.Model != "" {
		q.and(`model = ?`, clean(f.Model))
	}
	if len(f.States) > 0 {
		states := make([]any, len(f.States))
		for i, st := range f.States {
			states[i] = int(st)
		}
		q.and(`state IN (`+strings.TrimSuffix(strings.Repeat("?,", len(states)), ",")+`)`, states...)
	}
	if !f.Until.IsZero() {
		q.and(`created_at <= ?`, millis(f.Until))
	}
	if ok {
		q.and(`(created_at, id) < (?, ?)`, before.number, before.id)
	}
	q.add(` ORDER BY created_at DESC, id DESC LIMIT ?`, limit+1)
	runs, err = s.readRuns(ctx, "listing runs", q)
	if err == nil && len(runs) > limit {
		runs = runs[:limit]
		last := &runs[limit-1]
		next = cursor{'r', millis(last.CreatedAt), last.ID}.String()
	}
	return runs, next, err
}

// OpenRuns returns the runs that have not ended, oldest first: what is to be moved forward.
func (s *Store) OpenRuns(ctx context.Context) ([]visutility.Run, error) {
	q := newQuery(selectRun)
	q.and(`ended = 0 ORDER BY created_at, id`)
	return s.readRuns(ctx, "listing open runs", q)
}

// Transitions returns the steps of a run so far, oldest first; none for a run that is not known.
func (s *Store) Transitions(ctx context.Context, run string) (steps []visutility.Transition, err error) {
	err = s.read(ctx, "reading the transitions of run "+run, func(rows *sql.Rows) error {
		var x visutility.Transition
		var at int64
		err := rows.Scan(&x.From, &x.To, &at, &x.Note)
		x.Time = fromMillis(at)
		steps = append(steps, x)
		return err
	}, `SELECT was, became, time, note FROM transition WHERE run = $1 ORDER BY seq`, clean(run))
	return steps, err
}

// MoveRun saves a run that was read in state from: ErrConflict when it is in
// another by now, or when the life of a run has no step from there to run.State.
// A step is recorded, with the note, and becomes an activity. EndedAt is filled
// in where it is missing. The controls reach the log by way of the outbox.
//
// What people wish of the run stands beside it and is never lost to a save: run.Wish is not
// looked at. A wish falls when the run comes to a state that grants it or can grant it no
// more ([visutility.WishApprove] outside AwaitingApproval, [visutility.WishCancel] where a
// run cannot be canceled, [visutility.WishRollback] outside Watching), or by [Store.DropWish].
func (s *Store) MoveRun(ctx context.Context, run visutility.Run, from visutility.RunState, note string, controls ...visutility.Control) error {
	if run.State != from && !from.CanBecome(run.State) {
		return fmt.Errorf("run %q cannot go from %s to %s: %w", run.ID, from, run.State, visutility.ErrConflict)
	}
	return s.write(ctx, "saving run "+run.ID, func(t *tx) error {
		r := run
		var by string
		claimed, err := t.get(ctx, []any{&r.Wish, &by}, queryClaimRun, int(from), r.ID)
		if err != nil {
			return err
		}
		if !claimed {
			return t.missedRun(ctx, r.ID, "not "+from.String())
		}
		t.outbox = append(t.outbox, controls...)
		if r.State == from {
			return t.updateRun(ctx, &r, by)
		}
		at := s.now()
		if r.State.Ended() && r.EndedAt.IsZero() {
			r.EndedAt = at.UTC()
		}
		if r.Wish == visutility.WishApprove && r.State == visutility.Promoting {
			r.ApprovedBy = by
		}
		if by != "" && grants(r.State) == r.Wish {
			note = strings.TrimPrefix(note+"; asked for by "+by, "; ")
		}
		if !mayWish(r.Wish, r.State) {
			r.Wish, by = "", ""
		}
		if err := t.updateRun(ctx, &r, by); err != nil {
			return err
		}
		if err := t.step(ctx, r.ID, from, r.State, at, note); err != nil {
			return err
		}
		return t.logRun(r)
	})
}

// grants is the wish that a step to state st fulfils.
func grants(st visutility.RunState) string {
	switch st {
	case visutility.Canceled:
		return visutility.WishCancel
	case visutility.Promoting:
		return visutility.WishApprove
	case visutility.RolledBack:
		return visutility.WishRollback
	}
	return "-"
}

// mayWish reports whether a run in state st can be asked for that.
func mayWish(wish string, st visutility.RunState) bool {
	switch wish {
	case visutility.WishCancel:
		return st.CanBecome(visutility.Canceled)
	case visutility.WishApprove:
		return st == visutility.AwaitingApproval
	case visutility.WishRollback:
		return st == visutility.Watching
	}
	return false
}

func (t *tx) updateRun(ctx context.Context, r *visutility.Run, wishBy string) error {
	body, err := runJSON(*r)
	if err != nil {
		return err
	}
	_, err = t.exec(ctx, queryUpdateRun, int(r.State), flag(r.State.Active()), flag(r.State.Ended()), r.Attempt, r.Progress, clean(r.Message),
		r.Wish, wishBy, millis(r.EndedAt), body, r.ID)
	return err
}

// step records a transition. The caller holds the run's row.
func (t *tx) step(ctx context.Context, run string, from, to visutility.RunState, at time.Time, note string) error {
	var seq int64
	if _, err := t.get(ctx, []any{&seq}, `SELECT COALESCE(MAX(seq), 0) + 1 FROM transition WHERE run = $1`, run); err != nil {
		return err
	}
	_, err := t.exec(ctx, `INSERT INTO transition (run, seq, was, became, time, note) VALUES ($1, $2, $3, $4, $5, $6)`, run, seq, int(from), int(to), millis(at), clean(note))
	return err
}

// missedRun says why a run could not be claimed.
func (t *tx) missedRun(ctx context.Context, id, but string) error {
	var st visutility.RunState
	found, err := t.get(ctx, []any{&st}, `SELECT state FROM run WHERE id = $1`, clean(id))
	switch {
	case err != nil:
		return err
	case !found:
		return notFound("run", id)
	}
	return fmt.Errorf("run %q is %s, %s: %w", id, st, but, visutility.ErrConflict)
}

// granted says what becomes of a run whose wish comes true.
var granted = map[string]string{visutility.WishCancel: "canceled", visutility.WishApprove: "approved", visutility.WishRollback: "rolled back"}

// WishRun notes what somebody asks of a run: its owner does it, or the run moves on to
// where it cannot be done. ErrConflict when the state does not allow it now: a run can be
// canceled before it is promoted, approved while it awaits approval, rolled back while
// it is watched. Asking again for what is asked already succeeds; a wish to
// cancel replaces one to approve, and not the other way round.
func (s *Store) WishRun(ctx context.Context, id, wish, by string) (r visutility.Run, err error) {
	if wish != visutility.WishCancel && wish != visutility.WishApprove && wish != visutility.WishRollback {
		return r, visutility.Invalidf("wish", "unknown", "%q is none of cancel, approve, rollback", wish)
	}
	err = s.write(ctx, "asking of run "+id, func(t *tx) error {
		found := false
		// The row is locked first, whatever its state.
		if err := t.each(ctx, func(rows *sql.Rows) (err error) {
			found = true
			r, err = scanRun(rows)
			return err
		}, `UPDATE run SET ended = ended WHERE id = $1 RETURNING body, progress, message, wish, wish_by`, clean(id)); err != nil {
			return err
		}
		switch {
		case !found:
			return notFound("run", id)
		case !mayWish(wish, r.State):
			return fmt.Errorf("run %q cannot be %s now: its state is %s: %w", id, granted[wish], r.State, visutility.ErrConflict)
		case r.Wish == wish:
			return nil
		case r.Wish == visutility.WishCancel:
			return fmt.Errorf("run %q is being canceled: %w", id, visutility.ErrConflict)
		}
		if r.Wish = wish; wish == visutility.WishApprove {
			r.ApprovedBy = clean(by)
		}
		if _, err := t.exec(ctx, `UPDATE run SET wish = $1, wish_by = $2 WHERE id = $3`, wish, clean(by), r.ID); err != nil {
			return err
		}
		return t.logRun(r)
	})
	if err != nil {
		return visutility.Run{}, err
	}
	return r, nil
}

// DropWish takes back a wish that cannot be granted; one that has changed meanwhile stays.
func (s *Store) DropWish(ctx context.Context, id, wish string) error {
	return s.write(ctx, "taking back a wish of run "+id, func(t *tx) error {
		_, err := t.exec(ctx, `UPDATE run SET wish = '', wish_by = '' WHERE id = $1 AND wish = $2`, clean(id), wish)
		return err
	})
}

// SaveProgress notes how far an attempt has come, from 0 to 1, and the trainer's
// word on it. It becomes an activity at most once a second. ErrConflict when
// the run is not training, or is at another attempt: the report is late.
func (s *Store) SaveProgress(ctx context.Context, id string, attempt int, progress float64, message string) error {
	if math.IsNaN(progress) {
		return visutility.Invalidf("progress", "nan", "is NaN; 0 to 1 is expected")
	}
	progress, message = min(max(progress, 0), 1), clean(message)
	return s.write(ctx, "saving the progress of run "+id, func(t *tx) error {
		var model string
		var shown int64
		found, err := t.get(ctx, []any{&model, &shown}, `UPDATE run SET progress = $1, message = $2 WHERE id = $3 AND attempt = $4 AND state = $5 RETURNING model, progress_at`,
			progress, message, clean(id), attempt, int(visutility.Training))
		if err != nil {
			return err
		}
		if !found {
			return t.missedRun(ctx, id, fmt.Sprintf("not in attempt %d of its training", attempt))
		}
		now := s.now()
		if since := millis(now) - shown; since >= 0 && since < progressEvery.Milliseconds() {
			return nil
		}
		if _, err := t.exec(ctx, `UPDATE run SET progress_at = $1 WHERE id = $2`, millis(now), id); err != nil {
			return err
		}
		return t.log(ActivityProgress, model, id, struct {
			Attempt  int     `json:"attempt"`
			Progress float64 `json:"progress"`
			Message  string  `json:"message,omitempty"`
		}{attempt, progress, message})
	})
}
