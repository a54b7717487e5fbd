package store

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/visutility/visutility"
)

// pages reads a list to its end, in pages of a size.
func pages[T any](t *testing.T, size int, read func(Page) ([]T, string, error), id func(T) string) (ids []string) {
	t.Helper()
	for p := (Page{Limit: size}); ; {
		list, next, err := read(p)
		must(t, err)
		if len(list) > size || next != "" && len(list) < size {
			t.Fatalf("a page of %d has %d items and the cursor %q", size, len(list), next)
		}
		for _, v := range list {
			ids = append(ids, id(v))
		}
		if next == "" {
			return ids
		}
		p.Cursor = next
	}
}

func TestLists(t *testing.T) {
	both(t, func(t *testing.T, f fixture) {
		ctx := t.Context()
		e := f.acquire(t, 1)
		c := Commit{Epoch: e, Position: 1}
		var models, decisions, runs []string
		for i := range 25 {
			name := fmt.Sprintf("Model_%02d/ä", i)
			d, r := fired(fmt.Sprintf("%02d", i), name, epochTime(i/3)) // some at the same time
			d.Policy, d.Request = fmt.Sprintf("p%d", i%2), fmt.Sprintf("q%d", i%5)
			if i%4 == 0 {
				d.Outcome = visutility.Suppressed
			}
			if i%2 == 0 {
				r.State = visutility.Succeeded
			}
			c.Decisions, c.Runs, c.Models = append(c.Decisions, d), append(c.Runs, r), append(c.Models, Model{Name: name})
			models, decisions, runs = append(models, name), append(decisions, d.ID), append(runs, r.ID)
		}
		must(t, f.Commit(ctx, c))
		slices.Reverse(decisions)
		slices.Reverse(runs)
		keep := func(ids []string, which func(i int) bool) (kept []string) {
			for n, id := range ids {
				if which(len(ids) - 1 - n) {
					kept = append(kept, id)
				}
			}
			return kept
		}
		for _, size := range []int{1, 3, 24, 25, 26, 1000} {
			for _, l := range []struct {
				name      string
				want, got []string
			}{
				{"models", models, pages(t, size, func(p Page) ([]Model, string, error) { return f.Models(ctx, p, ModelFilter{}) }, func(m Model) string { return m.Name })},
				{"models by name", models[10:20], pages(t, size, func(p Page) ([]Model, string, error) { return f.Models(ctx, p, ModelFilter{Query: "mODEL_1"}) }, func(m Model) string { return m.Name })},
				{"models by %", nil, pages(t, size, func(p Page) ([]Model, string, error) { return f.Models(ctx, p, ModelFilter{Query: "1%"}) }, func(m Model) string { return m.Name })},
				{"decisions", decisions, f.decisionPages(t, size, DecisionFilter{})},
				{"decisions of a model", []string{"d07"}, f.decisionPages(t, size, DecisionFilter{Model: "Model_07/ä"})},
				{"decisions of a policy", keep(decisions, func(i int) bool { return i%2 == 1 }), f.decisionPages(t, size, DecisionFilter{Policy: "p1"})},
				{"decisions by outcome", keep(decisions, func(i int) bool { return i%4 == 0 }), f.decisionPages(t, size, DecisionFilter{Outcome: "suppressed"})},
				{"decisions by request", keep(decisions, func(i int) bool { return i%5 == 2 }), f.decisionPages(t, size, DecisionFilter{Request: "q2"})},
				{"decisions by all", keep(decisions, func(i int) bool { return i == 12 }), f.decisionPages(t, size, DecisionFilter{Model: "Model_12/ä", Policy: "p0", Outcome: "suppressed", Request: "q2"})},
				{"decisions until", decisions[25-12:], f.decisionPages(t, size, DecisionFilter{Until: epochTime(3)})},
				{"runs until", runs[25-12:], f.runPages(t, size, RunFilter{Until: epochTime(3)})},
				{"runs", runs, f.runPages(t, size, RunFilter{})},
				{"runs of a model", []string{"r07"}, f.runPages(t, size, RunFilter{Model: "Model_07/ä"})},
				{"runs by state", keep(runs, func(i int) bool { return i%2 == 0 }), f.runPages(t, size, RunFilter{States: []visutility.RunState{visutility.Succeeded, visutility.Failed}})},
			} {
				if diff := cmp.Diff(l.want, l.got); diff != "" {
					t.Errorf("%s in pages of %d (-want +got):\n%s", l.name, size, diff)
				}
			}
		}
		list, _, err := f.Decisions(ctx, DecisionFilter{})
		must(t, err)
		if len(list) != 25 {
			t.Errorf("the first page has %d decisions, want all 25", len(list))
		}
		open, err := f.OpenRuns(ctx)
		must(t, err)
		if len(open) != 12 || open[0].ID != "r01" {
			t.Errorf("%d runs are open, the first is %s", len(open), open[0].ID)
		}
	})
}

