package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/snappy"
	writev2 "github.com/prometheus/client_golang/exp/api/remote/genproto/v2"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/server"
)

const (
	overloadEvents = 3000 // of a body
	// So many send at once, and the server has memory for a tenth of their bodies.
	overloadSenders = 100
	// connected is the memory that a connection, its goroutines and its refusal may take, on both sides.
	connected = 96 << 10
)

// TestOverload lets ten times as many send as the server admits, while its log stands still. Who is not admitted is told at once, and when
// to come again; the memory stays within its bound; and in the end exactly what was acknowledged is there.
func TestOverload(t *testing.T) {
	for _, k := range overloads {
		t.Run(k.format, func(t *testing.T) {
			var bodies [overloadSenders][]byte
			var most int64 // bytes that the largest takes
			for i := range bodies {
				var plain int
				bodies[i], plain = k.body(t, overloaded(i))
				most = max(most, int64(plain*k.weight))
			}
			memory := most * overloadSenders / 10
			log := &stuck{entered: make(chan struct{}, overloadSenders), open: make(chan struct{})}
			e, url := live(t, func(o *server.Options) {
				log.Engine, o.Engine = o.Engine, log
				o.IngestMemory, o.IngestWait = memory, time.Hour
			})
			send, done := k.sender(t, url)
			defer done()
			before := heap()

			answers := make(chan answer, overloadSenders)
			for i := range bodies {
				go func() { answers <- answer{i, send(bodies[i])} }()
			}
			admitted, refused := 0, map[int]bool{}
			for admitted+len(refused) < overloadSenders {
				select {
				case <-log.entered:
					admitted++
				case a := <-answers:
					if a.outcome != k.refusal {
						t.Fatalf("refused with %q, want %q", a.outcome, k.refusal)
					}
					refused[a.sender] = true
				}
			}
			if admitted == 0 || admitted > overloadSenders/10 {
				t.Errorf("%d of %d were admitted, where there is room for %d at most", admitted, overloadSenders, overloadSenders/10)
			}
			took, bound := heap()-before, memory+overloadSenders*connected
			if took > bound {
				t.Errorf("%d admitted bodies and the refusals take %d KiB; the bound is %d KiB", admitted, took>>10, bound>>10)
			}
			t.Logf("%d of %d admitted; all take %d KiB, the bound is %d KiB", admitted, overloadSenders, took>>10, bound>>10)
			if n := counted(t, url, k.format); n != len(refused) {
				t.Errorf("%d refusals are counted, %d were sent", n, len(refused))
			}

			close(log.open)
			for range admitted {
				if a := <-answers; a.outcome != "accepted" {
					t.Errorf("admitted, then %q", a.outcome)
				}
			}
			for i := range bodies { // in any order: the refused come again only after all have been looked at
				folded(t, e.Store(), i, refused[i])
			}
			for i := range refused {
				if outcome := send(bodies[i]); outcome != "accepted" {
					t.Errorf("when there is room again: %q", outcome)
				}
				folded(t, e.Store(), i, false)
			}
		})
	}
}

// A stuck engine publishes when it is opened.
type stuck struct {
	server.Engine
	entered, open chan struct{}
}

func (s *stuck) Publish(ctx context.Context, key string, events []visutility.Event) error {
	select {
	case <-s.open:
	default:
		s.entered <- struct{}{}
		<-s.open
	}
	return s.Engine.Publish(ctx, key, events)
}

// An answer is what a sender was told: "accepted", or how it was refused.
type answer struct {
	sender  int
	outcome string
}

// An overload is a way in that is overloaded.
type overload struct {
	format  string
	weight  int // bytes of memory that a byte of a body, decompressed, is taken to need
	refusal string
	body    func(testing.TB, []visutility.Event) (body []byte, plain int)
	sender  func(t testing.TB, url string) (send func([]byte) string, done func())
}

var overloads = []overload{
	{"json", 4, "429 after 1 application/problem+json", jsonBody, postTo("/api/v1/metrics", "application/json")},
	// Prometheus throws away what is answered 429.
	{"remote_write", 16, "503 after 1 text/plain; charset=utf-8", remoteWriteBody, postTo("/api/v1/write", "application/x-protobuf;proto=io.prometheus.write.v2.Request", "Content-Encoding", "snappy")},
	{"otlp_metrics", 16, "429 after 1 application/x-protobuf", otlpBody, postTo("/v1/metrics", "application/x-protobuf")},
	{"otlp_metrics", 16, "ResourceExhausted after 1s", otlpBody, callOTLP},
}

// overloaded are the events of a sender, all of a model of its own.
func overloaded(sender int) []visutility.Event {
	start := time.Now().Add(-time.Hour).Truncate(time.Second)
	events := make([]visutility.Event, overloadEvents)
	for i := range events {
		events[i] = visutility.Event{Model: fmt.Sprintf("model-%d", sender), Metric: visutility.Accuracy, Value: 0.9, Time: start.Add(time.Duration(i) * time.Second)}
	}
	return events
}

func jsonBody(t testing.TB, events []visutility.Event) ([]byte, int) {
	b, err := json.Marshal(events)
	if err != nil {
		t.Fatal(err)
	}
	return b, len(b)
}

