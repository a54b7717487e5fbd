package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/google/go-cmp/cmp"

	"github.com/visutility/visutility"
)

// TestParseErrors shows what is said of bad files; see testdata/parse.
func TestParseErrors(t *testing.T) {
	datadriven.Walk(t, "testdata/parse", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			p, err := Parse("policies/churn.yaml", []byte(d.Input))
			if err == nil {
				out := "ok\n"
				for _, w := range p.Warnings {
					out += "warning: " + w.Error() + "\n"
				}
				return out
			}
			if !errors.Is(err, visutility.ErrInvalid) {
				t.Errorf("not ErrInvalid: %v", err)
			}
			return err.Error() + "\n"
		})
	})
}

func TestParseTypical(t *testing.T) {
	src := []byte(`# yaml-language-server: $schema=policy.json
models: ["churn-*", churn]
metrics:
  auc: {goal: higher_is_better, min_samples: 500}
  psi: lower_is_better
  rmse: {baseline: 1.5}
retrain:
  when: >
    avg(auc, "24h") < baseline.auc - 0.02
    || drift_score > 0.2
  for: 2h
  cooldown: {after_success: 24h, after_failure: 2h}
  budget: {runs: 8, per: 30d}
  unless: absent(auc, "6h")
train:
  webhook: {url: https://train.example/hook, secret_env: HOOK_SECRET, heartbeat: 1m}
  timeout: 4h
  retries: 2
  parameters: {trees: 150, rate: 0.1, deep: {a: [1, two, true, null]}}
promote: {when: candidate.auc >= champion.auc + 0.005, approval: required}
rollback: {when: 'avg(auc, "24h") < previous.auc - 0.02', within: 3d}
`)
	p, err := Parse("policies/churn.yml", src)
	if err != nil {
		t.Fatal(err)
	}
	if p.Name != "churn" || p.Dir != "policies" || len(p.Revision) != 12 || !bytes.Equal(p.Source, src) {
		t.Errorf("name %q, dir %q, revision %q", p.Name, p.Dir, p.Revision)
	}
	metrics := map[string]Metric{
		"auc": {Goal: HigherIsBetter, MinSamples: 500, Baseline: Baseline{Events: 10}}, "psi": {Goal: LowerIsBetter, Baseline: Baseline{Events: 10}},
		"rmse": {Baseline: Baseline{Constant: true, Value: 1.5}}, "drift_score": {Goal: LowerIsBetter, Baseline: Baseline{Events: 10}},
	}
	if diff := cmp.Diff(metrics, p.Metrics); diff != "" {
		t.Error(diff)
	}
	r := p.Retrain
	r.when, r.unless = nil, nil
	want := Retrain{When: `avg(auc, "24h") < baseline.auc - 0.02 || drift_score > 0.2`, Unless: `absent(auc, "6h")`,
		For: 2 * time.Hour, AfterSuccess: 24 * time.Hour, AfterFailure: 2 * time.Hour, Budget: Budget{8, 30 * 24 * time.Hour}}
	if diff := cmp.Diff(want, r, cmp.AllowUnexported(Retrain{}, condition{})); diff != "" {
		t.Error(diff)
	}
	if p.Train.Timeout != 4*time.Hour || p.Train.Retries != 2 || p.Train.Webhook.URL != "https://train.example/hook" || p.Train.Webhook.Heartbeat != time.Minute {
		t.Errorf("train: %+v", p.Train)
	}
	b, err := json.Marshal(p.Train.Parameters)
	if err != nil || string(b) != `{"deep":{"a":[1,"two",true,null]},"rate":0.1,"trees":150}` {
		t.Errorf("parameters: %s %v", b, err)
	}
	if !p.Promote.Approval || p.Rollback.Within != 3*24*time.Hour {
		t.Errorf("promote %+v, rollback %+v", p.Promote, p.Rollback)
	}
	if !p.Matches("churn-de") || !p.Matches("churn") || p.Matches("chur") || p.Matches("churn-a/b") {
		t.Error("the globs do not match as path.Match does")
	}
	if len(p.Warnings) > 0 {
		t.Errorf("warnings: %q", p.Warnings)
	}
	t.Setenv("HOOK_SECRET", "s3cret")
	if s, err := p.Train.Webhook.Secret(); s != "s3cret" || err != nil {
		t.Errorf("secret %q, %v", s, err)
	}
	t.Setenv("HOOK_SECRET", "")
	if _, err := p.Train.Webhook.Secret(); !errors.Is(err, visutility.ErrNotFound) {
		t.Errorf("a secret that is not there: %v", err)
	}
}

func TestParseDefaults(t *testing.T) {
	p := mustParse(t, "x/bike-demand.yaml", "model: 'bike[1]'\nretrain: {when: accuracy < 0.8}\ntrain: {run: python train.py --name 'a b'}\nrollback: {when: accuracy < 0.1}\n")
	if p.Retrain.For != 0 || p.Retrain.AfterSuccess != 0 || p.Retrain.AfterFailure != time.Minute || p.Retrain.Budget != (Budget{}) {
		t.Errorf("retrain: %+v", p.Retrain)
	}
	if p.Train.Timeout != 24*time.Hour || p.Train.Retries != 0 || p.Promote.Approval || p.Rollback.Within != 7*24*time.Hour {
		t.Errorf("train: %+v promote %+v rollback %+v", p.Train, p.Promote, p.Rollback)
	}
	if diff := cmp.Diff([]string{"python", "train.py", "--name", "a b"}, p.Train.Run); diff != "" {
		t.Error(diff)
	}
	if !p.Matches("bike[1]") || p.Matches("bike1") {
		t.Error("model is a name, not a glob")
	}
	p = mustParse(t, "x.yaml", "model: m\nretrain: {strategy: mine, cooldown: 3h}\ntrain: {run: 'a | b > c', shell: true}\n")
	if diff := cmp.Diff([]string{"/bin/sh", "-c", "a | b > c"}, p.Train.Run); diff != "" {
		t.Error(diff)
	}
	if p.Retrain.Strategy != "mine" || p.Retrain.AfterSuccess != 3*time.Hour || p.Retrain.AfterFailure != 3*time.Hour {
		t.Errorf("%+v", p.Retrain)
	}
}