func (f fixture) decisionPages(t *testing.T, size int, filter DecisionFilter) []string {
	t.Helper()
	return pages(t, size, func(p Page) ([]visutility.Decision, string, error) {
		filter.Page = p
		return f.Decisions(t.Context(), filter)
	}, func(d visutility.Decision) string { return d.ID })
}

func (f fixture) runPages(t *testing.T, size int, filter RunFilter) []string {
	t.Helper()
	return pages(t, size, func(p Page) ([]visutility.Run, string, error) {
		filter.Page = p
		return f.Runs(t.Context(), filter)
	}, func(r visutility.Run) string { return r.ID })
}

func TestListsRefuseBadPages(t *testing.T) {
	both(t, func(t *testing.T, f fixture) {
		ctx := t.Context()
		encode := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
		for field, list := range map[string][]Page{
			"cursor": {{Cursor: "!"}, {Cursor: "x"}, {Cursor: encode("d")}, {Cursor: encode("d1")}, {Cursor: encode("dx/y")}, {Cursor: encode("z1/y")},
				{Cursor: encode("d1/\xff")}, {Cursor: encode("d1/\x00")}, {Cursor: encode("1/d")}, {Cursor: encode("d99999999999999999999/y")}, {Cursor: "ZDEveQ=="}},
			"limit": {{Limit: -1}, {Limit: MaxLimit + 1}},
		} {
			for _, p := range list {
				_, _, err := f.Decisions(ctx, DecisionFilter{Page: p})
				invalidField(t, err, field)
				_, _, err = f.Runs(ctx, RunFilter{Page: p})
				invalidField(t, err, field)
				_, _, err = f.Models(ctx, p, ModelFilter{})
				invalidField(t, err, field)
				_, _, err = f.Versions(ctx, "m", p)
				invalidField(t, err, field)
			}
		}
		_, _, err := f.Decisions(ctx, DecisionFilter{Outcome: "great"})
		invalidField(t, err, "outcome")
		_, _, err = f.Decisions(ctx, DecisionFilter{Model: "\xff", Request: "\x00", Policy: "\xfe"})
		must(t, err)
	})
}

func invalidField(t *testing.T, err error, field string) {
	t.Helper()
	if invalid, ok := err.(*visutility.InvalidError); !ok || invalid.Fields[0].Field != field {
		t.Errorf("%v, want ErrInvalid for the field %s", err, field)
	}
}

func TestWatch(t *testing.T) {
	both(t, func(t *testing.T, f fixture) {
		a, stopA := f.Watch()
		b, stopB := f.Watch()
		defer stopB()
		poked := func(c <-chan struct{}) bool {
			select {
			case <-c:
				return true
			default:
				return false
			}
		}
		must(t, f.SavePolicy(t.Context(), "p", "r", "dir", []byte("x"))) // no activity
		if poked(a) || poked(b) {
			t.Error("poked without activity")
		}
		must(t, f.AddActivity(t.Context(), Activity{Kind: ActivityPolicy, ID: "p"}))
		must(t, f.AddActivity(t.Context(), Activity{Kind: ActivityPolicy, ID: "q", Data: json.RawMessage(`{"a":1}`)}))
		if !poked(a) || poked(a) || !poked(b) {
			t.Error("two changes did not give one poke to each")
		}
		stopA()
		must(t, f.AddActivity(t.Context(), Activity{Kind: ActivityPolicy, ID: "r"}))
		if poked(a) || !poked(b) {
			t.Error("a stopped watcher was poked, or another was not")
		}
		kinds(t, f, 0, "policy p", "policy q", "policy r")
		list, err := f.Activities(t.Context(), 1, 1)
		must(t, err)
		if want := []Activity{{2, epoch, ActivityPolicy, "", "q", json.RawMessage(`{"a":1}`)}}; !cmp.Equal(want, list) {
			t.Errorf("activities after 1: %+v", list)
		}
	})
}

func TestOutbox(t *testing.T) {
	both(t, func(t *testing.T, f fixture) {
		ctx := t.Context()
		control := func(by string) visutility.Control {
			return visutility.Control{Kind: visutility.ControlPromoted, Model: "m", Version: "v2", PreviousMetrics: map[string]float64{"x": 0.5}, By: by}
		}
		must(t, f.Announce(ctx, control("a"), control("b")))
		must(t, f.Announce(ctx, control("c")))
		box, err := f.Outbox(ctx, 2)
		must(t, err)
		if want := []Announcement{{1, control("a")}, {2, control("b")}}; !cmp.Equal(want, box) {
			t.Errorf("the outbox holds %+v", box)
		}
		must(t, f.Announced(ctx, 1, 2, 3))
		must(t, f.Announced(ctx))
		must(t, f.Announce(ctx, control("d")))
		box, err = f.Outbox(ctx, 10)
		must(t, err)
		if len(box) != 1 || box[0].ID != 4 {
			t.Errorf("after emptying it the outbox holds %+v: an id must not be used again", box)
		}
	})
}

