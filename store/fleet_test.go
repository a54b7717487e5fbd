package store

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/visutility/visutility"
)

func TestFleet(t *testing.T) {
	both(t, func(t *testing.T, f fixture) {
		ctx := t.Context()
		c := Commit{Epoch: f.acquire(t, 1), Position: 1}
		add := func(name string, m Model) {
			m.Name, m.LastEventAt, m.LastDecision = name, epochTime(len(c.Models)), "d-"+name
			c.Models = append(c.Models, m)
		}
		run := func(model string, state visutility.RunState) {
			d, r := fired(model, model, epoch)
			r.State = state
			c.Decisions, c.Runs = append(c.Decisions, d), append(c.Runs, r)
		}
		watched := []string{"p"}
		add("a-holds", Model{Policies: watched})
		add("b-fires", Model{Policies: watched, Verdict: visutility.Fire})
		add("c-breach", Model{Policies: watched, Verdict: visutility.Breach})
		add("d-trains", Model{Policies: watched, Verdict: visutility.Fire})
		run("d-trains", visutility.Training)
		add("e-waits", Model{Policies: watched, Paused: true})
		run("e-waits", visutility.AwaitingApproval)
		add("f-paused", Model{Policies: watched, Paused: true, Verdict: visutility.Fire})
		add("g-alone", Model{})
		add("h-watches", Model{Policies: watched}) // a run that is watched does not keep it busy
		run("h-watches", visutility.Watching)
		must(t, f.Commit(ctx, c))

		list := func(q FleetQuery) (names []string) {
			t.Helper()
			models, err := f.Fleet(ctx, q)
			must(t, err)
			for _, m := range models {
				names = append(names, m.Name)
			}
			return names
		}
		for _, c := range []struct {
			q    FleetQuery
			want []string
		}{
			{FleetQuery{}, []string{"a-holds", "b-fires", "c-breach", "d-trains", "e-waits", "f-paused", "g-alone", "h-watches"}},
			{FleetQuery{Sort: "state"}, []string{"e-waits", "b-fires", "c-breach", "d-trains", "f-paused", "a-holds", "h-watches", "g-alone"}},
			{FleetQuery{Sort: "event", Limit: 2}, []string{"h-watches", "g-alone"}},
			{FleetQuery{Sort: "event", Limit: 2, Offset: 7}, []string{"a-holds"}},
			{FleetQuery{State: StateHolding}, []string{"a-holds", "h-watches"}},
			{FleetQuery{Query: "S", State: StatePaused}, []string{"f-paused"}},
			{FleetQuery{Query: "%"}, nil},
		} {
			if diff := cmp.Diff(c.want, list(c.q)); diff != "" {
				t.Errorf("%+v: %s", c.q, diff)
			}
		}
		models, err := f.Fleet(ctx, FleetQuery{Query: "d-t"})
		must(t, err)
		if len(models) != 1 || models[0].State != StateRetraining || models[0].Run != c.Runs[0].ID {
			t.Errorf("got %+v", models)
		}
		counts, err := f.CountFleet(ctx, "")
		must(t, err)
		want := map[string]int{StateHolding: 2, StateFiring: 1, StateBreach: 1, StateRetraining: 1, StateAwaitingApproval: 1, StatePaused: 1, StateUnwatched: 1}
		if diff := cmp.Diff(want, counts); diff != "" {
			t.Error(diff)
		}
		counts, err = f.CountFleet(ctx, "-alone")
		must(t, err)
		if counts[StateUnwatched] != 1 || counts[StateHolding] != 0 {
			t.Errorf("counted %v", counts)
		}
		for _, q := range []FleetQuery{{Sort: "x"}, {State: "x"}, {Offset: -1}, {Limit: MaxLimit + 1}} {
			_, err := f.Fleet(ctx, q)
			wantError(t, "a bad query", err, visutility.ErrInvalid)
		}
		decisions, err := f.DecisionsOf(ctx, []string{c.Decisions[0].ID, "none"})
		must(t, err)
		if len(decisions) != 1 || decisions[c.Decisions[0].ID].Model != "d-trains" {
			t.Errorf("got %v", decisions)
		}
	})
}

// Rows that were written before the columns were there have them filled in from their bodies.
func TestFleetColumnsOfOldRows(t *testing.T) {
	both(t, func(t *testing.T, f fixture) {
		ctx := t.Context()
		c := Commit{Epoch: f.acquire(t, 1), Position: 1}
		c.Models = []Model{{Name: "m", Policies: []string{"p"}, Verdict: visutility.Breach, LastEventAt: epoch}, {Name: "n"}}
		must(t, f.Commit(ctx, c))
		p, err := f.migrations()
		must(t, err)
		_, err = p.DownTo(ctx, 1)
		must(t, err)
		_, err = p.UpTo(ctx, 2)
		must(t, err)
		got, err := f.Fleet(ctx, FleetQuery{Sort: "event"})
		must(t, err)
		if len(got) != 2 || got[0].Name != "m" || got[0].State != StateBreach || got[1].State != StateUnwatched {
			t.Errorf("got %+v", got)
		}
	})
}
