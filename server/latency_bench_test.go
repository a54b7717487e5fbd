package server_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/engine"
	"github.com/visutility/visutility/policy"
	"github.com/visutility/visutility/server"
)

// live serves an engine of its own over HTTP.
func live(b testing.TB, change ...func(*server.Options)) (*engine.Engine, string) {
	b.Helper()
	p, err := policy.Parse("all.yaml", []byte("models: ['*']\nretrain: {when: accuracy < 0.5, for: 1000h}\ntrain: {trainer: none}\n"))
	if err != nil {
		b.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	e, err := engine.Open(b.Context(), engine.Options{Dir: b.TempDir(), Policies: []*policy.Policy{p}, Logger: log})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	o := server.Options{Engine: e, Store: e.Store(), History: e.History(), Logger: log}
	for _, c := range change {
		c(&o)
	}
	h, err := server.New(o)
	if err != nil {
		b.Fatal(err)
	}
	s := httptest.NewUnstartedServer(h)
	s.Config = server.HTTPServer("", h)
	s.Start()
	b.Cleanup(func() {
		s.Close()
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
		if err := e.Close(); err != nil {
			b.Error(err)
		}
	})
	return e, s.URL
}

// poster sends events over connections that are kept.
type poster struct {
	url    string
	client *http.Client
}

func newPoster(url string, conns int) *poster {
	return &poster{url + "/api/v1/metrics", &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: conns, MaxConnsPerHost: conns}}}
}

func (p *poster) post(body []byte) error {
	resp, err := p.client.Post(p.url, "application/json", bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	msg, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, msg)
	}
	return err
}

// BenchmarkSingleEventRequests sends one event a request, each acknowledged when it is on disk.
// The senders share the machine with the server, so they do as little as they can: they write
// requests to their connections and count answers.
func BenchmarkSingleEventRequests(b *testing.B) {
	const conns = 1024
	_, url := live(b)
	addr := strings.TrimPrefix(url, "http://")
	var next atomic.Int64
	var wg sync.WaitGroup
	b.ResetTimer()
	for range conns {
		wg.Go(func() {
			conn, err := net.Dial("tcp", addr)
			if err != nil {
				b.Error(err)
				return
			}
			defer conn.Close()
			answers := bufio.NewReader(conn)
			for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
				body := fmt.Sprintf(`{"model":"m%d","metric":"accuracy","value":0.9}`, i%10_000)
				if _, err := fmt.Fprintf(conn, "POST /api/v1/metrics HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", addr, len(body), body); err != nil {
					b.Error(err)
					return
				}
				if err := accepted(answers); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "requests/s")
}

// accepted reads one answer, which must be 200.
func accepted(r *bufio.Reader) error {
	status, err := r.ReadString('\n')
	if err != nil || !strings.HasPrefix(status, "HTTP/1.1 200 ") {
		return fmt.Errorf("answered %q: %w", status, err)
	}
	length := 0
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(line) <= 2 {
			break
		}
		if v, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(v))); err != nil {
				return err
			}
		}
	}
	_, err = r.Discard(length)
	return err
}

// BenchmarkDecisionLatency measures the time from sending a request that changes a verdict to
// the stored decision, while others send 10,000 events a second. One iteration is one decision.
func BenchmarkDecisionLatency(b *testing.B) {
	for _, load := range []struct{ perRequest, requests int }{{0, 0}, {100, 100}, {10, 1000}} {
		b.Run(fmt.Sprintf("load=%dx%d", load.requests, load.perRequest), func(b *testing.B) {
			e, url := live(b)
			ctx, stop := context.WithCancel(b.Context())
			var wg sync.WaitGroup
			if load.requests > 0 {
				wg.Go(func() { background(ctx, b, newPoster(url, 32), load.perRequest, load.requests) })
			}
			p := newPoster(url, 1)
			changed, unwatch := e.Store().Watch()
			defer unwatch()
			seq, err := e.Store().LastActivity(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			var took []time.Duration
			b.ResetTimer()
			for i := range b.N {
				body := fmt.Appendf(nil, `{"model":"probe","metric":"accuracy","value":%g}`, []float64{0.1, 0.9}[i%2])
				start := time.Now()
				if err := p.post(body); err != nil {
					b.Fatal(err)
				}
				for stored := false; !stored; {
					as, err := e.Store().Activities(b.Context(), seq, 100)
					if err != nil {
						b.Fatal(err)
					}
					for _, a := range as {
						seq = a.Seq
						stored = stored || a.Kind == "decision" && a.Model == "probe"
					}
					if !stored && len(as) == 0 {
						<-changed
					}
				}
				took = append(took, time.Since(start))
			}
			b.StopTimer()
			stop()
			wg.Wait()
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
		})
	}
}

// background sends requests of events at an even pace.
func background(ctx context.Context, b *testing.B, p *poster, perRequest, perSecond int) {
	tick := time.NewTicker(time.Second / time.Duration(perSecond))
	defer tick.Stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	slots := make(chan struct{}, 32)
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		events := make([]visutility.Event, perRequest)
		for k := range events {
			events[k] = visutility.Event{Model: fmt.Sprintf("m%d", (i*perRequest+k)%10_000), Metric: visutility.Accuracy, Value: 0.9}
		}
		body, err := json.Marshal(events)
		if err != nil {
			b.Error(err)
			return
		}
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if err := p.post(body); err != nil && ctx.Err() == nil {
				b.Error(err)
			}
		})
	}
}
