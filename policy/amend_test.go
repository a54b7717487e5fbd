package policy

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/visutility/visutility"
)

const trained = `model: m
metrics:
  psi: {source: {prometheus: {query: psi, url: "https://prom.example", token_env: TOKEN}}}
retrain: {when: accuracy < 0.8}
train: {run: ./train --fast, env: [HOME], timeout: 1h}
`

// amended is a directory with one policy, and the set that it makes.
func amended(t *testing.T) (dir string, set *Set) {
	t.Helper()
	dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "fraud.yml"), []byte(trained), 0o640); err != nil {
		t.Fatal(err)
	}
	set, problems := LoadDir(dir, nil)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return dir, set
}

func TestAmend(t *testing.T) {
	dir, set := amended(t)
	replace := func(pairs ...string) string { return strings.NewReplacer(pairs...).Replace(trained) }
	for name, c := range map[string]struct{ policy, source, refused string }{
		"another threshold":        {"fraud", replace("0.8", "0.7"), ""},
		"another query, same host": {"fraud", replace("query: psi", "query: max(psi)"), ""},
		"a new one, trained alike": {"more", replace("model: m", "model: other"), ""},
		"another command":          {"fraud", replace("--fast", "--slow"), "trains as no policy in force does"},
		"a shell":                  {"fraud", replace("run: ./train --fast", "run: ./train --fast, shell: true"), "trains as no policy in force does"},
		"more environment":         {"fraud", replace("[HOME]", "[HOME, AWS_SECRET_ACCESS_KEY]"), "trains as no policy in force does"},
		"a new one, own command":   {"more", replace("./train", "./other"), "trains as no policy in force does"},
		"a webhook":                {"fraud", replace("run: ./train --fast, env: [HOME]", "webhook: {url: https://x.example}"), "trains as no policy in force does"},
		"another Prometheus":       {"fraud", replace("prom.example", "evil.example"), "asks another Prometheus for psi"},
		"another secret":           {"fraud", replace("TOKEN", "OTHER"), "asks another Prometheus for psi"},
		"the server's Prometheus":  {"fraud", replace(`, url: "https://prom.example", token_env: TOKEN`, ""), ""},
		"another name":             {"fraud", "name: other\n" + trained, `names the policy "other", not "fraud"`},
		"a path":                   {"../fraud", trained, "cannot name a policy"},
		"a hidden file":            {".fraud", trained, "cannot name a policy"},
		"a file of tests":          {"fraud_test", trained, "would be a file of tests"},
		"a fault":                  {"fraud", replace("accuracy", "acuracy <"), "fraud.yml:4"},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := set.Amend(dir, c.policy, []byte(c.source))
			if c.refused != "" {
				if !errors.Is(err, visutility.ErrInvalid) || !strings.Contains(err.Error(), c.refused) {
					t.Fatalf("refused with %v; want %q", err, c.refused)
				}
				return
			}
			if err != nil || p.Name != c.policy || filepath.Dir(p.File) != dir {
				t.Fatalf("%+v, %v", p, err)
			}
		})
	}
}

func TestAmendKeepsTheSetWhole(t *testing.T) {
	dir := t.TempDir()
	var all []*Policy
	for i := range MaxPolicies {
		all = append(all, mustParse(t, filepath.Join(dir, "p"+strings.Repeat("x", i)+".yaml"), trained))
	}
	set, err := NewSet(all...)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := set.Amend(dir, "p", []byte(trained)); err != nil {
		t.Errorf("in the place of one: %v", err)
	}
	if _, err := set.Amend(dir, "q", []byte(trained)); !errors.Is(err, visutility.ErrInvalid) {
		t.Errorf("one more than may match a model: %v", err)
	}
}

func TestWrite(t *testing.T) {
	dir, set := amended(t)
	old, _ := set.Policy("fraud")
	text := strings.Replace(trained, "0.8", "0.7", 1)
	amend := func(name string) *Policy {
		t.Helper()
		p, err := set.Amend(dir, name, []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	refused := func(p, old *Policy, want string) {
		t.Helper()
		if err := p.Write(old); !errors.Is(err, visutility.ErrConflict) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %q", err, want)
		}
	}
	file := filepath.Join(dir, "fraud.yml")
	refused(amend("fraud"), nil, "already")
	if err := amend("fraud").Write(old); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != text {
		t.Errorf("wrote %q, %v", b, err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode() != 0o640 {
		t.Errorf("%v, %v: the permission was not kept", info.Mode(), err)
	}
	refused(amend("fraud"), old, "was changed") // by the write before
	if err := amend("more").Write(nil); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file, filepath.Join(dir, "elsewhere")); err != nil {
		t.Fatal(err)
	}
	refused(amend("fraud"), old, "is gone")
	if err := os.Symlink("elsewhere", file); err != nil {
		t.Fatal(err)
	}
	refused(amend("fraud"), old, "is a link")
	if b, err := os.ReadFile(filepath.Join(dir, "elsewhere")); err != nil || string(b) != text {
		t.Errorf("what the link leads to was touched: %q, %v", b, err)
	}
}
