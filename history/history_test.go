package history

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"pgregory.net/rapid"

	"github.com/visutility/visutility"
)

// drawLog draws a log whose events are mostly on time, and now and then late or early.
func drawLog(t *rapid.T) *testLog {
	l := &testLog{}
	var stored int64
	for range rapid.IntRange(0, 60).Draw(t, "entries") {
		stored += rapid.SampledFrom([]int64{0, 1, 300, 900, 4000, 9999, 25_000, -3000}).Draw(t, "gap")
		var events []visutility.Event
		for range rapid.IntRange(0, 6).Draw(t, "events") {
			late := rapid.SampledFrom([]int64{0, 0, 0, 1, 700, 1500, 12_000, 61_000, 900_000, -5000}).Draw(t, "late")
			ev := event(rapid.SampledFrom([]string{"auc", "f1"}).Draw(t, "metric"), max(stored-late, -1_000_000), float64(rapid.IntRange(-9, 9).Draw(t, "value")))
			ev.Count = uint64(rapid.IntRange(1, 100).Draw(t, "count"))
			ev.Version = rapid.SampledFrom([]string{"", "", "v1", "v2"}).Draw(t, "version")
			ev.Labels = rapid.SampledFrom([]map[string]string{nil, nil, {"country": "DE"}, {"country": ""}, {"a.b": "x"}, {"a_b": "x"}}).Draw(t, "labels")
			events = append(events, ev)
		}
		l.add(stored, events...)
	}
	return l
}

// TestRollUpsAreExact holds the history of any log, read in any batches with any
// restarts between them, against the naive roll-up.
func TestRollUpsAreExact(t *testing.T) {
	dir := t.TempDir()
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		l := drawLog(t)
		o := quiet(filepath.Join(dir, fmt.Sprint(n)))
		h, err := Open(o)
		if err != nil {
			t.Fatal(err)
		}
		at := 0
		for at < len(l.entries) {
			size := rapid.IntRange(1, 30).Draw(t, "batch")
			end := min(at+size, len(l.entries))
			if err := h.Observe(context.Background(), visutility.Batch{Entries: l.entries[at:end]}); err != nil {
				t.Fatal(err)
			}
			at = end
			if rapid.IntRange(0, 3).Draw(t, "restart") == 0 {
				if rapid.Bool().Draw(t, "killed") {
					h.savedAt = time.Now().Add(time.Hour) // what is saved is old
					h.frozen.Store(true)
				}
				if err := h.Close(); err != nil {
					t.Fatal(err)
				}
				if h, err = Open(o); err != nil {
					t.Fatal(err)
				}
				from, err := h.Start(context.Background(), 0)
				if err != nil {
					t.Fatal(err)
				}
				at = len(l.entries) - len(l.after(from).Entries)
			}
		}
		step := rapid.SampledFrom([]int64{1, 5, 60}).Draw(t, "step")
		got := selected(t, h, Query{Model: "m", Step: time.Duration(step) * time.Second, Points: 1 << 20})
		equal(t, naive(l, step), got)
		if err := h.Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.RemoveAll(o.Dir); err != nil {
			t.Fatal(err)
		}
	})
}

func TestRestartInTheMiddleOfASecond(t *testing.T) {
	l := &testLog{}
	l.add(9_500, event("auc", 9_500, 1), event("auc", 9_600, 5))
	o := quiet(t.TempDir())
	h := open(t, o)
	catchUp(t, h, l)
	if err := h.Close(); err != nil { // with the second in memory
		t.Fatal(err)
	}
	l.add(9_700, event("auc", 9_700, -2))
	h = open(t, o)
	catchUp(t, h, l)
	equal(t, naive(l, 1), selected(t, h, Query{Model: "m"}))
	l.add(10_100, event("auc", 9_900, 3)) // and the rest of it after the cut
	l.add(20_000)
	catchUp(t, h, l)
	got := selected(t, h, Query{Model: "m"})
	equal(t, naive(l, 1), got)
	want := Point{Time: time.UnixMilli(epoch + 9000).UTC(), Last: 3, Min: -2, Max: 5, Count: 4}
	if diff := cmp.Diff(want, got[0].Points[0]); diff != "" {
		t.Errorf("point (-want +got):\n%s", diff)
	}
}

// longLog has some hours of two metrics, an event a second each.
func longLog(hours int) *testLog {
	l := &testLog{}
	for at := int64(0); at < int64(hours)*3_600_000; at += 5000 {
		var events []visutility.Event
		for s := int64(0); s < 5000; s += 1000 {
			events = append(events, event("auc", at+s, float64((at+s)%977)), event("f1", at+s+3, float64((at+s)%89)))
		}
		l.add(at+5000, events...)
	}
	return l
}

