package history

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/visutility/visutility"
)

// paged reads all pages of a query.
func paged(t interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}, h *History, q EventQuery) []visutility.Event {
	t.Helper()
	var all []visutility.Event
	for {
		page, next, err := h.Events(context.Background(), q)
		if err != nil {
			t.Fatal(err)
		}
		if q.Limit > 0 && len(page) > q.Limit || next != "" && len(page) == 0 {
			t.Fatalf("a page of %d events, asked for %d", len(page), q.Limit)
		}
		all = append(all, page...)
		if next == "" {
			return all
		}
		q.Cursor = next
	}
}

// seriesOf puts events back into series, which must be whole and in the order of time.
func seriesOf(t interface{ Fatalf(string, ...any) }, events []visutility.Event) []Series {
	var all []Series
	key := func(s Series) visutility.Series {
		return visutility.Series{Metric: s.Metric, Version: s.Version, Labels: visutility.MakeLabels(s.Labels)}
	}
	seen := make(map[visutility.Series]bool)
	for _, e := range events {
		s := Series{Metric: e.Metric, Version: e.Version, Labels: e.Labels, Step: time.Second}
		if n := len(all); n == 0 || key(all[n-1]) != key(s) {
			if seen[key(s)] {
				t.Fatalf("series %v comes twice", key(s))
			}
			seen[key(s)] = true
			all = append(all, s)
		}
		last := &all[len(all)-1]
		if n := len(last.Points); n > 0 && !e.Time.After(last.Points[n-1].Time) {
			t.Fatalf("%s comes after %s", e.Time, last.Points[n-1].Time)
		}
		last.Points = append(last.Points, Point{Time: e.Time, Last: e.Value, Count: int64(e.Count)})
	}
	return all
}

// TestEventsAreThePoints: in pages of any size, events say what charts of one second say.
func TestEventsAreThePoints(t *testing.T) {
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
			end := min(at+rapid.IntRange(1, 30).Draw(t, "batch"), len(l.entries))
			if err := h.Observe(context.Background(), visutility.Batch{Entries: l.entries[at:end]}); err != nil {
				t.Fatal(err)
			}
			at = end
		}
		q := EventQuery{Model: "m", Limit: rapid.IntRange(0, 12).Draw(t, "limit")}
		if rapid.Bool().Draw(t, "bounded") {
			q.From = time.UnixMilli(epoch + 500*rapid.Int64Range(-4, 200).Draw(t, "from"))
			q.To = q.From.Add(time.Duration(rapid.IntRange(1, 200).Draw(t, "length")) * 500 * time.Millisecond)
		}
		if rapid.Bool().Draw(t, "one metric") {
			q.Metrics = []string{"auc", "none"}
		}
		got := seriesOf(t, paged(t, h, q))
		want := slices.DeleteFunc(selected(t, h, Query{Model: "m", From: q.From, To: q.To, Step: time.Second, Points: 1 << 20}), func(s Series) bool {
			return q.Metrics != nil && s.Metric != "auc"
		})
		opts := cmp.Options{
			cmpopts.EquateEmpty(), cmpopts.IgnoreFields(Point{}, "Min", "Max"), cmpopts.SortSlices(func(a, b Series) bool { return cmpSeries(a, b) < 0 }),
		}
		if diff := cmp.Diff(want, got, opts); diff != "" {
			t.Errorf("(-chart +events):\n%s", diff)
		}
		if err := h.Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.RemoveAll(o.Dir); err != nil {
			t.Fatal(err)
		}
	})
}

// TestEventsOfBlocks: what was compacted, what is in the head and what is in memory make one series.
func TestEventsOfBlocks(t *testing.T) {
	l := longLog(5)
	h := open(t, quiet(t.TempDir()))
	catchUp(t, h, l)
	if err := h.db.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(h.db.Blocks()) == 0 {
		t.Fatal("no blocks: the test shows less than it should")
	}
	l.add(18_001_000, event("auc", 100_500, 7), event("new", 100_500, 7))
	catchUp(t, h, l)
	got := seriesOf(t, paged(t, h, EventQuery{Model: "m", Limit: 1000}))
	want := selected(t, h, Query{Model: "m", Step: time.Second, Points: 1 << 20})
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(Point{}, "Min", "Max")); diff != "" {
		t.Errorf("(-chart +events):\n%s", diff)
	}
}

func TestEventsOfHostileNames(t *testing.T) {
	ev := event("auc|f1.*", 0, 1)
	ev.Model, ev.Version, ev.Labels = "m/../<etc>", `"v&1\`, map[string]string{"a.b": "<>&", "日本": "東京"}
	later := ev
	later.Time = ev.Time.Add(time.Second)
	other := ev
	other.Metric = "auc"
	l := &testLog{}
	l.add(0, ev, later, other)
	h := open(t, quiet(t.TempDir()))
	catchUp(t, h, l)
	got := paged(t, h, EventQuery{Model: ev.Model, Metrics: []string{ev.Metric}, Limit: 1})
	if diff := cmp.Diff([]visutility.Event{ev, later}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestBadEventQueries(t *testing.T) {
	h := open(t, quiet(t.TempDir()))
	at := time.UnixMilli(epoch)
	for name, q := range map[string]EventQuery{
		"no model":       {},
		"backwards":      {Model: "m", From: at, To: at},
		"negative limit": {Model: "m", Limit: -1},
		"high limit":     {Model: "m", Limit: MaxEvents + 1},
		"bad cursor":     {Model: "m", Cursor: "%"},
		"other cursor":   {Model: "m", Cursor: "e30"},
	} {
		if _, _, err := h.Events(t.Context(), q); !errors.Is(err, visutility.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if events, next, err := h.Events(t.Context(), EventQuery{Model: "nobody"}); len(events) != 0 || next != "" || err != nil {
		t.Errorf("no such model: %v %q %v", events, next, err)
	}
}
