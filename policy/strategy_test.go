package policy_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/policy"
	"github.com/visutility/visutility/visutilitytest"
)

// TestStrategyConformance runs compiled conditions, one for every operator,
// through the suite that a program's own strategies pass.
func TestStrategyConformance(t *testing.T) {
	for _, when := range []string{
		`accuracy < 0.8`, `avg(accuracy, "1h") < 0.8`, `avg(accuracy, 3) < 0.8`, `min(accuracy, "1h") < 0.6`, `stddev(accuracy, "1h") > 0.1`,
		`quantile(accuracy, 0.5, "1h") < 0.8`, `quantile(accuracy, 0.5, 5) < 0.8`, `accuracy < baseline.accuracy - 0.1`,
		`m_of_n(accuracy < 0.8, 2, 3)`, `absent(recall, "30m") && accuracy < 0.9`, `[accuracy, recall].exists(x, x < 0.7)`,
	} {
		t.Run(when, func(t *testing.T) {
			p, err := policy.Parse("p.yaml", fmt.Appendf(nil, "model: m\nretrain: {when: '%s', for: 10m}\ntrain: {run: train}\n", when))
			if err != nil {
				t.Fatal(err)
			}
			var events []visutility.Event
			seen := map[visutility.Verdict]bool{}
			s := policy.NewStrategy(p)
			for i := range 60 {
				e := visutility.Event{
					Model: "m", Metric: visutility.Accuracy, Count: uint64(1 + i%3),
					Value: 0.95 - 0.5*float64(i%20)/20,
					Time:  time.Unix(1_700_000_000, 0).Add(time.Duration(i-8*(i%5/4)) * 2 * time.Minute), // every fifth is late
				}
				if i%7 == 0 && i < 20 {
					e.Metric = visutility.Recall
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
