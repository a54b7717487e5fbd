package ingest

import (
	"fmt"
	"mime"
	"net/http"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// OTLPMetrics is what OpenTelemetry SDKs and Collectors send, over HTTP as protobuf or JSON. A gauge's value
// is a measurement, as is the mean of a histogram, with the number of its samples. Of what is
// told as a running total the increase since the point before counts.
var OTLPMetrics = Protocol{
	Name:  "otlp_metrics",
	Paths: []string{"/v1/metrics"},
	GRPC:  "opentelemetry.proto.collector.metrics.v1.MetricsService",
	Read: func(s *Source, r Request) (*Batch, error) {
		req := pmetricotlp.NewExportRequest()
		if err := readOTLP(r, shapeMetrics, req.UnmarshalProto, req.UnmarshalJSON); err != nil {
			return nil, err
		}
		b := ReadMetrics(s, req.Metrics(), r.Now)
		b.Key = contentKey("otlp", r.Body)
		return b, nil
	},
	Answer: func(r Request, b *Batch) Reply { return answerOTLP(r, MetricsAnswer(b)) },
	Refuse: refuseOTLP,
}

const (
	protobufType = "application/x-protobuf"
	jsonType     = "application/json"
)

// Shapes of OpenTelemetry's messages, as deep as is of interest.
var (
	shapeValue   = shape{5: {1: {5: {1: nil}, 6: {1: nil}}}, 6: {1: {2: {5: {1: nil}, 6: {1: nil}}}}}
	shapeAttrs   = shape{2: shapeValue}
	shapePoint   = shape{7: shapeAttrs, 5: {7: shapeAttrs}}                // of gauges and sums
	shapeHist    = shape{9: shapeAttrs, 8: {7: shapeAttrs}}                // of histograms
	shapeExp     = shape{1: shapeAttrs, 8: {}, 9: {}, 11: {7: shapeAttrs}} // of exponential ones
	shapeSummary = shape{7: shapeAttrs, 6: nil}                            // of summaries
	shapeScope   = shape{3: shapeAttrs}                                    // and of what is in it:
	shapeMetric  = shape{5: {1: shapePoint}, 7: {1: shapePoint}, 9: {1: shapeHist}, 10: {1: shapeExp}, 11: {1: shapeSummary}, 12: shapeAttrs}
	shapeMetrics = shape{1: {1: {1: shapeAttrs}, 2: {1: shapeScope, 2: shapeMetric}}}
	shapeLogs    = shape{1: {1: {1: shapeAttrs}, 2: {1: shapeScope, 2: {5: shapeValue, 6: shapeAttrs}}}}
)

// readOTLP decodes a body by its content type.
func readOTLP(r Request, s shape, fromProto, fromJSON func([]byte) error) error {
	var err error
	switch mediaType(r) {
	case protobufType:
		if err := checkWire(r.Body, s); err != nil {
			return err
		}
		err = fromProto(r.Body)
	case jsonType:
		if err := checkBraces(r.Body); err != nil {
			return err
		}
		err = fromJSON(r.Body)
	default:
		return fmt.Errorf("%w: content type %q is not understood; send application/x-protobuf or application/json", ErrUnsupported, clip(mediaType(r)))
	}
	if err != nil {
		return malformed(err)
	}
	return nil
}

func mediaType(r Request) string {
	t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		return r.Header.Get("Content-Type")
	}
	return t
}

// A points reader goes over the metrics of a request.
type points struct {
	s     *Source
	b     *Batch
	where [3]int // resource, scope, metric
	attrs []attribute
	rest  []attribute // of scope and resource
}

// ReadMetrics turns OpenTelemetry's metrics into a batch without a key.
func ReadMetrics(s *Source, m pmetric.Metrics, now time.Time) *Batch {
	p := points{s: s, b: s.begin(now)}
	for i, rm := range m.ResourceMetrics().All() {
		for k, sm := range rm.ScopeMetrics().All() {
			p.rest = appendAttributes(p.rest[:0], sm.Scope().Attributes(), false)
			p.rest = appendAttributes(p.rest, rm.Resource().Attributes(), false)
			for j, metric := range sm.Metrics().All() {
				p.where = [3]int{i, k, j}
				p.metric(metric)
			}
		}
	}
	return p.b
}

func appendAttributes(to []attribute, m pcommon.Map, own bool) []attribute {
	for name, v := range m.All() {
		to = append(to, attribute{name, v.AsString(), own})
	}
	return to
}

func (p *points) metric(m pmetric.Metric) {
	switch m.Type() {
	case pmetric.MetricTypeGauge:
		for i, dp := range m.Gauge().DataPoints().All() {
			p.number(i, m.Name(), dp, false)
		}
	case pmetric.MetricTypeSum:
		running := m.Sum().IsMonotonic() && m.Sum().AggregationTemporality() == pmetric.AggregationTemporalityCumulative
		for i, dp := range m.Sum().DataPoints().All() {
			p.number(i, m.Name(), dp, running)
		}
	case pmetric.MetricTypeHistogram:
		running := m.Histogram().AggregationTemporality() == pmetric.AggregationTemporalityCumulative
		for i, dp := range m.Histogram().DataPoints().All() {
			p.distribution(i, m.Name(), dp, dp.HasSum(), running)
		}
	case pmetric.MetricTypeExponentialHistogram:
		running := m.ExponentialHistogram().AggregationTemporality() == pmetric.AggregationTemporalityCumulative
		for i, dp := range m.ExponentialHistogram().DataPoints().All() {
			p.distribution(i, m.Name(), dp, dp.HasSum(), running)
		}
	case pmetric.MetricTypeSummary:
		for i, dp := range m.Summary().DataPoints().All() {
			p.distribution(i, m.Name(), dp, true, true)
		}
	default:
		p.b.ignore(reasonUnsupported)
	}
}

