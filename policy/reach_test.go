package policy

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestReach(t *testing.T) {
	const head = "models: ['*']\nmetrics: {auc: {goal: higher_is_better, min_samples: 500, baseline: {events: 20}}}\ntrain: {trainer: x}\n"
	for retrain, want := range map[string]Reach{
		`{when: "accuracy < 0.8"}`: {Metrics: []string{"accuracy"}, Events: 1},
		`{when: "avg(auc, \"24h\") < baseline.auc - 0.02 || drift_score > 1", unless: "absent(recall, \"36h\")"}`: {
			Metrics: []string{"auc", "drift_score", "recall"}, Window: 36 * time.Hour, Events: 1, Baselines: map[string]BaselineReach{"auc": {20, 500}},
		},
		`{when: "m_of_n(avg(accuracy, 30) < 0.8, 3, 5) || min(accuracy, \"12h\") < baseline.accuracy"}`: {
			Metrics: []string{"accuracy"}, Window: 12 * time.Hour, Events: 35, Baselines: map[string]BaselineReach{"accuracy": {10, 0}},
		},
	} {
		p, err := Parse("p.yaml", []byte(head+"retrain: "+retrain+"\n"))
		if err != nil {
			t.Fatal(err)
		}
		set, err := NewSet(p)
		if err != nil {
			t.Fatal(err)
		}
		if want.Baselines == nil {
			want.Baselines = map[string]BaselineReach{}
		}
		if diff := cmp.Diff(want, set.For("m").Reach()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", retrain, diff)
		}
	}
}