func TestObserverPositions(t *testing.T) {
	both(t, func(t *testing.T, f fixture) {
		ctx := t.Context()
		_, ok, err := f.ObserverPosition(ctx, "history", 0)
		if err != nil || ok {
			t.Errorf("a new observer has a position (%v)", err)
		}
		must(t, f.SetObserverPositions(ctx, "history", map[int]visutility.Position{0: 3, 5: 1 << 60}))
		must(t, f.SetObserverPositions(ctx, "history", map[int]visutility.Position{0: 4}))
		must(t, f.SetObserverPositions(ctx, "live", map[int]visutility.Position{0: 9}))
		for p, want := range map[int]visutility.Position{0: 4, 5: 1 << 60} {
			if got, ok, err := f.ObserverPosition(ctx, "history", p); err != nil || !ok || got != want {
				t.Errorf("partition %d is at %d (%t, %v), want %d", p, got, ok, err, want)
			}
		}
		must(t, f.DeleteObserver(ctx, "history"))
		if _, ok, err := f.ObserverPosition(ctx, "history", 0); err != nil || ok {
			t.Errorf("the position is still there (%v)", err)
		}
		if _, ok, err := f.ObserverPosition(ctx, "live", 0); err != nil || !ok {
			t.Errorf("the other observer's position is gone (%v)", err)
		}
	})
}

func TestPolicies(t *testing.T) {
	both(t, func(t *testing.T, f fixture) {
		ctx := t.Context()
		must(t, f.SavePolicy(ctx, "p", "r1", "/a", []byte("source\x00\xff")))
		must(t, f.SavePolicy(ctx, "p", "r2", "/a", nil))
		must(t, f.SavePolicy(ctx, "p", "r1", "/b", []byte("other")))
		dir, source, err := f.Policy(ctx, "p", "r1")
		must(t, err)
		if dir != "/b" || string(source) != "source\x00\xff" {
			t.Errorf("%s, %q", dir, source)
		}
		_, _, err = f.Policy(ctx, "p", "r3")
		wantError(t, "an unknown revision", err, visutility.ErrNotFound)
	})
}

func TestPrune(t *testing.T) {
	both(t, func(t *testing.T, f fixture) {
		ctx := t.Context()
		e := f.acquire(t, 1)
		c := Commit{Epoch: e, Position: 1}
		for i := range pruneBatch + 50 { // more than a batch
			c.Decisions = append(c.Decisions, decision(fmt.Sprintf("d%04d", i), "m", epoch))
		}
		c.Models = []Model{{Name: "m", LastDecision: "d0007"}}
		must(t, f.Commit(ctx, c))
		ended := f.open(t, e, "ended", "a", visutility.Pending)
		ended.State = visutility.Failed
		must(t, f.MoveRun(ctx, ended, visutility.Pending, ""))
		f.open(t, e, "open", "b", visutility.Pending)
		f.clock.move(time.Hour)
		must(t, f.Commit(ctx, Commit{Epoch: e, Position: 2, Decisions: []visutility.Decision{decision("new", "m", f.clock.Now())}}))

		n, err := f.Prune(ctx, Retention{})
		if err != nil || n != 0 {
			t.Errorf("without a retention %d rows went (%v)", n, err)
		}
		if _, err := f.Prune(ctx, Retention{Runs: -1}); err == nil {
			t.Error("a negative retention is taken")
		}
		n, err = f.Prune(ctx, Retention{Decisions: time.Minute, Runs: time.Minute, Activities: time.Minute})
		must(t, err)
		// The decisions but d0007 (the model's last), dended with its run, all activities but the newest.
		if want := int64(pruneBatch + 49 + 2 + pruneBatch + 50 + 5); n != want {
			t.Errorf("%d rows went, want %d", n, want)
		}
		if got, want := f.decisionPages(t, 10, DecisionFilter{}), []string{"new", "dopen", "d0007"}; !cmp.Equal(got, want) {
			t.Errorf("the decisions %v stay, want %v", got, want)
		}
		if got, want := f.runPages(t, 10, RunFilter{}), []string{"ropen"}; !cmp.Equal(got, want) {
			t.Errorf("the runs %v stay, want %v", got, want)
		}
		if steps, err := f.Transitions(ctx, "rended"); err != nil || len(steps) != 0 {
			t.Errorf("the transitions %v stay (%v)", steps, err)
		}
		list, err := f.Activities(ctx, 0, 10)
		if err != nil || len(list) != 1 || list[0].ID != "new" {
			t.Errorf("the activities %v stay (%v)", list, err)
		}
	})
}
