package retrain

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/visutility/visutility"
)

// metrics are what the runner counts.
type metrics struct {
	training    prometheus.Gauge
	transitions *prometheus.CounterVec
	attempts    *prometheus.CounterVec
	seconds     prometheus.Histogram
	faults      *prometheus.CounterVec
	abandoned   prometheus.Counter
}

func newMetrics() *metrics {
	m := &metrics{
		training: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "visutility_runs_training", Help: "Training attempts under way.",
		}),
		transitions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "visutility_run_transitions_total", Help: "Runs that came to a state.",
		}, []string{"state"}),
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "visutility_training_attempts_total", Help: "Training attempts that ended, by result: succeeded, failed, canceled, panicked.",
		}, []string{"result"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "visutility_training_seconds", Help: "How long the trainer was waited for, per attempt and process.",
			Buckets: []float64{1, 10, 60, 300, 900, 3600, 4 * 3600, 12 * 3600, 24 * 3600},
		}),
		faults: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "visutility_run_faults_total", Help: "Steps that failed for reasons that may pass and are tried again, by state of the run.",
		}, []string{"state"}),
		abandoned: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "visutility_trainings_abandoned_total", Help: "Trainers that did not return when told to stop and are no longer waited for.",
		}),
	}
	for _, s := range visutility.RunStates() {
		m.transitions.WithLabelValues(s.String())
	}
	return m
}

func (m *metrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{m.training, m.transitions, m.attempts, m.seconds, m.faults, m.abandoned}
}
