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

	"pgregory.net/rapid"

	"github.com/visutility/visutility"
)

// within is what a naive roll-up by seconds has of some metrics from begin to before end.
func within(l *testLog, metrics []string, begin, end time.Time) (list []Series, rows int) {
	for _, s := range naive(l, 1) {
		s.Points = slices.DeleteFunc(s.Points, func(p Point) bool { return p.Time.Before(begin) || !p.Time.Before(end) })
		if len(s.Points) > 0 && (metrics == nil || slices.Contains(metrics, s.Metric)) {
			list, rows = append(list, s), rows+len(s.Points)
		}
	}
	return list, rows
}

// TestRowsAreExact holds the rows of any log against the naive roll-up: all of them where there
// is room, and otherwise all of a stretch of time at one end.
func TestRowsAreExact(t *testing.T) {
	dir, n := t.TempDir(), 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		l := drawLog(t)
		o := quiet(filepath.Join(dir, fmt.Sprint(n)))
		h, err := Open(o)
		if err != nil {
			t.Fatal(err)
		}
		if err := h.Observe(context.Background(), visutility.Batch{Entries: l.entries}); err != nil {
			t.Fatal(err)
		}
		q := RowQuery{
			Model: "m", To: time.UnixMilli(epoch + rapid.Int64Range(0, 400_000).Draw(t, "to")), Oldest: rapid.Bool().Draw(t, "oldest"),
			Metrics: rapid.SampledFrom([][]string{nil, {"auc"}, {"f1", "auc"}, {"none"}}).Draw(t, "metrics"),
			Limit:   rapid.SampledFrom([]int{0, 1, 7, 50}).Draw(t, "limit"),
		}
		if rapid.Bool().Draw(t, "from") {
			q.From = q.To.Add(-time.Duration(rapid.Int64Range(1, 2_000_000).Draw(t, "length")) * time.Millisecond)
		}
		got, covered, err := h.Rows(context.Background(), q)
		if err != nil {
			t.Fatal(err)
		}
		// Bounds count in whole seconds, as in Select.
		from, to := time.Unix(q.From.Unix(), 0), time.Unix(q.To.Add(time.Second-1).Unix(), 0)
		_, all := within(l, q.Metrics, from, to)
		want, rows := within(l, q.Metrics, covered.From, covered.To)
		equal(t, want, got)
		switch limit := q.Limit; {
		case limit == 0 || all <= limit/2: // rows are counted by estimate
			if rows != all {
				t.Errorf("%d of %d rows, in %v", rows, all, covered)
			}
		case rows > 2*limit+20:
			t.Errorf("%d rows; about %d were allowed", rows, limit)
		case q.Oldest && !q.From.IsZero() && !covered.From.Equal(from), !q.Oldest && !covered.To.Equal(to):
			t.Errorf("asked from %s to %s, oldest %v, got %v", from, to, q.Oldest, covered)
		}
		if err := h.Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.RemoveAll(o.Dir); err != nil {
			t.Fatal(err)
		}
	})
}

func TestRowsOfALongHistory(t *testing.T) {
	h := open(t, quiet(t.TempDir()))
	catchUp(t, h, longLog(6))
	last := time.UnixMilli(epoch).Add(6 * time.Hour)
	for _, oldest := range []bool{false, true} {
		q := RowQuery{Model: "m", Metrics: []string{"auc"}, From: time.UnixMilli(epoch), To: last, Limit: 1000, Oldest: oldest}
		got, covered, err := h.Rows(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(got[0].Points); len(got) != 1 || n < 900 || n > 1000 || covered.To.Sub(covered.From) != time.Duration(n)*time.Second {
			t.Errorf("oldest %v: %d rows in %v; 1000 are allowed", oldest, n, covered)
		}
		if oldest != covered.From.Equal(time.UnixMilli(epoch)) || oldest == covered.To.Equal(last) {
			t.Errorf("oldest %v: %v", oldest, covered)
		}
	}
	for limit, from := range map[int]int{0: 0, 3600: 5 * 3600} {
		_, covered, err := h.Rows(t.Context(), RowQuery{Model: "m", Metrics: []string{"auc"}, To: last, Limit: limit})
		if err != nil {
			t.Fatal(err)
		}
		if want := time.UnixMilli(epoch).Add(time.Duration(from) * time.Second); from == 0 != covered.From.IsZero() || from > 0 && covered.From.Sub(want).Abs() > time.Minute {
			t.Errorf("since ever, %d at most: from %s", limit, covered.From)
		}
	}
	if _, _, err := h.Rows(t.Context(), RowQuery{Model: "m"}); !errors.Is(err, visutility.ErrInvalid) {
		t.Errorf("without an end: %v", err)
	}
}