func otlpBody(t testing.TB, events []visutility.Event) ([]byte, int) {
	m := pmetric.NewMetrics()
	metric := m.ResourceMetrics().AppendEmpty().ScopeMetrics().AppendEmpty().Metrics().AppendEmpty()
	metric.SetName(events[0].Metric)
	points := metric.SetEmptyGauge().DataPoints()
	for _, e := range events {
		p := points.AppendEmpty()
		p.SetDoubleValue(e.Value)
		p.SetTimestamp(pcommon.NewTimestampFromTime(e.Time))
		p.Attributes().PutStr("ml.model.name", e.Model)
	}
	b, err := pmetricotlp.NewExportRequestFromMetrics(m).MarshalProto()
	if err != nil {
		t.Fatal(err)
	}
	return b, len(b)
}

func remoteWriteBody(t testing.TB, events []visutility.Event) ([]byte, int) {
	symbols := writev2.NewSymbolTable()
	req := &writev2.Request{}
	for _, e := range events {
		refs := symbols.SymbolizeLabels([]string{"__name__", e.Metric, "model", e.Model}, nil)
		req.Timeseries = append(req.Timeseries, &writev2.TimeSeries{LabelsRefs: refs, Samples: []*writev2.Sample{{Value: e.Value, Timestamp: e.Time.UnixMilli()}}})
	}
	req.Symbols = symbols.Symbols()
	b, err := req.MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	return snappy.Encode(nil, b), len(b)
}

// postTo makes senders that post bodies, each over a connection of its own.
func postTo(path, contentType string, header ...string) func(testing.TB, string) (func([]byte) string, func()) {
	return func(t testing.TB, url string) (func([]byte) string, func()) {
		transport := &http.Transport{}
		send := func(body []byte) string {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+path, bytes.NewReader(body))
			if err != nil {
				return err.Error()
			}
			r.Header.Set("Content-Type", contentType)
			for i := 0; i < len(header); i += 2 {
				r.Header.Set(header[i], header[i+1])
			}
			resp, err := transport.RoundTrip(r)
			if err != nil {
				return err.Error()
			}
			defer resp.Body.Close()
			text, err := io.ReadAll(resp.Body)
			switch {
			case err != nil:
				return err.Error()
			case resp.StatusCode/100 == 2:
				return "accepted"
			case !bytes.Contains(text, []byte("too many bodies at once")):
				return fmt.Sprintf("%d with %q", resp.StatusCode, text)
			}
			return fmt.Sprintf("%d after %s %s", resp.StatusCode, resp.Header.Get("Retry-After"), resp.Header.Get("Content-Type"))
		}
		return send, transport.CloseIdleConnections
	}
}

// callOTLP makes senders that call by gRPC, over one connection, as a Collector does.
func callOTLP(t testing.TB, url string) (func([]byte) string, func()) {
	conn, err := grpc.NewClient(strings.TrimPrefix(url, "http://"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	send := func(body []byte) string {
		req := pmetricotlp.NewExportRequest()
		if err := req.UnmarshalProto(body); err != nil {
			return err.Error()
		}
		_, err := pmetricotlp.NewGRPCClient(conn).Export(t.Context(), req)
		s := status.Convert(err)
		if s.Code() == codes.OK {
			return "accepted"
		}
		for _, d := range s.Details() {
			if retry, ok := d.(*errdetails.RetryInfo); ok {
				return fmt.Sprintf("%s after %s", s.Code(), retry.RetryDelay.AsDuration())
			}
		}
		return err.Error()
	}
	return send, func() { conn.Close() }
}

// heap is the memory that is in use.
func heap() int64 {
	runtime.GC()
	runtime.GC() // what pools let go of
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

// counted is how many bodies of a format were refused, by /metrics.
func counted(t *testing.T, url, format string) int {
	t.Helper()
	resp, err := http.Get(url + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if v, ok := strings.CutPrefix(line, fmt.Sprintf(`visutility_events_refused_total{format=%q,reason="overloaded"} `, format)); ok {
			n, err := strconv.Atoi(strings.TrimSpace(v))
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	return 0
}

// folded waits until what a sender sent is folded, all of it and once, or sees that nothing of it is.
func folded(t *testing.T, st server.Store, sender int, none bool) {
	t.Helper()
	name := fmt.Sprintf("model-%d", sender)
	m, err := st.Model(t.Context(), name)
	if none {
		if !errors.Is(err, visutility.ErrNotFound) {
			t.Errorf("%s was refused and is there: %+v, %v", name, m, err)
		}
		return
	}
	for deadline := time.Now().Add(30 * time.Second); m.Events < overloadEvents; m, err = st.Model(t.Context(), name) {
		if err != nil && !errors.Is(err, visutility.ErrNotFound) || time.Now().After(deadline) {
			t.Fatalf("%d of %d events of %s are folded: %v", m.Events, overloadEvents, name, err)
		}
		<-time.After(5 * time.Millisecond)
	}
	if m.Events != overloadEvents {
		t.Errorf("%s has %d events; %d were sent", name, m.Events, overloadEvents)
	}
}
