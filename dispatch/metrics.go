package dispatch

import "github.com/prometheus/client_golang/prometheus"

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("visutility_observer_"+name, help, append([]string{"observer"}, labels...), nil)
}

var (
	lagEntries   = desc("lag_entries", "Log entries that wait for the observer, as far as it was told with its last batches.")
	lagSeconds   = desc("lag_seconds", "Age of the oldest log entry that waits for the observer, 0 when none does.")
	stateNow     = desc("state", "1 for the state the observer is in, 0 for the others.", "state")
	failedTotal  = desc("failures_total", "Calls and reads that failed.")
	panicsTotal  = desc("panics_total", "Calls that panicked.")
	batchesTotal = desc("batches_total", "Batches the observer has accepted.")
	eventsTotal  = desc("events_total", "Events in the batches the observer has accepted.")
	skippedTotal = desc("skipped_entries_total", "Positions the log dropped before the observer read them.")
)

// A collector shows the status of a dispatcher's observers as metrics. It keeps nothing, so that
// what is detached is gone at the next scrape.
type collector struct{ d *Dispatcher }

func (c collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{lagEntries, lagSeconds, stateNow, failedTotal, panicsTotal, batchesTotal, eventsTotal, skippedTotal} {
		ch <- d
	}
}

func (c collector) Collect(ch chan<- prometheus.Metric) {
	for _, s := range c.d.Status() {
		gauge := func(d *prometheus.Desc, v float64, labels ...string) {
			ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, append([]string{s.Name}, labels...)...)
		}
		counter := func(d *prometheus.Desc, v uint64) {
			ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), s.Name)
		}
		gauge(lagEntries, float64(s.LagEntries))
		gauge(lagSeconds, s.LagSeconds)
		for _, state := range states {
			v := 0.0
			if s.State == state {
				v = 1
			}
			gauge(stateNow, v, string(state))
		}
		counter(failedTotal, s.FailuresTotal)
		counter(panicsTotal, s.Panics)
		counter(batchesTotal, s.Batches)
		counter(eventsTotal, s.Events)
		counter(skippedTotal, s.SkippedEntries)
	}
}
