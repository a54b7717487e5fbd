package visutilitytest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/visutility/visutility"
)

// TestRegistry checks that an implementation of [visutility.Registry] keeps the
// promises of the interface. open returns a registry without versions of the models
// that the suite uses; it is called once per subtest and cleans up by t.Cleanup.
func TestRegistry(t *testing.T, open func(t *testing.T) visutility.Registry) {
	for _, c := range []struct {
		name string
		test func(*testing.T, visutility.Registry)
	}{
		{"RegisterIsIdempotentOnRun", registerIsIdempotent},
		{"RegisterConcurrently", registerConcurrently},
		{"VersionsAreImmutable", versionsAreImmutable},
		{"OtherURIsAreKept", otherURIsAreKept},
		{"VersionsNewestFirst", versionsNewestFirst},
		{"NotFound", registryNotFound},
		{"AliasCompareAndSwap", aliasCompareAndSwap},
		{"AliasConcurrently", aliasConcurrently},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, open(t)) })
	}
}

func version(model, run string) visutility.Version {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	return visutility.Version{
		Model: model, Run: run, Decision: "d-" + run, Parent: "",
		Artifact:  visutility.Artifact{URI: "s3://bucket/" + model + "/" + run, Metrics: map[string]float64{"wmape": 0.21}},
		Metrics:   map[string]float64{"wmape": 0.21},
		Window:    visutility.Window{From: at.Add(-time.Hour), To: at},
		CreatedAt: at,
	}
}

func register(t *testing.T, r visutility.Registry, v visutility.Version) visutility.Version {
	t.Helper()
	v, err := r.Register(t.Context(), v)
	if err != nil {
		t.Fatalf("Register(%s, run %s): %v", v.Model, v.Run, err)
	}
	return v
}

func resolve(t *testing.T, r visutility.Registry, model, ref string) visutility.Version {
	t.Helper()
	v, err := r.Resolve(t.Context(), model, ref)
	if err != nil {
		t.Fatalf("Resolve(%s, %s): %v", model, ref, err)
	}
	return v
}

func setAlias(t *testing.T, r visutility.Registry, model, to, from string, want error) {
	t.Helper()
	if err := r.SetAlias(t.Context(), model, visutility.Champion, to, from); !errors.Is(err, want) {
		t.Fatalf("SetAlias(%s, to %q, from %q): %v, want %v", model, to, from, err, want)
	}
}

func registerIsIdempotent(t *testing.T, r visutility.Registry) {
	first := register(t, r, version("bike", "r1"))
	if first.ID == "" {
		t.Fatal("Register gave the version no ID")
	}
	again := register(t, r, version("bike", "r1"))
	if again.ID != first.ID {
		t.Errorf("the same run got %s and then %s", first.ID, again.ID)
	}
	second := register(t, r, version("bike", "r2"))
	if second.ID == first.ID {
		t.Errorf("two runs share the version %s", first.ID)
	}
	// Runs of different models have nothing to do with each other.
	if other := register(t, r, version("car", "r1")); other.Model != "car" {
		t.Errorf("registering for car gave a version of %s", other.Model)
	}
	if n := len(list(t, r, "bike")); n != 2 {
		t.Errorf("bike has %d versions, want 2", n)
	}
}

func registerConcurrently(t *testing.T, r visutility.Registry) {
	const runs, callers = 4, 4
	ids := make([][callers]string, runs)
	var wg sync.WaitGroup
	for run := range runs {
		for caller := range callers {
			wg.Go(func() {
				v, err := r.Register(t.Context(), version("bike", fmt.Sprintf("r%d", run)))
				if err != nil {
					t.Errorf("Register: %v", err)
				}
				ids[run][caller] = v.ID
			})
		}
	}
	wg.Wait()
	seen := make(map[string]bool)
	for run, got := range ids {
		for _, id := range got {
			if id != got[0] {
				t.Errorf("run r%d got the versions %v, want one", run, got)
			}
		}
		seen[got[0]] = true
	}
	if len(seen) != runs {
		t.Errorf("%d runs got %d versions", runs, len(seen))
	}
}

func versionsAreImmutable(t *testing.T, r visutility.Registry) {
	want := register(t, r, version("bike", "r1"))
	changed := version("bike", "r1")
	changed.Artifact.URI, changed.Metrics, changed.Parent = "s3://elsewhere", map[string]float64{"wmape": 9}, "v7"
	register(t, r, changed)
	register(t, r, version("bike", "r2"))
	got := resolve(t, r, "bike", want.ID)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the version changed (-registered +now):\n%s", diff)
	}
	in := version("bike", "r1")
	in.ID = want.ID
	if diff := cmp.Diff(in, got); diff != "" {
		t.Errorf("the version is not what was registered (-given +stored):\n%s", diff)
	}
}

func otherURIsAreKept(t *testing.T, r visutility.Registry) {
	for i, uri := range []string{
		"s3://bucket/a b?x=1#y", "https://example.com/%2e%2e/etc/passwd", "urn:model:7", "gs://b/../c", "FTP://host/x", "",
	} {
		v := version("bike", fmt.Sprintf("r%d", i))
		v.Artifact.URI = uri
		if got := resolve(t, r, "bike", register(t, r, v).ID); got.Artifact.URI != uri {
			t.Errorf("the URI %q became %q", uri, got.Artifact.URI)
		}
	}
}

