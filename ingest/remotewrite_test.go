package ingest

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"

	"github.com/visutility/visutility"
)

const (
	typeV1 = "application/x-protobuf"
	typeV2 = "application/x-protobuf;proto=io.prometheus.write.v2.Request"
)

// read hands a body to a protocol.
func read(t testing.TB, p *Protocol, s *Source, contentType string, body []byte) (*Batch, error) {
	t.Helper()
	b, err := p.Read(s, Request{Header: http.Header{"Content-Type": {contentType}}, Body: body, Now: now})
	if err == nil {
		checkBatch(t, b)
	}
	return b, err
}

// checkBatch holds a batch against what every batch is.
func checkBatch(t testing.TB, b *Batch) {
	t.Helper()
	var faults []visutility.FieldError
	for i := range b.Events {
		faults = b.Events[i].Check(faults, fmt.Sprintf("events[%d].", i), now)
	}
	if len(faults) > 0 {
		t.Fatalf("accepted %v", faults)
	}
	if len(b.Faults) > MaxFaults || (b.RefusedCount() > 0) != (len(b.Faults) > 0) || len(b.Key) > visutility.MaxNameBytes {
		t.Fatalf("%d faults of %d refused, key %q", len(b.Faults), b.RefusedCount(), b.Key)
	}
	for _, f := range b.Faults {
		if f.Field == "" || f.Message == "" || f.Reason == "" {
			t.Fatalf("a fault says too little: %+v", f)
		}
	}
}

func mustRead(t testing.TB, p *Protocol, s *Source, contentType string, body []byte) *Batch {
	t.Helper()
	b, err := read(t, p, s, contentType, body)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func newSource(change ...func(*Mapping)) *Source {
	m := DefaultMapping()
	for _, c := range change {
		c(&m)
	}
	return NewSource(m, now)
}

type marshaler interface{ Marshal() ([]byte, error) }

func marshal(t testing.TB, m marshaler) []byte {
	t.Helper()
	b, err := m.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func labelsV1(pairs ...string) (out []prompb.Label) {
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, prompb.Label{Name: pairs[i], Value: pairs[i+1]})
	}
	return out
}

// requestV2 writes a request of version 1 as one of version 2.
func requestV2(r *prompb.WriteRequest) *writev2.Request {
	table := writev2.NewSymbolTable()
	out := &writev2.Request{}
	for _, ts := range r.Timeseries {
		var s writev2.TimeSeries
		for _, l := range ts.Labels {
			s.LabelsRefs = append(s.LabelsRefs, table.Symbolize(l.Name), table.Symbolize(l.Value))
		}
		for _, x := range ts.Samples {
			s.Samples = append(s.Samples, writev2.Sample{Value: x.Value, Timestamp: x.Timestamp})
		}
		for _, h := range ts.Histograms {
			s.Histograms = append(s.Histograms, writev2.Histogram{Sum: h.Sum, Timestamp: h.Timestamp, Count: &writev2.Histogram_CountInt{CountInt: h.GetCountInt()}})
		}
		out.Timeseries = append(out.Timeseries, s)
	}
	out.Symbols = table.Symbols()
	return out
}

// both reads a request in both versions and expects the same of them.
func both(t *testing.T, r *prompb.WriteRequest, sources ...*Source) *Batch {
	t.Helper()
	one, two := newSource(), newSource()
	if len(sources) == 2 {
		one, two = sources[0], sources[1]
	}
	b1 := mustRead(t, &RemoteWrite, one, typeV1, marshal(t, r))
	b2 := mustRead(t, &RemoteWrite, two, typeV2, marshal(t, requestV2(r)))
	if diff := cmp.Diff(b1.Events, b2.Events); diff != "" {
		t.Errorf("the versions differ: %s", diff)
	}
	if !maps.Equal(b1.Refused, b2.Refused) || !maps.Equal(b1.Ignored, b2.Ignored) || !cmp.Equal(b1.Faults, b2.Faults) {
		t.Errorf("the versions differ: %v %v, %v %v", b1.Refused, b1.Ignored, b2.Refused, b2.Ignored)
	}
	if a1, a2 := RemoteWrite.Answer(Request{}, b1), RemoteWrite.Answer(Request{}, b2); !cmp.Equal(a1, a2) {
		t.Errorf("the answers differ: %v %v", a1, a2)
	}
	b1.Done()
	b2.Done()
	return b2
}

