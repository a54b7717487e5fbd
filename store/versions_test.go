package store

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/visutility/visutility"
)

func (f fixture) version(t testing.TB, model, run string) string {
	t.Helper()
	v, err := f.InsertVersion(t.Context(), visutility.Version{Model: model, Run: run})
	must(t, err)
	return v.ID
}

func TestVersions(t *testing.T) {
	both(t, func(t *testing.T, f fixture) {
		ctx := t.Context()
		var want []string
		for i := range 25 {
			want = append(want, f.version(t, "bike", fmt.Sprintf("r%d", i)))
		}
		if want[0] != "v1" || want[24] != "v25" || f.version(t, "bike", "r3") != "v4" || f.version(t, "car", "r3") != "v1" {
			t.Errorf("the versions are %v", want)
		}
		if a, b := f.version(t, "car", ""), f.version(t, "car", ""); a != "v2" || b != "v3" {
			t.Errorf("versions without a run: %s, %s", a, b)
		}
		slices.Reverse(want)
		for _, size := range []int{1, 7, 25, 26} {
			var ids []string
			for p := (Page{Limit: size}); ; {
				list, next, err := f.Versions(ctx, "bike", p)
				must(t, err)
				for _, v := range list {
					ids = append(ids, v.ID)
				}
				if p.Cursor = next; next == "" {
					break
				}
			}
			if diff := cmp.Diff(want, ids); diff != "" {
				t.Errorf("in pages of %d (-want +got):\n%s", size, diff)
			}
		}
		v, err := f.VersionOfRun(ctx, "bike", "r7")
		if err != nil || v.ID != "v8" || !v.CreatedAt.Equal(epoch) {
			t.Errorf("the version of r7 is %+v (%v)", v, err)
		}
		for _, run := range []string{"none", ""} {
			_, err = f.VersionOfRun(ctx, "bike", run)
			wantError(t, "the version of run "+run, err, visutility.ErrNotFound)
		}
		for _, bad := range []visutility.Version{
			{}, {Model: "a\x00"}, {Model: strings.Repeat("x", 300)}, {Model: "m", Run: "\xff"},
			{Model: "m", Metrics: map[string]float64{"x": math.NaN()}}, {Model: "m", Artifact: visutility.Artifact{ChampionMetrics: map[string]float64{"x": math.Inf(1)}}},
		} {
			_, err := f.InsertVersion(ctx, bad)
			wantError(t, fmt.Sprintf("InsertVersion(%.60v)", bad), err, visutility.ErrInvalid)
		}
	})
}

