package policy

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// BenchmarkObserve is the hot path as the fold meets it: 10,000 models of five
// metrics each, every event of another one. Sixteen policies share their operators.
func BenchmarkObserve(b *testing.B) {
	metrics := []string{"accuracy", "precision", "recall", "f1_score", "drift_score"}
	for _, n := range []int{1, 16} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var policies []*Policy
			for i := range n {
				// One policy reads one metric; sixteen read all five.
				m := metrics[i%len(metrics)]
				when := fmt.Sprintf(`avg(%s, "24h") < 0.%02d`, m, 10+i)
				if m == "drift_score" {
					when = fmt.Sprintf(`avg(%s, "24h") > 1.%02d`, m, i)
				}
				policies = append(policies, mustParse(b, fmt.Sprintf("p%d.yaml", i), policyText(when)))
			}
			set, err := NewSet(policies...)
			if err != nil {
				b.Fatal(err)
			}
			benchmarkObserve(b, set.For("m"), metrics[:min(n, len(metrics))])
		})
	}
}

func benchmarkObserve(b *testing.B, p *Program, metrics []string) {
	const models = 10_000
	words := make([]uint64, models*p.Words())
	order := make([]uint32, 1<<16)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range order {
		order[i] = r.Uint32N(models * uint32(len(metrics)))
	}
	numbers := make([]int, len(metrics))
	for i, m := range metrics {
		numbers[i] = p.Metric(m)
	}
	b.ReportAllocs()
	b.ResetTimer()
	var look uint64
	for i := range b.N {
		k := int(order[i&(len(order)-1)])
		model, metric := k%models, k/models
		now := int64(1_700_000_000_000) + int64(i) // a thousand events a second
		look |= p.Observe(words[model*p.Words():(model+1)*p.Words()], numbers[metric], now, now, 0.9, 10, 1, "")
	}
	b.ReportMetric(float64(p.Words()), "words/model")
	if look != 0 {
		b.Fatal("a policy fired")
	}
}

func policyText(when string) string {
	return "model: m\nretrain:\n  when: '" + strings.ReplaceAll(when, "'", "''") + "'\n  cooldown: 1h\ntrain: {run: train}\n"
}

func mustParse(t testing.TB, file, text string) *Policy {
	t.Helper()
	p, err := Parse(file, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// BenchmarkOperator is one event of one hot model, by what is asked of it.
func BenchmarkOperator(b *testing.B) {
	for _, when := range []string{
		`accuracy < 0.1`, `avg(accuracy, "24h") < 0.1`, `stddev(accuracy, "24h") > 9`, `min(accuracy, "24h") < 0.1`,
		`quantile(accuracy, 0.5, "24h") < 0.1`, `avg(accuracy, 30) < 0.1`, `stddev(accuracy, 30) > 9`, `quantile(accuracy, 0.5, 100) < 0.1`,
		`avg(accuracy, "24h") < baseline.accuracy - 0.5 && recall > 3`, `m_of_n(accuracy < 0.1, 2, 3)`, `[accuracy, recall].exists(x, x < 0.1)`,
	} {
		b.Run(when, func(b *testing.B) {
			set, err := NewSet(mustParse(b, "p.yaml", policyText(when)))
			if err != nil {
				b.Fatal(err)
			}
			p := set.For("m")
			state := fresh(p)
			m := p.Metric("accuracy")
			b.ReportAllocs()
			for i := range b.N {
				now := int64(1_700_000_000_000) + int64(i)
				p.Observe(state, m, now, now, 0.9+float64(i%7)/100, 10, 1, "")
			}
			b.ReportMetric(float64(p.Words()), "words")
		})
	}
}
