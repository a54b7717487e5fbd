package policy

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/visutility/visutility"
)

func fleet(glob string) string {
	return strings.Replace(policyText("accuracy < 0.8"), "model: m", "models: ["+glob+"]", 1)
}

func TestSetSharesPrograms(t *testing.T) {
	set, err := NewSet(mustParse(t, "b.yaml", fleet("fraud-*")), mustParse(t, "a.yaml", fleet("fraud-d*, x")), mustParse(t, "c.yaml", policyText("accuracy < 0.8")))
	if err != nil {
		t.Fatal(err)
	}
	if set.For("nobody") != nil {
		t.Error("a model without policies has a program")
	}
	if set.For("fraud-de") != set.For("fraud-dk") || set.For("fraud-de") == set.For("fraud-us") || set.For("m") == nil {
		t.Error("models share a program if and only if they have the same policies")
	}
	p := set.For("fraud-de")
	if got := p.Policies(); len(got) != 2 || got[0].Name != "a" || got[1].Name != "b" {
		t.Errorf("policies: %v", got)
	}
	if _, ok := set.Policy("c"); !ok || len(set.Policies()) != 3 {
		t.Error("the set does not know its policies")
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() { set.For(fmt.Sprint("fraud-", i)) })
	}
	wg.Wait()
}

func TestSetRefuses(t *testing.T) {
	a := mustParse(t, "a.yaml", policyText("accuracy < 0.8"))
	if _, err := NewSet(a, mustParse(t, "dir/a.yml", policyText("accuracy < 0.8"))); !errors.Is(err, visutility.ErrInvalid) || !strings.Contains(err.Error(), "dir/a.yml") {
		t.Errorf("two of one name: %v", err)
	}
	many := func(glob func(i int) string) []*Policy {
		var all []*Policy
		for i := range MaxPolicies + 1 {
			all = append(all, mustParse(t, fmt.Sprintf("p%d.yaml", i), fleet(glob(i))))
		}
		return all
	}
	if _, err := NewSet(many(func(i int) string { return `"*"` })...); !errors.Is(err, visutility.ErrInvalid) {
		t.Errorf("too many for one model: %v", err)
	}
	if _, err := NewSet(many(func(i int) string { return `"` + strings.Repeat("a", i) + `*"` })...); !errors.Is(err, visutility.ErrInvalid) {
		t.Errorf("too many for a model of many a: %v", err)
	}
	set, err := NewSet(many(func(i int) string { return fmt.Sprintf(`"fleet-%02d-*"`, i) })...)
	if err != nil || len(set.Policies()) != MaxPolicies+1 {
		t.Errorf("fleets that have no model in common: %v", err)
	}
}

// TestLookBits: the last of 64 policies has the last bit.
func TestLookBits(t *testing.T) {
	var texts []string
	for i := range MaxPolicies {
		texts = append(texts, policyText(fmt.Sprintf("accuracy < 0.%d", 10+i)))
	}
	p := mustSet(t, texts...).For("m")
	state := fresh(p)
	look := p.Observe(state, 0, 1, 1, 0.105, 1, 1, "")
	for i, pol := range p.Policies() {
		v, _, _ := p.Verdict(state, i)
		fires := pol.Retrain.When != "accuracy < 0.10"
		if (v == visutility.Fire) != fires || (look>>i&1 == 1) != fires {
			t.Errorf("policy %d (%s): %s, look %v", i, pol.Retrain.When, v, look>>i&1)
		}
	}
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestLoadDirKeepsTheLastGood(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "a.yaml", policyText("accuracy < 0.8"))
	write(t, dir, "b.yml", fleet("b"))
	write(t, dir, "notes.txt", "not a policy")
	write(t, dir, ".hidden.yaml", "not a policy")
	write(t, dir, "a_test.yaml", "policies: [a.yaml]\n")
	set, problems := LoadDir(dir, nil)
	if len(problems) > 0 || len(set.Policies()) != 2 {
		t.Fatalf("%v, %v", set.Policies(), problems)
	}

	write(t, dir, "a.yaml", policyText("acuracy < 0.8"))
	write(t, dir, "b.yml", fleet("b, c"))
	next, problems := LoadDir(dir, set)
	if len(problems) != 1 || !strings.Contains(problems[0].Error(), `did you mean "accuracy"?`) {
		t.Errorf("problems: %v", problems)
	}
	a, _ := next.Policy("a")
	if was, _ := set.Policy("a"); a != was {
		t.Error("the bad file replaced a good policy")
	}
	if b, _ := next.Policy("b"); !b.Matches("c") {
		t.Error("the good file did not replace its policy")
	}

	// A second policy of the same name is refused; the first stays.
	write(t, dir, "a.yaml", policyText("accuracy < 0.8"))
	write(t, dir, "c.yaml", "name: b\n"+fleet("c"))
	if next, problems = LoadDir(dir, next); len(problems) != 1 || len(next.Policies()) != 2 || !errors.Is(problems[0], visutility.ErrInvalid) {
		t.Errorf("%v, %v", next.Policies(), problems)
	}
	if one, ok := errors.AsType[*Error](problems[0]); !ok || filepath.Base(one.File) != "c.yaml" || !strings.HasPrefix(one.Message, `two policies are named "b": `) {
		t.Errorf("the problem does not say which file it is about: %v", problems[0])
	}

	// What is taken away is gone; a directory that cannot be read changes nothing.
	for _, name := range []string{"a.yaml", "c.yaml"} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if next, problems = LoadDir(dir, next); len(problems) > 0 || len(next.Policies()) != 1 {
		t.Errorf("%v, %v", next.Policies(), problems)
	}
	if same, problems := LoadDir(filepath.Join(dir, "none"), next); same != next || len(problems) != 1 {
		t.Errorf("%v, %v", same, problems)
	}
}

func TestWatch(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "a.yaml", policyText("accuracy < 0.8"))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	changed := make(chan struct{}, 1)
	done := make(chan error, 1)
	go func() {
		done <- Watch(ctx, dir, func() {
			select {
			case changed <- struct{}{}:
			default:
			}
		})
	}()
	// Nothing tells when the watch stands; so the file changes until it is noticed.
	retry := time.NewTicker(300 * time.Millisecond)
	defer retry.Stop()
	for i := 0; ; i++ {
		write(t, dir, "a.yaml", policyText(fmt.Sprintf("accuracy < 0.%d", i+1)))
		select {
		case <-changed:
		case <-retry.C:
			continue
		case err := <-done:
			t.Fatalf("the watch ended: %v", err)
		}
		break
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := Watch(t.Context(), filepath.Join(dir, "none"), func() {}); err == nil {
		t.Error("a directory that does not exist was watched")
	}
}
