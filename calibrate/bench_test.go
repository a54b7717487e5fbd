package calibrate_test

import (
	"context"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/visutility/visutility/calibrate"
)

// BenchmarkCalibrate is the time of one calibration on one processor, on sixty days of hours with 40 × 120 replicates, and
// how many values the rule is shown: a slower rule makes it that much longer.
func BenchmarkCalibrate(b *testing.B) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	for _, trial := range trials {
		b.Run(trial.name, func(b *testing.B) {
			h := worlds[3].sixtyDays(1)
			var shown atomic.Int64
			rule := counted{trial.rule, &shown}
			for b.Loop() {
				if _, err := calibrate.Calibrate(context.Background(), h, rule, calibrate.Options{Levels: trial.levels, WarmUp: trial.warmUp}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(shown.Load())/float64(b.N), "values/op")
		})
	}
}

// counted counts the values that a rule is shown.
type counted struct {
	calibrate.Rule
	shown *atomic.Int64
}

func (c counted) Retrains(level float64, stream []float64, at []int) int {
	n := c.Rule.Retrains(level, stream, at)
	if n == len(at) {
		c.shown.Add(int64(at[n-1] + 1))
	} else {
		c.shown.Add(int64(len(stream)))
	}
	return n
}
