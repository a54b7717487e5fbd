package quality

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/visutility/visutility"
)

var errCrash = errors.New("the power is cut")

// A machine is what outlives a crash: a log of events, without any memory of keys, and marks. Of its writes one may
// be the last before a crash, done or not.
type machine struct {
	visutility.Bus // only what is below is called
	log            [][]visutility.Event
	marks          map[string]visutility.Position
	left           int  // writes until the crash; negative for none
	done           bool // whether the last write is done
}

func (m *machine) write(do func()) error {
	m.left--
	if m.left != 0 || m.done {
		do()
	}
	if m.left == 0 {
		return errCrash
	}
	return nil
}

func (m *machine) publish(_ context.Context, _ string, events []visutility.Event) error {
	return m.write(func() {
		if len(events) > 0 {
			m.log = append(m.log, events)
		}
	})
}

func (m *machine) Last(context.Context, int) (visutility.Position, error) {
	return visutility.Position(len(m.log)), nil
}

func (m *machine) First(context.Context, int) (visutility.Position, error) { return 0, nil }

func (m *machine) Read(_ context.Context, _ int, after visutility.Position) iter.Seq2[visutility.Batch, error] {
	return func(yield func(visutility.Batch, error) bool) {
		for i := int(after); i < len(m.log); i++ {
			e := visutility.Entry{Position: visutility.Position(i + 1)}
			for k, ev := range m.log[i] {
				e.Series = append(e.Series, visutility.Series{Model: ev.Model, Metric: ev.Metric, Version: ev.Version, Labels: visutility.MakeLabels(ev.Labels)})
				e.Records = append(e.Records, visutility.Record{Series: uint32(k), Time: ev.Time.UnixMilli(), Value: ev.Value, Count: int64(ev.Count)})
			}
			if !yield(visutility.Batch{Entries: []visutility.Entry{e}}, nil) {
				return
			}
		}
	}
}

func (m *machine) ObserverPosition(_ context.Context, name string, partition int) (visutility.Position, bool, error) {
	p, ok := m.marks[fmt.Sprint(name, partition)]
	return p, ok, nil
}

func (m *machine) SetObserverPositions(_ context.Context, name string, positions map[int]visutility.Position) error {
	return m.write(func() {
		for partition, p := range positions {
			m.marks[fmt.Sprint(name, partition)] = p
		}
	})
}

// start opens an observer, with a clock that moves by itself so that snapshots are made.
func (m *machine) start(t testing.TB, dir string, now *time.Time) *Observer {
	t.Helper()
	o, err := NewObserver(Options{
		Dir: dir, Rules: rules(Settings{MatureAfter: time.Hour, MinSamples: 2}), Events: m, Publish: m.publish, Marks: m, SnapshotEvery: 7 * time.Second,
		Logger: slog.New(slog.DiscardHandler), Now: func() time.Time { *now = now.Add(time.Second); return *now },
	})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// history is a log of predictions with labels, over a day, one entry every ten minutes.
func history(t testing.TB) []visutility.Entry {
	t.Helper()
	var entries []visutility.Entry
	for i := range 150 {
		l := logged{stored: epoch.Add(time.Duration(i) * 10 * time.Minute)}
		for k := range 3 {
			id := strconv.Itoa(3*i + k)
			p := predicted(id, l.stored, class([]string{"true", "false"}[k%2]))
			p.Score, p.Features = float64(i%7)/7, []visutility.Feature{{Name: "x", Value: number(float64(i * k))}}
			l.predictions = append(l.predictions, p)
			if i > 3 && k > 0 {
				l.truths = append(l.truths, truth(strconv.Itoa(3*(i-3)+k), l.stored, class([]string{"true", "false"}[i%2])))
			}
		}
		if i > 120 {
			l.predictions, l.truths = nil, nil // silence
		}
		entries = append(entries, visutility.Entry{Position: visutility.Position(10 * (i + 1)), Stored: l.stored.UnixMilli(), Payloads: l.payloads(t)})
	}
	return entries
}

// run hands entries over from where the observer is, in batches.
func run(o *Observer, entries []visutility.Entry, size int) error {
	ctx := context.Background()
	at, err := o.Start(ctx, 0)
	if err != nil {
		return err
	}
	for i := 0; i < len(entries); i += size {
		b := entries[i:min(i+size, len(entries))]
		if b[len(b)-1].Position <= at {
			continue
		}
		if err := o.Observe(ctx, visutility.Batch{Entries: b}); err != nil {
			return err
		}
	}
	return nil
}

// TestCrashesChangeNothing cuts the power again and again, during any write, and for so long that no key is
// remembered: what was measured is in the log of events once.
func TestCrashesChangeNothing(t *testing.T) {
	entries := history(t)
	undisturbed := &machine{marks: map[string]visutility.Position{}}
	now := epoch
	if err := run(undisturbed.start(t, t.TempDir(), &now), entries, 10); err != nil {
		t.Fatal(err)
	}
	if len(undisturbed.log) < 20 {
		t.Fatalf("%d windows were judged", len(undisturbed.log))
	}
	dirs := t.TempDir()
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		dir := filepath.Join(dirs, strconv.Itoa(n))
		m := &machine{marks: map[string]visutility.Position{}}
		size := rapid.IntRange(1, 20).Draw(rt, "batch")
		for {
			m.left, m.done = rapid.IntRange(1, 60).Draw(rt, "crash"), rapid.Bool().Draw(rt, "done")
			o := m.start(t, dir, &now)
			err := run(o, entries, size)
			for retries := 0; err != nil && rapid.IntRange(0, 3).Draw(rt, "retry") == 0 && retries < 3; retries++ {
				err = run(o, entries, size) // the write failed but the process lives
			}
			if err == nil {
				if rapid.Bool().Draw(rt, "orderly") {
					if err := o.Close(); err != nil {
						rt.Fatal(err)
					}
					if err := run(m.start(t, dir, &now), entries, size); err != nil {
						rt.Fatal(err)
					}
				}
				break
			}
			switch rapid.IntRange(0, 5).Draw(rt, "damage") {
			case 0:
				_ = os.Remove(filepath.Join(dir, "joined-0")) // as if there had been none
			case 1:
				_ = os.WriteFile(filepath.Join(dir, "joined-0"), []byte("torn"), 0o600)
			}
		}
		if len(m.log) != len(undisturbed.log) {
			rt.Errorf("%d windows were published, want %d", len(m.log), len(undisturbed.log))
		}
		for i := range min(len(m.log), len(undisturbed.log)) {
			if got, want := fmt.Sprint(m.log[i]), fmt.Sprint(undisturbed.log[i]); got != want {
				rt.Fatalf("the log of events differs at %d:\n%s\nwant\n%s", i, got, want)
			}
		}
	})
}

