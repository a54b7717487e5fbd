package policy_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/drift"
	"github.com/visutility/visutility/policy"
	"github.com/visutility/visutility/visutilitytest"
)

// TestStrategyConformance runs compiled conditions, one for every operator,
// through the suite that a program's own strategies pass.
func TestStrategyConformance(t *testing.T) {
	var asked []string
	defer func() {
		for name := range drift.Detectors {
			if !slices.ContainsFunc(asked, func(when string) bool { return strings.HasPrefix(when, name+"(") }) {
				t.Errorf("no condition asks for %s", name)
			}
		}
	}()
	for _, when := range []string{
		`accuracy < 0.8`, `avg(accuracy, "1h") < 0.8`, `avg(accuracy, 3) < 0.8`, `min(accuracy, "1h") < 0.6`, `stddev(accuracy, "1h") > 0.1`,
		`quantile(accuracy, 0.5, "1h") < 0.8`, `quantile(accuracy, 0.5, 5) < 0.8`, `accuracy < baseline.accuracy - 0.1`,
		`m_of_n(accuracy < 0.8, 2, 3)`, `absent(recall, "30m") && accuracy < 0.9`, `[accuracy, recall].exists(x, x < 0.7)`,
		`quorum(2, accuracy < 0.8, avg(accuracy, 3) < 0.8, recall < 0.8)`, `new_samples(accuracy) > 40`, `excess(accuracy, {tolerance: 0.01}) > 5`,
		`worst(accuracy, "country") < 0.6`, `worst(accuracy, "country", "1h", {segments: 2}) < 0.8`, `worst(accuracy, "country", 2, {min_samples: 3}) < 0.7`,
		`cron("*/30 * * * *") && accuracy < 0.9`,
		`adwin(accuracy, {baseline: 4, clock: 2, grace: 4, min_window: 2, delta: 0.99, clip: 9, hold: "20m"})`, `cusum(accuracy, {baseline: 5, h: 3, hold: "20m"})`,
		`ddm(accuracy, {min_instances: 3, drift: 0.3, hold: "20m"})`, `eddm(accuracy, {min_errors: 2, beta: 0.99, hold: "20m"})`,
		`edetector(accuracy, {arl: 4, baseline: 5, confidence: 0.5, hold: "20m"})`, `ewma(accuracy, {baseline: 5, l: 1.5, hold: "20m"})`,
		`hddm_a(accuracy, {delta: 0.99, hold: "20m"})`, `hddm_w(accuracy, {delta: 0.9, lambda: 0.1, hold: "20m"})`,
		`kswin(accuracy, {window: 12, stat: 5, alpha: 0.2, hold: "20m"})`, `page_hinkley(accuracy, {threshold: 0.5, min_instances: 3, hold: "20m"})`,
		`stepd(accuracy, {window: 5, alpha: 0.4, hold: "20m"})`,
	} {
		t.Run(when, func(t *testing.T) {
			p, err := policy.Parse("p.yaml", fmt.Appendf(nil, "model: m\nretrain: {when: '%s', for: 2m}\ntrain: {run: train}\n", when))
			if err != nil {
				t.Fatal(err)
			}
			var events []visutility.Event
			asked = append(asked, when)
			seen := map[visutility.Verdict]bool{}
			s := policy.NewStrategy(p)
			for i := range 60 {
				e := visutility.Event{
					Model: "m", Metric: visutility.Accuracy, Count: uint64(1 + i%3),
					Value: 0.95 - 0.01*float64(i%3) - 0.06*float64(max(0, i%20-7)),
					Time:  time.Unix(1_700_000_000, 0).Add(time.Duration(i-8*(i%5/4)) * 2 * time.Minute), // every fifth is late
				}
				if i%7 == 0 && i < 20 {
					e.Metric = visutility.Recall
				}
				if i%3 > 0 {
					e.Labels = map[string]string{"country": []string{"DE", "FR", "a country of a long name"}[i/2%3]}
				}
				events = append(events, e)
				seen[s.Observe(e)] = true
			}
			if !seen[visutility.Hold] || !seen[visutility.Fire] {
				t.Errorf("the events bring about only %v", seen)
			}
			visutilitytest.TestStrategy(t, func() visutility.Strategy { return policy.NewStrategy(p) }, events)
		})
	}
}
