package server

import (
	"compress/gzip"
	"context"
	"encoding/binary"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploghttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/log"
	"go.opentelemetry.io/otel/metric"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/visutility/visutility"
)

// measure records what a scorer does, by the SDK, and sends it by the exporter.
func measure(t *testing.T, exporter sdkmetric.Exporter) {
	t.Helper()
	reader := sdkmetric.NewPeriodicReader(exporter, sdkmetric.WithInterval(time.Hour))
	provider := sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader), sdkmetric.WithResource(resource.NewSchemaless(attribute.String("ml.model.name", "fraud"))))
	defer provider.Shutdown(context.Background())
	meter := provider.Meter("scorer", metric.WithInstrumentationVersion("1"))
	gauge, err := meter.Float64Gauge("accuracy")
	if err != nil {
		t.Fatal(err)
	}
	gauge.Record(t.Context(), 0.91, metric.WithAttributes(attribute.String("ml.model.version", "7"), attribute.String("country", "DE")))
	sum, err := meter.Int64Counter("complaints")
	if err != nil {
		t.Fatal(err)
	}
	sum.Add(t.Context(), 3)
	histogram, err := meter.Float64Histogram("abs_error")
	if err != nil {
		t.Fatal(err)
	}
	histogram.Record(t.Context(), 1)
	histogram.Record(t.Context(), 2)
	if err := provider.ForceFlush(t.Context()); err != nil {
		t.Error(err)
	}
	// Shutting down collects again. Events are told apart by their milliseconds: that is to be another one.
	for flushed := time.Now().UnixMilli(); time.Now().UnixMilli() == flushed; {
		runtime.Gosched()
	}
}

// measured checks that what measure records has arrived.
func (s *site) measured() {
	s.t.Helper()
	got := map[string]visutility.Event{}
	for _, e := range s.events() {
		if e.Time.Equal(got[e.Metric].Time) {
			s.t.Errorf("twice: %+v", e)
		}
		if e.Model != "fraud" || time.Since(e.Time) > patience {
			s.t.Errorf("%+v", e)
		}
		if e.Metric == "complaints" { // shutting down sends again, what came since
			e.Value += got[e.Metric].Value
		}
		got[e.Metric] = e
	}
	if len(got) != 3 || got["accuracy"].Value != 0.91 || got["accuracy"].Version != "7" || got["accuracy"].Labels["country"] != "DE" ||
		got["complaints"].Value != 3 || got["abs_error"].Value != 1.5 || got["abs_error"].Count != 2 {
		s.t.Errorf("%+v", got)
	}
	for _, key := range s.keys {
		if !strings.HasPrefix(key, "otlp:") {
			s.t.Errorf("key %q", key)
		}
	}
}

func TestOTLPOverHTTP(t *testing.T) {
	for _, compression := range []otlpmetrichttp.Compression{otlpmetrichttp.NoCompression, otlpmetrichttp.GzipCompression} {
		s := serve(t)
		exporter, err := otlpmetrichttp.New(t.Context(), otlpmetrichttp.WithEndpointURL(s.url+"/v1/metrics"), otlpmetrichttp.WithCompression(compression),
			otlpmetrichttp.WithHeaders(map[string]string{"Authorization": "Bearer " + token}))
		if err != nil {
			t.Fatal(err)
		}
		measure(t, exporter)
		s.measured()
	}
}

func TestOTLPOverGRPC(t *testing.T) {
	for _, compression := range []string{"", "gzip"} {
		s := serve(t)
		options := []otlpmetricgrpc.Option{otlpmetricgrpc.WithEndpointURL(s.url), otlpmetricgrpc.WithHeaders(map[string]string{"Authorization": "Bearer " + token})}
		if compression != "" {
			options = append(options, otlpmetricgrpc.WithCompressor(compression))
		}
		exporter, err := otlpmetricgrpc.New(t.Context(), options...)
		if err != nil {
			t.Fatal(err)
		}
		measure(t, exporter)
		s.measured()
		if n := s.counter(`visutility_http_requests_total{code="200",route="POST /opentelemetry.proto.collector.metrics.v1.MetricsService/Export"}`); n != "2" {
			t.Errorf("%s calls are counted", n)
		}
	}
}

