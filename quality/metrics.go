package quality

import (
	"maps"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
)

var (
	predictionsTotal = prometheus.NewDesc("visutility_predictions_total", "Predictions taken from their log since the start.", nil, nil)
	labelsTotal      = prometheus.NewDesc("visutility_labels_total", "Labels taken from their log since the start.", nil, nil)
	joinedTotal      = prometheus.NewDesc("visutility_labels_joined_total", "Labels that were joined with their prediction before it was judged.", nil, nil)
	droppedTotal     = prometheus.NewDesc("visutility_predictions_dropped_total", "Predictions, labels and features that count nowhere, by reason.", []string{"reason"}, nil)
	pendingNow       = prometheus.NewDesc("visutility_predictions_pending", "Predictions held until their labels come.", nil, nil)
	refusedTotal     = prometheus.NewDesc("visutility_predictions_events_refused_total", "Metric events of joined predictions that the log of events refused.", nil, nil)
	unsavedTotal     = prometheus.NewDesc("visutility_predictions_snapshots_failed_total", "Snapshots of joined predictions that could not be written.", nil, nil)
)

// A view is what others may see of a partition.
type view struct {
	counts           Counts
	pending          int
	refused, unsaved uint64
}

// show brings the view of a partition up to date.
func (p *partition) show() {
	v := view{p.joiner.Counts(), p.joiner.Pending(), p.refused, p.unsaved}
	p.shown.Store(&v)
}

// Describe implements prometheus.Collector.
func (o *Observer) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{predictionsTotal, labelsTotal, joinedTotal, droppedTotal, pendingNow, refusedTotal, unsavedTotal} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (o *Observer) Collect(ch chan<- prometheus.Metric) {
	sum := view{counts: Counts{Dropped: map[string]uint64{}}}
	for _, reason := range reasons {
		sum.counts.Dropped[reason] = 0
	}
	o.mu.Lock()
	all := slices.Collect(maps.Values(o.partitions))
	o.mu.Unlock()
	for _, p := range all {
		v := p.shown.Load()
		sum.counts.Predictions += v.counts.Predictions
		sum.counts.Labels += v.counts.Labels
		sum.counts.Joined += v.counts.Joined
		sum.pending += v.pending
		sum.refused += v.refused
		sum.unsaved += v.unsaved
		for reason, n := range v.counts.Dropped {
			sum.counts.Dropped[reason] += n
		}
	}
	counter := func(d *prometheus.Desc, n uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	counter(predictionsTotal, sum.counts.Predictions)
	counter(labelsTotal, sum.counts.Labels)
	counter(joinedTotal, sum.counts.Joined)
	for reason, n := range sum.counts.Dropped {
		counter(droppedTotal, n, reason)
	}
	counter(refusedTotal, sum.refused)
	counter(unsavedTotal, sum.unsaved)
	ch <- prometheus.MustNewConstMetric(pendingNow, prometheus.GaugeValue, float64(sum.pending))
}
