package ingest

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/visutility/visutility"
)

// metricsOf makes metrics of the model fraud: change adds to them.
func metricsOf(change func(pmetric.MetricSlice)) pmetric.Metrics {
	m := pmetric.NewMetrics()
	rm := m.ResourceMetrics().AppendEmpty()
	rm.Resource().Attributes().PutStr("service.name", "scorer")
	rm.Resource().Attributes().PutStr("ml.model.name", "fraud")
	sm := rm.ScopeMetrics().AppendEmpty()
	sm.Scope().Attributes().PutStr("ml.model.version", "7")
	change(sm.Metrics())
	return m
}

type stamped interface {
	SetTimestamp(pcommon.Timestamp)
	SetStartTimestamp(pcommon.Timestamp)
}

func stamp(p stamped, start, at time.Time) {
	p.SetTimestamp(pcommon.NewTimestampFromTime(at))
	if !start.IsZero() {
		p.SetStartTimestamp(pcommon.NewTimestampFromTime(start))
	}
}

func gauge(ms pmetric.MetricSlice, name string, values ...float64) pmetric.NumberDataPointSlice {
	m := ms.AppendEmpty()
	m.SetName(name)
	points := m.SetEmptyGauge().DataPoints()
	for _, v := range values {
		p := points.AppendEmpty()
		p.SetDoubleValue(v)
		stamp(p, time.Time{}, now)
	}
	return points
}

// each is a request in both encodings.
func each(t testing.TB, m pmetric.Metrics) map[string][]byte {
	t.Helper()
	req := pmetricotlp.NewExportRequestFromMetrics(m)
	binary, err := req.MarshalProto()
	if err != nil {
		t.Fatal(err)
	}
	text, err := req.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{protobufType: binary, jsonType: text}
}

func TestOTLPMetrics(t *testing.T) {
	m := metricsOf(func(ms pmetric.MetricSlice) {
		dp := gauge(ms, "accuracy", 0.91, math.NaN()).At(0)
		dp.Attributes().PutStr("country", "DE")
		dp.Attributes().PutInt("tier", 2)
		dp = gauge(ms, "recall", 0).At(0)
		dp.SetIntValue(1)
		dp.Attributes().PutStr("ml.model.name", "churn") // nearer than the resource's
		gauge(ms, "gone", 1).At(0).SetFlags(pmetric.DefaultDataPointFlags.WithNoRecordedValue(true))
		ms.AppendEmpty().SetName("empty")
		delta := ms.AppendEmpty()
		delta.SetName("error")
		h := delta.SetEmptyHistogram()
		h.SetAggregationTemporality(pmetric.AggregationTemporalityDelta)
		p := h.DataPoints().AppendEmpty()
		stamp(p, now.Add(-time.Minute), now)
		p.SetCount(4)
		p.SetSum(2)
		h.DataPoints().AppendEmpty().SetSum(0) // nothing was observed
	})
	country := map[string]string{"country": "DE", "tier": "2"}
	want := []visutility.Event{
		{Model: "fraud", Metric: "accuracy", Value: 0.91, Time: now, Version: "7", Labels: country},
		{Model: "churn", Metric: "recall", Value: 1, Time: now, Version: "7"},
		{Model: "fraud", Metric: "error", Value: 0.5, Time: now, Version: "7", Count: 4},
	}
	for contentType, body := range each(t, m) {
		b := mustRead(t, &OTLPMetrics, newSource(), contentType, body)
		if contentType == jsonType && len(b.Events) == 2 {
			t.Logf("%s", body)
		}
		if diff := cmp.Diff(want, b.Events); diff != "" {
			t.Errorf("%s: %s", contentType, diff)
		}
		if diff := cmp.Diff(map[string]int{"nan": 1}, b.Refused); diff != "" {
			t.Errorf("%s: %s", contentType, diff)
		}
		if diff := cmp.Diff(map[string]int{"no_value": 1, "unsupported": 1, "nothing_new": 1}, b.Ignored); diff != "" {
			t.Errorf("%s: %s", contentType, diff)
		}
		a := OTLPMetrics.Answer(Request{Header: map[string][]string{"Content-Type": {contentType}}}, b)
		res := pmetricotlp.NewExportResponse()
		decode := res.UnmarshalProto
		if contentType == jsonType {
			decode = res.UnmarshalJSON
		}
		if err := decode(a.Body); err != nil || a.Status != 200 || a.ContentType != contentType {
			t.Errorf("%v: %+v", err, a)
		}
		if p := res.PartialSuccess(); p.RejectedDataPoints() != 1 || !strings.Contains(p.ErrorMessage(), "resourceMetrics[0].scopeMetrics[0].metrics[0].dataPoints[1].value: is NaN") {
			t.Errorf("%d rejected: %s", p.RejectedDataPoints(), p.ErrorMessage())
		}
	}
}

