package store

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/visutility/visutility"
)

func decision(id, model string, at time.Time) visutility.Decision {
	return visutility.Decision{
		ID: id, Model: model, Policy: "p", PolicyRevision: "abc", Position: 3, Since: 2, Time: at, EventTime: at.Add(-time.Minute),
		Verdict: visutility.Breach, Outcome: visutility.Noted, Reason: "because",
		Evidence: []visutility.Term{{Name: "when", Expr: "x > 1", Value: true, Terms: []visutility.Term{{Expr: "x", Value: 1.5}}}},
	}
}

// fired is a decision and the run that it opens.
func fired(id, model string, at time.Time) (visutility.Decision, visutility.Run) {
	d := decision("d"+id, model, at)
	d.Verdict, d.Outcome, d.Run = visutility.Fire, visutility.Fired, "r"+id
	return d, visutility.Run{ID: "r" + id, Model: model, Policy: "p", Decision: d.ID, CreatedAt: at, Window: visutility.Window{From: at.Add(-time.Hour), To: at}}
}

// rich is a commit with something of everything.
func rich(epoch int64, position visutility.Position) Commit {
	at := time.Date(2026, 3, 1, 12, 0, int(position), 0, time.UTC)
	id := fmt.Sprint(position)
	d, r := fired(id, "model-"+id, at)
	return Commit{
		Epoch: epoch, Position: position, SnapshotPosition: position,
		Layouts:   map[string][]byte{"layout": {1, 2, 3}, "layout-" + id: {0, 255}},
		Snapshots: []Snapshot{{Model: "model-" + id, Layout: "layout", State: []byte(id), Facts: []byte(`{"n":1}`)}, {Model: "bare"}},
		Models:    []Model{{Name: "model-" + id, Events: 3, Paused: true, PausedBy: "eve", LastDecision: d.ID, Champion: "v1", Policies: []string{"p"}, Metrics: []Metric{{Name: "x", Last: 1.5, LastTime: at, Count: 3}}, CreatedAt: at, LastEventAt: at}},
		Series:    []Series{{"model-" + id, "x", visutility.MakeLabels(map[string]string{"country": "DE", "tier": "gold"})}, {"model-" + id, "x", ""}},
		Decisions: []visutility.Decision{decision("n"+id, "model-"+id, at), d},
		Runs:      []visutility.Run{r},
	}
}

func TestCommitKeepsEverything(t *testing.T) {
	both(t, func(t *testing.T, f fixture) {
		ctx := t.Context()
		e := f.acquire(t, 2)
		c := rich(e, 5)
		must(t, f.Commit(ctx, c))
		at, err := f.Checkpoint(ctx, 0)
		must(t, err)
		if at != (Checkpoint{5, 5}) {
			t.Errorf("checkpoint %+v", at)
		}
		var snapshots []Snapshot
		for n, err := range f.Snapshots(ctx, 0) {
			must(t, err)
			snapshots = append(snapshots, n)
		}
		want := []Snapshot{{Model: "bare", State: []byte{}, Facts: []byte{}}, c.Snapshots[0]}
		if diff := cmp.Diff(want, snapshots, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("snapshots (-want +got):\n%s", diff)
		}
		body, err := f.Layout(ctx, "layout-5")
		must(t, err)
		if string(body) != "\x00\xff" {
			t.Errorf("layout %q", body)
		}
		_, err = f.Layout(ctx, "none")
		wantError(t, "an unknown layout", err, visutility.ErrNotFound)
		m, err := f.Model(ctx, "model-5")
		must(t, err)
		if diff := cmp.Diff(c.Models[0], m); diff != "" {
			t.Errorf("model (-want +got):\n%s", diff)
		}
		for _, want := range c.Decisions {
			got, err := f.Decision(ctx, want.ID)
			must(t, err)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("decision (-want +got):\n%s", diff)
			}
		}
		r, err := f.Run(ctx, "r5")
		must(t, err)
		if diff := cmp.Diff(c.Runs[0], r); diff != "" {
			t.Errorf("run (-want +got):\n%s", diff)
		}
		series := map[Series]bool{}
		for k, err := range f.SeriesKeys(ctx) {
			must(t, err)
			series[k] = true
		}
		if !cmp.Equal(series, map[Series]bool{c.Series[0]: true, c.Series[1]: true}) {
			t.Errorf("series %v", series)
		}
		kinds(t, f, 0, "model model-5", "decision n5", "decision d5", "run r5")
	})
}

