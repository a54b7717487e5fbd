package store

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/visutility/visutility"
)

// ErrFenced is returned to an owner of a partition whose epoch is over: another
// process owns it now. It wraps [visutility.ErrConflict].
var ErrFenced = fmt.Errorf("the partition has a new owner: %w", visutility.ErrConflict)

func notFound(kind, id string) error {
	return fmt.Errorf("%s %q: %w", kind, id, visutility.ErrNotFound)
}

// fault says what could not be done and sorts errors of the database into those
// that callers tell apart.
func fault(what string, err error) error {
	for _, known := range []error{visutility.ErrNotFound, visutility.ErrConflict, visutility.ErrInvalid, visutility.ErrUnavailable} {
		if errors.Is(err, known) {
			return err // names its subject already
		}
	}
	switch {
	case badText(err):
		return fmt.Errorf("store: %s: %w: %w", what, visutility.ErrInvalid, err)
	case unavailable(err) || transient(err):
		return fmt.Errorf("store: %s: %w: %w", what, visutility.ErrUnavailable, err)
	}
	return fmt.Errorf("store: %s: %w", what, err)
}

// transient reports whether a transaction lost against another and is worth beginning again.
func transient(err error) bool {
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		c := e.Code() & 0xff
		return c == sqlite3.SQLITE_BUSY || c == sqlite3.SQLITE_LOCKED
	}
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Code == "40001" || e.Code == "40P01" // serialization failure, deadlock
	}
	return false
}

// unavailable reports whether the disk or the server is to blame, not the statement.
func unavailable(err error) bool {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		switch e.Code() & 0xff {
		case sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_PROTOCOL:
			return true
		}
		return false
	}
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		// Connection, resources (disk full), operator (shutdown), system errors.
		return e.Code == "25P03" || len(e.Code) == 5 && strings.Contains("08 53 57 58", e.Code[:2])
	}
	if _, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		return true
	}
	if _, ok := errors.AsType[net.Error](err); ok {
		return true
	}
	return errors.Is(err, driver.ErrBadConn) || pgconn.SafeToRetry(err)
}

// badText reports that PostgreSQL refused text that is not UTF-8 or holds a zero
// byte: a name that somebody asked for and that nothing can have.
func badText(err error) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (e.Code == "22021" || e.Code == "22P05")
}
