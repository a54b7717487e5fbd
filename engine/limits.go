package engine

import "time"

// Limits are what an engine keeps to, and how far it has got.
type Limits struct {
	Partitions        int           // of the log
	Series, MaxSeries int           // distinct series accepted, and how many there may be
	MaxRuns           int           // trainings under way at once
	Retention         time.Duration // of the log
	MaxLogBytes       int64         // of the log on disk
	HistoryRetention  time.Duration
	DecisionRetention time.Duration // of decisions and ended runs
}

// Limits tells them.
func (e *Engine) Limits() Limits {
	e.series.mu.RLock()
	defer e.series.mu.RUnlock()
	return Limits{
		Partitions: e.bus.Partitions(), Series: len(e.series.seen), MaxSeries: e.o.MaxSeries, MaxRuns: e.o.MaxRuns,
		Retention: e.o.Retention, MaxLogBytes: e.o.MaxLogBytes, HistoryRetention: e.o.HistoryRetention, DecisionRetention: e.o.DecisionRetention,
	}
}
