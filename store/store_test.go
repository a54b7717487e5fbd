package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"github.com/visutility/visutility"
)

func TestMain(m *testing.M) {
	if path := os.Getenv("STORE_CRASH_CHILD"); path != "" {
		crashChild(path)
	}
	code := m.Run()
	if err := cluster.stop(); err != nil {
		fmt.Fprintln(os.Stderr, "stopping PostgreSQL:", err)
		code = max(code, 1)
	}
	if err := goleak.Find(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// epoch is when the tests' clock starts.
var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// A clock stands still until it is moved.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// A fixture is a store for a test, with its clock and what is needed to open it again.
type fixture struct {
	*Store
	clock *clock
	o     Options
}

// both runs a test on an empty SQLite store and on an empty PostgreSQL store.
func both(t *testing.T, test func(t *testing.T, f fixture)) {
	t.Helper()
	t.Run("SQLite", func(t *testing.T) {
		test(t, openFixture(t, Options{Path: filepath.Join(t.TempDir(), "visutility.db")}))
	})
	t.Run("PostgreSQL", func(t *testing.T) { test(t, openFixture(t, Options{URL: cluster.database(t)})) })
}

func openFixture(t testing.TB, o Options) fixture {
	t.Helper()
	f := fixture{clock: &clock{now: epoch}, o: o}
	f.o.Now = f.clock.Now
	s, err := Open(t.Context(), f.o)
	if err != nil {
		t.Fatal(err)
	}
	f.Store = s
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

// acquire makes the test the owner of n partitions.
func (f fixture) acquire(t testing.TB, n int) int64 {
	t.Helper()
	e, err := f.Acquire(t.Context(), n, "test")
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantError(t testing.TB, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

var tables = []string{
	"counter", "log_partition", "layout", "snapshot", "model", "series", "decision", "run", "transition",
	"policy", "version", "alias", "alias_history", "outbox", "activity", "observer_position",
}

// dump renders every row of every table, to compare states of a store.
func (f fixture) dump(t testing.TB) string {
	t.Helper()
	var b strings.Builder
	for _, table := range tables {
		rows, err := f.r.QueryContext(t.Context(), "SELECT * FROM "+table)
		must(t, err)
		columns, err := rows.Columns()
		must(t, err)
		var lines []string
		for rows.Next() {
			values := make([]any, len(columns))
			for i := range values {
				values[i] = new(any)
			}
			must(t, rows.Scan(values...))
			line := table + ":"
			for i, c := range columns {
				line += fmt.Sprintf(" %s=%v", c, *values[i].(*any))
			}
			lines = append(lines, line)
		}
		must(t, rows.Err())
		slices.Sort(lines)
		b.WriteString(strings.Join(lines, "\n") + "\n")
	}
	return b.String()
}

// cluster is the PostgreSQL server of this package's tests.
var cluster postgresCluster

type postgresCluster struct {
	once      sync.Once
	err       error
	dir       string
	server    *exec.Cmd
	databases int
	mu        sync.Mutex
}

// database returns the URL of a new, empty database.
func (c *postgresCluster) database(t testing.TB) string {
	t.Helper()
	c.once.Do(func() { c.err = c.start(context.WithoutCancel(t.Context())) })
	if c.err != nil {
		t.Fatal(c.err)
	}
	c.mu.Lock()
	c.databases++
	name := "t" + strconv.Itoa(c.databases)
	c.mu.Unlock()
	conn, err := pgx.Connect(t.Context(), c.url("postgres"))
	must(t, err)
	defer conn.Close(context.WithoutCancel(t.Context()))
	if _, err := conn.Exec(t.Context(), "CREATE DATABASE "+name); err != nil {
		t.Fatal(err)
	}
	return c.url(name)
}

func (c *postgresCluster) url(database string) string {
	return "postgres://postgres@/" + database + "?host=" + c.dir
}

// start makes a cluster in a directory of its own that listens on a socket there only.
func (c *postgresCluster) start(ctx context.Context) error {
	bin, err := postgresBin()
	if err != nil {
		return err
	}
	// Not in a test's directory, whose path may be too long for a socket or closed to the server's user.
	if c.dir, err = os.MkdirTemp("/tmp", "visutility-pg-"); err != nil {
		return err
	}
	attr, err := serverUser(c.dir)
	if err != nil {
		return err
	}
	data := filepath.Join(c.dir, "data")
	initdb := exec.CommandContext(ctx, filepath.Join(bin, "initdb"), "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")
	initdb.SysProcAttr, initdb.Dir = attr, c.dir
	if out, err := initdb.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out)
	}
	c.server = exec.Command(filepath.Join(bin, "postgres"), "-D", data, "-c", "listen_addresses=", "-c", "unix_socket_directories="+c.dir,
		"-c", "max_connections=200", "-c", "deadlock_timeout=100ms")
	c.server.SysProcAttr, c.server.Dir = attr, c.dir
	log, err := os.Create(filepath.Join(c.dir, "log"))
	if err != nil {
		return err
	}
	defer log.Close()
	c.server.Stderr = log
	if err := c.server.Start(); err != nil {
		c.server = nil
		return err
	}
	return c.await(ctx)
}

// await waits until the server takes connections.
func (c *postgresCluster) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		conn, err := pgx.Connect(ctx, c.url("postgres"))
		if err == nil {
			return conn.Close(ctx)
		}
		if !pause(ctx, 20*time.Millisecond) {
			said, _ := os.ReadFile(filepath.Join(c.dir, "log"))
			return fmt.Errorf("PostgreSQL does not come up: %w\n%s", err, said)
		}
	}
}

func (c *postgresCluster) stop() error {
	if c.server != nil {
		if err := c.server.Process.Signal(syscall.SIGQUIT); err != nil { // at once: nothing is to be kept
			return err
		}
		if err := c.server.Wait(); err != nil && c.server.ProcessState.ExitCode() > 2 {
			return err
		}
	}
	if c.dir == "" {
		return nil
	}
	return os.RemoveAll(c.dir)
}

// postgresBin finds the programs of the newest PostgreSQL installed.
func postgresBin() (string, error) {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if len(found) > 0 {
		slices.SortFunc(found, func(a, b string) int { return major(a) - major(b) })
		return filepath.Dir(found[len(found)-1]), nil
	}
	if path, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(path), nil
	}
	return "", errors.New("these tests need a PostgreSQL server to start: install the Debian package postgresql (apt-get install postgresql)")
}

