package quality

import (
	"fmt"
	"math"
	"strconv"
	"testing"
	"time"

	"github.com/visutility/visutility"
)

// BenchmarkJoin folds predictions with their labels, half an hour later, in windows of an hour. An operation is a prediction and its label.
func BenchmarkJoin(b *testing.B) {
	for _, features := range []int{0, 10} {
		b.Run(fmt.Sprintf("features=%d", features), func(b *testing.B) {
			const batch, perEntry = 1000, 36_000
			j := NewJoiner(Rules{{"*", Settings{MatureAfter: time.Hour, Positive: "true"}}}, Limits{})
			entry := func(k int) ([][]byte, int64) {
				at := epoch.Add(time.Duration(k) * perEntry * time.Millisecond)
				l := logged{stored: at}
				for i := range batch {
					p := visutility.Prediction{Model: "fraud", ID: strconv.Itoa(k*batch + i), Answer: class([]string{"true", "false"}[i%2]), Score: float64(i) / batch, Version: "7", Time: at}
					for f := range features {
						p.Features = append(p.Features, visutility.Feature{Name: "feature_" + strconv.Itoa(f), Value: number(math.Sin(float64(i*f)) * 100)})
					}
					l.predictions = append(l.predictions, p)
					if early := k - 100; early >= 0 {
						l.truths = append(l.truths, truth(strconv.Itoa(early*batch+i), at, class([]string{"true", "false"}[i%3%2])))
					}
				}
				return l.payloads(b), at.UnixMilli()
			}
			n := 0
			for b.Loop() {
				b.StopTimer()
				payloads, stored := entry(n)
				n++
				b.StartTimer()
				j.Fold(stored, payloads)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n*batch), "ns/prediction+label")
			b.ReportMetric(float64(n*batch)/b.Elapsed().Seconds(), "predictions+labels/s")
			b.ReportMetric(float64(j.Pending()), "pending")
		})
	}
}