// What runs on is told by its increase: cumulative histograms, summaries and counters.
func TestOTLPRunningTotals(t *testing.T) {
	s := newSource()
	at := func(sum float64, count uint64, start, at time.Duration) map[string]float64 {
		m := metricsOf(func(ms pmetric.MetricSlice) {
			a, b := now.Add(start), now.Add(at)
			h := ms.AppendEmpty()
			h.SetName("histogram")
			h.SetEmptyHistogram().SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
			p := h.Histogram().DataPoints().AppendEmpty()
			stamp(p, a, b)
			p.SetSum(sum)
			p.SetCount(count)
			e := ms.AppendEmpty()
			e.SetName("exponential")
			e.SetEmptyExponentialHistogram().SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
			q := e.ExponentialHistogram().DataPoints().AppendEmpty()
			stamp(q, a, b)
			q.SetSum(sum)
			q.SetCount(count)
			y := ms.AppendEmpty()
			y.SetName("summary")
			r := y.SetEmptySummary().DataPoints().AppendEmpty()
			stamp(r, a, b)
			r.SetSum(sum)
			r.SetCount(count)
			c := ms.AppendEmpty()
			c.SetName("counter")
			c.SetEmptySum().SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
			c.Sum().SetIsMonotonic(true)
			n := c.Sum().DataPoints().AppendEmpty()
			stamp(n, a, b)
			n.SetDoubleValue(sum)
		})
		got := map[string]float64{}
		b := mustRead(t, &OTLPMetrics, s, protobufType, each(t, m)[protobufType])
		b.Done()
		for _, e := range b.Events {
			got[e.Metric] = e.Value
		}
		return got
	}
	same := func(v float64) map[string]float64 {
		return map[string]float64{"histogram": v, "exponential": v, "summary": v}
	}
	with := func(m map[string]float64, counter float64) map[string]float64 { m["counter"] = counter; return m }
	for i, step := range []struct {
		sum       float64
		count     uint64
		start, at time.Duration
		want      map[string]float64
	}{
		{100, 10, -time.Hour, time.Second, map[string]float64{}}, // began before us
		{103, 12, -time.Hour, 2 * time.Second, with(same(1.5), 3)},
		{103, 12, -time.Hour, 3 * time.Second, map[string]float64{"counter": 0}},
		{5, 1, 4 * time.Second, 5 * time.Second, with(same(5), 5)}, // started anew
		{9, 3, 4 * time.Second, 6 * time.Second, with(same(2), 4)},
	} {
		if diff := cmp.Diff(step.want, at(step.sum, step.count, step.start, step.at)); diff != "" {
			t.Errorf("step %d: %s", i, diff)
		}
	}
}

// More may be refused than are named; a total that may fall is a value like a gauge's.
func TestOTLPPartialSuccessCountsAll(t *testing.T) {
	m := metricsOf(func(ms pmetric.MetricSlice) {
		gauge(ms, "accuracy", slices.Repeat([]float64{math.NaN()}, MaxFaults+5)...)
		sum := ms.AppendEmpty()
		sum.SetName("queue")
		sum.SetEmptySum().SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
		p := sum.Sum().DataPoints().AppendEmpty()
		p.SetDoubleValue(12)
		stamp(p, now.Add(-time.Hour), now)
	})
	b := ReadMetrics(newSource(), m, now)
	if n := MetricsAnswer(b).PartialSuccess().RejectedDataPoints(); n != MaxFaults+5 {
		t.Errorf("%d are told to be rejected", n)
	}
	if len(b.Events) != 1 || b.Events[0].Value != 12 {
		t.Errorf("%+v %v", b.Events, b.Ignored)
	}
}

// Senders by OTLP go by the code, too: UNAVAILABLE is tried again.
func TestOTLPRefusalsHaveCodes(t *testing.T) {
	for status, want := range map[int]string{429: `"code":8`, 503: `"code":14`, 408: `"code":14`, 500: `"code":13`, 400: `"code":3`} {
		a := refuseOTLP(Request{Header: map[string][]string{"Content-Type": {jsonType}}}, status, "no")
		if text := strings.ReplaceAll(string(a.Body), " ", ""); a.Status != status || !strings.Contains(text, want) {
			t.Errorf("%d: %d %s", status, a.Status, text)
		}
	}
}

func TestOTLPRefuses(t *testing.T) {
	deep := strings.Repeat(`{"a":`, 300) + "1" + strings.Repeat("}", 300)
	for name, c := range map[string]struct {
		contentType string
		body        []byte
		want        error
	}{
		"type":     {"text/plain", nil, ErrUnsupported},
		"no type":  {"", nil, ErrUnsupported},
		"protobuf": {protobufType, []byte("{}"), ErrSyntax},
		"json":     {jsonType, []byte(`{"resourceMetrics":[`), ErrSyntax},
		"empty":    {jsonType, nil, ErrSyntax},
		"deep":     {jsonType, []byte(deep), ErrTooLarge},
		"many":     {jsonType, bytes.Repeat([]byte("{"), maxMessages+1), ErrTooLarge},
		"bomb":     {protobufType, bytes.Repeat([]byte{0x0a, 0}, maxMessages+1), ErrTooLarge},
	} {
		for _, p := range []*Protocol{&OTLPMetrics, &OTLPLogs} {
			_, err := read(t, p, newSource(), c.contentType, c.body)
			if !errors.Is(err, c.want) || !errors.Is(err, visutility.ErrInvalid) {
				t.Errorf("%s, %s: %v", name, p.Name, err)
			}
		}
	}
	a := OTLPMetrics.Refuse(Request{Header: map[string][]string{"Content-Type": {protobufType}}}, 400, "why")
	var st status.Status
	if err := proto.Unmarshal(a.Body, &st); err != nil || st.Message != "why" || st.Code != 3 {
		t.Errorf("%v %v", err, &st)
	}
	a = OTLPMetrics.Refuse(Request{Header: map[string][]string{"Content-Type": {jsonType}}}, 429, "busy")
	if !strings.Contains(string(a.Body), `"busy"`) || a.ContentType != jsonType || a.Status != 429 {
		t.Errorf("%+v %s", a, a.Body)
	}
}