func TestRemoteWrite(t *testing.T) {
	ms := now.UnixMilli()
	b := both(t, &prompb.WriteRequest{Timeseries: []prompb.TimeSeries{
		{Labels: labelsV1("__name__", "accuracy", "country", "DE", "instance", "a:1", "job", "scorer", "model", "fraud", "model_version", "7"),
			Samples: []prompb.Sample{{Value: 0.9, Timestamp: ms - 1}, {Value: 0.8, Timestamp: ms}}},
		{Labels: labelsV1("__name__", "accuracy", "model", "fraud"), Samples: []prompb.Sample{
			{Value: math.Float64frombits(value.StaleNaN), Timestamp: ms}, {Value: math.NaN(), Timestamp: ms}}},
		{Labels: labelsV1("__name__", "up", "job", "scorer"), Samples: []prompb.Sample{{Value: 1, Timestamp: ms}}},
		{Labels: labelsV1("__name__", "latency_bucket", "le", "0.1", "model", "fraud"), Samples: []prompb.Sample{{Value: 1, Timestamp: ms}}},
	}})
	want := []visutility.Event{
		{Model: "fraud", Metric: "accuracy", Value: 0.9, Time: now.Add(-time.Millisecond), Version: "7", Labels: map[string]string{"country": "DE"}},
		{Model: "fraud", Metric: "accuracy", Value: 0.8, Time: now, Version: "7", Labels: map[string]string{"country": "DE"}},
	}
	if diff := cmp.Diff(want, b.Events); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]int{"nan": 1, "no_model": 1}, b.Refused); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]int{"stale": 1, "bucket": 1}, b.Ignored); diff != "" {
		t.Error(diff)
	}
	a := RemoteWrite.Answer(Request{}, b)
	if a.Status != 400 || a.Header["X-Prometheus-Remote-Write-Samples-Written"] != "4" || !strings.Contains(string(a.Body), "timeseries[1].samples[1].value: is NaN") || !strings.Contains(string(a.Body), `metric "up" names no model`) {
		t.Errorf("%d %v %s", a.Status, a.Header, a.Body)
	}
}

// A native histogram is a running total: its increase is a measurement, its mean the value, and what
// was not published is not forgotten.
func TestRemoteWriteHistograms(t *testing.T) {
	one, two := newSource(), newSource()
	at := func(count uint64, sum float64, after time.Duration) *prompb.WriteRequest {
		return &prompb.WriteRequest{Timeseries: []prompb.TimeSeries{{Labels: labelsV1("__name__", "error", "model", "m"), Histograms: []prompb.Histogram{
			{Count: &prompb.Histogram_CountInt{CountInt: count}, Sum: sum, Timestamp: now.Add(after).UnixMilli()}}}}}
	}
	for _, step := range []struct {
		count         uint64
		sum           float64
		after         time.Duration
		value         float64
		n             uint64
		ignored       string
		publishFailed bool
	}{
		{count: 100, sum: 50, after: 0, ignored: "first"},
		{count: 110, sum: 57, after: time.Second, value: 0.7, n: 10, publishFailed: true},
		{count: 110, sum: 57, after: time.Second, value: 0.7, n: 10},
		{count: 110, sum: 57, after: time.Second, ignored: "nothing_new"}, // sent again
		{count: 105, sum: 50, after: 0, ignored: "nothing_new"},           // late
		{count: 5, sum: 1, after: 2 * time.Second, value: 0.2, n: 5},      // started anew
		{sum: math.Float64frombits(value.StaleNaN), after: 3 * time.Second, ignored: "stale"},
	} {
		req := at(step.count, step.sum, step.after)
		if step.publishFailed {
			mustRead(t, &RemoteWrite, one, typeV1, marshal(t, req))
			continue
		}
		b := both(t, req, one, two)
		if a := RemoteWrite.Answer(Request{}, b); a.Status != 204 || a.Header["X-Prometheus-Remote-Write-Histograms-Written"] != "1" || a.Header["X-Prometheus-Remote-Write-Samples-Written"] != "0" {
			t.Errorf("%+v: %+v", step, a)
		}
		if step.ignored != "" {
			if len(b.Events) != 0 || b.Ignored[step.ignored] != 1 {
				t.Errorf("%+v: %+v %v", step, b.Events, b.Ignored)
			}
			continue
		}
		if len(b.Events) != 1 || math.Abs(b.Events[0].Value-step.value) > 1e-9 || b.Events[0].Count != step.n {
			t.Errorf("%+v: %+v %v", step, b.Events, b.Ignored)
		}
	}
}