func TestRebuiltHistoryGivesTheSameAnswers(t *testing.T) {
	l := longLog(5)
	o := quiet(filepath.Join(t.TempDir(), "history"))
	h := open(t, o)
	catchUp(t, h, l)
	if err := h.db.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(h.db.Blocks()) == 0 {
		t.Fatal("no blocks: the test shows less than it should")
	}
	q := Query{Model: "m", Step: time.Minute}
	before := selected(t, h, q)
	equal(t, naive(l, 60), before)
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(o.Dir); err != nil {
		t.Fatal(err)
	}
	h = open(t, o)
	catchUp(t, h, l)
	equal(t, before, selected(t, h, q))
}

// TestEverythingReadTwice reads a whole log again over a history that has it.
func TestEverythingReadTwice(t *testing.T) {
	l := longLog(5)
	o := quiet(t.TempDir())
	h := open(t, o)
	catchUp(t, h, l)
	if err := h.db.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := selected(t, h, Query{Model: "m", Step: time.Minute})
	h.partitions[0] = newPartition()
	observe(t, h, l.after(0))
	equal(t, before, selected(t, h, Query{Model: "m", Step: time.Minute}))
	if err := h.db.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	equal(t, before, selected(t, h, Query{Model: "m", Step: time.Minute}))
}

// TestKilled opens what is on disk at several moments of a history that is never closed.
func TestKilled(t *testing.T) {
	l := longLog(3)
	h := open(t, quiet(t.TempDir()))
	for at := range len(l.entries) {
		observe(t, h, visutility.Batch{Entries: l.entries[at : at+1]})
		if at%500 != 250 {
			continue
		}
		if at%1000 == 250 {
			h.savedAt = time.Time{} // so that the positions on record are those of now, rather than a second old
		}
		dir := filepath.Join(t.TempDir(), "left")
		if err := os.CopyFS(dir, os.DirFS(h.options.Dir)); err != nil {
			t.Fatal(err)
		}
		left := open(t, quiet(dir))
		from, err := left.Start(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		if from >= l.entries[at].Position || from == 0 {
			t.Errorf("at %d it starts from %d", l.entries[at].Position, from)
		}
		catchUp(t, left, l)
		equal(t, naive(l, 60), selected(t, left, Query{Model: "m", Step: time.Minute}))
	}
}

// TestImport takes more rows in at once than memory is to hold, the newest first, and each second twice, in different entries.
func TestImport(t *testing.T) {
	l := &testLog{}
	const seconds = maxRows * 3 / 2
	for at := int64(seconds); at > 0; at -= 1000 {
		var events []visutility.Event
		for s := range int64(1000) {
			second := 1000 * (at - s - seconds)
			events = append(events, event("auc", second, float64(second%977)), event("auc", second+700_000, -1)) // mostly in the entry before
		}
		l.add(0, events...)
	}
	h := open(t, quiet(t.TempDir()))
	catchUp(t, h, l)
	if n := h.openRows(); n > maxRows+2000 {
		t.Errorf("%d rows in memory", n)
	}
	got := selected(t, h, Query{Model: "m", Step: time.Minute, Points: 1 << 20})
	equal(t, naive(l, 60), got)
	l.add(10_000)
	catchUp(t, h, l)
	equal(t, got, selected(t, h, Query{Model: "m", Step: time.Minute, Points: 1 << 20}))
}

func TestObserveSkipsWhatItHas(t *testing.T) {
	l := &testLog{}
	l.add(100, event("auc", 100, 1))
	l.add(200, event("auc", 200, 2))
	h := open(t, quiet(t.TempDir()))
	observe(t, h, l.after(0))
	observe(t, h, l.after(0))
	equal(t, naive(l, 1), selected(t, h, Query{Model: "m"}))
}

func TestDamagedDatabase(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, dir string){
		"log cut short": func(t *testing.T, dir string) { overwrite(t, dir, "tsdb/wal/0*", 40_000) },
		"block without an index": func(t *testing.T, dir string) {
			remove(t, dir, "tsdb/??????????????????????????/index")
		},
		"nonsense": func(t *testing.T, dir string) {
			remove(t, dir, "tsdb/chunks_head")
			if err := os.WriteFile(filepath.Join(dir, "tsdb/chunks_head"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		},
		"no positions":        func(t *testing.T, dir string) { remove(t, dir, "position.json") },
		"positions scrambled": func(t *testing.T, dir string) { overwrite(t, dir, "position.json", 0) },
		"database lost":       func(t *testing.T, dir string) { remove(t, dir, "tsdb") },
	} {
		t.Run(name, func(t *testing.T) {
			l := longLog(5)
			var log strings.Builder
			o := quiet(filepath.Join(t.TempDir(), "history"))
			o.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))
			h := open(t, o)
			catchUp(t, h, l)
			if err := h.db.Compact(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := h.Close(); err != nil {
				t.Fatal(err)
			}
			log.Reset()
			damage(t, o.Dir)
			h = open(t, o)
			catchUp(t, h, l)
			equal(t, naive(l, 60), selected(t, h, Query{Model: "m", Step: time.Minute}))
			if !strings.Contains(log.String(), "again") {
				t.Errorf("nothing was logged of it:\n%s", &log)
			}
		})
	}
}

// matching finds exactly one path.
func matching(t *testing.T, dir, pattern string) string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(paths) == 0 {
		t.Fatalf("nothing matches %s: %v", pattern, err)
	}
	return paths[0]
}

