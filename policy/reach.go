package policy

import (
	"maps"
	"slices"
	"time"
)

// A Reach is how much of the past the conditions of a program can still see.
type Reach struct {
	// Metrics are those whose events change anything, sorted.
	Metrics []string
	// Window is the longest window by time, and the longest silence that is waited for.
	Window time.Duration
	// Events is how many events of each metric suffice for what counts events, at least 1.
	Events int
	// Baselines are what stands on the first events of a champion, by metric.
	Baselines map[string]BaselineReach
}

// A BaselineReach says when a baseline is complete: after so many events, with so many samples behind them.
type BaselineReach struct{ Events, Samples int64 }

// Reach is how far back the program looks.
func (p *Program) Reach() Reach {
	r := Reach{Metrics: slices.Sorted(maps.Keys(p.metrics)), Baselines: make(map[string]BaselineReach)}
	longest, tallied := 1, 0
	for _, o := range p.operators {
		switch o.kind {
		case baseline:
			b := r.Baselines[o.metric]
			r.Baselines[o.metric] = BaselineReach{max(b.Events, o.events), max(b.Samples, o.samples)}
		case tally:
			tallied = max(tallied, o.n)
		case alarm, samples, losses: // these see all since the champion was new
			r.Window = maxWindow
		case segments:
			inner := o.division.inner.op
			longest = max(longest, o.division.places*max(inner.n, 1))
			r.Window = max(r.Window, time.Duration(inner.width*panes)*time.Millisecond)
		default:
			longest = max(longest, o.n)
			r.Window = max(r.Window, time.Duration(o.width*panes)*time.Millisecond)
		}
	}
	r.Events = longest + tallied // what m_of_n counts may itself be of a window
	for i := range p.slots {
		r.Window = max(r.Window, time.Duration(p.slots[i].after)*time.Millisecond)
	}
	return r
}