// TestHostileFiles are refused quickly and in words.
func TestHostileFiles(t *testing.T) {
	bomb := "a: &a [x, x, x, x, x, x, x, x, x]\n"
	for c := 'b'; c < 'l'; c++ {
		bomb += fmt.Sprintf("%c: &%c [%s]\n", c, c, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*%c, ", c-1), 9), ", "))
	}
	for name, c := range map[string]struct{ src, says string }{
		"alias bomb":     {bomb, "10000 values"},
		"nested":         {strings.Repeat("[", 100_000), "nested"},
		"nested dashes":  {strings.Repeat("- ", 100_000), "nested"},
		"nested maps":    {"x: " + strings.Repeat("{a: ", 60) + strings.Repeat("}", 60), "nested"},
		"large":          {strings.Repeat("#\n", 1<<20), "1048576 are allowed"},
		"recursive":      {"a: &a [*a]", "stands for nothing above"},
		"binary":         {"\x00\x01\xff\xfe", ""},
		"long condition": {policyText(strings.Repeat("accuracy + ", 20_000) + "1 > 2"), ""},
		"deep condition": {policyText(strings.Repeat("(", 3000) + "accuracy" + strings.Repeat(")", 3000) + " > 2"), ""},
		"many slots":     {policyText(manySlots()), "more than 64 values"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse("p.yaml", []byte(c.src))
			if !errors.Is(err, visutility.ErrInvalid) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%.300v", err)
			}
			if err != nil && len(err.Error()) > 5000 {
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
		})
	}
}

func manySlots() string {
	var parts []string
	for i := range 70 {
		parts = append(parts, fmt.Sprintf("avg(accuracy, %d) > 2", i+1))
	}
	return strings.Join(parts, " || ")
}

// TestSchema: the schema names every key, says what it is for, and is JSON.
func TestSchema(t *testing.T) {
	var s struct {
		Properties map[string]struct{ Description string }
	}
	if err := json.Unmarshal(Schema(), &s); err != nil {
		t.Fatal(err)
	}
	for _, f := range policyFields() {
		if s.Properties[f.key].Description == "" {
			t.Errorf("%s is not described", f.key)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(everything))
	f.Add([]byte("model: m\nretrain: {when: accuracy < 0.8}\ntrain: {run: a}\npromote: {when: candidate.accuracy > champion.accuracy}\n"))
	f.Add([]byte("a: &a {b: *a, <<: *a}\n- ? !!x |\n  y"))
	f.Fuzz(func(t *testing.T, src []byte) {
		p, err := Parse("p.yaml", src)
		if (p == nil) == (err == nil) {
			t.Fatalf("policy %v, error %v", p, err)
		}
		if err != nil && !errors.Is(err, visutility.ErrInvalid) {
			t.Fatalf("not ErrInvalid: %v", err)
		}
		if p == nil {
			return
		}
		if _, err := Parse("p.yaml", p.Source); err != nil {
			t.Fatalf("the same source again: %v", err)
		}
		if _, err := NewSet(p); err != nil {
			t.Fatal(err)
		}
	})
}

func FuzzCondition(f *testing.F) {
	for _, s := range []string{
		`avg(a, "24h") < baseline.a - 0.02 || m_of_n(b > 1, 2, 3)`, `[a, b].exists(x, x < 0.1)`, `age > duration("30d")`, `quantile(a, 0.9, 30) > -1`,
		`a in [1, 2] ? true : "x" == "y"`, `has(a.b)`, "a.`b` > 1", `{"a": 1}["a"] > a`, `absent(a, "1h") && !(a != b)`, `baseline["a"] > 1u`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		cond, mistakes := compile(text, scope{metrics: testMetrics, previous: true})
		if (cond == nil) != (len(mistakes) > 0) {
			t.Fatalf("condition %v, mistakes %v", cond, mistakes)
		}
		if cond == nil {
			return
		}
		p := newProgram([]*Policy{{Name: "p", Retrain: Retrain{When: text, when: cond}}})
		state := fresh(p)
		for i, m := range []string{"a", "b", "a"} {
			if n := p.Metric(m); n >= 0 {
				p.Observe(state, n, int64(i), int64(i), 0.5, 1, 1, "")
			}
		}
		p.Tick(state, 100, 2)
		root := p.Explain(state, 0, 100)[0]
		if v, _, _ := p.Verdict(state, 0); root.Value == true && v == visutility.Hold && len(cond.metrics) > 0 && cond.metrics[0] == "a" && !cond.clocked && !hasTally(cond) {
			t.Fatalf("%s is true and the verdict holds", text)
		}
	})
}

func hasTally(c *condition) bool {
	for _, s := range c.slots {
		if s.fn == fnMOfN {
			return true
		}
	}
	return false
}
