package store

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/visutility/visutility"
)

// crashModels is how many snapshots each commit of the crash tests writes.
const crashModels = 40

// crashCommit is commit number n of the crash tests: the same at every attempt.
func crashCommit(epoch int64, n int) Commit {
	c := Commit{Epoch: epoch, Position: visutility.Position(n), SnapshotPosition: visutility.Position(n)}
	for m := range crashModels {
		c.Snapshots = append(c.Snapshots, Snapshot{Model: fmt.Sprintf("m%02d", m), State: []byte(strconv.Itoa(n)), Facts: []byte("{}")})
	}
	d, r := fired(strconv.Itoa(n), fmt.Sprintf("model-%d", n), epochTime(n))
	c.Decisions, c.Runs = []visutility.Decision{d, decision(fmt.Sprintf("n%d", n), "m", epochTime(n))}, []visutility.Run{r}
	c.Models = []Model{{Name: r.Model, LastDecision: d.ID}}
	return c
}

// crashChild commits for ever and says on its output what has been committed.
func crashChild(path string) {
	err := func() error {
		ctx := context.Background()
		s, err := Open(ctx, Options{Path: path})
		if err != nil {
			return err
		}
		epoch, err := s.Acquire(ctx, 1, "child")
		if err != nil {
			return err
		}
		at, err := s.Checkpoint(ctx, 0)
		if err != nil {
			return err
		}
		for n := int(at.Position) + 1; ; n++ {
			if err := s.Commit(ctx, crashCommit(epoch, n)); err != nil {
				return err
			}
			fmt.Println(n)
		}
	}()
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// whole demands that the store is as one of the commits left it, and returns which.
func whole(t *testing.T, s *Store) int {
	t.Helper()
	ctx := t.Context()
	at, err := s.Checkpoint(ctx, 0)
	must(t, err)
	n := int(at.Position)
	if at.Snapshot != at.Position {
		t.Errorf("snapshots stand at %d, position %d", at.Snapshot, n)
	}
	snapshots := 0
	for snapshot, err := range s.Snapshots(ctx, 0) {
		must(t, err)
		if snapshots++; string(snapshot.State) != strconv.Itoa(n) {
			t.Errorf("the snapshot of %s is of commit %s, the position of %d", snapshot.Model, snapshot.State, n)
		}
	}
	for _, c := range []struct {
		what, query string
		want        int
	}{
		{"snapshots", "SELECT COUNT(*) FROM snapshot", min(n, 1) * crashModels},
		{"decisions", "SELECT COUNT(*) FROM decision", 2 * n},
		{"runs", "SELECT COUNT(*) FROM run", n},
		{"models", "SELECT COUNT(*) FROM model", n},
		{"activities", "SELECT COUNT(*) FROM activity", 3 * n},
		{"the last activity", "SELECT COALESCE(MAX(seq), 0) FROM activity", 3 * n},
	} {
		var got int
		must(t, s.r.QueryRowContext(ctx, c.query).Scan(&got))
		if got != c.want {
			t.Errorf("at commit %d: %s: %d, want %d", n, c.what, got, c.want)
		}
	}
	var sound string
	must(t, s.r.QueryRowContext(ctx, "PRAGMA integrity_check").Scan(&sound))
	if sound != "ok" {
		t.Errorf("the file is damaged: %s", sound)
	}
	return n
}

// TestKill kills a process that commits, again and again, at any moment.
func TestKill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "visutility.db")
	self, err := os.Executable()
	must(t, err)
	for round := range 12 {
		child := exec.Command(self)
		child.Env = append(os.Environ(), "STORE_CRASH_CHILD="+path)
		child.Stderr = os.Stderr
		out, err := child.StdoutPipe()
		must(t, err)
		must(t, child.Start())
		lines, acked := bufio.NewScanner(out), 0
		for range 1 + rand.IntN(60) {
			if !lines.Scan() {
				break
			}
			acked, err = strconv.Atoi(lines.Text())
			must(t, err)
		}
		must(t, child.Process.Kill())
		for lines.Scan() { // what it said before it died counts too
			if n, err := strconv.Atoi(lines.Text()); err == nil {
				acked = n
			}
		}
		_ = child.Wait() // killed
		s, err := Open(t.Context(), Options{Path: path})
		must(t, err)
		n := whole(t, s)
		must(t, s.Close())
		if n < acked || acked == 0 {
			t.Fatalf("round %d: commit %d was acknowledged, the store is at %d", round, acked, n)
		}
	}
}