// TestNewRulesBeginBehindWhatWasPublished changes the settings while the process is down, after a crash: each window is
// published once, and those to come are by the new settings.
func TestNewRulesBeginBehindWhatWasPublished(t *testing.T) {
	entries := history(t)
	for _, after := range []time.Duration{time.Second, 3 * time.Hour} {
		for crash := 1; crash < 40; crash++ {
			m, dir, now := &machine{marks: map[string]visutility.Position{}, left: crash, done: crash%2 == 0}, t.TempDir(), epoch
			_ = run(m.start(t, dir, &now), entries, 10) // ends in a crash
			for again := range 3 {                      // and again, under the new rules
				o := m.start(t, dir, &now)
				o.o.Rules = rules(Settings{MatureAfter: after + time.Duration(again), MinSamples: 2})
				m.left = 2 + (crash+again)%5
				_ = run(o, entries, 10)
			}
			m.left = 0
			o := m.start(t, dir, &now)
			o.o.Rules = rules(Settings{MatureAfter: after, MinSamples: 2})
			if err := run(o, entries, 10); err != nil {
				t.Fatal(err)
			}
			seen := map[time.Time]int{}
			for _, events := range m.log {
				seen[events[0].Time]++
			}
			for hour := 1; hour <= 20; hour++ {
				if n := seen[epoch.Add(time.Duration(hour)*time.Hour)]; n != 1 {
					t.Errorf("%v, crash at %d: the window until hour %d was published %d times", after, crash, hour, n)
				}
			}
		}
	}
}

// TestRefusedEventsDoNotStopTheRest: what the log of events will never take is counted and left out.
func TestRefusedEventsDoNotStopTheRest(t *testing.T) {
	m := &machine{marks: map[string]visutility.Position{}}
	now := epoch
	o := m.start(t, t.TempDir(), &now)
	first := true
	o.o.Publish = func(ctx context.Context, key string, events []visutility.Event) error {
		if first {
			first = false
			return visutility.Invalidf("events[0]", "series_limit", "would be too many")
		}
		return m.publish(ctx, key, events)
	}
	if err := run(o, history(t), 10); err != nil {
		t.Fatal(err)
	}
	if v := o.partitions[0].shown.Load(); v.refused == 0 || len(m.log) < 19 {
		t.Errorf("%d events were refused, %d windows published", v.refused, len(m.log))
	}
	if slices.ContainsFunc(m.log, func(e []visutility.Event) bool { return len(e) == 0 }) {
		t.Error("a window without measurements was published")
	}
}
