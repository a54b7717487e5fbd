package trigger

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/visutility/visutility"
)

// metrics are the trigger's own numbers. accepted = folded + the sum of dropped.
type metrics struct {
	folded    prometheus.Counter
	dropped   *prometheus.CounterVec
	decisions *prometheus.CounterVec
	commits   prometheus.Histogram
	failures  prometheus.Counter
	cold      prometheus.Counter
}

func newMetrics(t *Trigger, reg prometheus.Registerer) *metrics {
	m := &metrics{
		folded: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "visutility_events_folded_total", Help: "Events folded into the state of the policies."}),
		dropped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "visutility_events_dropped_total", Help: "Accepted events that were not folded, by reason."}, []string{"reason"}),
		decisions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "visutility_decisions_total", Help: "Decisions stored, by outcome and by the guardrail that suppressed."}, []string{"outcome", "suppressed_by"}),
		commits: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "visutility_commit_seconds", Help: "Time to store positions, decisions, runs and snapshots.", Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14)}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "visutility_commit_failures_total", Help: "Attempts to store that failed and were repeated."}),
		cold: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "visutility_cold_conditions_total", Help: "Models whose conditions were changed and could not begin with what was measured before."}),
	}
	for _, reason := range []string{"superseded_version", "panic"} {
		m.dropped.WithLabelValues(reason)
	}
	if reg != nil {
		reg.MustRegister(m.folded, m.dropped, m.decisions, m.commits, m.failures, m.cold,
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "visutility_state_bytes", Help: "Memory held for the state of the policies."},
				func() float64 { b, _ := t.StateBytes(); return float64(b) }),
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "visutility_models", Help: "Models known."},
				func() float64 { _, n := t.StateBytes(); return float64(n) }))
	}
	return m
}

func (m *metrics) count(n counts) {
	m.folded.Add(float64(n.folded))
	if n.superseded > 0 {
		m.dropped.WithLabelValues("superseded_version").Add(float64(n.superseded))
	}
	if n.panicked > 0 {
		m.dropped.WithLabelValues("panic").Add(float64(n.panicked))
	}
}

func (m *metrics) decided(d *visutility.Decision) {
	m.decisions.WithLabelValues(d.Outcome.String(), d.SuppressedBy).Inc()
}