// TestTornLog cuts and garbles the write-ahead log anywhere, as a power cut can do to what
// was not synced: what remains is the state after one of the commits.
func TestTornLog(t *testing.T) {
	const commits = 12
	f := openFixture(t, Options{Path: filepath.Join(t.TempDir(), "visutility.db")})
	e := f.acquire(t, 1)
	_, err := f.w.ExecContext(t.Context(), "PRAGMA wal_checkpoint(TRUNCATE)")
	must(t, err)
	for n := range commits {
		must(t, f.Commit(t.Context(), crashCommit(e, n+1)))
	}
	base, err := os.ReadFile(f.o.Path)
	must(t, err)
	wal, err := os.ReadFile(f.o.Path + "-wal")
	must(t, err)
	seen := map[int]bool{}
	for i := range 40 {
		path := filepath.Join(t.TempDir(), "torn.db")
		cut := len(wal)
		if i > 0 {
			cut = rand.IntN(len(wal))
		}
		torn := append([]byte(nil), wal[:cut]...)
		if i%2 == 1 { // a hole of zeros or noise beyond, where blocks were written out of order
			for range min(8192, len(wal)-cut) {
				torn = append(torn, byte(rand.Uint32())*byte(i/2%2))
			}
		}
		must(t, errors.Join(os.WriteFile(path, base, 0o600), os.WriteFile(path+"-wal", torn, 0o600)))
		s, err := Open(t.Context(), Options{Path: path})
		must(t, err)
		n := whole(t, s)
		must(t, s.Close())
		if i == 0 && n != commits {
			t.Errorf("the whole log gives commit %d, want %d", n, commits)
		}
		seen[n] = true
	}
	if len(seen) < 3 {
		t.Errorf("the cuts gave the commits %v only: is the log cut at all?", seen)
	}
}

// TestKillServer stops PostgreSQL's backends in the middle of commits.
func TestKillServer(t *testing.T) {
	f := openFixture(t, Options{URL: cluster.database(t)})
	e := f.acquire(t, 1)
	for n := 1; n <= 30; n++ {
		kill := 1 + rand.IntN(12)
		f.fail = func(statement int) error {
			if statement != kill {
				return nil
			}
			kill = 0
			var pid int
			other, err := Open(t.Context(), f.o)
			must(t, err)
			defer other.Close()
			return other.w.QueryRowContext(t.Context(), `SELECT COUNT(pg_terminate_backend(pid)) FROM pg_stat_activity
				WHERE datname = current_database() AND state = 'idle in transaction'`).Scan(&pid)
		}
		err := f.Commit(t.Context(), crashCommit(e, n))
		f.fail = nil
		if err != nil {
			wantError(t, "a commit whose connection was cut", err, visutility.ErrUnavailable)
			at, err := f.Checkpoint(t.Context(), 0)
			must(t, err)
			if int(at.Position) != n-1 {
				t.Fatalf("a failed commit %d left the position %d", n, at.Position)
			}
			must(t, f.Commit(t.Context(), crashCommit(e, n)))
		}
	}
	list, err := f.Activities(t.Context(), 0, 1000)
	must(t, err)
	if len(list) != 90 || list[89].Seq != 90 {
		t.Errorf("%d activities, want 90 without gaps", len(list))
	}
	if left := strings.Count(f.dump(t), "snapshot: "); left != crashModels {
		t.Errorf("%d snapshots, want %d", left, crashModels)
	}
}