func remove(t *testing.T, dir, pattern string) {
	t.Helper()
	if err := os.RemoveAll(matching(t, dir, pattern)); err != nil {
		t.Fatal(err)
	}
}

// overwrite writes nonsense into the middle of a file.
func overwrite(t *testing.T, dir, pattern string, at int64) {
	t.Helper()
	f, err := os.OpenFile(matching(t, dir, pattern), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte(strings.Repeat("nonsense", 100)), at); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestNewerFormatIsRefused(t *testing.T) {
	o := quiet(t.TempDir())
	if err := os.WriteFile(filepath.Join(o.Dir, positionName), []byte(`{"version":2}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(o); !errors.Is(err, visutility.ErrInvalid) {
		t.Errorf("Open: %v", err)
	}
}

func TestOpenTwice(t *testing.T) {
	o := quiet(t.TempDir())
	open(t, o)
	if _, err := Open(o); !errors.Is(err, visutility.ErrConflict) {
		t.Errorf("second Open: %v", err)
	}
}

func TestClosed(t *testing.T) {
	h := open(t, quiet(t.TempDir()))
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	l := &testLog{}
	l.add(0, event("auc", 0, 1))
	if err := h.Observe(t.Context(), l.after(0)); !errors.Is(err, visutility.ErrUnavailable) {
		t.Errorf("Observe: %v", err)
	}
	if _, err := h.Select(t.Context(), Query{Model: "m"}); !errors.Is(err, visutility.ErrUnavailable) {
		t.Errorf("Select: %v", err)
	}
}

func TestTooOldEventsAreCounted(t *testing.T) {
	o := quiet(t.TempDir())
	registry := prometheus.NewPedanticRegistry()
	o.Registerer = registry
	h := open(t, o)
	l := &testLog{}
	day := int64(86_400_000)
	l.add(0, event("auc", 0, 1))
	l.add(10_000, event("auc", 10_000-29*day, 2)) // within the window
	l.add(20_000, event("auc", 20_000-31*day, 3), event("auc", 20_001-31*day, 4))
	l.add(30_000)
	catchUp(t, h, l)
	got := selected(t, h, Query{Model: "m", Step: time.Second, Points: 1 << 22})
	if len(got) != 1 || len(got[0].Points) != 2 || got[0].Points[0].Last != 2 {
		t.Errorf("history: %+v", got)
	}
	if n := counted(registry, "visutility_history_events_total"); n != 4 {
		t.Errorf("%v events", n)
	}
	if n := h.metrics.tooOld.Load(); n != 2 {
		t.Errorf("%v events dropped as too old", n)
	}
	if n := counted(registry, "prometheus_tsdb_head_samples_appended_total"); n == 0 {
		t.Error("the database's own metrics are not registered")
	}
}

func TestRetention(t *testing.T) {
	o := quiet(t.TempDir())
	o.Retention = 6 * time.Hour
	h := open(t, o)
	l := longLog(15)
	catchUp(t, h, l)
	if err := h.db.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := selected(t, h, Query{Model: "m", Metric: "auc", Step: time.Minute})
	first := got[0].Points[0].Time
	if age := 15*time.Hour - first.Sub(time.UnixMilli(epoch)); age < 6*time.Hour || age > 10*time.Hour {
		t.Errorf("the oldest point is %s old", age)
	}
	if h.db.BlockMetas()[0].Compaction.Level > 1 {
		t.Error("blocks grew beyond what the retention can drop")
	}
}

func TestFullDisk(t *testing.T) {
	o := quiet(t.TempDir())
	h := open(t, o)
	l := &testLog{}
	l.add(0, event("auc", 0, 1))
	l.add(10_000, event("auc", 10_000, 2))
	observe(t, h, visutility.Batch{Entries: l.entries[:1]})
	if err := h.db.Close(); err != nil { // its log refuses what is written now
		t.Fatal(err)
	}
	if err := h.Observe(t.Context(), l.after(0)); err == nil {
		t.Fatal("Observe succeeded without a database")
	}
	if n := h.openRows(); n != 1 {
		t.Errorf("%d rows in memory, want the one that could not be written", n)
	}
	// Though it may go well again, what comes now cannot be relied on.
	h.partitions[0].durable.Store(uint64(l.entries[1].Position))
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	h = open(t, o)
	catchUp(t, h, l)
	equal(t, naive(l, 1), selected(t, h, Query{Model: "m"}))
}
