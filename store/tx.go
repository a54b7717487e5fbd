package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/visutility/visutility"
)

// maxTries bounds how often a transaction that lost against another one is begun.
const maxTries = 5

// A tx is a transaction under way. What it has to tell others is gathered and
// written last, since the numbers for it are locked until the end.
type tx struct {
	s        *Store
	sql      *sql.Tx
	stmts    map[string]*sql.Stmt // SQLite: prepared in this transaction
	n        int                  // statements so far
	activity []Activity
	outbox   []visutility.Control
}

// write runs f in a transaction and commits it. f may be run more than once and
// must start from scratch each time. what names the act, for errors.
func (s *Store) write(ctx context.Context, what string, f func(*tx) error) error {
	for try := 1; ; try++ {
		told, err := s.attempt(ctx, f)
		if err == nil {
			if told {
				s.poke()
			}
			return nil
		}
		if try == maxTries || !transient(err) || !pause(ctx, time.Duration(try*try)*5*time.Millisecond) {
			return fault(what, err)
		}
	}
}

// attempt is one try of a transaction; told reports whether it wrote activity.
func (s *Store) attempt(ctx context.Context, f func(*tx) error) (told bool, err error) {
	b, err := s.w.BeginTx(ctx, nil)
	if err != nil {
		return false, err
	}
	defer func() {
		if err != nil {
			_ = b.Rollback() // the first error says more
		}
	}()
	t := &tx{s: s, sql: b, stmts: make(map[string]*sql.Stmt)}
	if err := f(t); err != nil {
		return false, err
	}
	if err := t.tell(ctx); err != nil {
		return false, err
	}
	if err := t.count(); err != nil {
		return false, err
	}
	return len(t.activity) > 0, b.Commit()
}

func (t *tx) count() error {
	t.n++
	if t.s.fail != nil {
		return t.s.fail(t.n)
	}
	return nil
}

// stmt returns q prepared: SQLite would otherwise compile it anew each time.
// The PostgreSQL driver keeps statements by itself, and gets nil.
func (t *tx) stmt(ctx context.Context, q string) (*sql.Stmt, error) {
	if t.s.postgres {
		return nil, nil
	}
	if st, ok := t.stmts[q]; ok {
		return st, nil
	}
	var st *sql.Stmt
	var err error
	if p, ok := t.s.prepared[q]; ok {
		st = t.sql.StmtContext(ctx, p)
	} else {
		st, err = t.sql.PrepareContext(ctx, q)
	}
	t.stmts[q] = st
	return st, err
}

