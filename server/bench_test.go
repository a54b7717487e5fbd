package server

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/visutility/visutility"
)

// idle is an engine that accepts everything at once.
type idle struct{ *fake }

func (idle) Publish(context.Context, string, []visutility.Event) error { return nil }

func metricsBody(n int) string {
	var b strings.Builder
	b.WriteByte('[')
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"model":"fraud-%d","metric":"accuracy","value":0.9%d,"time":1769860800%03d,"count":100}`, i%50, i, i)
	}
	b.WriteByte(']')
	return b.String()
}

func benchHandler(b *testing.B) http.Handler {
	f := newFake()
	h, err := New(Options{Engine: idle{f}, Store: f, History: f, Token: token, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	return h
}

// BenchmarkMetrics measures the handler with all its layers, without sockets.
func BenchmarkMetrics(b *testing.B) {
	for _, n := range []int{1, 1000} {
		b.Run(fmt.Sprintf("events=%d", n), func(b *testing.B) {
			h := benchHandler(b)
			body := metricsBody(n)
			b.ReportAllocs()
			for b.Loop() {
				r := httptest.NewRequest("POST", metrics, strings.NewReader(body))
				r.Host = "localhost"
				r.Header.Set("Authorization", "Bearer "+token)
				w := httptest.NewRecorder()
				if h.ServeHTTP(w, r); w.Code != 200 {
					b.Fatal(w.Body)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/event")
		})
	}
}

// BenchmarkMetricsSocket measures requests over loopback, with clients on the same cores.
func BenchmarkMetricsSocket(b *testing.B) {
	for _, n := range []int{1, 1000} {
		b.Run(fmt.Sprintf("events=%d", n), func(b *testing.B) {
			ts := httptest.NewUnstartedServer(nil)
			ts.Config = HTTPServer("", benchHandler(b))
			ts.Start()
			defer ts.Close()
			ts.Client().Transport.(*http.Transport).MaxIdleConnsPerHost = 64
			body := metricsBody(n)
			b.SetParallelism(16)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					r, err := http.NewRequest("POST", ts.URL+metrics, strings.NewReader(body))
					if err != nil {
						b.Error(err)
						return
					}
					r.Header.Set("Authorization", "Bearer "+token)
					res, err := ts.Client().Do(r)
					if err != nil {
						b.Error(err)
						return
					}
					io.Copy(io.Discard, res.Body)
					res.Body.Close()
					if res.StatusCode != 200 {
						b.Error(res.Status)
						return
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "requests/s")
			b.ReportMetric(float64(b.N*n)/b.Elapsed().Seconds(), "events/s")
		})
	}
}
