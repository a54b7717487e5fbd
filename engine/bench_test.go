package engine_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/engine"
	"github.com/visutility/visutility/policy"
)

const (
	benchModels  = 10_000
	benchMetrics = 5
)

// benchPolicies returns n policies for all models over five metrics, each with a condition of its own.
func benchPolicies(tb testing.TB, n int) []*policy.Policy {
	tb.Helper()
	shapes := []string{
		`avg(%[1]s, "1h") < %[2]g`,
		`%[1]s < %[2]g && avg(%[1]s, "1h") < %[2]g`,
		`min(%[1]s, "1h") < %[2]g`,
		`avg(%[1]s, "24h") < %[2]g || max(%[1]s, "1h") < %[2]g`,
	}
	metrics := []string{"accuracy", "precision", "recall", "f1_score", "auc"}
	var ps []*policy.Policy
	for i := range n {
		cond := fmt.Sprintf(shapes[i%len(shapes)], metrics[i%len(metrics)], 0.1+0.001*float64(i))
		src := fmt.Sprintf("name: p%d\nmodels: [\"model-*\"]\nmetrics: {auc: higher_is_better}\nretrain:\n  when: '%s'\ntrain: {trainer: none}\n", i, cond)
		p, err := policy.Parse(fmt.Sprintf("p%d.yaml", i), []byte(src))
		if err != nil {
			tb.Fatal(err)
		}
		ps = append(ps, p)
	}
	return ps
}

// benchEvents returns n events of random series, none of which breaches.
func benchEvents(n int, seed uint64) []visutility.Event {
	rng := rand.New(rand.NewPCG(seed, 1))
	metrics := []string{"accuracy", "precision", "recall", "f1_score", "auc"}
	names := make([]string, benchModels)
	for i := range names {
		names[i] = fmt.Sprintf("model-%05d", i)
	}
	events := make([]visutility.Event, n)
	for i := range events {
		events[i] = visutility.Event{
			Model: names[rng.IntN(benchModels)], Metric: metrics[rng.IntN(benchMetrics)],
			Value: 0.9 + 0.05*rng.Float64(), Count: 100,
		}
	}
	return events
}

// running opens an engine and runs it until stop.
func running(tb testing.TB, o engine.Options) (e *engine.Engine, stop func()) {
	tb.Helper()
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	e, err := engine.Open(tb.Context(), o)
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				tb.Error(err)
			}
			if err := e.Close(); err != nil {
				tb.Error(err)
			}
		})
	}
	tb.Cleanup(stop)
	return e, stop
}

// folded waits until n events are folded.
func folded(tb testing.TB, e *engine.Engine, n int64) {
	tb.Helper()
	deadline := time.NewTimer(10 * time.Minute)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for e.Folded() < n {
		select {
		case <-tick.C:
		case <-deadline.C:
			tb.Fatalf("folded %d of %d events", e.Folded(), n)
		}
	}
}

// BenchmarkDisk appends 4 KiB and waits until it is on disk: what the machine can do at all.
func BenchmarkDisk(b *testing.B) {
	f, err := os.Create(filepath.Join(b.TempDir(), "file"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	page := make([]byte, 4096)
	for b.Loop() {
		if _, err := f.Write(page); err != nil {
			b.Fatal(err)
		}
		if err := f.Sync(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDurable publishes durably and waits until all is folded: events per second.
func BenchmarkDurable(b *testing.B) {
	for _, policies := range []int{1, 16} {
		for _, batch := range []int{1, 100, 1000} {
			b.Run(fmt.Sprintf("policies=%d/batch=%d", policies, batch), func(b *testing.B) {
				e, _ := running(b, engine.Options{Dir: b.TempDir(), Policies: benchPolicies(b, policies)})
				pool := benchEvents(1_000_000, 7)
				for at := 0; at < len(pool); at += 10_000 { // every series is known before the clock starts
					if err := e.Publish(b.Context(), "", pool[at:at+10_000]); err != nil {
						b.Fatal(err)
					}
				}
				known := int64(len(pool))
				folded(b, e, known)
				publishers := map[int]int{1: 512, 100: 128, 1000: 128}[batch] // senders that wait for their answers
				var next atomic.Int64
				b.ReportAllocs()
				b.ResetTimer()
				var wg sync.WaitGroup
				for range publishers {
					wg.Go(func() {
						for {
							end := int(next.Add(int64(batch)))
							if end-batch >= b.N {
								return
							}
							n := min(batch, b.N-(end-batch))
							at := (end - batch) % (len(pool) - batch)
							if err := e.Publish(b.Context(), "", pool[at:at+n]); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				wg.Wait()
				folded(b, e, known+int64(b.N))
				b.StopTimer()
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
			})
		}
	}
}

// BenchmarkRecovery folds a log of ten million events again, from nothing.
func BenchmarkRecovery(b *testing.B) {
	const total, batch = 10_000_000, 1000
	dir := b.TempDir()
	policies := benchPolicies(b, 1)
	e, stop := running(b, engine.Options{Dir: dir, Policies: policies})
	pool := benchEvents(1_000_000, 7)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for {
				end := int(next.Add(batch))
				if end > total {
					return
				}
				if err := e.Publish(b.Context(), "", pool[(end-batch)%len(pool):][:batch]); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	stop()
	b.ResetTimer()
	for range b.N {
		forget(b, dir)
		e, stop := running(b, engine.Options{Dir: dir, Policies: policies})
		folded(b, e, total)
		b.StopTimer()
		stop()
		b.StartTimer()
	}
	b.ReportMetric(float64(total)*float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

// forget removes everything but the log.
func forget(tb testing.TB, dir string) {
	tb.Helper()
	for _, name := range []string{"state.db", "state.db-wal", "state.db-shm", "history"} {
		removeAll(tb, dir, name)
	}
}

// BenchmarkState tells the memory that the state of the policies takes per series.
func BenchmarkState(b *testing.B) {
	for _, policies := range []int{1, 16} {
		b.Run(fmt.Sprintf("policies=%d", policies), func(b *testing.B) {
			e, _ := running(b, engine.Options{Dir: b.TempDir(), Policies: benchPolicies(b, policies)})
			var events []visutility.Event
			for i := range benchModels {
				for _, m := range strings.Fields("accuracy precision recall f1_score auc") {
					events = append(events, visutility.Event{Model: fmt.Sprintf("model-%05d", i), Metric: m, Value: 0.9})
				}
			}
			for range b.N {
				if err := e.Publish(b.Context(), "", events); err != nil {
					b.Fatal(err)
				}
			}
			folded(b, e, int64(b.N*len(events)))
			bytes, models := e.StateBytes()
			b.ReportMetric(float64(bytes)/float64(models*benchMetrics), "B/series")
		})
	}
}
