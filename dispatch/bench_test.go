package dispatch_test

import (
	"context"
	"iter"
	"log/slog"
	"testing"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/dispatch"
)

// An endlessBus yields one batch over and over, at ever new positions.
type endlessBus struct {
	*memoryBus
	entry visutility.Entry
}

func (b *endlessBus) First(context.Context, int) (visutility.Position, error) { return 0, nil }
func (b *endlessBus) Last(context.Context, int) (visutility.Position, error)  { return 1 << 62, nil }

func (b *endlessBus) Read(ctx context.Context, p int, after visutility.Position) iter.Seq2[visutility.Batch, error] {
	return func(yield func(visutility.Batch, error) bool) {
		entries := []visutility.Entry{b.entry}
		for ctx.Err() == nil {
			after++
			entries[0].Position = after
			if !yield(visutility.Batch{Partition: p, Entries: entries}, nil) {
				return
			}
		}
		yield(visutility.Batch{}, ctx.Err())
	}
}

// BenchmarkDeliver is what a batch costs on its way to an observer that does nothing.
func BenchmarkDeliver(b *testing.B) {
	bus := &endlessBus{memoryBus: newMemoryBus(1), entry: visutility.Entry{Records: make([]visutility.Record, 1000)}}
	d := dispatch.New(dispatch.Options{Bus: bus, Positions: newMemoryPositions(), Logger: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(b.Context())
	left := b.N
	o := visutility.ObserverFunc(func(context.Context, visutility.Batch) error {
		if left--; left == 0 {
			cancel()
		}
		return nil
	})
	if err := d.Attach("nothing", o, dispatch.AttachOptions{}); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.ResetTimer()
	if err := d.Run(ctx); err != nil {
		b.Fatal(err)
	}
}
