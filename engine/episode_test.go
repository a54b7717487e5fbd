package engine

import (
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/policy"
	"github.com/visutility/visutility/store"
)

const source = "model: m\nretrain: {when: accuracy < 0.8}\ntrain: {trainer: x}\n"

// engineWith is an engine of which there is no more than a store and the policies in force.
func engineWith(t *testing.T, policies ...*policy.Policy) *Engine {
	t.Helper()
	st, err := store.Open(t.Context(), store.Options{Path: filepath.Join(t.TempDir(), "state.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	o := Options{Policies: policies, Logger: slog.New(slog.DiscardHandler)}
	ps, err := openPolicies(t.Context(), &o, st)
	if err != nil {
		t.Fatal(err)
	}
	return &Engine{o: o, store: st, policies: ps}
}

func parse(t *testing.T, file, src string) *policy.Policy {
	t.Helper()
	p, err := policy.Parse(file, []byte(src))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestPolicyThen finds a policy as it was, or says that it is another.
func TestPolicyThen(t *testing.T) {
	now, old := parse(t, "p.yaml", source), parse(t, "p.yaml", source+"# as it was\n")
	e := engineWith(t, now)
	if err := e.store.SavePolicy(t.Context(), old.Name, old.Revision, old.Dir, old.Source); err != nil {
		t.Fatal(err)
	}
	if p, warning, err := e.policyThen(t.Context(), "p", old.Revision); err != nil || warning != "" || p.Revision != old.Revision {
		t.Errorf("%v, %q, %v", p, warning, err)
	}
	p, warning, err := e.policyThen(t.Context(), "p", "lost")
	if err != nil || p.Revision != now.Revision || p == now || !strings.Contains(warning, "is tested as it is now, at revision "+now.Revision+": at revision lost") {
		t.Errorf("%v, %q, %v", p, warning, err)
	}
	if _, _, err := e.policyThen(t.Context(), "q", "lost"); !errors.Is(err, visutility.ErrNotFound) {
		t.Errorf("%v", err)
	}
}

// TestPolicyFile names the file by which a test finds a policy: its own where that gives it its name.
func TestPolicyFile(t *testing.T) {
	plain, renamed := parse(t, "dir/plain.yml", source), parse(t, "dir/p.yaml", "name: other\n"+source)
	e := engineWith(t, plain, renamed)
	for want, p := range map[string]*policy.Policy{
		"plain.yml": plain,
		"p.yaml":    renamed,
		"old.yaml":  parse(t, "old.yaml", source),
	} {
		if got := e.policyFile(p, nil); got != want {
			t.Errorf("policy %q: %s, want %s", p.Name, got, want)
		}
	}
	taken := []*policy.Policy{{File: "plain.yml"}}
	if got := e.policyFile(plain, taken); got != "plain.yaml" {
		t.Errorf("beside another of the same file: %s", got)
	}
	taken = append(taken, &policy.Policy{File: "plain.yaml"})
	if got := e.policyFile(parse(t, "x.yaml", "name: plain\n"+source), taken); !strings.HasPrefix(got, "policy-") {
		t.Errorf("beside two others: %s", got)
	}
}
