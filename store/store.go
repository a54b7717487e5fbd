package store

import (
	"cmp"
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/visutility/visutility"
)

//go:embed migrations
var migrations embed.FS

const (
	readers     = 4  // read-only connections to a SQLite file
	connections = 10 // to PostgreSQL, for reading and writing
)

// Options say where the data is. One of Path and URL is required.
type Options struct {
	// Path is the SQLite file. It is made when missing, readable by its owner
	// only; its directory must exist. The caller sees to it that one process opens it.
	Path string
	// URL is a PostgreSQL database instead: postgres://user:password@host/name.
	// Tables are made in the first schema of the search path.
	URL string
	// Logger hears of migrations. Defaults to nothing being logged.
	Logger *slog.Logger
	// Now is the clock for times that the store itself records. Defaults to time.Now.
	Now func() time.Time
}

// A Store is an open database. Close it after use.
type Store struct {
	w, r     *sql.DB // the same for PostgreSQL
	postgres bool
	now      func() time.Time
	prepared map[string]*sql.Stmt // the statements of Commit, for SQLite; read-only after Open

	mu       sync.Mutex
	watchers map[chan struct{}]struct{}

	// fail is asked before every statement of a transaction and before its commit; tests inject faults with it.
	fail func(statement int) error
}

// Open opens the database, makes it when it is missing, and brings its tables
// up to date. It refuses, with [visutility.ErrInvalid], tables newer than this program knows.
func Open(ctx context.Context, o Options) (_ *Store, err error) {
	s := &Store{now: o.Now, watchers: make(map[chan struct{}]struct{})}
	if s.now == nil {
		s.now = time.Now
	}
	switch {
	case (o.Path == "") == (o.URL == ""):
		return nil, visutility.Invalidf("path", "missing", "either the path of a SQLite file or the URL of a PostgreSQL database is required")
	case o.Path != "":
		err = s.openSQLite(o.Path)
	default:
		err = s.openPostgres(o.URL)
	}
	if err != nil {
		return nil, err
	}
	logger := cmp.Or(o.Logger, slog.New(slog.DiscardHandler))
	if err := s.migrate(ctx, logger); err != nil {
		return nil, errors.Join(err, s.closePools())
	}
	if err := s.prepare(ctx); err != nil {
		return nil, errors.Join(fault("preparing statements", err), s.closePools())
	}
	return s, nil
}

// openSQLite opens one connection that writes and a few that only read: in WAL
// mode readers and the writer do not wait for each other.
func (s *Store) openSQLite(path string) error {
	abs, err := filepath.Abs(path)
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	if err := createFile(abs); err != nil {
		return fmt.Errorf("store: making the file: %w: %w", visutility.ErrUnavailable, err)
	}
	if s.w, err = sql.Open("sqlite", sqliteDSN(abs, url.Values{
		"_txlock": {"immediate"},
		"_pragma": {"busy_timeout(5000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)", "journal_size_limit(67108864)", "cache_size(-32768)"},
	})); err != nil {
		return fault("opening "+path, err)
	}
	s.w.SetMaxOpenConns(1)
	if s.r, err = sql.Open("sqlite", sqliteDSN(abs, url.Values{
		"_pragma": {"busy_timeout(5000)", "query_only(1)", "cache_size(-8192)"},
	})); err != nil {
		return errors.Join(fault("opening "+path, err), s.w.Close())
	}
	s.r.SetMaxOpenConns(readers)
	s.r.SetMaxIdleConns(readers)
	return nil
}

func sqliteDSN(path string, q url.Values) string {
	return (&url.URL{Scheme: "file", Path: path, RawQuery: q.Encode()}).String()
}

// createFile makes an empty file with narrow permissions (SQLite's own files
// beside it take them over) and makes its name durable.
func createFile(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (s *Store) openPostgres(address string) error {
	cfg, err := pgx.ParseConfig(address)
	if err != nil {
		return visutility.Invalidf("url", "syntax", "%v", err) // pgx hides the password
	}
	// The server's defaults may be laxer than what this package promises.
	cfg.RuntimeParams["synchronous_commit"] = "on"
	cfg.RuntimeParams["timezone"] = "UTC"
	cfg.RuntimeParams["application_name"] = cmp.Or(cfg.RuntimeParams["application_name"], "visutility")
	// An owner that was stopped in the middle of a transaction must not keep its successor out.
	cfg.RuntimeParams["idle_in_transaction_session_timeout"] = "60000"
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = 10 * time.Second
	}
	s.postgres = true
	s.w = stdlib.OpenDB(*cfg)
	s.w.SetMaxOpenConns(connections)
	s.w.SetMaxIdleConns(connections)
	s.r = s.w
	return nil
}

// migrate brings the tables up to date.
func (s *Store) migrate(ctx context.Context, logger *slog.Logger) error {
	p, err := s.migrations()
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	has, knows, err := p.GetVersions(ctx)
	if err != nil {
		return fault("reading the version of the tables", err)
	}
	if has > knows {
		return fmt.Errorf("store: the database was written by a newer version of this program (tables of version %d, this one knows %d): run that version, or restore a backup made before it: %w", has, knows, visutility.ErrInvalid)
	}
	done, err := p.Up(ctx)
	if err != nil {
		return fault("bringing the tables up to date", err)
	}
	if len(done) > 0 {
		logger.DebugContext(ctx, "database tables are up to date", "from", has, "to", knows)
	}
	return nil
}

// migrations are the changes of the tables, version by version. Several processes that open one
// PostgreSQL database at once take turns.
func (s *Store) migrations() (*goose.Provider, error) {
	dialect, dir := goose.DialectSQLite3, "migrations/sqlite"
	options := []goose.ProviderOption{goose.WithDisableGlobalRegistry(true), goose.WithTableName("schema_version"), goose.WithSlog(slog.New(slog.DiscardHandler))}
	if s.postgres {
		dialect, dir = goose.DialectPostgres, "migrations/postgres"
		locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 300)) // asks every second, for five minutes
		if err != nil {
			return nil, err
		}
		options = append(options, goose.WithSessionLocker(locker))
	}
	files, err := fs.Sub(migrations, dir)
	if err != nil {
		return nil, err
	}
	return goose.NewProvider(dialect, s.w, files, options...)
}

// Close finishes what is under way, moves the write-ahead log into the file and
// closes the database.
func (s *Store) Close() error {
	if s.postgres {
		return s.closePools()
	}
	// Readers first: a reader would keep the log from being emptied.
	err := s.r.Close()
	for _, st := range s.prepared {
		err = errors.Join(err, st.Close())
	}
	_, checkpoint := s.w.Exec("PRAGMA wal_checkpoint(TRUNCATE)")
	if err = errors.Join(err, checkpoint, s.w.Close()); err != nil {
		return fault("closing", err)
	}
	return nil
}

func (s *Store) closePools() error {
	if s.postgres {
		return s.w.Close()
	}
	return errors.Join(s.r.Close(), s.w.Close())
}

// Watch returns a channel that receives after every committed transaction of this
// Store that wrote activity; pokes that come faster than they are received are merged into
// one. Call stop when done. What other processes write to a shared database does not poke.
func (s *Store) Watch() (changed <-chan struct{}, stop func()) {
	c := make(chan struct{}, 1)
	s.mu.Lock()
	s.watchers[c] = struct{}{}
	s.mu.Unlock()
	return c, func() {
		s.mu.Lock()
		delete(s.watchers, c)
		s.mu.Unlock()
	}
}

func (s *Store) poke() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.watchers {
		select {
		case c <- struct{}{}:
		default: // poked already
		}
	}
}
