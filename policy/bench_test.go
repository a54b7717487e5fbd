package policy

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/drift"
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

// operatorTexts are conditions that each ask for one operator.
func operatorTexts() []string {
	texts := []string{
		`accuracy < 0.1`, `avg(accuracy, "24h") < 0.1`, `stddev(accuracy, "24h") > 9`, `min(accuracy, "24h") < 0.1`,
		`quantile(accuracy, 0.5, "24h") < 0.1`, `avg(accuracy, 30) < 0.1`, `stddev(accuracy, 30) > 9`, `quantile(accuracy, 0.5, 100) < 0.1`,
		`avg(accuracy, "24h") < baseline.accuracy - 0.5 && recall < 0.1`, `m_of_n(accuracy < 0.1, 2, 3)`, `[accuracy, recall].exists(x, x < 0.1)`,
		`quorum(2, accuracy < 0.1, accuracy < 0.2, recall < 0.3)`, `new_samples(accuracy) > 1e12`, `excess(accuracy, {tolerance: 0.1}) > 1e12`, `cron("@yearly") && accuracy < 0.1`,
		`worst(accuracy, "country") < 0.1`, `worst(accuracy, "country", "24h") < 0.1`, `worst(accuracy, "country", 30) < 0.1`,
	}
	for _, name := range slices.Sorted(maps.Keys(drift.Detectors)) {
		texts = append(texts, name+`(accuracy, {hold: "1s"}) && recall < 0.1`)
	}
	return texts
}

// BenchmarkOperator is one event of one hot model, by what is asked of it. Values are normal, around 0.9; labels are of
// eight countries.
func BenchmarkOperator(b *testing.B) {
	for _, when := range operatorTexts() {
		b.Run(when, func(b *testing.B) { benchmarkOneModel(b, when) })
	}
	// One model under sixteen policies that share nothing.
	b.Run("sixteen policies", func(b *testing.B) {
		texts := operatorTexts()
		benchmarkOneModel(b, slices.Concat(texts[:7], texts[9:10], texts[13:16], texts[18:23])...)
	})
}

func benchmarkOneModel(b *testing.B, whens ...string) {
	var policies []*Policy
	for i, when := range whens {
		policies = append(policies, mustParse(b, fmt.Sprintf("p%d.yaml", i), policyText(when)))
	}
	set, err := NewSet(policies...)
	if err != nil {
		b.Fatal(err)
	}
	p := set.For("m")
	state := fresh(p)
	m := p.Metric("accuracy")
	r := rand.New(rand.NewPCG(1, 2))
	values, labels := make([]float64, 1<<12), make([]visutility.Labels, 8)
	for i := range values {
		values[i] = 0.9 + 0.02*r.NormFloat64()
	}
	for i := range labels {
		labels[i] = visutility.MakeLabels(map[string]string{"country": fmt.Sprint("country ", i)})
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		now := int64(1_700_000_000_000) + int64(i)
		p.Observe(state, m, now, now, values[i&(len(values)-1)], 10, 1, labels[i&7])
	}
	b.ReportMetric(float64(p.Words()), "words")
}
