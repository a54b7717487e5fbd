package history

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics counts events and rows: events = in rows + refused + in memory.
type metrics struct {
	h *History

	events, rows                atomic.Uint64
	tooOld, collided, notFinite atomic.Uint64 // events
}

func newMetrics(h *History) *metrics { return &metrics{h: h} }

var (
	eventsDesc  = prometheus.NewDesc("visutility_history_events_total", "Events taken in, refused ones included.", nil, nil)
	rowsDesc    = prometheus.NewDesc("visutility_history_rows_total", "Rows of one second appended to the database.", nil, nil)
	openDesc    = prometheus.NewDesc("visutility_history_open_rows", "Rows in memory, not yet appended.", nil, nil)
	droppedDesc = prometheus.NewDesc("visutility_history_dropped_events_total", "Events refused, by reason.", []string{"reason"}, nil)
)

func (m *metrics) Describe(ch chan<- *prometheus.Desc) {
	ch <- eventsDesc
	ch <- rowsDesc
	ch <- openDesc
	ch <- droppedDesc
}

func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	counter := func(d *prometheus.Desc, v *atomic.Uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v.Load()), labels...)
	}
	counter(eventsDesc, &m.events)
	counter(rowsDesc, &m.rows)
	counter(droppedDesc, &m.tooOld, "too_old")
	counter(droppedDesc, &m.collided, "same_slot")
	counter(droppedDesc, &m.notFinite, "not_finite")
	ch <- prometheus.MustNewConstMetric(openDesc, prometheus.GaugeValue, float64(m.h.openRows()))
}

func (h *History) openRows() int {
	n := 0
	for _, p := range h.all() {
		p.mu.Lock()
		n += p.rows
		p.mu.Unlock()
	}
	return n
}

// all lists the partitions seen so far.
func (h *History) all() []*partition {
	h.mu.RLock()
	defer h.mu.RUnlock()
	list := make([]*partition, 0, len(h.partitions))
	for _, p := range h.partitions {
		list = append(list, p)
	}
	return list
}
