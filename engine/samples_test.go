package engine_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/engine"
	"github.com/visutility/visutility/quality"
)

var soon = quality.Rules{{Models: "*", Settings: quality.Settings{Window: time.Minute, MatureAfter: 2 * time.Second}}}

// A tally counts, by metric, the events of the log and the samples behind them.
type tally struct {
	mu      sync.Mutex
	events  map[string]int
	samples map[string]uint64
}

func (c *tally) Observe(_ context.Context, b visutility.Batch) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range b.Events() {
		c.events[e.Metric]++
		c.samples[e.Metric] += e.Count
	}
	return nil
}

// TestPredictionsOutliveRestarts sends predictions of many models and their labels, with keys that repeat, and
// restarts between all steps. Each counts once.
func TestPredictionsOutliveRestarts(t *testing.T) {
	const models, each = 20, 10
	dir := t.TempDir()
	open := func() (*engine.Engine, func()) {
		return running(t, engine.Options{Dir: dir, Predictions: soon, Tick: 50 * time.Millisecond})
	}
	at := time.Now().Add(-time.Hour).Truncate(time.Minute)
	var predictions []visutility.Prediction
	var labels []visutility.Truth
	for i := range models * each {
		model, id := fmt.Sprint("model-", i%models), strconv.Itoa(i)
		predictions = append(predictions, visutility.Prediction{Model: model, ID: id, Answer: visutility.Answer{Class: "yes"}, Score: math.NaN(), Time: at})
		labels = append(labels, visutility.Truth{Model: model, ID: id, Answer: visutility.Answer{Class: []string{"yes", "no"}[i/models%2]}})
	}
	for range 2 {
		e, stop := open()
		for i := 0; i < len(predictions); i += 50 {
			key := fmt.Sprint("key ", i)
			if err := e.Predictions(t.Context(), key, predictions[i:i+50]); err != nil {
				t.Fatal(err)
			}
			if err := e.Labels(t.Context(), key, labels[i:i+50]); err != nil {
				t.Fatal(err)
			}
		}
		stop()
	}
	for i := range 2 { // the second time all of it was told already
		e, stop := open()
		c := &tally{events: map[string]int{}, samples: map[string]uint64{}}
		if err := e.Attach(fmt.Sprint("tally-", i), c); err != nil {
			t.Fatal(err)
		}
		eventually(t, "every model to be measured", func() bool {
			c.mu.Lock()
			defer c.mu.Unlock()
			return c.events["f1_score"] >= models
		})
		stop()
		if c.events["accuracy"] != models || c.samples["accuracy"] != models*each || c.samples["label_coverage"] != models*each {
			t.Errorf("the log has %v of %v samples; want %d of each, of %d in all", c.events, c.samples, models, models*each)
		}
	}
	removeAll(t, dir, "predictions")
	if _, err := engine.Open(t.Context(), engine.Options{Dir: dir}); !errors.Is(err, visutility.ErrConflict) {
		t.Errorf("a data directory without its log of predictions: %v, want ErrConflict", err)
	}
}

// BenchmarkJoined sends predictions, and labels of those before, durably, 1,000 a call, and waits until all are joined.
func BenchmarkJoined(b *testing.B) {
	const batch, senders = 1000, 32
	reg := prometheus.NewRegistry()
	e, _ := running(b, engine.Options{Dir: b.TempDir(), Registerer: reg, Predictions: soon})
	var next atomic.Int64
	var wg sync.WaitGroup
	b.ResetTimer()
	for range senders {
		wg.Go(func() {
			for {
				first := int(next.Add(batch)) - batch
				if first >= b.N {
					return
				}
				var predictions []visutility.Prediction
				var labels []visutility.Truth
				for i := first; i < first+batch; i++ {
					model, id := fmt.Sprint("model-", i%100), strconv.Itoa(i)
					predictions = append(predictions, visutility.Prediction{Model: model, ID: id, Answer: visutility.Answer{Class: []string{"true", "false"}[i%2]}, Score: float64(i%1000) / 1000})
					labels = append(labels, visutility.Truth{Model: model, ID: id, Answer: visutility.Answer{Class: []string{"true", "false"}[i%3%2]}})
				}
				if err := errors.Join(e.Predictions(b.Context(), "", predictions), e.Labels(b.Context(), "", labels)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	want := int64(next.Load()) - senders*batch
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(10 * time.Minute); counted(b, reg, "visutility_labels_joined_total") < want; {
		if time.Now().After(deadline) {
			b.Fatalf("joined %d of %d", counted(b, reg, "visutility_labels_joined_total"), want)
		}
		<-tick.C
	}
	b.StopTimer()
	b.ReportMetric(float64(want)/b.Elapsed().Seconds(), "predictions+labels/s")
}
