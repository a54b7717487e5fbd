package engine

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/visutility/visutility/bus"
)

// registerLog puts the log's counters on /metrics.
func registerLog(reg prometheus.Registerer, stats func() bus.Stats) error {
	for _, c := range []struct {
		name, help string
		value      func(bus.Stats) uint64
	}{
		// Counted where they are stored, once, by whatever way they came.
		{"visutility_events_accepted_total", "Events stored in the log since the start; those of repeated idempotency keys are not stored again.",
			func(s bus.Stats) uint64 { return s.Events }},
		{"visutility_publishes_repeated_total", "Publishes without effect, since their idempotency key was known.",
			func(s bus.Stats) uint64 { return s.Duplicates }},
		{"visutility_publishes_failed_total", "Publishes that ended in an error.",
			func(s bus.Stats) uint64 { return s.Refused }},
		{"visutility_log_syncs_total", "Writes that were synced to disk as one.",
			func(s bus.Stats) uint64 { return s.Syncs }},
		{"visutility_log_bytes_total", "Bytes of the entries stored.",
			func(s bus.Stats) uint64 { return s.Bytes }},
		{"visutility_log_corrupt_entries_total", "Entries missing from the log, or unreadable.",
			func(s bus.Stats) uint64 { return s.Corrupt }},
		{"visutility_log_restarts_total", "Times the log was opened anew after the disk failed.",
			func(s bus.Stats) uint64 { return s.Restarts }},
	} {
		if err := reg.Register(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: c.name, Help: c.help},
			func() float64 { return float64(c.value(stats())) })); err != nil {
			return err
		}
	}
	return nil
}