// kinds demands the kinds and ids of the activities after one.
func kinds(t *testing.T, f fixture, after int64, want ...string) {
	t.Helper()
	list, err := f.Activities(t.Context(), after, 1000)
	must(t, err)
	var got []string
	for i, a := range list {
		got = append(got, a.Kind+" "+a.ID)
		if a.Seq != after+int64(i)+1 {
			t.Errorf("activity %d has the number %d", i, a.Seq)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("activities (-want +got):\n%s", diff)
	}
	last, err := f.LastActivity(t.Context())
	must(t, err)
	if last != after+int64(len(list)) {
		t.Errorf("the last activity is %d, want %d", last, after+int64(len(list)))
	}
}

// TestCommitAgainChangesNothing replays what was committed, as after a crash.
func TestCommitAgainChangesNothing(t *testing.T) {
	both(t, func(t *testing.T, f fixture) {
		c := rich(f.acquire(t, 1), 5)
		must(t, f.Commit(t.Context(), c))
		before := f.dump(t)
		must(t, f.Commit(t.Context(), c))
		if diff := cmp.Diff(before, f.dump(t)); diff != "" {
			t.Errorf("a replay changed (-before +after):\n%s", diff)
		}
	})
}

func TestCommitMany(t *testing.T) {
	both(t, func(t *testing.T, f fixture) {
		const n = 128 + 2*16 + 3 // every size of statement
		c := Commit{Epoch: f.acquire(t, 1), Position: 1, SnapshotPosition: 1}
		for i := range n {
			name := fmt.Sprintf("m%03d", i)
			c.Snapshots = append(c.Snapshots, Snapshot{Model: name, State: []byte(name)})
			c.Models = append(c.Models, Model{Name: name})
			c.Series = append(c.Series, Series{Model: name, Metric: "x"})
			c.Decisions = append(c.Decisions, decision("d"+name, name, epoch))
		}
		c.Snapshots = append(c.Snapshots, Snapshot{Model: "m000", State: []byte("newer")}) // the last one counts
		must(t, f.Commit(t.Context(), c))
		i := 0
		for s, err := range f.Snapshots(t.Context(), 0) {
			must(t, err)
			want := fmt.Sprintf("m%03d", i)
			if s.Model != want || string(s.State) != want && (i > 0 || string(s.State) != "newer") {
				t.Errorf("snapshot %d is %s with %s", i, s.Model, s.State)
			}
			i++
		}
		list, _, err := f.Decisions(t.Context(), DecisionFilter{Page: Page{Limit: 1000}})
		must(t, err)
		if i != n || len(list) != n {
			t.Errorf("%d snapshots and %d decisions, want %d", i, len(list), n)
		}
	})
}

func TestCommitIsFenced(t *testing.T) {
	both(t, func(t *testing.T, f fixture) {
		old := f.acquire(t, 2)
		e := f.acquire(t, 2)
		if e <= old {
			t.Fatalf("epoch %d after %d", e, old)
		}
		before := f.dump(t)
		// The good half of a commit must not be kept either.
		err := f.Commit(t.Context(), Commit{Partition: 0, Epoch: e, Position: 3}, Commit{Partition: 1, Epoch: old, Position: 3, Models: []Model{{Name: "m"}}})
		wantError(t, "an old epoch", err, ErrFenced)
		wantError(t, "an old epoch", err, visutility.ErrConflict)
		if diff := cmp.Diff(before, f.dump(t)); diff != "" {
			t.Errorf("a fenced commit changed (-before +after):\n%s", diff)
		}
		must(t, f.Commit(t.Context(), Commit{Partition: 1, Epoch: e, Position: 3}, Commit{Partition: 0, Epoch: e, Position: 3, SnapshotPosition: 2}))
		wantError(t, "going back", f.Commit(t.Context(), Commit{Epoch: e, Position: 2}), visutility.ErrConflict)
		wantError(t, "snapshots going back", f.Commit(t.Context(), Commit{Epoch: e, Position: 3, SnapshotPosition: 1}), visutility.ErrConflict)
		wantError(t, "snapshots ahead", f.Commit(t.Context(), Commit{Epoch: e, Position: 3, SnapshotPosition: 4}), visutility.ErrInvalid)
		wantError(t, "an unknown partition", f.Commit(t.Context(), Commit{Partition: 2, Epoch: e, Position: 3}), visutility.ErrInvalid)
		_, err = f.Acquire(t.Context(), 3, "test")
		wantError(t, "another number of partitions", err, visutility.ErrInvalid)
	})
}

func TestAcquireConcurrently(t *testing.T) {
	both(t, func(t *testing.T, f fixture) {
		var mu sync.Mutex
		seen := map[int64]bool{}
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				e, err := f.Acquire(t.Context(), 4, "test")
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				seen[e] = true
			})
		}
		wg.Wait()
		if len(seen) != 8 {
			t.Errorf("8 owners got the epochs %v", seen)
		}
	})
}

