package policy

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestKnobs(t *testing.T) {
	p := mustParse(t, "p.yaml", `
model: m
metrics: {x: lower_is_better}
retrain:
  when: >
    avg(x, "24h") > 0.30 && count(x, 30) > 0.30 - baseline.x * 2.5 && excess(x) > 40
    || cusum(x, {k: 1.5, hold: "2d"}) || m_of_n(x > -1e3, 2, 5) || age > duration("30d")
  unless: x > 7
  for: 2h
  cooldown: {after_success: "1d", after_failure: 5m}
  budget: {runs: 8, per: 30d}
train: {run: a}
`)
	var got []string
	for _, k := range p.Knobs() {
		s := fmt.Sprintf("%d:%d %s = %s", k.Line, k.Column, k.Name, k.Text)
		for _, f := range []struct {
			set  bool
			name string
		}{{k.Span, "span"}, {k.Whole, "whole"}, {k.Role != "", string(k.Role)}} {
			if f.set {
				s += " " + f.name
			}
		}
		got = append(got, s)
	}
	want := []string{
		"6:13 24h = 24h span", "6:21 0.30 = 0.30 limit", "6:38 30 = 30 whole", "6:44 0.30#2 = 0.30 margin", "6:64 2.5 = 2.5 factor", "6:83 40 = 40 distance",
		"7:18 cusum.h = 5 distance", "7:18 cusum.baseline = 100 whole", "7:18 cusum.clip = 3",
		"7:21 cusum.k = 1.5", "7:33 cusum.hold = 2d span",
		"7:53 -1e3 = -1e3 limit", "7:59 2 = 2 whole", "7:62 5 = 5 whole", "7:84 30d = 30d span",
		"8:15 7 = 7 limit", "9:8 for = 2h span",
		"10:30 cooldown.after_success = 1d span", "10:50 cooldown.after_failure = 5m span",
		"11:18 budget.runs = 8 whole", "11:26 budget.per = 30d span",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error("(-want +got):\n", diff)
	}
}

func TestWith(t *testing.T) {
	frame := "model: m\nmetrics: {x: lower_is_better}\nretrain: %s\ntrain: {run: a}\n"
	for _, c := range []struct{ retrain, knob, value, want string }{
		{"{when: x > 0.3}", "0.3", "0.25", "{when: x > 0.25}"},
		{"{when: 'x > 0.3 && avg(x, \"1h\") > 2'}", "1h", "36h", "{when: 'x > 0.3 && avg(x, \"36h\") > 2'}"},
		{"{when: \"avg(x, \\\"1h\\\") > 2\"}", "1h", "36h", "{when: \"avg(x, \\\"36h\\\") > 2\"}"},
		{"\n  when: |\n    x > 0.3 &&\n    x > 0.3", "0.3#2", "5", "\n  when: |\n    x > 0.3 &&\n    x > 5"},
		{"{when: cusum(x)}", "cusum.h", "8.5", "{when: 'cusum(x, {h: 8.5})'}"},
		{"{when: 'cusum(x)'}", "cusum.h", "8.5", "{when: 'cusum(x, {h: 8.5})'}"},
		{"{when: \"cusum(x)\"}", "cusum.h", "8.5", "{when: \"cusum(x, {h: 8.5})\"}"},
		{"\n  when: cusum(x) && x > 3\n  for: 3h", "cusum.h", "8.5", "\n  when: 'cusum(x, {h: 8.5}) && x > 3'\n  for: 3h"},
		{"{when: 'cusum(x, {\"k\": 1})'}", "cusum.h", "8.5", "{when: 'cusum(x, {h: 8.5, \"k\": 1})'}"},
		{"{when: 'cusum(x, {h: 2})'}", "cusum.h", "8.5", "{when: 'cusum(x, {h: 8.5})'}"},
		{"{when: x > 1, cooldown: 5m}", "cooldown", "6h", "{when: x > 1, cooldown: 6h}"},
		{"{when: x > 1, budget: {runs: 3, per: 1d}}", "budget.runs", "7", "{when: x > 1, budget: {runs: 7, per: 1d}}"},
	} {
		t.Run(c.retrain, func(t *testing.T) {
			p := mustParse(t, "p.yaml", fmt.Sprintf(frame, c.retrain))
			q, err := p.With(map[string]string{c.knob: c.value})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(fmt.Sprintf(frame, c.want), string(q.Source)); diff != "" {
				t.Error("(-want +got):\n", diff)
			}
			found := false
			for _, k := range q.Knobs() {
				found = found || k.Text == c.value
			}
			if !found {
				t.Errorf("no knob of the new policy stands at %s: %+v", c.value, q.Knobs())
			}
		})
	}
}

// TestWithEvery turns every knob of a policy on its own: the others stay where they are.
func TestWithEvery(t *testing.T) {
	p := mustParse(t, "p.yaml", everything)
	if len(p.Knobs()) < 40 {
		t.Errorf("only %d knobs", len(p.Knobs()))
	}
	for i, k := range p.Knobs() {
		if k.Span || k.Whole || k.Role == "" {
			continue // not every value will do
		}
		q, err := p.With(map[string]string{k.Name: "0.75"})
		if err != nil {
			t.Errorf("%s: %v", k.Name, err)
			continue
		}
		changed := 0
		for _, other := range q.Knobs() {
			if !slices.ContainsFunc(p.Knobs(), func(k Knob) bool { return k.Name == other.Name && k.Text == other.Text }) {
				changed++
			}
		}
		if len(q.Knobs()) != len(p.Knobs()) || changed != 1 || !strings.Contains(string(q.Source), "0.75") {
			t.Errorf("%s (knob %d): %d of %d knobs changed", k.Name, i, changed, len(q.Knobs()))
		}
	}
}

func TestWithTwoInOneScalar(t *testing.T) {
	p := mustParse(t, "p.yaml", "model: m\nmetrics: {x: lower_is_better}\nretrain: {when: cusum(x) || x > 3, cooldown: 1h}\ntrain: {run: a}\n")
	q, err := p.With(map[string]string{"cusum.h": "7", "3": "4", "cusum.clip": "2", "cooldown": "2h"})
	if err != nil {
		t.Fatal(err)
	}
	if want := "cusum(x, {h: 7, clip: 2}) || x > 4"; q.Retrain.When != want {
		t.Errorf("%q, want %q", q.Retrain.When, want)
	}
}

func TestWithRefuses(t *testing.T) {
	p := mustParse(t, "p.yaml", "model: m\nretrain: {when: accuracy < 0.3, cooldown: 1h, budget: {runs: 2, per: 1d}}\ntrain: {run: a}\n")
	for name, value := range map[string]string{
		"0.4": "0.3", "0.3": "1h", "cooldown": "3", "budget.runs": "2.5", "budget.per": "0.1",
	} {
		if _, err := p.With(map[string]string{name: value}); err == nil {
			t.Errorf("%s=%s: no error", name, value)
		}
	}
	for _, evil := range []string{"0.5 || true", "0.5}", "0.5\nx: y", "", "NaN", "1e999"} {
		if q, err := p.With(map[string]string{"0.3": evil}); err == nil {
			t.Errorf("%q: %s", evil, q.Source)
		}
	}
}
