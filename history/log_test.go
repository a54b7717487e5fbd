package history

import (
	"context"
	"io"
	"log/slog"
	"maps"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/visutilitytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The clock of test logs starts here: at a full minute, twenty seconds before the numbers of cuts go round.
const epoch = 1_800_019_980_000

// A testLog is one partition of a log in memory.
type testLog struct{ entries []visutility.Entry }

// add appends an entry with the events, stored at a time in milliseconds after epoch.
func (l *testLog) add(stored int64, events ...visutility.Event) {
	e := visutility.Entry{Position: visutility.Position(10 * (len(l.entries) + 1)), Stored: epoch + stored}
	for _, ev := range events {
		s := visutility.Series{Model: ev.Model, Metric: ev.Metric, Version: ev.Version, Labels: visutility.MakeLabels(ev.Labels)}
		i := slices.Index(e.Series, s)
		if i < 0 {
			i = len(e.Series)
			e.Series = append(e.Series, s)
		}
		e.Records = append(e.Records, visutility.Record{Series: uint32(i), Time: ev.Time.UnixMilli(), Value: ev.Value, Count: int64(ev.Count)})
	}
	l.entries = append(l.entries, e)
}

// after is the batch of all entries after a position.
func (l *testLog) after(at visutility.Position) visutility.Batch {
	i := slices.IndexFunc(l.entries, func(e visutility.Entry) bool { return e.Position > at })
	if i < 0 {
		i = len(l.entries)
	}
	return visutility.Batch{Entries: l.entries[i:]}
}

// event is one of model m at a time in milliseconds after epoch.
func event(metric string, at int64, v float64) visutility.Event {
	return visutility.Event{Model: "m", Metric: metric, Time: time.UnixMilli(epoch + at), Value: v, Count: 1}
}

func quiet(dir string) Options {
	return Options{Dir: dir, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))}
}

func open(t *testing.T, o Options) *History {
	t.Helper()
	h, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

// catchUp reads a log from where the history says it stands.
func catchUp(t *testing.T, h *History, l *testLog) {
	t.Helper()
	at, err := h.Start(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	observe(t, h, l.after(at))
}

func observe(t *testing.T, h *History, b visutility.Batch) {
	t.Helper()
	if len(b.Entries) == 0 {
		return
	}
	if err := visutilitytest.HandOver(t.Context(), h, b); err != nil {
		t.Fatal(err)
	}
}

func selected(t interface {
	Helper()
	Fatal(...any)
}, h *History, q Query) []Series {
	t.Helper()
	got, err := h.Select(context.Background(), q)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// equal compares counts exactly and values bit by bit.
func equal(t interface {
	Helper()
	Errorf(string, ...any)
}, want, got []Series) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("history (-want +got):\n%s", diff)
	}
}

// naive rolls a log up by the book: steps of so many seconds, one event after another.
func naive(l *testLog, step int64) []Series {
	type cell struct {
		second int64 // of last
		p      Point
	}
	cells := make(map[visutility.Series]map[int64]*cell)
	for _, e := range l.entries {
		for _, r := range e.Records {
			key := e.Series[r.Series]
			key.Labels = withoutEmpty(key.Labels)
			if cells[key] == nil {
				cells[key] = make(map[int64]*cell)
			}
			second := r.Time / 1000
			at := second / step * step
			c := cells[key][at]
			if c == nil {
				c = &cell{second: math.MinInt64, p: Point{Time: time.Unix(at, 0).UTC(), Min: r.Value, Max: r.Value}}
				cells[key][at] = c
			}
			c.p.Min, c.p.Max, c.p.Count = min(c.p.Min, r.Value), max(c.p.Max, r.Value), c.p.Count+r.Count
			if second >= c.second {
				c.second, c.p.Last = second, r.Value
			}
		}
	}
	var all []Series
	for key, points := range cells {
		s := Series{Metric: key.Metric, Version: key.Version, Labels: key.Labels.Map(), Step: time.Duration(step) * time.Second}
		for _, at := range slices.Sorted(maps.Keys(points)) {
			s.Points = append(s.Points, points[at].p)
		}
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b Series) int { return cmpSeries(a, b) })
	return all
}

func cmpSeries(a, b Series) int {
	return slices.Compare(
		[]string{a.Metric, a.Version, string(visutility.MakeLabels(a.Labels))},
		[]string{b.Metric, b.Version, string(visutility.MakeLabels(b.Labels))})
}
