package trigger

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/policy"
	"github.com/visutility/visutility/store"
)

// BenchmarkFold folds entries of 1,000 events of random series of 10,000 models, as one
// partition: the fold alone, from decoded entry to updated state. Every event names its series
// anew, so finding model and metric by name is in the figure.
func BenchmarkFold(b *testing.B) {
	const models, perEntry = 10_000, 1000
	all := []string{"accuracy", "precision", "recall", "f1_score", "auc"}
	for _, shape := range []struct{ policies, metrics int }{{0, 5}, {1, 1}, {5, 5}, {16, 5}, {16, 1}} {
		policies, metrics := shape.policies, all[:shape.metrics]
		b.Run(fmt.Sprintf("policies=%d/metrics=%d", policies, len(metrics)), func(b *testing.B) {
			st, err := store.Open(b.Context(), store.Options{Path: filepath.Join(b.TempDir(), "state.db")})
			if err != nil {
				b.Fatal(err)
			}
			defer st.Close()
			set, err := policy.NewSet(foldPolicies(b, policies, metrics)...)
			if err != nil {
				b.Fatal(err)
			}
			tr, err := New(b.Context(), Options{Store: st, Partitions: 1, Policies: set})
			if err != nil {
				b.Fatal(err)
			}
			names := make([]string, models)
			for i := range names {
				names[i] = fmt.Sprintf("model-%05d", i)
			}
			rng := rand.New(rand.NewPCG(1, 2))
			entries := make([]visutility.Entry, 200)
			for i := range entries {
				e := &entries[i]
				e.Stored = epoch0 + int64(i)
				for k := range perEntry {
					e.Series = append(e.Series, visutility.Series{Model: names[rng.IntN(models)], Metric: metrics[rng.IntN(len(metrics))]})
					e.Records = append(e.Records, visutility.Record{Series: uint32(k), Time: e.Stored, Value: 0.9 + 0.05*rng.Float64(), Count: 10})
				}
			}
			pos := visutility.Position(0)
			fold := func(e *visutility.Entry) {
				pos++
				e.Position, e.Stored = pos, epoch0+int64(pos)*20
				for k := range e.Records {
					e.Records[k].Time = e.Stored
				}
				tr.parts[0].fold(visutility.Batch{Entries: []visutility.Entry{*e}})
			}
			for i := range entries { // every model is known before the clock starts
				fold(&entries[i])
			}
			tr.parts[0].out = output{}
			b.ReportAllocs()
			b.ResetTimer()
			for i := 0; i < b.N; i += perEntry {
				fold(&entries[(i/perEntry)%len(entries)])
			}
			b.StopTimer()
			bytes, n := tr.StateBytes()
			b.ReportMetric(float64(bytes)/float64(n*len(metrics)), "B/series")
		})
	}
}

// BenchmarkReference is the least that keeping one number per series costs when it is done
// with a Go map: look up by model and metric, add. 10,000 models × 5 metrics, in random order.
func BenchmarkReference(b *testing.B) {
	type key struct{ model, metric string }
	rng := rand.New(rand.NewPCG(1, 2))
	keys := make([]key, 200_000)
	for i := range keys {
		keys[i] = key{fmt.Sprintf("model-%05d", rng.IntN(10_000)), []string{"accuracy", "precision", "recall", "f1_score", "auc"}[rng.IntN(5)]}
	}
	sums := make(map[key]*float64)
	for _, k := range keys {
		sums[k] = new(float64)
	}
	i := 0
	for b.Loop() {
		*sums[keys[i%len(keys)]] += 0.9
		i++
	}
}

// foldPolicies returns n policies for all models, spread over the metrics: each compares a window mean.
func foldPolicies(tb testing.TB, n int, metrics []string) []*policy.Policy {
	var ps []*policy.Policy
	for i := range n {
		src := fmt.Sprintf("name: p%d\nmodels: [\"*\"]\nmetrics: {auc: higher_is_better}\nretrain:\n  when: avg(%s, \"1h\") < %g\ntrain: {trainer: none}\n",
			i, metrics[i%len(metrics)], 0.1+0.001*float64(i))
		p, err := policy.Parse(fmt.Sprintf("p%d.yaml", i), []byte(src))
		if err != nil {
			tb.Fatal(err)
		}
		ps = append(ps, p)
	}
	return ps
}