// A dataPoint is what the points of all kinds of metric have in common.
type dataPoint interface {
	Attributes() pcommon.Map
	StartTimestamp() pcommon.Timestamp
	Timestamp() pcommon.Timestamp
	Flags() pmetric.DataPointFlags
}

// start identifies a point; ok is false for one that only says that there is nothing.
func (p *points) start(dp dataPoint) (id identity, ok bool) {
	if dp.Flags().NoRecordedValue() {
		p.b.ignore(reasonNoValue)
		return id, false
	}
	p.attrs = append(appendAttributes(p.attrs[:0], dp.Attributes(), true), p.rest...)
	return p.s.identify(p.attrs), true
}

func (p *points) number(i int, metric string, dp pmetric.NumberDataPoint, running bool) {
	id, ok := p.start(dp)
	if !ok {
		return
	}
	v := dp.DoubleValue()
	switch dp.ValueType() {
	case pmetric.NumberDataPointValueTypeInt:
		v = float64(dp.IntValue())
	case pmetric.NumberDataPointValueTypeEmpty:
		p.b.ignore(reasonNoValue)
		return
	}
	if running {
		why := ""
		if v, _, why = p.increase(metric, id, dp, total{sum: v, counter: true}); why != "" {
			p.b.ignore(why)
			return
		}
	}
	p.add(i, metric, id, dp, v, 0)
}

// distribution takes the mean of what was observed.
func (p *points) distribution(i int, metric string, dp interface {
	dataPoint
	Count() uint64
	Sum() float64
}, summed, running bool) {
	id, ok := p.start(dp)
	if !ok {
		return
	}
	sum, count, why := dp.Sum(), dp.Count(), ""
	switch {
	case !summed:
		why = reasonNoValue
	case running:
		sum, count, why = p.increase(metric, id, dp, total{sum: sum, count: count})
	case count == 0:
		why = reasonNothingNew
	}
	if why != "" {
		p.b.ignore(why)
		return
	}
	p.add(i, metric, id, dp, sum/float64(count), count)
}

func (p *points) increase(metric string, id identity, dp dataPoint, t total) (float64, uint64, string) {
	t.start, t.at = int64(dp.StartTimestamp()), int64(dp.Timestamp())
	return p.s.totals.increase(p.b, p.s.totals.key(metric, id, p.attrs), t)
}

func (p *points) add(i int, metric string, id identity, dp dataPoint, v float64, count uint64) {
	var at time.Time
	if ts := dp.Timestamp(); ts != 0 {
		at = ts.AsTime()
	}
	where := p.where
	p.s.add(p.b, id, reading{
		field: func() string {
			return fmt.Sprintf("resourceMetrics[%d].scopeMetrics[%d].metrics[%d].dataPoints[%d]", where[0], where[1], where[2], i)
		},
		metric: metric, value: v, time: at, count: count,
	})
}

// MetricsAnswer is the response to a request for metrics: whole or partial success.
func MetricsAnswer(b *Batch) pmetricotlp.ExportResponse {
	res := pmetricotlp.NewExportResponse()
	if n := b.RefusedCount(); n > 0 {
		res.PartialSuccess().SetRejectedDataPoints(int64(n))
		res.PartialSuccess().SetErrorMessage(b.Summary())
	}
	return res
}

// An otlpMessage is a response of OpenTelemetry's.
type otlpMessage interface {
	MarshalProto() ([]byte, error)
	MarshalJSON() ([]byte, error)
}

// answerOTLP writes a response in the type of the request.
func answerOTLP(r Request, m otlpMessage) Reply {
	out := Reply{Status: http.StatusOK, ContentType: protobufType}
	marshal := m.MarshalProto
	if mediaType(r) == jsonType {
		out.ContentType, marshal = jsonType, m.MarshalJSON
	}
	body, err := marshal()
	if err != nil { // a number and a valid string always marshal
		return Reply{Status: http.StatusInternalServerError}
	}
	out.Body = body
	return out
}

// refuseOTLP is a failure as OTLP says it: a google.rpc.Status in the type of the request.
func refuseOTLP(r Request, httpStatus int, text string) Reply {
	st := &status.Status{Code: int32(rpcCode(httpStatus)), Message: text}
	out := Reply{Status: httpStatus, ContentType: protobufType}
	var err error
	if mediaType(r) == jsonType {
		out.ContentType = jsonType
		out.Body, err = protojson.Marshal(st)
	} else {
		out.Body, err = proto.Marshal(st)
	}
	if err != nil { // text that is not valid UTF-8
		out.Body = nil
	}
	return out
}

func rpcCode(httpStatus int) code.Code {
	switch httpStatus {
	case http.StatusTooManyRequests:
		return code.Code_RESOURCE_EXHAUSTED
	case http.StatusServiceUnavailable, http.StatusRequestTimeout:
		return code.Code_UNAVAILABLE
	case http.StatusInternalServerError:
		return code.Code_INTERNAL
	}
	return code.Code_INVALID_ARGUMENT
}
