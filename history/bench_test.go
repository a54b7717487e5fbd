package history

import (
	"fmt"
	"testing"
	"time"

	"github.com/visutility/visutility"
)

// fleet is a batch of entries that hold, together, so many events of every series: one each 100 ms.
func fleet(models, metrics, events int) []visutility.Entry {
	var entries []visutility.Entry
	var series []visutility.Series
	for m := range models {
		for x := range metrics {
			series = append(series, visutility.Series{Model: fmt.Sprintf("model-%d", m), Metric: fmt.Sprintf("metric-%d", x), Version: "v1"})
		}
	}
	for i := range events {
		at := int64(epoch + 100*i)
		e := visutility.Entry{Position: visutility.Position(i + 1), Stored: at, Series: series}
		for s := range series {
			e.Records = append(e.Records, visutility.Record{Series: uint32(s), Time: at, Value: float64(i%97) / 97, Count: 100})
		}
		entries = append(entries, e)
	}
	return entries
}

func BenchmarkObserve(b *testing.B) {
	for _, models := range []int{10, 1000} {
		b.Run(fmt.Sprintf("series=%d", models*5), func(b *testing.B) {
			h, err := Open(quiet(b.TempDir()))
			if err != nil {
				b.Fatal(err)
			}
			entries := fleet(models, 5, 100)
			b.ReportAllocs()
			events := 0
			for b.Loop() {
				for i := range entries { // the next ten seconds
					e := &entries[i]
					e.Position += 100
					e.Stored += 10_000
					for r := range e.Records {
						e.Records[r].Time += 10_000
					}
					events += len(e.Records)
				}
				if err := h.Observe(b.Context(), visutility.Batch{Entries: entries}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(events)/b.Elapsed().Seconds(), "events/s")
			if err := h.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}

func BenchmarkSelect(b *testing.B) {
	for _, hours := range []int{1, 6} {
		h, err := Open(quiet(b.TempDir()))
		if err != nil {
			b.Fatal(err)
		}
		if err := h.Observe(b.Context(), longLog(hours).after(0)); err != nil {
			b.Fatal(err)
		}
		if err := h.db.Compact(b.Context()); err != nil {
			b.Fatal(err)
		}
		for name, q := range map[string]Query{
			"all":      {Model: "m", Metric: "auc"},
			"10min":    {Model: "m", Metric: "auc", From: time.UnixMilli(epoch), To: time.UnixMilli(epoch + 600_000)},
			"60points": {Model: "m", Metric: "auc", Points: 60},
		} {
			b.Run(fmt.Sprintf("rows=%d/%s", hours*3600, name), func(b *testing.B) {
				for b.Loop() {
					if got, err := h.Select(b.Context(), q); err != nil || len(got) != 1 {
						b.Fatal(got, err)
					}
				}
			})
		}
		if err := h.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
