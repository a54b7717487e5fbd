//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/visutility/visutility"
)

// BenchmarkOverload sends bodies of 10,000 events to the server as it is shipped, each again until it is accepted: from as many senders as
// have room in its memory for bodies, and from ten times as many, who come again at once whatever they are told. An operation is an accepted body.
func BenchmarkOverload(b *testing.B) {
	const perBody, admitted = 10_000, 64 // 64 × 4 MiB are the 256 MiB that bodies may take
	for _, times := range []int{1, 10} {
		b.Run(fmt.Sprintf("senders=%dx%d", times, admitted), func(b *testing.B) {
			v := &victim{t: b, dir: b.TempDir()}
			mkdir(b, filepath.Join(v.dir, "policies"))
			v.start()
			defer v.kill()
			v.waitAlive(b.Context())
			idle := v.memory("VmRSS")
			events := make([]visutility.Event, perBody)
			for i := range events {
				events[i] = visutility.Event{Model: fmt.Sprintf("m%d", i), Metric: visutility.Accuracy, Value: 0.9}
			}
			body, err := json.Marshal(events)
			if err != nil {
				b.Fatal(err)
			}
			client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: times * admitted}}
			var accepted, refused atomic.Int64
			var wg sync.WaitGroup
			b.ResetTimer()
			for range times * admitted {
				wg.Go(func() {
					for accepted.Load() < int64(b.N) {
						resp, err := client.Post(v.base()+"/api/v1/metrics", "application/json", bytes.NewReader(body))
						if err != nil {
							refused.Add(1) // the connection was closed while it was sending
							continue
						}
						io.Copy(io.Discard, resp.Body)
						resp.Body.Close()
						switch {
						case resp.StatusCode == http.StatusOK:
							accepted.Add(1)
						case resp.StatusCode == http.StatusTooManyRequests && resp.Header.Get("Retry-After") != "":
							refused.Add(1)
						default:
							b.Error(resp.Status)
							return
						}
					}
				})
			}
			wg.Wait()
			b.StopTimer()
			b.ReportMetric(float64(accepted.Load()*perBody)/b.Elapsed().Seconds(), "events/s")
			b.ReportMetric(100*float64(refused.Load())/float64(refused.Load()+accepted.Load()), "%refused")
			b.ReportMetric(idle, "idle-MB")
			b.ReportMetric(v.memory("VmHWM"), "peak-MB")
		})
	}
}

// memory is a line of what the kernel says of the server's memory, in MB.
func (v *victim) memory(line string) float64 {
	v.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", v.cmd.Process.Pid))
	if err != nil {
		v.t.Fatal(err)
	}
	for l := range strings.Lines(string(text)) {
		if f := strings.Fields(l); len(f) == 3 && f[0] == line+":" {
			kb, err := strconv.ParseFloat(f[1], 64)
			if err != nil {
				v.t.Fatal(err)
			}
			return kb / 1000
		}
	}
	v.t.Fatalf("the kernel does not tell %s", line)
	return 0
}
