package bus

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/visutility/visutility"
)

// sample returns n events of 100 models, 5 metrics each, as one request.
func sample(n int) []visutility.Event {
	events := make([]visutility.Event, n)
	now := time.Now()
	for i := range events {
		events[i] = visutility.Event{
			Model: fmt.Sprint("model-", i/5%100), Metric: []string{"accuracy", "precision", "recall", "f1_score", "drift_score"}[i%5],
			Value: float64(i) / 7, Time: now.Add(time.Duration(i) * time.Millisecond), Count: 1,
		}
	}
	return events
}

// BenchmarkPublish measures acknowledged (synced) events a second and the time of a call.
func BenchmarkPublish(b *testing.B) {
	for _, size := range []int{1, 100, 1000} {
		for _, callers := range []int{1, 64, 256} {
			for _, keyed := range []bool{false, true} {
				if keyed && callers != 64 {
					continue
				}
				b.Run(fmt.Sprintf("events=%d/callers=%d/keyed=%t", size, callers, keyed), func(b *testing.B) {
					benchmarkPublish(b, size, callers, keyed)
				})
			}
		}
	}
}

func benchmarkPublish(b *testing.B, size, callers int, keyed bool) {
	l, err := Open(b.Context(), Options{Dir: filepath.Join(b.TempDir(), "bus")})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	all := sample(max(size, 500))
	var next atomic.Int64
	var wg sync.WaitGroup
	b.ReportAllocs()
	b.ResetTimer()
	for range callers {
		wg.Go(func() {
			for {
				i := int(next.Add(1))
				if i > b.N {
					return
				}
				key := ""
				if keyed {
					key = fmt.Sprint(i)
				}
				at := i % (len(all) - size + 1)
				if err := l.Publish(context.Background(), key, all[at:at+size]); err != nil {
					b.Error(err)
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N*size)/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(float64(b.Elapsed().Microseconds())*float64(min(callers, b.N))/float64(b.N), "µs/call")
	s := l.Stats()
	b.ReportMetric(float64(s.Requests)/float64(s.Syncs), "calls/sync")
}

// BenchmarkRead measures reading a log from its beginning.
func BenchmarkRead(b *testing.B) {
	l, err := Open(b.Context(), Options{Dir: filepath.Join(b.TempDir(), "bus"), Partitions: 2})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	const messages, size = 2000, 1000
	var wg sync.WaitGroup
	var left atomic.Int64
	left.Store(messages)
	for range 50 {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				if err := l.Publish(context.Background(), "", sample(size)); err != nil {
					b.Error(err)
				}
			}
		})
	}
	wg.Wait()
	read := 0
	b.ResetTimer()
	for range b.N {
		for p := range l.Partitions() {
			last, err := l.Last(b.Context(), p)
			if err != nil {
				b.Fatal(err)
			}
			for batch, err := range l.Read(b.Context(), p, 0) {
				if err != nil {
					b.Fatal(err)
				}
				for i := range batch.Entries {
					read += len(batch.Entries[i].Records)
				}
				if batch.Last() >= last {
					break
				}
			}
		}
	}
	if read != b.N*messages*size {
		b.Fatalf("%d events of %d", read, b.N*messages*size)
	}
	b.ReportMetric(float64(read)/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkLatency measures from the call of Publish to a waiting reader.
func BenchmarkLatency(b *testing.B) {
	l, err := Open(b.Context(), Options{Dir: filepath.Join(b.TempDir(), "bus"), Partitions: 1})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithCancel(b.Context())
	got := make(chan time.Time, 1)
	var wg sync.WaitGroup
	wg.Go(func() {
		for _, err := range l.Read(ctx, 0, 0) {
			if err != nil {
				return
			}
			got <- time.Now()
		}
	})
	var toReader, toAck time.Duration
	event := sample(1)
	for range b.N {
		begun := time.Now()
		if err := l.Publish(ctx, "", event); err != nil {
			b.Fatal(err)
		}
		acked := time.Now()
		toAck += acked.Sub(begun)
		toReader += (<-got).Sub(begun)
	}
	b.ReportMetric(float64(toAck.Microseconds())/float64(b.N), "µs-to-ack")
	b.ReportMetric(float64(toReader.Microseconds())/float64(b.N), "µs-to-reader")
	cancel()
	wg.Wait()
}

func BenchmarkEncode(b *testing.B) {
	for _, size := range []int{1, 1000} {
		b.Run(fmt.Sprint("events=", size), func(b *testing.B) {
			events := sample(size)
			e := newEncoder(1)
			now := time.Now()
			b.ReportAllocs()
			for b.Loop() {
				e.out = nil
				if _, err := e.encode(events, now); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*size), "ns/event")
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, size := range []int{1, 1000} {
		b.Run(fmt.Sprint("events=", size), func(b *testing.B) {
			segments, err := newEncoder(1).encode(sample(size), time.Now())
			if err != nil || len(segments) != 1 {
				b.Fatal(len(segments), err)
			}
			d := newDecoder()
			var entry visutility.Entry
			b.SetBytes(int64(len(segments[0].data)))
			b.ReportAllocs()
			for b.Loop() {
				if err := d.decode(segments[0].data, &entry); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*size), "ns/event")
		})
	}
}