func TestOTLPEvaluations(t *testing.T) {
	l := plog.NewLogs()
	rl := l.ResourceLogs().AppendEmpty()
	records := rl.ScopeLogs().AppendEmpty().LogRecords()
	add := func(event string, attrs map[string]any) {
		r := records.AppendEmpty()
		r.SetEventName(event)
		r.SetTimestamp(pcommon.NewTimestampFromTime(now))
		if err := r.Attributes().FromRaw(attrs); err != nil {
			t.Fatal(err)
		}
	}
	add(evaluationEvent, map[string]any{"gen_ai.evaluation.name": "relevance", "gen_ai.evaluation.score.value": 0.8, "gen_ai.evaluation.score.label": "relevant", "gen_ai.response.id": "r1", "ml.model.name": "assistant", "language": "de"})
	add("", map[string]any{"event.name": evaluationEvent, "gen_ai.evaluation.name": "toxicity", "gen_ai.evaluation.score.value": 0, "gen_ai.request.model": "llama"})
	add(evaluationEvent, map[string]any{"gen_ai.evaluation.name": "relevance", "gen_ai.evaluation.score.label": "good", "ml.model.name": "assistant"})
	add(evaluationEvent, map[string]any{"gen_ai.evaluation.name": "relevance", "gen_ai.evaluation.score.value": "high", "ml.model.name": "assistant"})
	add("other", nil)
	req := plogotlp.NewExportRequestFromLogs(l)
	body, err := req.MarshalProto()
	if err != nil {
		t.Fatal(err)
	}
	b := mustRead(t, &OTLPLogs, newSource(), protobufType, body)
	want := []visutility.Event{
		{Model: "assistant", Metric: "relevance", Value: 0.8, Time: now, Labels: map[string]string{"language": "de"}},
		{Model: "llama", Metric: "toxicity", Value: 0, Time: now},
	}
	if diff := cmp.Diff(want, b.Events); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]int{"type": 1}, b.Refused); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]int{"no_value": 1, "unsupported": 1}, b.Ignored); diff != "" {
		t.Error(diff)
	}
	res := plogotlp.NewExportResponse()
	if err := res.UnmarshalProto(OTLPLogs.Answer(Request{}, b).Body); err != nil || res.PartialSuccess().RejectedLogRecords() != 1 {
		t.Errorf("%v: %d", err, res.PartialSuccess().RejectedLogRecords())
	}
}

func FuzzOTLP(f *testing.F) {
	m := metricsOf(func(ms pmetric.MetricSlice) {
		gauge(ms, "accuracy", 0.5).At(0).Attributes().PutEmptySlice("a").AppendEmpty().SetEmptyMap().PutBool("b", true)
		ms.AppendEmpty().SetEmptyExponentialHistogram().DataPoints().AppendEmpty().SetCount(1)
	})
	for contentType, body := range each(f, m) {
		f.Add(body, contentType == jsonType, false)
		f.Add(body, contentType == jsonType, true)
	}
	s := newSource()
	f.Fuzz(func(t *testing.T, body []byte, text, logs bool) {
		p, contentType := &OTLPMetrics, protobufType
		if logs {
			p = &OTLPLogs
		}
		if text {
			contentType = jsonType
		}
		if b, err := read(t, p, s, contentType, body); err == nil {
			b.Done()
			p.Answer(Request{Header: map[string][]string{"Content-Type": {contentType}}}, b)
		} else if !errors.Is(err, visutility.ErrInvalid) {
			t.Fatal(err)
		}
	})
}

func BenchmarkOTLP(b *testing.B) {
	m := metricsOf(func(ms pmetric.MetricSlice) {
		points := gauge(ms, "accuracy")
		for i := range 500 {
			p := points.AppendEmpty()
			p.SetDoubleValue(0.9 + float64(i)/10000)
			stamp(p, time.Time{}, now)
			p.Attributes().PutStr("ml.model.name", fmt.Sprintf("fraud-%d", i%50))
		}
	})
	for contentType, body := range each(b, m) {
		b.Run(strings.TrimPrefix(strings.TrimPrefix(contentType, "application/"), "x-"), func(b *testing.B) { benchProtocol(b, &OTLPMetrics, contentType, body, 500) })
	}
}