// call makes a gRPC call of the metrics service with a client of OpenTelemetry's.
func (s *site) call(m pmetric.Metrics, header ...string) (pmetricotlp.ExportResponse, error) {
	s.t.Helper()
	conn, err := grpc.NewClient(strings.TrimPrefix(s.url, "http://"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	ctx := metadata.AppendToOutgoingContext(s.t.Context(), header...)
	return pmetricotlp.NewGRPCClient(conn).Export(ctx, pmetricotlp.NewExportRequestFromMetrics(m))
}

func TestOTLPOverGRPCRefuses(t *testing.T) {
	s := serve(t)
	m := pmetric.NewMetrics()
	metric := m.ResourceMetrics().AppendEmpty().ScopeMetrics().AppendEmpty().Metrics().AppendEmpty()
	metric.SetName("auc")
	points := metric.SetEmptyGauge().DataPoints()
	points.AppendEmpty().SetDoubleValue(1)
	points.At(0).Attributes().PutStr("model", "churn")
	points.AppendEmpty().SetDoubleValue(1)
	mine := []string{"authorization", "Bearer " + token}

	res, err := s.call(m, mine...)
	if err != nil || res.PartialSuccess().RejectedDataPoints() != 1 || !strings.Contains(res.PartialSuccess().ErrorMessage(), "dataPoints[1]") {
		t.Errorf("%v: %s", err, res.PartialSuccess().ErrorMessage())
	}
	if len(s.events()) != 1 {
		t.Errorf("%+v", s.events())
	}
	if _, err := s.call(m); status.Code(err) != codes.Unauthenticated {
		t.Errorf("without a token: %v", err)
	}
	s.publish = func(context.Context, []visutility.Event) error { return visutility.ErrOverloaded }
	_, err = s.call(m, mine...)
	if details := status.Convert(err).Details(); status.Code(err) != codes.ResourceExhausted || len(details) != 1 || details[0].(*errdetails.RetryInfo).RetryDelay.AsDuration() != retryOverloaded {
		t.Errorf("when busy: %v %v", err, details)
	}
	s.publish = nil
	points.At(0).Attributes().PutStr("long", strings.Repeat("x", 5<<20))
	if _, err := s.call(m, mine...); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("too large: %v", err)
	}
	full := serve(t, func(o *Options) { o.IngestMemory = 1 << 10 })
	points.At(0).Attributes().Remove("long")
	_, err = full.call(m, mine...)
	if details := status.Convert(err).Details(); status.Code(err) != codes.ResourceExhausted || len(details) != 1 {
		t.Errorf("no memory: %v %v", err, details)
	}
	if n := full.counter(`visutility_events_refused_total{format="otlp_metrics",reason="overloaded"}`); n != "1" {
		t.Errorf("counted %q", n)
	}
	if _, err := s.call(m, mine...); err != nil {
		t.Error(err)
	}
}

// Calls by no client of gRPC's: what is declared is what is read, and what memory is taken for.
func TestOTLPOverGRPCFraming(t *testing.T) {
	packed := func(plain string) string {
		var b strings.Builder
		z := gzip.NewWriter(&b)
		if _, err := io.WriteString(z, plain); err != nil {
			t.Fatal(err)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	frame := func(flag byte, message string) string {
		return string(binary.BigEndian.AppendUint32([]byte{flag}, uint32(len(message)))) + message
	}
	const unread = "what comes after the message is not read"
	for name, c := range map[string]struct {
		body, encoding string
		want           codes.Code
		message        string
	}{
		"nothing":               {"", "", codes.InvalidArgument, "ends before its message"},
		"half a prefix":         {"\x00\x00", "", codes.InvalidArgument, "ends before its message"},
		"half a message":        {frame(0, "\x0a\x00\x0a\x00")[:7], "", codes.InvalidArgument, "ends 2 bytes before"},
		"no message of gRPC's":  {"{}      ", "", codes.InvalidArgument, "not framed"},
		"unknown compression":   {frame(1, "x"), "br", codes.Unimplemented, "gzip"},
		"undeclared":            {frame(1, packed("\x0a\x00")), "", codes.Unimplemented, "gzip"},
		"broken compression":    {frame(1, "x"), "gzip", codes.InvalidArgument, "not valid gzip"},
		"4 GiB":                 {"\x00\xff\xff\xff\xff" + unread, "", codes.ResourceExhausted, "4194304"},
		"a bomb":                {frame(1, packed(strings.Repeat("\x00", 5<<20))), "gzip", codes.ResourceExhausted, "4194304"},
		"more than one message": {frame(0, "\x0a\x00") + unread, "", codes.OK, ""},
		"gzip":                  {frame(1, packed("\x0a\x00")), "gzip", codes.OK, ""},
		"gzip, but not here":    {frame(0, "\x0a\x00"), "gzip", codes.OK, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t)
			body, _, _ := strings.Cut(c.body, unread)
			ahead := false
			r := httptest.NewRequest("POST", "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export", io.MultiReader(strings.NewReader(body), readerFunc(func([]byte) (int, error) {
				ahead = true
				return 0, io.EOF
			})))
			r.Proto, r.ProtoMajor, r.Host = "HTTP/2.0", 2, "localhost"
			r.Header.Set("Content-Type", "application/grpc")
			r.Header.Set("Authorization", "Bearer "+token)
			if c.encoding != "" {
				r.Header.Set("Grpc-Encoding", c.encoding)
			}
			w := httptest.NewRecorder()
			s.handler.ServeHTTP(w, r)
			h := w.Result().Trailer
			if h.Get("Grpc-Status") != strconv.Itoa(int(c.want)) || !strings.Contains(h.Get("Grpc-Message"), c.message) {
				t.Errorf("%v; want %v with %q", h, c.want, c.message)
			}
			if body != c.body && ahead {
				t.Error("read ahead of what was declared")
			}
		})
	}
}

// A readerFunc is a Reader.
type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// A busy server is tried again by the SDK until it is not.
func TestOTLPIsSentAgain(t *testing.T) {
	s := serve(t)
	var tries atomic.Int32
	s.publish = func(context.Context, []visutility.Event) error {
		if tries.Add(1) == 1 {
			return visutility.ErrOverloaded
		}
		return nil
	}
	exporter, err := otlpmetrichttp.New(t.Context(), otlpmetrichttp.WithEndpointURL(s.url+"/v1/metrics"), otlpmetrichttp.WithHeaders(map[string]string{"Authorization": "Bearer " + token}))
	if err != nil {
		t.Fatal(err)
	}
	measure(t, exporter)
	s.measured()
	if tries.Load() < 2 {
		t.Errorf("%d tries", tries.Load())
	}
}

func TestOTLPEvaluations(t *testing.T) {
	s := serve(t)
	exporter, err := otlploghttp.New(t.Context(), otlploghttp.WithEndpointURL(s.url+"/v1/logs"), otlploghttp.WithHeaders(map[string]string{"Authorization": "Bearer " + token}))
	if err != nil {
		t.Fatal(err)
	}
	provider := sdklog.NewLoggerProvider(sdklog.WithProcessor(sdklog.NewSimpleProcessor(exporter)))
	defer provider.Shutdown(context.Background())
	var rec log.Record
	rec.SetEventName("gen_ai.evaluation.result")
	rec.SetTimestamp(start)
	rec.AddAttributes(attribute.String("gen_ai.evaluation.name", "relevance"), attribute.Float64("gen_ai.evaluation.score.value", 0.8), attribute.String("ml.model.name", "assistant"))
	provider.Logger("judge").Emit(t.Context(), rec)
	if got := s.events(); len(got) != 1 || got[0].Model != "assistant" || got[0].Metric != "relevance" || got[0].Value != 0.8 || !got[0].Time.Equal(start) {
		t.Errorf("%+v", got)
	}
}

func TestOTLPByHand(t *testing.T) {
	s := serve(t)
	body := `{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"auc","gauge":{"dataPoints":[
		{"asDouble":0.5,"timeUnixNano":"1769860800000000000","attributes":[{"key":"model","value":{"stringValue":"churn"}}]},
		{"asDouble":0.6}]}}]}]}]}`
	got := s.post("/v1/metrics", body, 200)
	if !strings.Contains(got, `"rejectedDataPoints":"1"`) || !strings.Contains(got, "dataPoints[1]") || !strings.Contains(got, "ml.model.name") {
		t.Error(got)
	}
	if e := s.events(); len(e) != 1 || e[0].Model != "churn" || !e[0].Time.Equal(start) {
		t.Errorf("%+v", e)
	}
	if n := s.counter(`visutility_events_refused_total{format="otlp_metrics",reason="no_model"}`); n != "1" {
		t.Errorf("counted %q", n)
	}
	if n := s.counter(`visutility_ingest_accepted_total{format="otlp_metrics"}`); n != "1" {
		t.Errorf("counted %q", n)
	}

	status, text, h := s.do(s.request("POST", "/v1/metrics", "{"))
	if status != 400 || h.Get("Content-Type") != "application/json" || !strings.Contains(text, "malformed") {
		t.Errorf("%d %v %s", status, h, text)
	}
	var bomb strings.Builder
	z := gzip.NewWriter(&bomb)
	if _, err := z.Write(make([]byte, 5<<20)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	s.post("/v1/metrics", bomb.String(), http.StatusRequestEntityTooLarge, "Content-Encoding", "gzip", "Content-Type", "application/x-protobuf")
	s.post("/v1/metrics", "", http.StatusUnsupportedMediaType, "Content-Type", "text/csv")
	s.publish = func(context.Context, []visutility.Event) error { return visutility.ErrOverloaded }
	if status, text, h := s.do(s.request("POST", "/v1/metrics", body)); status != 429 || h.Get("Retry-After") == "" || !strings.Contains(text, "RESOURCE_EXHAUSTED") && !strings.Contains(text, `"code":8`) {
		t.Errorf("%d %v %s", status, h, text)
	}
}