// Version 2.0 tells when a total began: what began after we did counts from its first point on, and so does what began anew, however
// far it is by then.
func TestRemoteWriteHistogramsThatBegin(t *testing.T) {
	s := newSource()
	for i, step := range []struct {
		begun     time.Duration
		count     float64
		sum, mean float64
		n         uint64
	}{
		{time.Second, 2.6, 3, 1, 3}, // counts may be fractions
		{time.Second, 6.6, 11, 2, 4},
		{time.Minute, 20, 60, 3, 20},
	} {
		table := writev2.NewSymbolTable()
		ts := writev2.TimeSeries{Histograms: []writev2.Histogram{{
			Count: &writev2.Histogram_CountFloat{CountFloat: step.count}, Sum: step.sum,
			StartTimestamp: now.Add(step.begun).UnixMilli(), Timestamp: now.Add(time.Duration(i+1) * 2 * time.Minute).UnixMilli(),
		}}}
		for _, l := range []string{"__name__", "error", "model", "m"} {
			ts.LabelsRefs = append(ts.LabelsRefs, table.Symbolize(l))
		}
		b := mustRead(t, &RemoteWrite, s, typeV2, marshal(t, &writev2.Request{Symbols: table.Symbols(), Timeseries: []writev2.TimeSeries{ts}}))
		b.Done()
		if len(b.Events) != 1 || b.Events[0].Value != step.mean || b.Events[0].Count != step.n {
			t.Errorf("%+v: %+v %v", step, b.Events, b.Ignored)
		}
	}
}

// Of two bodies that are under way at once, the later point is what goes on, whichever is on disk first.
func TestRemoteWriteHistogramsOutOfOrder(t *testing.T) {
	s := newSource()
	point := func(count uint64, after time.Duration) *Batch {
		return mustRead(t, &RemoteWrite, s, typeV1, marshal(t, &prompb.WriteRequest{Timeseries: []prompb.TimeSeries{{Labels: labelsV1("__name__", "error", "model", "m"), Histograms: []prompb.Histogram{
			{Count: &prompb.Histogram_CountInt{CountInt: count}, Sum: float64(count), Timestamp: now.Add(after).UnixMilli()}}}}}))
	}
	point(10, 0).Done()
	earlier, later := point(20, time.Second), point(30, 2*time.Second)
	later.Done()
	earlier.Done()
	if b := point(35, 3*time.Second); len(b.Events) != 1 || b.Events[0].Count != 5 {
		t.Errorf("%+v %v", b.Events, b.Ignored)
	}
}

// What is empty says nothing: neither which model, nor which segment.
func TestEmptyLabelsAreNone(t *testing.T) {
	b := both(t, &prompb.WriteRequest{Timeseries: []prompb.TimeSeries{{
		Labels:  labelsV1("__name__", "auc", "country", "", "ml_model_name", "", "model", "fraud"),
		Samples: []prompb.Sample{{Value: 1, Timestamp: now.UnixMilli()}}}}}, newSource(), newSource())
	if len(b.Events) != 1 || b.Events[0].Model != "fraud" || len(b.Events[0].Labels) != 0 {
		t.Errorf("%+v", b.Events)
	}
}

