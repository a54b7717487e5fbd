package backtest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/policy"
)

func mustPolicy(tb testing.TB, src string) *policy.Policy {
	tb.Helper()
	p, err := policy.Parse("p.yaml", []byte(src))
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

// hourly makes a past of one model with a value an hour; those in brackets are an incident.
func hourly(tb testing.TB, text string) *Data {
	tb.Helper()
	d := NewData()
	ill := false
	for i, w := range strings.Fields(text) {
		ill = ill || strings.HasPrefix(w, "[")
		var v float64
		if _, err := fmt.Sscanf(strings.Trim(w, "[]"), "%g", &v); err != nil {
			tb.Fatal(err)
		}
		e := visutility.Event{Model: "m", Metric: "accuracy", Value: v, Time: start.Add(time.Duration(i) * time.Hour)}
		if err := d.Add(e, ill); err != nil {
			tb.Fatal(err)
		}
		ill = ill && !strings.HasSuffix(w, "]")
	}
	return d
}

func repeated(s string, n int) string { return strings.Repeat(s+" ", n) }

func TestReplay(t *testing.T) {
	threshold := "name: p\nmodel: m\nretrain: {when: accuracy < 0.8%s}\ntrain: {trainer: x}\n"
	for _, test := range []struct {
		name, policy, past string
		o                  Options
		want               Plan
	}{
		{"nothing wrong", "", repeated(".9", 24), Options{}, Plan{}},
		// The run of hour 2 is promoted at 4, before that hour's event; then the condition fires afresh.
		{"promoted", "", ".9 .9 .7 .7 .7 .9", Options{TrainTime: 2 * time.Hour, Cost: 3}, Plan{
			Runs:   []Played{{Time: hour(2), Ended: hour(4), State: visutility.Succeeded}, {Time: hour(4), State: visutility.Pending}},
			Spend:  6,
			Months: []Month{{"2026-01", 2, 6}}, InBreach: 3 * 3600, BreachShare: 3. / 5,
			Suppressed: map[string]int{"active_run": 1},
		}},
		// After a rejection the same fire goes on; the cooldown after it is a minute.
		{"rejected", "", ".9 .7 .7 .7 .9", Options{TrainTime: time.Minute, Rejected: true}, Plan{
			Runs: []Played{
				{Time: hour(1), Ended: hour(1).Add(time.Minute), State: visutility.Rejected},
				{Time: hour(2), Ended: hour(2).Add(time.Minute), State: visutility.Rejected},
				{Time: hour(3), Ended: hour(3).Add(time.Minute), State: visutility.Rejected},
			},
			InBreach: 3 * 3600, BreachShare: 3. / 4,
			Suppressed: map[string]int{"no_new_data": 3},
		}},
		// The cooldown ends at 4h30m, between two events; a tick lets the fire through.
		{"cooldown", ", cooldown: {after_success: 2h15m, after_failure: 2h15m}", ".9 .7 .7 .7 .7 .7 .9 .9", Options{TrainTime: 75 * time.Minute, Rejected: true}, Plan{
			Runs: []Played{
				{Time: hour(1), Ended: hour(2).Add(15 * time.Minute), State: visutility.Rejected},
				{Time: hour(4).Add(30 * time.Minute), Ended: hour(5).Add(45 * time.Minute), State: visutility.Rejected},
			},
			InBreach: 5 * 3600, BreachShare: 5. / 7,
			Suppressed: map[string]int{"active_run": 2, "cooldown": 2},
		}},
		{"incidents", ", for: 1h", ".9 [.9 .7 .7 .7] .9 .7 .7 .9 [.9 .9] .9", Options{TrainTime: time.Minute}, Plan{
			Runs: []Played{
				{Time: hour(3), Ended: hour(3).Add(time.Minute), State: visutility.Succeeded, Incident: true},
				{Time: hour(7), Ended: hour(7).Add(time.Minute), State: visutility.Succeeded},
			},
			InBreach: (1 + 1./60 + 1 + 1 + 1./60) * 3600, BreachShare: (3 + 2./60) / 11,
			Detection: &Detection{Found: 1, Missed: 1, Outside: 1, MedianDelay: 7200, MaxDelay: 7200},
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.o.Policies = []*policy.Policy{mustPolicy(t, fmt.Sprintf(threshold, test.policy))}
			r, err := Run(t.Context(), test.o, hourly(t, test.past))
			if err != nil {
				t.Fatal(err)
			}
			test.want.Name, test.want.Policies = "policy", []string{"p"}
			opts := cmp.Options{
				cmpopts.IgnoreUnexported(Plan{}), cmpopts.EquateEmpty(), cmpopts.EquateApprox(1e-9, 0),
				cmpopts.IgnoreFields(Plan{}, "RunsPerMonth", "Decisions"), cmpopts.IgnoreFields(Played{}, "ID", "Reason", "Model", "Policy"),
			}
			if test.want.Months == nil {
				opts = append(opts, cmpopts.IgnoreFields(Plan{}, "Months"))
			}
			if diff := cmp.Diff(test.want, r.Plans[0], opts); diff != "" {
				t.Error("(-want +got):\n", diff)
			}
		})
	}
}

// TestOrderOfTime: events are replayed in the order of time, whatever order they are added in.
func TestOrderOfTime(t *testing.T) {
	p := mustPolicy(t, "model: m\nretrain: {when: accuracy < 0.8, for: 2h, cooldown: 5h}\ntrain: {trainer: x}\n")
	report := func(shuffle bool) *Report {
		data := hourly(t, strings.Repeat(".9 .7 .7 .7 .9 .7 .7 .7 .7 .9 ", 5))
		if shuffle {
			rng := rand.New(rand.NewPCG(1, 2))
			rng.Shuffle(len(data.records), func(i, j int) {
				data.records[i], data.records[j] = data.records[j], data.records[i]
			})
			data.sorted = false
		}
		r, err := Run(t.Context(), Options{Policies: []*policy.Policy{p}}, data)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	if diff := cmp.Diff(report(false), report(true), cmpopts.IgnoreUnexported(Report{}, Plan{})); diff != "" {
		t.Error("(-in order +shuffled):\n", diff)
	}
}

func hour(n int) time.Time { return start.Add(time.Duration(n) * time.Hour) }

func TestSchedules(t *testing.T) {
	p := mustPolicy(t, "model: m\nretrain: {when: accuracy < 0.8}\ntrain: {trainer: x}\n")
	r, err := Run(t.Context(), Options{Policies: []*policy.Policy{p}, Against: []*policy.Policy{p}}, hourly(t, repeated(".7", 24*65)))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]int{"never": 0, "weekly": 9, "monthly": 2}
	var order []string
	for _, plan := range r.Plans {
		order = append(order, plan.Name)
		if n, ok := want[plan.Name]; ok && len(plan.Runs) != n {
			t.Errorf("%s: %d runs, want %d", plan.Name, len(plan.Runs), n)
		}
		// A promotion ends a breach until the next event, which is at once: all of the time is in breach.
		if plan.BreachShare < 0.999 || plan.BreachShare > 1 {
			t.Errorf("%s: share of time in breach %g, want 1", plan.Name, plan.BreachShare)
		}
	}
	if diff := cmp.Diff([]string{"policy", "against", "never", "weekly", "monthly"}, order); diff != "" {
		t.Error("(-want +got):\n", diff)
	}
	if first := r.Plans[3].Runs[0].Time; !first.Equal(start.Add(7 * day)) {
		t.Errorf("the first weekly run is at %v", first)
	}
}

func TestRollback(t *testing.T) {
	p := mustPolicy(t, "model: m\nmetrics: {x: higher_is_better}\nretrain: {when: accuracy < 0.8, cooldown: 30d}\ntrain: {trainer: x}\nrollback: {when: accuracy < 0.5, within: 1d}\n")
	var states []string
	set, err := policy.NewSet(p)
	if err != nil {
		t.Fatal(err)
	}
	for _, past := range []string{"0.7 0.9 0.9 0.4 0.9", "0.7 " + repeated("0.9", 30) + "0.4"} {
		pl := newPlayer(set, start.UnixMilli(), time.Minute)
		pl.champion["m"] = champion{version: "v0"}
		pl.end = func(*visutility.Run, int) ending { return ending{state: visutility.Succeeded, after: time.Minute} }
		pl.moved = func(_ string, to visutility.RunState, now int64) {
			states = append(states, fmt.Sprintf("%s %v", to, time.Duration(now-start.UnixMilli())*time.Millisecond))
		}
		data := hourly(t, past)
		x := &replay{data: data, seen: func(int) {}}
		if err := x.feed(t.Context(), pl); err != nil {
			t.Fatal(err)
		}
		pl.advance(pl.now + 1)
	}
	want := []string{"watching 1m0s", "rolled_back 3h0m0s", "watching 1m0s", "succeeded 24h1m0s"}
	if diff := cmp.Diff(want, states); diff != "" {
		t.Error("(-want +got):\n", diff)
	}
}

// TestTicksThatMatter: leaving out the ticks that cannot change anything changes no decision.
// Times are whole seconds: the fold looks at the clock once in each, so a tick may take the place of an event's look.
func TestTicksThatMatter(t *testing.T) {
	conditions := []string{"accuracy < 0.8", "avg(accuracy, 3) < 0.8", "accuracy < 0.8 && drift_score > 0.5"}
	rapid.Check(t, func(rt *rapid.T) {
		src := "model: m\nretrain:\n  when: " + rapid.SampledFrom(conditions).Draw(rt, "when") + "\n"
		for _, field := range []string{"for: 40s", "cooldown: {after_success: 95s, after_failure: 7s}", "budget: {runs: 2, per: 10m}", "unless: absent(accuracy, \"1m\")"} {
			if rapid.Bool().Draw(rt, field) {
				src += "  " + field + "\n"
			}
		}
		p := mustPolicy(t, src+"train: {trainer: x}\n")
		set, err := policy.NewSet(p)
		if err != nil {
			rt.Fatal(err)
		}
		data := NewData()
		at := start
		for range rapid.IntRange(1, 60).Draw(rt, "events") {
			at = at.Add(time.Duration(rapid.IntRange(0, 90).Draw(rt, "gap")) * time.Second)
			metric := rapid.SampledFrom([]string{"accuracy", "accuracy", "drift_score"}).Draw(rt, "metric")
			if err := data.Add(visutility.Event{Model: "m", Metric: metric, Value: rapid.SampledFrom([]float64{0.9, 0.7, 0.6}).Draw(rt, "value"), Time: at}, false); err != nil {
				rt.Fatal(err)
			}
		}
		endings := rapid.SliceOfN(rapid.SampledFrom([]visutility.RunState{visutility.Succeeded, visutility.Rejected, visutility.Failed}), 1, 5).Draw(rt, "endings")
		play := func(all bool) (ds []visutility.Decision) {
			pl := newPlayer(set, start.UnixMilli(), 10*time.Second)
			pl.know("m")
			pl.clocked = pl.clocked || all
			pl.end = func(_ *visutility.Run, n int) ending {
				return ending{state: endings[n%len(endings)], after: 33 * time.Second}
			}
			pl.decided = func(d *visutility.Decision) { ds = append(ds, *d) }
			x := &replay{data: data, seen: func(int) {}}
			if err := x.feed(t.Context(), pl); err != nil {
				rt.Fatal(err)
			}
			pl.advance(pl.now + time.Hour.Milliseconds())
			return ds
		}
		// Positions differ, and so what is made of them.
		ignore := cmpopts.IgnoreFields(visutility.Decision{}, "ID", "Position", "Since", "Run", "Index", "Reason")
		if diff := cmp.Diff(play(true), play(false), ignore); diff != "" {
			rt.Errorf("(-all ticks +those that matter):\n%s", diff)
		}
	})
}

func TestHTML(t *testing.T) {
	p := mustPolicy(t, "models: ['*']\nretrain: {when: accuracy < 0.8}\ntrain: {trainer: x}\n")
	d := hourly(t, ".9 .9 [.7 .7] .9")
	if err := d.Add(visutility.Event{Model: "<script>alert(1)", Metric: "accuracy", Value: 0.5, Time: start}, false); err != nil {
		t.Fatal(err)
	}
	r, err := Run(t.Context(), Options{Policies: []*policy.Policy{p}, Cost: 12}, d)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := r.WriteHTML(&b, d); err != nil {
		t.Fatal(err)
	}
	page := b.String()
	for _, bad := range []string{"<script", "src=", "href=", "http:", "https:", "ZgotmplZ"} {
		if strings.Contains(page, bad) {
			t.Errorf("the page has %q", bad)
		}
	}
	for _, good := range []string{"<svg", `class="breach"`, `class="incident"`, `class="run"`, "weekly", "&lt;script&gt;", "old model"} {
		if !strings.Contains(page, good) {
			t.Errorf("the page has no %q", good)
		}
	}
}

func TestRunFaults(t *testing.T) {
	if _, err := Run(t.Context(), Options{}, NewData()); err == nil {
		t.Error("no events: no error")
	}
	p := mustPolicy(t, "model: m\nretrain: {strategy: mine}\ntrain: {trainer: x}\n")
	if _, err := Run(t.Context(), Options{Policies: []*policy.Policy{p}}, hourly(t, ".9")); err == nil || !strings.Contains(err.Error(), "mine") {
		t.Errorf("a strategy: %v", err)
	}
	if err := NewData().Add(visutility.Event{Model: "m", Metric: "x"}, false); err == nil {
		t.Error("no time: no error")
	}
}

// BenchmarkReplay is the replay of a threshold policy over 10,000 models on one core, by how
// many events share a time: 10,000 is a fleet that reports together, 1 is one where nobody does.
func BenchmarkReplay(b *testing.B) {
	for _, together := range []int{10_000, 100, 1} {
		b.Run(fmt.Sprintf("together=%d", together), func(b *testing.B) { benchmarkReplay(b, together) })
	}
}

func benchmarkReplay(b *testing.B, together int) {
	const models, events = 10_000, 2_000_000
	rng := rand.New(rand.NewPCG(1, 2))
	d := NewData()
	for i := range events {
		e := visutility.Event{
			Model: fmt.Sprintf("model-%05d", i%models), Metric: "accuracy", Value: 0.9 + 0.05*rng.Float64(),
			Time: start.Add(time.Duration(i/together*together) * 100 * time.Millisecond),
		}
		if err := d.Add(e, false); err != nil {
			b.Fatal(err)
		}
	}
	p := mustPolicy(b, "models: ['*']\nretrain: {when: accuracy < 0.8}\ntrain: {trainer: x}\n")
	set, err := policy.NewSet(p)
	if err != nil {
		b.Fatal(err)
	}
	d.sort()
	first := d.firsts()
	for b.Loop() {
		x := &replay{o: Options{Tick: time.Minute}, data: d, first: first, set: set, seen: func(int) {}}
		if err := x.run(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(events)*float64(b.N)/b.Elapsed().Seconds(), "events/s")
}