// exec runs a statement and returns how many rows it touched.
func (t *tx) exec(ctx context.Context, q string, args ...any) (int64, error) {
	if err := t.count(); err != nil {
		return 0, err
	}
	st, err := t.stmt(ctx, q)
	if err != nil {
		return 0, err
	}
	var res sql.Result
	if st != nil {
		res, err = st.ExecContext(ctx, args...)
	} else {
		res, err = t.sql.ExecContext(ctx, q, args...)
	}
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// each runs a query and calls scan for every row.
func (t *tx) each(ctx context.Context, scan func(*sql.Rows) error, q string, args ...any) error {
	if err := t.count(); err != nil {
		return err
	}
	st, err := t.stmt(ctx, q)
	if err != nil {
		return err
	}
	var rows *sql.Rows
	if st != nil {
		rows, err = st.QueryContext(ctx, args...)
	} else {
		rows, err = t.sql.QueryContext(ctx, q, args...)
	}
	return eachRow(rows, err, scan)
}

// get runs a query for one row into dest and reports whether there was one.
func (t *tx) get(ctx context.Context, dest []any, q string, args ...any) (found bool, err error) {
	err = t.each(ctx, func(rows *sql.Rows) error { found = true; return rows.Scan(dest...) }, q, args...)
	return found, err
}

func eachRow(rows *sql.Rows, err error, scan func(*sql.Rows) error) error {
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// An insert is an INSERT statement for any number of rows.
type insert struct {
	into    string // "INSERT INTO table (a, b)"
	columns int
	tail    string // "ON CONFLICT …"
}

// The sizes in which rows are inserted: few, so that there are few texts to prepare.
var insertSizes = [...]int{128, 16, 1}

func (q insert) text(rows int) string {
	var b strings.Builder
	b.WriteString(q.into)
	b.WriteString(" VALUES ")
	for i := range rows {
		if i > 0 {
			b.WriteByte(',')
		}
		for c := range q.columns {
			b.WriteByte("(,"[min(c, 1)])
			b.WriteByte('$')
			b.WriteString(strconv.Itoa(i*q.columns + c + 1))
		}
		b.WriteByte(')')
	}
	b.WriteByte(' ')
	b.WriteString(q.tail)
	return b.String()
}

// insert writes n rows, many in a statement; row appends the values of row i.
// scan, when not nil, is called for each row that the statement returns.
func (t *tx) insert(ctx context.Context, q insert, n int, row func(args []any, i int) []any, scan func(*sql.Rows) error) error {
	args := make([]any, 0, min(n, insertSizes[0])*q.columns)
	done := 0
	for _, size := range insertSizes {
		if n-done < size {
			continue
		}
		text := q.text(size)
		for ; n-done >= size; done += size {
			args = args[:0]
			for i := range size {
				args = row(args, done+i)
			}
			var err error
			if scan != nil {
				err = t.each(ctx, scan, text, args...)
			} else {
				_, err = t.exec(ctx, text, args...)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// take reserves n numbers of a counter and returns the last. They grow in the
// order in which transactions commit, without gaps.
func (t *tx) take(ctx context.Context, counter string, n int) (last int64, err error) {
	found, err := t.get(ctx, []any{&last}, queryTake, n, counter)
	if err == nil && !found {
		err = errors.New("the table counter has lost its row " + counter)
	}
	return last, err
}

const queryTake = `UPDATE counter SET value = value + $1 WHERE name = $2 RETURNING value`

// log notes an activity, to be written at the end.
func (t *tx) log(kind, model, id string, data any) error {
	b, err := json.Marshal(data)
	if err != nil {
		return err
	}
	t.activity = append(t.activity, Activity{Time: t.s.now(), Kind: kind, Model: model, ID: id, Data: b})
	return nil
}

// tell writes the gathered outbox and activity. The counters are taken in this
// order everywhere, so that no two transactions wait for each other in a ring.
func (t *tx) tell(ctx context.Context) error {
	if n := len(t.outbox); n > 0 {
		last, err := t.take(ctx, "outbox", n)
		if err != nil {
			return err
		}
		bodies := make([]string, n)
		for i, c := range t.outbox {
			if bodies[i], err = toJSON(c); err != nil {
				return err
			}
		}
		if err := t.insert(ctx, insertOutbox, n, func(args []any, i int) []any {
			return append(args, last-int64(n-1-i), bodies[i])
		}, nil); err != nil {
			return err
		}
	}
	if n := len(t.activity); n > 0 {
		last, err := t.take(ctx, "activity", n)
		if err != nil {
			return err
		}
		return t.insert(ctx, insertActivity, n, func(args []any, i int) []any {
			a := &t.activity[i]
			return append(args, last-int64(n-1-i), millis(a.Time), a.Kind, clean(a.Model), clean(a.ID), string(a.Data))
		}, nil)
	}
	return nil
}

// read runs a query on the readers and calls scan for every row.
func (s *Store) read(ctx context.Context, what string, scan func(*sql.Rows) error, q string, args ...any) error {
	rows, err := s.r.QueryContext(ctx, q, args...)
	if err := eachRow(rows, err, scan); err != nil {
		return fault(what, err)
	}
	return nil
}

// pause waits and reports false when ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