func TestSecondRunOfAModelIsSuppressed(t *testing.T) {
	both(t, func(t *testing.T, f fixture) {
		ctx := t.Context()
		e := f.acquire(t, 1)
		d1, r1 := fired("1", "bike", epoch)
		d2, r2 := fired("2", "bike", epoch)
		must(t, f.Commit(ctx, Commit{Epoch: e, Position: 1, Decisions: []visutility.Decision{d1}, Runs: []visutility.Run{r1}}))
		second := Commit{Epoch: e, Position: 2, Decisions: []visutility.Decision{d2}, Runs: []visutility.Run{r2}}
		must(t, f.Commit(ctx, second))
		got, err := f.Decision(ctx, "d2")
		must(t, err)
		if got.Outcome != visutility.Suppressed || got.SuppressedBy != visutility.ByActiveRun || got.Run != "" || !strings.Contains(got.Reason, "r1") || !strings.Contains(got.Reason, "because") {
			t.Errorf("the decision that lost is %+v", got)
		}
		if second.Decisions[0].Outcome != visutility.Fired {
			t.Error("Commit changed the caller's decision")
		}
		_, err = f.Run(ctx, "r2")
		wantError(t, "the run that was not opened", err, visutility.ErrNotFound)
		box, err := f.Outbox(ctx, 10)
		must(t, err)
		if len(box) != 1 || box[0].Control.Kind != visutility.ControlEnded || box[0].Control.Run != "r2" || box[0].Control.State != visutility.Canceled {
			t.Errorf("the outbox tells %+v", box)
		}
		kinds(t, f, 0, "decision d1", "run r1", "decision d2")
		// A replay after the first run has ended must not open the second either.
		r1.State = visutility.Failed
		must(t, f.MoveRun(ctx, r1, visutility.Pending, ""))
		must(t, f.Commit(ctx, second))
		_, err = f.Run(ctx, "r2")
		wantError(t, "the run that was not opened, replayed", err, visutility.ErrNotFound)
		d3, r3 := fired("3", "bike", epoch)
		must(t, f.Commit(ctx, Commit{Epoch: e, Position: 3, Decisions: []visutility.Decision{d3}, Runs: []visutility.Run{r3}}))
		_, err = f.Run(ctx, "r3")
		must(t, err)
	})
}

