package policy

import (
	"fmt"
	"strings"
	"testing"

	"github.com/visutility/visutility"
)

func TestGate(t *testing.T) {
	type m = map[string]float64
	champion := func(metrics m) visutility.Version {
		return visutility.Version{ID: "v1", Model: "m", Metrics: metrics}
	}
	none := visutility.Version{}
	for _, c := range []struct {
		name, when    string
		candidate, on m // what the trainer measured: of the challenger and, on the same data, of the champion
		champion      visutility.Version
		passed        bool
		reason        string
	}{
		{"better", "candidate.wmape < champion.wmape", m{"wmape": 0.21}, nil, champion(m{"wmape": 0.36}),
			true, "candidate.wmape 0.21 < champion.wmape 0.36"},
		{"worse", "candidate.wmape < champion.wmape", m{"wmape": 0.4}, nil, champion(m{"wmape": 0.36}),
			false, "not better: candidate.wmape 0.4 < champion.wmape 0.36 does not hold"},
		{"the trainer's measurement of the champion comes first", "candidate.wmape < champion.wmape", m{"wmape": 0.3}, m{"wmape": 0.25}, champion(m{"wmape": 0.36}),
			false, "not better: candidate.wmape 0.3 < champion.wmape 0.25 does not hold"},
		{"by a margin", "candidate.auc >= champion.auc + 0.005 && candidate.auc > 0.5", m{"auc": 0.91}, nil, champion(m{"auc": 0.9}),
			true, "candidate.auc 0.91 >= champion.auc + 0.005 (0.905) and candidate.auc 0.91 > 0.5"},
		{"the part that fails is named", "candidate.auc >= champion.auc && candidate.wmape < 0.1", m{"auc": 0.91, "wmape": 0.2}, nil, champion(m{"auc": 0.9}),
			false, "not better: candidate.wmape 0.2 < 0.1 does not hold"},
		{"no champion", "candidate.wmape < champion.wmape", m{"wmape": 0.4}, nil, none,
			true, "no champion yet: nothing to beat"},
		{"no champion, and bad in itself", "candidate.wmape < champion.wmape && candidate.wmape < 0.3", m{"wmape": 0.4}, nil, none,
			false, "not better: candidate.wmape 0.4 < 0.3 does not hold"},
		{"no champion, and not measured", "candidate.wmape < champion.wmape", m{}, nil, none,
			false, "cannot tell: candidate.wmape was not measured"},
		{"a champion nobody measured", "candidate.wmape < champion.wmape", m{"wmape": 0.4}, nil, champion(nil),
			false, "cannot tell: champion.wmape was not measured"},
		{"nothing was measured", "candidate.wmape < champion.wmape", nil, nil, champion(nil),
			false, "cannot tell: candidate.wmape and champion.wmape were not measured"},
		{"not a number", "candidate.wmape / candidate.auc < 1", m{"wmape": 0, "auc": 0}, nil, champion(nil),
			false, "cannot tell: the result is not a number"},
		{"either", "candidate.auc > champion.auc || candidate.wmape < champion.wmape", m{"auc": 0.8, "wmape": 0.1}, nil, champion(m{"auc": 0.9, "wmape": 0.2}),
			true, "candidate.wmape 0.1 < champion.wmape 0.2"},
		{"no gate", "", m{}, nil, champion(nil), true, "the policy has no promote.when: what a successful run made is promoted"},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := "model: m\nmetrics: {wmape: lower_is_better, auc: higher_is_better}\nretrain: {when: wmape > 0.3}\ntrain: {run: train}\n"
			if c.when != "" {
				text += fmt.Sprintf("promote: {when: '%s'}\n", c.when)
			}
			challenger := visutility.Version{Model: "m", Artifact: visutility.Artifact{Metrics: c.candidate, ChampionMetrics: c.on}}
			r, err := mustParse(t, "p.yaml", text).Validator().Validate(t.Context(), challenger, c.champion)
			if err != nil {
				t.Fatal(err)
			}
			if r.Passed != c.passed || r.Reason != c.reason {
				t.Errorf("passed %v: %s\nwant   %v: %s", r.Passed, r.Reason, c.passed, c.reason)
			}
			if c.when != "" && (len(r.Evidence) != 1 || r.Evidence[0].Name != "promote.when" || len(r.Evidence[0].Terms) == 0) {
				t.Errorf("evidence: %+v", r.Evidence)
			}
		})
	}
}

func TestGateEvidence(t *testing.T) {
	p := mustParse(t, "p.yaml", "model: m\nretrain: {when: accuracy < 0.3}\ntrain: {run: train}\npromote: {when: candidate.accuracy >= champion.accuracy + 0.01}\n")
	challenger := visutility.Version{Metrics: map[string]float64{"accuracy": 0.9}}
	r, err := p.Validator().Validate(t.Context(), challenger, visutility.Version{})
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	writeTerms(&b, r.Evidence, "")
	want := `promote.when: candidate.accuracy >= champion.accuracy + 0.01 = unknown
  candidate.accuracy = 0.9
  champion.accuracy + 0.01 = unknown
    champion.accuracy = unknown   (no champion)
`
	if b.String() != want {
		t.Errorf("got\n%s", b.String())
	}
}