func list(t *testing.T, r visutility.Registry, model string) (ids []string) {
	t.Helper()
	for v, err := range r.Versions(t.Context(), model) {
		if err != nil {
			t.Fatalf("Versions(%s): %v", model, err)
		}
		ids = append(ids, v.ID)
	}
	return ids
}

func versionsNewestFirst(t *testing.T, r visutility.Registry) {
	const n = 230 // more than a page of any sensible size
	want := make([]string, n)
	for i := range n {
		want[n-1-i] = register(t, r, version("bike", fmt.Sprintf("r%d", i))).ID
	}
	register(t, r, version("car", "r1"))
	if diff := cmp.Diff(want, list(t, r, "bike")); diff != "" {
		t.Errorf("Versions (-want +got):\n%s", diff)
	}
	if got := list(t, r, "unknown"); got != nil {
		t.Errorf("Versions of an unknown model: %v", got)
	}
	for v, err := range r.Versions(t.Context(), "bike") { // breaking off is allowed
		if err != nil || v.ID != want[0] {
			t.Errorf("the first version is %s (%v), want %s", v.ID, err, want[0])
		}
		break
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var last error
	for _, err := range r.Versions(ctx, "bike") {
		last = err
	}
	if last == nil {
		t.Error("Versions yields no error when its context has ended")
	}
}

func registryNotFound(t *testing.T, r visutility.Registry) {
	v := register(t, r, version("bike", "r1"))
	for _, c := range [][2]string{{"bike", "v999"}, {"bike", visutility.Champion}, {"bike", ""}, {"unknown", v.ID}, {"", v.ID}, {"bike", "v01"}, {"bi\x00ke", v.ID}} {
		if _, err := r.Resolve(t.Context(), c[0], c[1]); !errors.Is(err, visutility.ErrNotFound) && !errors.Is(err, visutility.ErrInvalid) {
			t.Errorf("Resolve(%q, %q): %v, want ErrNotFound", c[0], c[1], err)
		}
	}
	setAlias(t, r, "bike", "v999", "", visutility.ErrNotFound)
	setAlias(t, r, "unknown", v.ID, "", visutility.ErrNotFound)
}

func aliasCompareAndSwap(t *testing.T, r visutility.Registry) {
	a, b := register(t, r, version("bike", "r1")), register(t, r, version("bike", "r2"))
	setAlias(t, r, "bike", a.ID, b.ID, visutility.ErrConflict) // does not exist yet
	setAlias(t, r, "bike", a.ID, "", nil)
	setAlias(t, r, "bike", a.ID, "", nil) // it is there already
	setAlias(t, r, "bike", b.ID, "", visutility.ErrConflict)
	setAlias(t, r, "bike", b.ID, b.ID, visutility.ErrConflict)
	if got := resolve(t, r, "bike", visutility.Champion); got.ID != a.ID || !cmp.Equal(got.Aliases, []string{visutility.Champion}) {
		t.Errorf("the champion is %s with aliases %v, want %s with its alias", got.ID, got.Aliases, a.ID)
	}
	setAlias(t, r, "bike", b.ID, a.ID, nil)
	setAlias(t, r, "bike", b.ID, a.ID, nil) // again, as after a lost reply
	if got := resolve(t, r, "bike", visutility.Champion); got.ID != b.ID {
		t.Errorf("the champion is %s, want %s", got.ID, b.ID)
	}
	if got := resolve(t, r, "bike", a.ID); len(got.Aliases) != 0 {
		t.Errorf("%s still has the aliases %v", a.ID, got.Aliases)
	}
	register(t, r, version("car", "r1"))
	if _, err := r.Resolve(t.Context(), "car", visutility.Champion); !errors.Is(err, visutility.ErrNotFound) {
		t.Errorf("the champion of bike is one of car too: %v", err)
	}
}

// aliasConcurrently lets callers race, each always moving the alias to a version that
// nobody else moves it to. If the moves took effect one after the other, each version was left at
// most once: the moves that succeeded form one chain from nothing to where the alias is now.
func aliasConcurrently(t *testing.T, r visutility.Registry) {
	const callers, moves = 4, 8
	ids := make([]string, callers*moves)
	for i := range ids {
		ids[i] = register(t, r, version("bike", fmt.Sprintf("r%d", i))).ID
	}
	var mu sync.Mutex
	next := make(map[string]string)
	var wg sync.WaitGroup
	for caller := range callers {
		wg.Go(func() {
			for _, to := range ids[caller*moves:][:moves] {
				from := ""
				if v, err := r.Resolve(t.Context(), "bike", visutility.Champion); err == nil {
					from = v.ID
				}
				switch err := r.SetAlias(t.Context(), "bike", visutility.Champion, to, from); {
				case err == nil:
					mu.Lock()
					if other, twice := next[from]; twice {
						t.Errorf("the alias moved from %q twice: to %s and to %s", from, other, to)
					}
					next[from] = to
					mu.Unlock()
				case !errors.Is(err, visutility.ErrConflict):
					t.Errorf("SetAlias: %v", err)
				}
			}
		})
	}
	wg.Wait()
	at, steps := "", 0
	for ; next[at] != ""; steps++ {
		at = next[at]
	}
	if steps != len(next) {
		t.Errorf("%d moves succeeded, but only %d follow each other", len(next), steps)
	}
	if got := resolve(t, r, "bike", visutility.Champion).ID; got != at {
		t.Errorf("the champion is %s, but the moves lead to %s", got, at)
	}
}
