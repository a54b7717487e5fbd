package ingest

import (
	"fmt"
	"math"
	"time"

	"github.com/prometheus/common/model"
)

// ReadQuery turns the answer to a PromQL query into measurements of a metric. name is the model when the query is for
// one; otherwise labels say which. A number that is none, as of a ratio of nothing, is passed over.
func ReadQuery(s *Source, answer model.Value, metric, name string, now time.Time) (*Batch, error) {
	b := s.begin(now)
	add := func(i int, labels model.Metric, v float64, at time.Time) {
		if math.IsNaN(v) {
			b.ignore(reasonNoValue)
			return
		}
		var attrs []attribute
		for label, value := range labels {
			if label != model.MetricNameLabel {
				attrs = append(attrs, attribute{string(label), string(value), true})
			}
		}
		id := s.identify(attrs)
		if name != "" {
			id.model = name
		}
		s.add(b, id, reading{field: func() string { return fmt.Sprintf("result[%d]", i) }, metric: metric, value: v, time: at})
	}
	switch answer := answer.(type) {
	case *model.Scalar:
		add(0, nil, float64(answer.Value), answer.Timestamp.Time())
	case model.Vector:
		for i, x := range answer {
			if x.Histogram != nil {
				b.ignore(reasonUnsupported)
				continue
			}
			add(i, x.Metric, float64(x.Value), x.Timestamp.Time())
		}
	default:
		return nil, fmt.Errorf("%w: the answer is a %s; a query has to give a number or an instant vector", ErrUnsupported, answer.Type())
	}
	return b, nil
}
