package backtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/history"
	"github.com/visutility/visutility/policy"
)

// aHistory has events of models, and gives them out two at a time.
type aHistory struct {
	events map[string][]visutility.Event
	asked  []history.EventQuery
	fail   error
}

func (h *aHistory) Events(_ context.Context, q history.EventQuery) ([]visutility.Event, string, error) {
	h.asked = append(h.asked, q)
	at, _ := strconv.Atoi(q.Cursor)
	all := h.events[q.Model]
	page := all[at:min(at+2, len(all))]
	if at+2 >= len(all) {
		return page, "", h.fail
	}
	return page, strconv.Itoa(at + 2), nil
}

func measured(model, metric string, n int) (events []visutility.Event) {
	for i := range n {
		events = append(events, visutility.Event{Model: model, Metric: metric, Value: float64(i), Time: hour(i), Count: 1})
	}
	return events
}

func mustNamed(tb testing.TB, name, rest string) *policy.Policy {
	tb.Helper()
	return mustPolicy(tb, "name: "+name+"\n"+rest+"\ntrain: {trainer: x}\n")
}

func TestExcerpt(t *testing.T) {
	h := &aHistory{events: map[string][]visutility.Event{"a": measured("a", "accuracy", 5), "b": measured("b", "psi", 3)}}
	x := Excerpt{
		Policies: []*policy.Policy{
			mustNamed(t, "p", "models: ['*']\nretrain: {when: accuracy < 0.8, unless: 'absent(recall, \"1h\")'}"),
			mustNamed(t, "p", "model: a\nmetrics: {psi: lower_is_better, unread: lower_is_better}\nretrain: {when: psi > baseline.psi}"),
			mustNamed(t, "old", "model: c\nretrain: {when: 'age > duration(\"30d\")'}"),
		},
		Models: []string{"a", "b", "c"}, From: hour(-1), To: hour(9),
	}
	var told []string
	x.Progress = func(models, events int) { told = append(told, fmt.Sprint(models, events)) }
	data, err := x.Read(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	if data.Events() != 8 {
		t.Errorf("%d events", data.Events())
	}
	var asked []string
	for _, q := range h.asked {
		asked = append(asked, fmt.Sprint(q.Model, q.Metrics, q.Cursor))
		if !q.From.Equal(x.From) || !q.To.Equal(x.To) {
			t.Errorf("asked from %s to %s", q.From, q.To)
		}
	}
	want := []string{"a[accuracy psi recall]", "a[accuracy psi recall]2", "a[accuracy psi recall]4", "b[accuracy recall]", "b[accuracy recall]2", "c[accuracy recall]"}
	if diff := cmp.Diff(want, asked); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"0 2", "0 4", "0 5", "1 7", "1 8", "2 8"}, told); diff != "" {
		t.Errorf("progress (-want +got):\n%s", diff)
	}
	r, err := Run(t.Context(), Options{Policies: x.Policies[:1], Against: x.Policies[1:2], AgainstName: RunningPlan}, data)
	if err != nil {
		t.Fatal(err)
	}
	if r.Plans[1].Name != "running" || !slices.ContainsFunc(r.Caveats, func(c string) bool { return strings.Contains(c, "of each second it keeps the last value") }) {
		t.Errorf("plan %q, caveats %q", r.Plans[1].Name, r.Caveats)
	}

	if only, err := (Excerpt{Policies: x.Policies[2:], Models: []string{"c"}}).Read(t.Context(), h); err == nil {
		t.Errorf("%d events of nobody", only.Events())
	} else if q := h.asked[len(h.asked)-1]; len(q.Metrics) > 0 {
		t.Errorf("a policy that reads no metric asks for %v only", q.Metrics)
	}
}

func TestExcerptFaults(t *testing.T) {
	p := []*policy.Policy{mustNamed(t, "p", "models: ['*']\nretrain: {when: accuracy < 0.8}")}
	h := &aHistory{events: map[string][]visutility.Event{"a": measured("a", "accuracy", 5)}}
	for name, x := range map[string]Excerpt{
		"too many": {Policies: p, Models: []string{"a"}, Max: 4},
		"none":     {Policies: p, Models: []string{"b"}},
	} {
		if _, err := x.Read(t.Context(), h); !errors.Is(err, visutility.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := (Excerpt{Policies: p, Models: []string{"a"}, Max: 5}).Read(t.Context(), h); err != nil {
		t.Error(err)
	}
	h.fail = visutility.ErrUnavailable
	if _, err := (Excerpt{Policies: p, Models: []string{"a"}}).Read(t.Context(), h); !errors.Is(err, h.fail) {
		t.Error(err)
	}
}

func TestWatched(t *testing.T) {
	p := []*policy.Policy{mustNamed(t, "p", "models: ['fraud-*', churn]\nretrain: {when: accuracy < 0.8}")}
	known := []string{"fraud-de", "fraud-fr", "churn", "other"}
	for _, test := range []struct {
		globs []string
		want  []string
	}{
		{nil, []string{"fraud-de", "fraud-fr", "churn"}},
		{[]string{"*-de", "other", "churn"}, []string{"fraud-de", "churn"}},
		{[]string{"other"}, nil},
		{[]string{"[", "churn"}, nil},
	} {
		got, err := Watched(known, p, test.globs)
		if diff := cmp.Diff(test.want, got); diff != "" || (err == nil) == (test.want == nil) {
			t.Errorf("%q: %v (-want +got):\n%s", test.globs, err, diff)
		}
	}
}

func TestRunning(t *testing.T) {
	when := "\nretrain: {when: accuracy < 0.8}"
	ours, theirs := mustNamed(t, "ours", "models: ['fraud-*']"+when), mustNamed(t, "theirs", "model: churn"+when)
	foreign := mustNamed(t, "foreign", "model: fraud-fr\nretrain: {strategy: own}")
	for _, test := range []struct {
		models []string
		want   string
		caveat string
	}{
		{[]string{"fraud-de"}, "ours", ""},
		{[]string{"fraud-fr", "churn"}, "ours theirs", `["foreign"]`},
		{[]string{"other"}, "", "nothing to compare"},
	} {
		got, caveat := Running([]*policy.Policy{ours, theirs, foreign}, test.models)
		var names []string
		for _, p := range got {
			names = append(names, p.Name)
		}
		if strings.Join(names, " ") != test.want || !strings.Contains(caveat, test.caveat) || (caveat == "") != (test.caveat == "") {
			t.Errorf("%v: %v, %q", test.models, names, caveat)
		}
	}
}

// TestAReplayOfSilenceEnds: two events far apart have more than a million ticks between them, which no event interrupts.
func TestAReplayOfSilenceEnds(t *testing.T) {
	p := mustNamed(t, "p", "model: m\nretrain: {when: 'absent(accuracy, \"1h\") && accuracy < 0.0001'}")
	data := NewData()
	for _, at := range []time.Time{start, start.AddDate(0, 0, 20)} {
		if err := data.Add(visutility.Event{Model: "m", Metric: "accuracy", Value: 0.9, Time: at}, false); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	set, err := policy.NewSet(p)
	if err != nil {
		t.Fatal(err)
	}
	x := &replay{o: Options{Tick: time.Second}, data: data, first: data.firsts(), set: set, seen: func(int) {}}
	pl := x.player()
	if err := x.feed(ctx, pl); !errors.Is(err, context.Canceled) || pl.ticks > haltTicks {
		t.Errorf("%v after %d ticks", err, pl.ticks)
	}
}