func TestInsertVersionConcurrently(t *testing.T) {
	both(t, func(t *testing.T, f fixture) {
		var wg sync.WaitGroup
		for i := range 24 {
			wg.Go(func() {
				if _, err := f.InsertVersion(t.Context(), visutility.Version{Model: "bike", Run: fmt.Sprintf("r%d", i/2)}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		list, _, err := f.Versions(t.Context(), "bike", Page{})
		must(t, err)
		for i, v := range list {
			if want := fmt.Sprintf("v%d", 12-i); v.ID != want {
				t.Errorf("version %d is %s, want %s", i, v.ID, want)
			}
		}
		if len(list) != 12 {
			t.Errorf("12 runs have %d versions", len(list))
		}
	})
}

func TestAliases(t *testing.T) {
	both(t, func(t *testing.T, f fixture) {
		ctx := t.Context()
		f.version(t, "bike", "r1")
		f.version(t, "bike", "r2")
		set := func(alias, to, from string, want error) {
			t.Helper()
			wantError(t, fmt.Sprintf("moving %s from %q to %q", alias, from, to), f.SetAlias(ctx, "bike", alias, to, from), want)
		}
		set("champion", "", "", nil) // it is nowhere already
		set("champion", "v1", "", nil)
		set("champion", "v1", "v2", nil) // it is there already
		set("champion", "", "", visutility.ErrConflict)
		set("champion", "v2", "", visutility.ErrConflict)
		set("champion", "v2", "rubbish", visutility.ErrConflict)
		set("champion", "v3", "v1", visutility.ErrNotFound)
		set("champion", "rubbish", "v1", visutility.ErrNotFound)
		set("canary", "v1", "", nil)
		f.clock.move(time.Second)
		set("champion", "v2", "v1", nil)
		set("champion", "", "v1", visutility.ErrConflict)
		for _, bad := range []string{"", "v1", "v007", "a\x00", strings.Repeat("a", 300)} {
			set(bad, "v1", "", visutility.ErrInvalid)
		}
		set("v-next", "v2", "", nil)
		got, err := f.Version(ctx, "bike", "champion")
		if err != nil || got.ID != "v2" || !cmp.Equal(got.Aliases, []string{"champion", "v-next"}) {
			t.Errorf("the champion is %s with %v (%v)", got.ID, got.Aliases, err)
		}
		set("champion", "", "v2", nil)
		_, err = f.Version(ctx, "bike", "champion")
		wantError(t, "an alias that was taken away", err, visutility.ErrNotFound)
		moves, err := f.AliasMoves(ctx, "bike", "champion", 10)
		must(t, err)
		later := epoch.Add(time.Second)
		if diff := cmp.Diff([]AliasMove{{"bike", "champion", "v2", "", later}, {"bike", "champion", "v1", "v2", later}, {"bike", "champion", "", "v1", epoch}}, moves); diff != "" {
			t.Errorf("moves (-want +got):\n%s", diff)
		}
		kinds(t, f, 0, "alias champion", "alias canary", "alias champion", "alias v-next", "alias champion")
	})
}

// TestSetAliasIsLinearizable lets callers race, each always moving the alias to a version
// that nobody moves it to at any other time. Moves that took effect one after the other leave each
// version at most once, and form one chain from nothing to where the alias is in
// the end; and no look sees a version before the one that an earlier look of the same caller saw.
func TestSetAliasIsLinearizable(t *testing.T) {
	both(t, func(t *testing.T, f fixture) {
		const callers, calls = 6, 15
		ids := make([]string, callers*calls)
		for i := range ids {
			ids[i] = f.version(t, "bike", fmt.Sprint("r", i))
		}
		var mu sync.Mutex
		next := make(map[string]string)
		looks := make([][]string, callers)
		var wg sync.WaitGroup
		for c := range callers {
			wg.Go(func() {
				for _, to := range ids[c*calls:][:calls] {
					v, err := f.Version(t.Context(), "bike", "champion")
					if err != nil && !errors.Is(err, visutility.ErrNotFound) {
						t.Error(err)
					}
					looks[c] = append(looks[c], v.ID)
					err = f.SetAlias(t.Context(), "bike", "champion", to, v.ID)
					if err != nil && !errors.Is(err, visutility.ErrConflict) {
						t.Error(err)
					}
					if err != nil {
						continue
					}
					mu.Lock()
					if other, twice := next[v.ID]; twice {
						t.Errorf("the alias left %q twice: to %s and to %s", v.ID, other, to)
					}
					next[v.ID] = to
					mu.Unlock()
					looks[c] = append(looks[c], to)
				}
			})
		}
		wg.Wait()
		at, place := "", map[string]int{"": 0}
		for next[at] != "" {
			at = next[at]
			place[at] = len(place)
		}
		if len(place)-1 != len(next) {
			t.Errorf("%d moves succeeded, but only %d follow each other", len(next), len(place)-1)
		}
		if v, err := f.Version(t.Context(), "bike", "champion"); err != nil || v.ID != at {
			t.Errorf("the champion is %s (%v), but the moves lead to %s", v.ID, err, at)
		}
		for c, seen := range looks {
			if !slices.IsSortedFunc(seen, func(a, b string) int { return place[a] - place[b] }) {
				t.Errorf("caller %d saw the alias go back: %v", c, seen)
			}
		}
		moves, err := f.AliasMoves(t.Context(), "bike", "champion", 1000)
		if err != nil || len(moves) != len(next) || moves[0].To != at {
			t.Errorf("%d moves are recorded, %d succeeded (%v)", len(moves), len(next), err)
		}
	})
}
