package main

import (
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/server"
	"github.com/visutility/visutility/store"
	"github.com/visutility/visutility/trigger"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// drawn is what people see of a page where the output is no terminal.
func drawn(t *testing.T, draw func(*page)) string {
	t.Helper()
	p := &page{now: noon, again: "visutility models --query b"}
	draw(p)
	var b strings.Builder
	if err := p.write(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func same(t *testing.T, got, want string) {
	t.Helper()
	if diff := cmp.Diff(strings.TrimPrefix(want, "\n"), got); diff != "" {
		t.Error("(-want +got):\n", diff)
	}
}

func TestModelTable(t *testing.T) {
	got := drawn(t, func(p *page) {
		drawModels(p, listing[server.Model]{Items: []server.Model{
			{ActiveRun: "r1", Model: store.Model{Name: "bike-demand", Champion: "v7", Verdict: visutility.Fire, Policies: []string{"bikes"}, Events: 1204,
				Metrics: []store.Metric{{Name: "wmape", Last: 0.341}}, LastEventAt: noon.Add(-3 * time.Minute)}},
			{Model: store.Model{Name: "fraud", Paused: true}},
			{Model: store.Model{Name: "new"}},
		}, Next: "abc"})
	})
	same(t, got, `
MODEL        VERDICT    CHAMPION  LAST VALUES  EVENTS  LAST EVENT  RUN  POLICIES
bike-demand  fire       v7        wmape 0.341  1204    3m ago      r1   bikes
fraud        paused     -         -            0       -           -    -
new          no policy  -         -            0       -           -    -
next: visutility models --query b --cursor abc
`)
}

func TestExplanationTree(t *testing.T) {
	got := drawn(t, func(p *page) {
		drawExplanation(p, trigger.Explanation{Model: "bike-demand", Champion: "v7", Policies: []trigger.PolicyExplanation{{
			Policy: "bikes", Verdict: visutility.Fire, Why: "not retraining: the condition holds, but: 5h of 6h have passed",
			Terms: []visutility.Term{{Name: "when", Expr: "wmape > 0.3 && n >= 500.0", Value: true, Terms: []visutility.Term{
				{Expr: "wmape > 0.3", Value: true, Terms: []visutility.Term{{Expr: "wmape", Value: 0.36, Note: "12 samples"}}},
				{Expr: "avg(auc, \"24h\")", Value: nil},
			}}},
			Guardrails: []trigger.Guardrail{{Name: "paused"}, {Name: "cooldown", Blocks: true, Detail: "5h of 6h have passed"}},
		}}})
	})
	same(t, got, `
model         bike-demand
champion      v7

policy bikes  verdict fire
├── not retraining: the condition holds, but: 5h of 6h have passed
├── when: wmape > 0.3 && n >= 500.0  = true
│   ├── wmape > 0.3  = true
│   │   ╰── wmape  = 0.36  (12 samples)
│   ╰── avg(auc, "24h")  = no data
╰── guardrails
    ├── paused: open
    ╰── cooldown: blocks  5h of 6h have passed
next: visutility decisions --model bike-demand
`)
}

func TestJSONIsWhatTheServerSaid(t *testing.T) {
	var b strings.Builder
	if err := printJSON(&b, json.RawMessage(`{"items":[{"z":1,"a":12345678901234567890}],"next":""}`+"\n")); err != nil {
		t.Fatal(err)
	}
	same(t, b.String(), `
{
  "items": [
    {
      "z": 1,
      "a": 12345678901234567890
    }
  ],
  "next": ""
}
`)
	if err := printJSON(&b, json.RawMessage(`<html>`)); err == nil {
		t.Error("a page of a proxy passed for JSON")
	}
}

func TestRelativeTimes(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "just now", 5 * time.Second: "5s ago", 90 * time.Second: "1m ago", 5*time.Hour + 12*time.Minute: "5h12m ago",
		5 * time.Hour: "5h ago", 30 * time.Hour: "30h ago", 72 * time.Hour: "3d ago", -2 * time.Hour: "in 2h",
	} {
		if got := relative(noon.Add(-d), noon); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
	if got := relative(time.Time{}, noon); got != "-" {
		t.Errorf("the zero time is %q", got)
	}
}

func TestNumbers(t *testing.T) {
	for f, want := range map[float64]string{0: "0", 0.1 + 0.2: "0.3", -1.5: "-1.5", 12345: "12345", 0.00001234: "1.234e-05", 1e9: "1e+09"} {
		if got := number(f); got != want {
			t.Errorf("%v: %q, want %q", f, got, want)
		}
	}
}

func TestFlagValues(t *testing.T) {
	var span spanValue
	for s, want := range map[string]time.Duration{"7d": 168 * time.Hour, "90m": 90 * time.Minute, "1.5d": 36 * time.Hour, "-1h": 0, "d": 0, "x": 0, "0s": 0} {
		span = 0
		if err := span.Set(s); (err == nil) != (want > 0) || time.Duration(span) != want {
			t.Errorf("%q: %v, %v", s, time.Duration(span), err)
		}
	}
	var size bytesValue
	for s, want := range map[string]int64{"10GiB": 10 << 30, "512 MiB": 512 << 20, "1GB": 1e9, "77": 77, "5B": 5, "x": 0, "-1": 0, "NaN": 0, "9e30": 0} {
		size = 0
		if err := size.Set(s); (err == nil) != (want > 0) || int64(size) != want {
			t.Errorf("%q: %d, %v", s, size, err)
		}
	}
	var nets prefixesValue
	for _, s := range []string{"10.1.2.3/8", "192.168.0.7", "::1"} {
		if err := nets.Set(s); err != nil {
			t.Error(err)
		}
	}
	want := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("192.168.0.7/32"), netip.MustParsePrefix("::1/128")}
	if diff := cmp.Diff(want, []netip.Prefix(nets), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Error("(-want +got):\n", diff)
	}
	for _, s := range []string{"example.com", "10.0.0.0", "fd00::"} {
		if nets.Set(s) == nil {
			t.Errorf("%s passed for a network", s)
		}
	}
	if got := formatBytes(1536 << 20); got != "1.5 GiB" {
		t.Errorf("got %q", got)
	}
}

func TestAvailableMemory(t *testing.T) {
	file := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	info := file("MemTotal:       16777216 kB\nMemFree:   1 kB\n")
	for _, test := range []struct {
		name string
		fs   fstest.MapFS
		want int64
	}{
		{"no such files", fstest.MapFS{}, 0},
		{"a machine", fstest.MapFS{"proc/meminfo": info}, 16 << 30},
		{"no limit", fstest.MapFS{"proc/meminfo": info, "proc/self/cgroup": file("0::/a/b\n"), "sys/fs/cgroup/a/b/memory.max": file("max\n")}, 16 << 30},
		{"a group above", fstest.MapFS{"proc/meminfo": info, "proc/self/cgroup": file("0::/a/b\n"),
			"sys/fs/cgroup/a/memory.max": file("1073741824\n"), "sys/fs/cgroup/a/b/memory.max": file("max\n")}, 1 << 30},
		{"a container", fstest.MapFS{"proc/meminfo": info, "proc/self/cgroup": file("0::/\n"), "sys/fs/cgroup/memory.max": file("536870912\n")}, 512 << 20},
		{"version 1", fstest.MapFS{"proc/meminfo": info, "proc/self/cgroup": file("9:cpu:/x\n5:memory:/docker/1\n"),
			"sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes": file("2147483648\n"), "sys/fs/cgroup/memory/memory.limit_in_bytes": file("9223372036854771712\n")}, 2 << 30},
	} {
		if got := availableMemory(test.fs); got != test.want {
			t.Errorf("%s: %d, want %d", test.name, got, test.want)
		}
	}
}

func TestExitCodes(t *testing.T) {
	cmd := &cobra.Command{Use: "x"}
	for _, test := range []struct {
		err  error
		want int
	}{
		{nil, 0}, {errors.New("x"), 1}, {exitError(3), 3}, {usagef(cmd, "x"), 2}, {withHint(usagef(cmd, "x"), "y"), 2},
	} {
		if got := exitCode(test.err); got != test.want {
			t.Errorf("%v: %d, want %d", test.err, got, test.want)
		}
	}
}
