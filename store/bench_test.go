package store

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/visutility/visutility"
)

// bothBench runs a benchmark on an empty store of either kind.
func bothBench(b *testing.B, bench func(b *testing.B, f fixture)) {
	b.Run("SQLite", func(b *testing.B) {
		bench(b, openFixture(b, Options{Path: filepath.Join(b.TempDir(), "visutility.db")}))
	})
	b.Run("PostgreSQL", func(b *testing.B) { bench(b, openFixture(b, Options{URL: cluster.database(b)})) })
}

func BenchmarkCommitDecision(b *testing.B) {
	bothBench(b, func(b *testing.B, f fixture) {
		e := f.acquire(b, 1)
		for n := 1; b.Loop(); n++ {
			d := decision(fmt.Sprintf("d%d", n), "m", epochTime(n))
			must(b, f.Commit(b.Context(), Commit{Epoch: e, Position: visutility.Position(n), Decisions: []visutility.Decision{d}}))
		}
	})
}

func BenchmarkCommitSnapshots(b *testing.B) {
	bothBench(b, func(b *testing.B, f fixture) {
		c := Commit{Epoch: f.acquire(b, 1)}
		for i := range 10_000 {
			c.Snapshots = append(c.Snapshots, Snapshot{Model: fmt.Sprintf("m%05d", i), Layout: "0123456789abcdef", State: make([]byte, 1024), Facts: []byte(`{"events":1}`)})
		}
		for b.Loop() {
			c.Position++
			c.SnapshotPosition = c.Position
			must(b, f.Commit(b.Context(), c))
		}
	})
}

func BenchmarkLists(b *testing.B) {
	bothBench(b, func(b *testing.B, f fixture) {
		const n = 100_000
		e := f.acquire(b, 1)
		c := Commit{Epoch: e, Position: 1}
		for i := range n {
			d := decision(fmt.Sprintf("d%06d", i), fmt.Sprintf("m%d", i%1000), epoch.Add(time.Duration(i)*time.Millisecond))
			if i%500 == 0 {
				d.Outcome = visutility.Suppressed
			}
			c.Decisions = append(c.Decisions, d)
		}
		start := time.Now()
		must(b, f.Commit(b.Context(), c))
		b.Logf("one commit of %d decisions: %v", n, time.Since(start))
		middle := cursor{'d', millis(epoch.Add(n / 2 * time.Millisecond)), "d"}.String()
		for _, l := range []struct {
			name   string
			filter DecisionFilter
		}{
			{"Newest", DecisionFilter{}},
			{"Middle", DecisionFilter{Page: Page{Cursor: middle}}},
			{"Model", DecisionFilter{Model: "m7"}},
			{"Outcome", DecisionFilter{Outcome: "suppressed"}},
			{"ModelAndOutcome", DecisionFilter{Model: "m500", Outcome: "suppressed"}},
		} {
			b.Run(l.name, func(b *testing.B) {
				for b.Loop() {
					list, _, err := f.Decisions(b.Context(), l.filter)
					must(b, err)
					if len(list) != 100 {
						b.Fatalf("%d decisions", len(list))
					}
				}
			})
		}
	})
}