func major(initdb string) int {
	n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(initdb))))
	return n
}

// serverUser says as whom the server runs: PostgreSQL refuses to be root. It
// ends with this process, whatever becomes of that.
func serverUser(dir string) (*syscall.SysProcAttr, error) {
	attr := &syscall.SysProcAttr{Pdeathsig: syscall.SIGQUIT, Setpgid: true}
	if os.Getuid() != 0 {
		return attr, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil, fmt.Errorf("as root these tests run the server as the user postgres, whom the Debian package postgresql makes: %w", err)
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.Atoi(u.Gid)
	if err != nil {
		return nil, err
	}
	attr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return attr, os.Chown(dir, uid, gid)
}

func TestOpenAgain(t *testing.T) {
	both(t, func(t *testing.T, f fixture) {
		e := f.acquire(t, 2)
		must(t, f.Commit(t.Context(), Commit{Partition: 1, Epoch: e, Position: 7}))
		again, err := Open(t.Context(), f.o)
		must(t, err)
		c, err := again.Checkpoint(t.Context(), 1)
		must(t, errors.Join(err, again.Close()))
		if c.Position != 7 {
			t.Errorf("the position is %d, want 7", c.Position)
		}
	})
}

func TestOpenConcurrently(t *testing.T) {
	both(t, func(t *testing.T, f fixture) {
		o := f.o
		if o.URL != "" {
			o.URL = cluster.database(t) // not one that has its tables
		}
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				s, err := Open(t.Context(), o)
				if err != nil {
					t.Error(err)
					return
				}
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	})
}

func TestOpenRefusesNewerTables(t *testing.T) {
	both(t, func(t *testing.T, f fixture) {
		_, err := f.w.ExecContext(t.Context(), "INSERT INTO schema_version (version_id, is_applied) VALUES (9999, $1)", true)
		must(t, err)
		s, err := Open(t.Context(), f.o)
		if err == nil {
			must(t, s.Close())
		}
		wantError(t, "opening tables of version 9999", err, visutility.ErrInvalid)
		if err == nil || !strings.Contains(err.Error(), "newer version") {
			t.Errorf("the error does not say why: %v", err)
		}
	})
}

func TestOpenRefusesBadOptions(t *testing.T) {
	for _, o := range []Options{{}, {Path: "a", URL: "postgres://x"}, {URL: "nonsense://x"}} {
		_, err := Open(t.Context(), o)
		wantError(t, fmt.Sprintf("Open(%+v)", o), err, visutility.ErrInvalid)
	}
	for _, o := range []Options{{Path: filepath.Join(t.TempDir(), "no", "such", "dir")}, {URL: "postgres://postgres:hunter2@127.0.0.1:1/x?connect_timeout=1"}} {
		_, err := Open(t.Context(), o)
		wantError(t, fmt.Sprintf("Open(%+v)", o), err, visutility.ErrUnavailable)
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the error tells the password: %v", err)
		}
	}
	path := filepath.Join(t.TempDir(), "text")
	must(t, os.WriteFile(path, []byte(strings.Repeat("this is no database\n", 100)), 0o600))
	if _, err := Open(t.Context(), Options{Path: path}); err == nil {
		t.Error("a text file was opened as a database")
	}
}