func TestRemoteWriteRefuses(t *testing.T) {
	empties := bytes.Repeat([]byte{0x0a, 0}, maxMessages+1) // timeseries of nothing
	odd := marshal(t, &writev2.Request{Symbols: []string{"", "a"}, Timeseries: []writev2.TimeSeries{{LabelsRefs: []uint32{1}}}})
	nowhere := marshal(t, &writev2.Request{Symbols: []string{"", "a"}, Timeseries: []writev2.TimeSeries{{LabelsRefs: []uint32{1, 2}}}})
	first := marshal(t, &writev2.Request{Symbols: []string{"a"}})
	for name, c := range map[string]struct {
		contentType string
		body        []byte
		want        error
		text        string
	}{
		"type":              {"application/json", nil, ErrUnsupported, "application/json"},
		"unknown message":   {"application/x-protobuf;proto=other", nil, ErrUnsupported, "other"},
		"no protobuf":       {typeV1, []byte("{}"), ErrSyntax, "protobuf"},
		"no protobuf, v2":   {typeV2, []byte("{}"), ErrSyntax, "protobuf"},
		"cut":               {typeV1, []byte{0x0a, 9, 1}, ErrSyntax, "field 1"},
		"bomb":              {typeV1, empties, ErrTooLarge, "messages"},
		"bomb, v2":          {typeV2, bytes.Repeat([]byte{0x2a, 0}, maxMessages+1), ErrTooLarge, "messages"},
		"odd references":    {typeV2, odd, ErrSyntax, "timeseries[0].labels_refs"},
		"symbol of nothing": {typeV2, nowhere, ErrSyntax, "symbol 2"},
		"first symbol":      {typeV2, first, ErrSyntax, "symbols[0]"},
	} {
		b, err := read(t, &RemoteWrite, newSource(), c.contentType, c.body)
		if !errors.Is(err, c.want) || !errors.Is(err, visutility.ErrInvalid) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v %v", name, b, err)
		}
	}
}

func TestSeriesOfASourceAreLimited(t *testing.T) {
	s := newSource(func(m *Mapping) { m.MaxSeries = 3 })
	r := &prompb.WriteRequest{}
	for i := range 5 {
		r.Timeseries = append(r.Timeseries, prompb.TimeSeries{Labels: labelsV1("__name__", "x", "model", "m", "user", fmt.Sprint(i)), Samples: []prompb.Sample{{Value: 1, Timestamp: now.UnixMilli()}}})
	}
	for range 2 {
		b := mustRead(t, &RemoteWrite, s, typeV1, marshal(t, r))
		if len(b.Events) != 3 || b.Refused["series_limit"] != 2 {
			t.Errorf("%d events, %v", len(b.Events), b.Refused)
		}
	}
}

func FuzzRemoteWrite(f *testing.F) {
	r := &prompb.WriteRequest{Timeseries: []prompb.TimeSeries{{Labels: labelsV1("__name__", "x", "model", "m"),
		Samples: []prompb.Sample{{Value: 1, Timestamp: 1}}, Histograms: []prompb.Histogram{{Count: &prompb.Histogram_CountFloat{CountFloat: 1}}}}}}
	f.Add(marshal(f, r), false)
	f.Add(marshal(f, requestV2(r)), true)
	s := newSource()
	f.Fuzz(func(t *testing.T, body []byte, second bool) {
		contentType := typeV1
		if second {
			contentType = typeV2
		}
		if b, err := read(t, &RemoteWrite, s, contentType, body); err == nil {
			b.Done()
		} else if !errors.Is(err, visutility.ErrInvalid) {
			t.Fatal(err)
		}
	})
}

func BenchmarkRemoteWrite(b *testing.B) {
	r := &prompb.WriteRequest{}
	for i := range 500 {
		r.Timeseries = append(r.Timeseries, prompb.TimeSeries{Labels: labelsV1("__name__", "accuracy", "instance", "10.0.0.1:9090", "job", "scorer", "model", fmt.Sprintf("fraud-%d", i%50)),
			Samples: []prompb.Sample{{Value: 0.9 + float64(i)/10000, Timestamp: now.UnixMilli() + int64(i)}}})
	}
	for _, c := range []struct {
		name, contentType string
		body              []byte
	}{{"v1", typeV1, marshal(b, r)}, {"v2", typeV2, marshal(b, requestV2(r))}} {
		b.Run(c.name, func(b *testing.B) { benchProtocol(b, &RemoteWrite, c.contentType, c.body, 500) })
	}
}

// benchProtocol measures the way from bytes to events, with all checks.
func benchProtocol(b *testing.B, p *Protocol, contentType string, body []byte, events int) {
	s := newSource()
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		batch, err := p.Read(s, Request{Header: http.Header{"Content-Type": {contentType}}, Body: body, Now: now})
		if err != nil || len(batch.Events) != events {
			b.Fatalf("%v: %d events, %v", err, len(batch.Events), batch.Refused)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(events), "ns/event")
}