// TestConcurrentCommitsOpenOneRun lets the owners of two partitions open runs of one model, which only a
// program error could do: the database keeps the rule all the same.
func TestConcurrentCommitsOpenOneRun(t *testing.T) {
	both(t, func(t *testing.T, f fixture) {
		const owners, rounds = 4, 10
		e := f.acquire(t, owners)
		for round := range rounds {
			model := fmt.Sprintf("m%d", round)
			var wg sync.WaitGroup
			for p := range owners {
				wg.Go(func() {
					d, r := fired(fmt.Sprintf("%d-%d", round, p), model, epoch)
					if err := f.Commit(t.Context(), Commit{Partition: p, Epoch: e, Position: visutility.Position(round + 1), Decisions: []visutility.Decision{d}, Runs: []visutility.Run{r}}); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			runs, _, err := f.Runs(t.Context(), RunFilter{Model: model})
			must(t, err)
			won, _, err := f.Decisions(t.Context(), DecisionFilter{Model: model, Outcome: "fired"})
			must(t, err)
			lost, _, err := f.Decisions(t.Context(), DecisionFilter{Model: model, Outcome: "suppressed"})
			must(t, err)
			if len(runs) != 1 || len(won) != 1 || len(lost) != owners-1 || won[0].Run != runs[0].ID {
				t.Fatalf("%s: %d runs, %d fired, %d suppressed", model, len(runs), len(won), len(lost))
			}
		}
	})
}

func TestRollbacks(t *testing.T) {
	both(t, func(t *testing.T, f fixture) {
		e := f.acquire(t, 1)
		d1, r1 := fired("1", "a", epoch)
		d2, r2 := fired("2", "b", epoch)
		r1.State = visutility.Watching
		must(t, f.Commit(t.Context(), Commit{Epoch: e, Position: 1, Decisions: []visutility.Decision{d1, d2}, Runs: []visutility.Run{r1, r2}}))
		must(t, f.Commit(t.Context(), Commit{Epoch: e, Position: 2, Rollbacks: []string{"r1", "r2", "none"}}))
		for id, want := range map[string]string{"r1": visutility.WishRollback, "r2": ""} {
			r, err := f.Run(t.Context(), id)
			must(t, err)
			if r.Wish != want {
				t.Errorf("%s has the wish %q, want %q", id, r.Wish, want)
			}
		}
	})
}

func TestPauseIsActivity(t *testing.T) {
	both(t, func(t *testing.T, f fixture) {
		e := f.acquire(t, 1)
		commit := func(pos int, m Model) {
			t.Helper()
			must(t, f.Commit(t.Context(), Commit{Epoch: e, Position: visutility.Position(pos), Models: []Model{m}}))
		}
		commit(1, Model{Name: "a"})
		kinds(t, f, 0)
		commit(2, Model{Name: "a", Paused: true, PausedBy: "eve", PausedReason: "labels late"})
		commit(3, Model{Name: "a", Paused: true, PausedBy: "eve", PausedReason: "labels late", Events: 1})
		kinds(t, f, 0, "model a")
		commit(4, Model{Name: "a"})
		kinds(t, f, 0, "model a", "model a")
		list, err := f.Activities(t.Context(), 0, 1)
		must(t, err)
		if got := string(list[0].Data); got != `{"paused":true,"by":"eve","reason":"labels late"}` {
			t.Errorf("the activity says %s", got)
		}
	})
}

// TestStrangeValues: what no sane caller sends must not keep a commit from succeeding for ever.
func TestStrangeValues(t *testing.T) {
	both(t, func(t *testing.T, f fixture) {
		ctx := t.Context()
		e := f.acquire(t, 1)
		d, r := fired("1", "bike", epoch)
		d.Reason, d.Request = "zero \x00 and \xff", "q\x00"
		d.Evidence = []visutility.Term{{Expr: "a", Value: math.NaN(), Terms: []visutility.Term{{Expr: "b", Value: math.Inf(-1)}, {Expr: "c", Value: nil}}}}
		r.Message = "m\x00\xff"
		must(t, f.Commit(ctx, Commit{Epoch: e, Position: 1, Decisions: []visutility.Decision{d}, Runs: []visutility.Run{r}}))
		got, err := f.Decision(ctx, "d1")
		must(t, err)
		want := []visutility.Term{{Expr: "a", Value: "NaN", Terms: []visutility.Term{{Expr: "b", Value: "-Inf"}, {Expr: "c"}}}}
		if diff := cmp.Diff(want, got.Evidence); diff != "" {
			t.Errorf("evidence (-want +got):\n%s", diff)
		}
		r.State, r.Error = visutility.Training, "panic: \x00\xfe"
		r.Artifact = &visutility.Artifact{URI: "s3://x", Metrics: map[string]float64{"ok": 1, "bad": math.NaN()}}
		r.Report = &visutility.Report{Evidence: []visutility.Term{{Value: math.Inf(1)}}}
		must(t, f.MoveRun(ctx, r, visutility.Pending, "note \x00"))
		moved, err := f.Run(ctx, "r1")
		must(t, err)
		if !cmp.Equal(moved.Artifact.Metrics, map[string]float64{"ok": 1}) || moved.Report.Evidence[0].Value != "+Inf" {
			t.Errorf("stored %+v, %+v", moved.Artifact, moved.Report)
		}
		for _, id := range []string{"\x00", "\xff", "'; DROP TABLE run; --"} {
			_, err := f.Run(ctx, id)
			wantError(t, fmt.Sprintf("Run(%q)", id), err, visutility.ErrNotFound)
			_, err = f.Decision(ctx, id)
			wantError(t, fmt.Sprintf("Decision(%q)", id), err, visutility.ErrNotFound)
			_, err = f.Model(ctx, id)
			wantError(t, fmt.Sprintf("Model(%q)", id), err, visutility.ErrNotFound)
		}
	})
}

var errInjected = errors.New("injected")

// TestFailureAtEveryStatement lets every statement of every kind of transaction
// fail in turn: nothing is left behind, and the next attempt succeeds.
func TestFailureAtEveryStatement(t *testing.T) {
	both(t, func(t *testing.T, f fixture) {
		ctx := t.Context()
		e := f.acquire(t, 1)
		must(t, f.Commit(ctx, rich(e, 1)))
		v, err := f.InsertVersion(ctx, visutility.Version{Model: "m", Run: "r0"})
		must(t, err)
		moved, err := f.Run(ctx, "r1")
		must(t, err)
		moved.State = visutility.Training
		ended := visutility.Control{Kind: visutility.ControlEnded, Model: "m", Run: "r1"}
		for _, c := range []struct {
			name string
			do   func() error
		}{
			{"Commit", func() error { return f.Commit(ctx, rich(e, 2)) }},
			{"Acquire", func() error { _, err := f.Acquire(ctx, 1, "other"); return err }},
			{"MoveRun", func() error { return f.MoveRun(ctx, moved, visutility.Pending, "go", ended) }},
			{"SaveProgress", func() error { return f.SaveProgress(ctx, "r1", 0, 0.5, "half") }},
			{"WishRun", func() error { _, err := f.WishRun(ctx, "r1", visutility.WishCancel, "eve"); return err }},
			{"InsertVersion", func() error { _, err := f.InsertVersion(ctx, visutility.Version{Model: "m", Run: "r1"}); return err }},
			{"SetAlias", func() error { return f.SetAlias(ctx, "m", "champion", v.ID, "") }},
			{"Announce", func() error { return f.Announce(ctx, ended, ended) }},
			{"Announced", func() error { return f.Announced(ctx, 1, 2) }},
			{"SetObserverPositions", func() error { return f.SetObserverPositions(ctx, "o", map[int]visutility.Position{0: 1, 1: 2}) }},
			{"Prune", func() error { _, err := f.Prune(ctx, Retention{}); return err }},
		} {
			before := f.dump(t)
			changed, stop := f.Watch()
			for n := 1; ; n++ {
				f.fail = func(statement int) error {
					if statement == n {
						return errInjected
					}
					return nil
				}
				err := c.do()
				f.fail = nil
				if err == nil {
					if n < 3 && c.name != "Prune" {
						t.Errorf("%s ran %d statements only: is the fault injected?", c.name, n-1)
					}
					break
				}
				wantError(t, c.name, err, errInjected)
				if diff := cmp.Diff(before, f.dump(t)); diff != "" {
					t.Fatalf("%s, failed at statement %d, left (-before +after):\n%s", c.name, n, diff)
				}
				select {
				case <-changed:
					t.Errorf("%s, failed at statement %d, told its watchers", c.name, n)
				default:
				}
			}
			if c.name != "Prune" && cmp.Equal(before, f.dump(t)) {
				t.Errorf("%s succeeded and changed nothing", c.name)
			}
			stop()
		}
	})
}

func TestDiskFullIsUnavailable(t *testing.T) {
	f := openFixture(t, Options{Path: t.TempDir() + "/visutility.db"})
	e := f.acquire(t, 1)
	var pages int
	must(t, f.w.QueryRowContext(t.Context(), "PRAGMA page_count").Scan(&pages))
	limit := func(n int) {
		t.Helper()
		var got int
		must(t, f.w.QueryRowContext(t.Context(), fmt.Sprintf("PRAGMA max_page_count = %d", n)).Scan(&got))
	}
	limit(pages + 5)
	before := f.dump(t)
	big := Commit{Epoch: e, Position: 1, SnapshotPosition: 1, Snapshots: []Snapshot{{Model: "m", State: make([]byte, 1<<20)}}}
	wantError(t, "a commit on a full disk", f.Commit(t.Context(), big), visutility.ErrUnavailable)
	if diff := cmp.Diff(before, f.dump(t)); diff != "" {
		t.Errorf("it left (-before +after):\n%s", diff)
	}
	limit(1 << 30)
	must(t, f.Commit(t.Context(), big)) // the connection is fit for use again
}

func TestLockedFileIsWaitedFor(t *testing.T) {
	f := openFixture(t, Options{Path: t.TempDir() + "/visutility.db"})
	other, err := Open(t.Context(), f.o)
	must(t, err)
	defer other.Close()
	blocked, err := other.w.BeginTx(t.Context(), nil)
	must(t, err)
	short, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer stop()
	wantError(t, "writing past another writer", f.AddActivity(short, Activity{Kind: ActivityPolicy}), context.DeadlineExceeded)
	done := make(chan error)
	go func() { done <- f.AddActivity(t.Context(), Activity{Kind: ActivityPolicy}) }()
	must(t, blocked.Rollback())
	must(t, <-done)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	wantError(t, "a canceled context", f.AddActivity(ctx, Activity{}), context.Canceled)
}

func TestUnreachableServerIsUnavailable(t *testing.T) {
	f := openFixture(t, Options{URL: cluster.database(t)})
	_, err := f.w.ExecContext(t.Context(), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
	must(t, err)
	// A pool that finds its connections dead makes new ones.
	must(t, f.AddActivity(t.Context(), Activity{Kind: ActivityPolicy}))
	err = f.write(t.Context(), "dying", func(tx *tx) error {
		_, err := tx.exec(t.Context(), "SELECT pg_terminate_backend(pg_backend_pid())")
		return err
	})
	wantError(t, "a connection cut in the middle", err, visutility.ErrUnavailable)
	must(t, f.AddActivity(t.Context(), Activity{Kind: ActivityPolicy}))
	kinds(t, f, 0, "policy ", "policy ")
}