func TestSQLiteSettings(t *testing.T) {
	f := openFixture(t, Options{Path: filepath.Join(t.TempDir(), "with space, ? and %41.db")})
	if _, err := os.Stat(f.o.Path); err != nil {
		t.Errorf("the file has another name: %v", err)
	}
	for _, c := range []struct {
		db     *sql.DB
		pragma string
		want   string
	}{{f.w, "journal_mode", "wal"}, {f.w, "synchronous", "2"}, {f.w, "foreign_keys", "1"}, {f.w, "busy_timeout", "5000"}, {f.r, "query_only", "1"}} {
		var got string
		must(t, c.db.QueryRowContext(t.Context(), "PRAGMA "+c.pragma).Scan(&got))
		if got != c.want {
			t.Errorf("%s is %s, want %s", c.pragma, got, c.want)
		}
	}
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if info, err := os.Stat(f.o.Path + suffix); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v (%v), want a file for its owner only", suffix, info, err)
		}
	}
}

func TestCloseEmptiesTheWriteAheadLog(t *testing.T) {
	o := Options{Path: filepath.Join(t.TempDir(), "visutility.db")}
	s, err := Open(t.Context(), o)
	must(t, err)
	must(t, s.AddActivity(t.Context(), Activity{Kind: ActivityPolicy}))
	must(t, s.Close())
	if info, err := os.Stat(o.Path + "-wal"); err == nil && info.Size() > 0 {
		t.Errorf("the log still has %d bytes", info.Size())
	}
}

// TestQueriesUseAnIndex asks the database how it would run every list query.
func TestQueriesUseAnIndex(t *testing.T) {
	f := openFixture(t, Options{Path: filepath.Join(t.TempDir(), "visutility.db")})
	for _, q := range []string{
		`SELECT body FROM decision WHERE (time, id) < (1, 'x') ORDER BY time DESC, id DESC LIMIT 10`,
		`SELECT body FROM decision WHERE model = 'm' AND (time, id) < (1, 'x') ORDER BY time DESC, id DESC LIMIT 10`,
		`SELECT body FROM decision WHERE policy = 'm' ORDER BY time DESC, id DESC LIMIT 10`,
		`SELECT body FROM decision WHERE outcome = 1 ORDER BY time DESC, id DESC LIMIT 10`,
		`SELECT body FROM decision WHERE request = 'r' AND request <> '' ORDER BY time DESC, id DESC LIMIT 10`,
		selectRun + ` WHERE (created_at, id) < (1, 'x') ORDER BY created_at DESC, id DESC LIMIT 10`,
		selectRun + ` WHERE model = 'm' ORDER BY created_at DESC, id DESC LIMIT 10`,
		selectRun + ` WHERE state IN (1) ORDER BY created_at DESC, id DESC LIMIT 10`,
		selectRun + ` WHERE ended = 0 ORDER BY created_at, id`,
		`SELECT id FROM run WHERE model = 'm' AND active = 1`,
		selectVersion + ` WHERE version.model = 'm' AND version.number BETWEEN 1 AND 100 ORDER BY version.number DESC`,
		`SELECT body FROM version WHERE model = 'm' AND run = 'r' AND run <> ''`,
		`SELECT body FROM model WHERE name > 'm' ORDER BY name LIMIT 10`,
		queryPaused,
		`SELECT model, layout, state, facts FROM snapshot WHERE partition_id = 1 AND model > 'm' ORDER BY model LIMIT 10`,
		`SELECT digest, model, metric, labels FROM series WHERE digest > 'm' ORDER BY digest LIMIT 10`,
		`SELECT seq FROM activity WHERE seq > 7 ORDER BY seq LIMIT 10`,
		pruneRuns, pruneDecisions, pruneActivities,
	} {
		q = strings.NewReplacer("$1", "1", "$2", "1").Replace(q)
		rows, err := f.r.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+q)
		must(t, eachRow(rows, err, func(rows *sql.Rows) error {
			var a, b, c int
			var plan string
			err := rows.Scan(&a, &b, &c, &plan)
			if strings.HasPrefix(plan, "SCAN") && !strings.Contains(plan, "INDEX") || strings.Contains(plan, "TEMP B-TREE FOR ORDER BY") {
				t.Errorf("%s: %s", q, plan)
			}
			return err
		}))
	}
}

// epochTime is n seconds after the tests' clock starts.
func epochTime(n int) time.Time { return epoch.Add(time.Duration(n) * time.Second) }
