package history

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/visutility/visutility"
)

func TestDownSamplingKeepsExtremes(t *testing.T) {
	l := &testLog{}
	for at := int64(0); at < 20_000_000; at += 10_000 {
		var events []visutility.Event
		for s := int64(0); s < 10_000; s += 1000 {
			events = append(events, event("auc", at+s, 0.5))
		}
		l.add(at, events...)
	}
	l.add(20_000_000, event("auc", 7_777_000, 99), event("auc", 12_345_000, -99))
	h := open(t, quiet(t.TempDir()))
	catchUp(t, h, l)
	got := selected(t, h, Query{Model: "m", Metric: "auc"})
	if len(got) != 1 {
		t.Fatalf("%d series", len(got))
	}
	points := got[0].Points
	if len(points) > 2000 || len(points) < 1000 {
		t.Errorf("%d points", len(points))
	}
	var count int64
	for _, p := range points {
		count += p.Count
	}
	high := slices.IndexFunc(points, func(p Point) bool { return p.Max == 99 })
	low := slices.IndexFunc(points, func(p Point) bool { return p.Min == -99 })
	if count != 20_002 || high < 0 || low < 0 || high > low {
		t.Errorf("count %d, highest at %d, lowest at %d", count, high, low)
	}
}

func TestRange(t *testing.T) {
	l := longLog(1)
	h := open(t, quiet(t.TempDir()))
	catchUp(t, h, l)
	at := func(s int) time.Time { return time.UnixMilli(epoch).Add(time.Duration(s) * time.Second).UTC() }
	got := selected(t, h, Query{Model: "m", Metric: "f1", From: at(100), To: at(160)})
	if len(got) != 1 || len(got[0].Points) != 60 || got[0].Step != time.Second || !got[0].Points[0].Time.Equal(at(100)) || !got[0].Points[59].Time.Equal(at(159)) {
		t.Errorf("one minute: %+v", got)
	}
	got = selected(t, h, Query{Model: "m", Metric: "f1", From: at(0), To: at(3600), Points: 100})
	if got[0].Step != time.Minute || len(got[0].Points) != 60 {
		t.Errorf("an hour in at most 100 points: step %s, %d points", got[0].Step, len(got[0].Points))
	}
	for name, q := range map[string]Query{
		"after the end":    {Model: "m", From: at(7200)},
		"before the start": {Model: "m", To: at(-7200)},
		"other model":      {Model: "x"},
		"other metric":     {Model: "m", Metric: "x"},
	} {
		if got := selected(t, h, q); len(got) > 0 {
			t.Errorf("%s: %+v", name, got)
		}
	}
	for name, q := range map[string]Query{
		"no model":        {},
		"backwards":       {Model: "m", From: at(2), To: at(1)},
		"negative step":   {Model: "m", Step: -1},
		"negative points": {Model: "m", Points: -1},
		"too many series": {Model: "m", Limit: 1},
	} {
		if _, err := h.Select(t.Context(), q); !errors.Is(err, visutility.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestMetricNames(t *testing.T) {
	o := quiet(t.TempDir())
	h := open(t, o)
	l := &testLog{}
	l.add(0, event("auc", 0, 1), event("f1", 0, 1))
	l.add(10_000, event("new", 10_000, 1)) // the others are in the database now
	other := event("unrelated", 10_000, 1)
	other.Model = "n"
	l.add(10_001, other)
	catchUp(t, h, l)
	got, err := h.Metrics(t.Context(), "m")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"auc", "f1", "new"}, got); diff != "" {
		t.Errorf("metrics (-want +got):\n%s", diff)
	}
}

func TestStepFor(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		mint := rapid.Int64Range(0, 4e12).Draw(t, "mint")
		maxt := mint + rapid.Int64Range(0, 1e13).Draw(t, "length")
		points := rapid.IntRange(2, 5000).Draw(t, "points")
		asked := time.Duration(rapid.Int64Range(0, 1e15).Draw(t, "asked"))
		step := stepFor(mint, maxt, asked, points)
		if n := maxt/step - mint/step + 1; n > int64(points) {
			t.Errorf("step %d ms gives %d points; %d are allowed", step, n, points)
		}
		if step%1000 != 0 || step < asked.Milliseconds() {
			t.Errorf("step %d ms, asked for %s", step, asked)
		}
	})
}

func TestLabelNamesNeverMeet(t *testing.T) {
	name := rapid.OneOf(rapid.StringMatching(`[a-zA-Z0-9_.x-]{1,6}`), rapid.StringN(1, 8, -1))
	rapid.Check(t, func(t *rapid.T) {
		a, b := name.Draw(t, "a"), name.Draw(t, "b")
		if a != b && escape(a) == escape(b) {
			t.Errorf("%q and %q both become %q", a, b, escape(a))
		}
		if back, ok := unescape(escape(a)); !ok || back != a {
			t.Errorf("%q became %q and then %q", a, escape(a), back)
		}
	})
}

func TestHostileNames(t *testing.T) {
	labels := map[string]string{
		"__name__": "evil", "model": "other", "stat": "last", "a.b": "1", "a_b": "2", "label_a_b": "3",
		"日本": "東京", `"} or vector(1) #`: `\"`, "le": "+Inf", " ": "blank",
	}
	ev := event(`auc{stat="x"}`, 0, 1)
	ev.Model, ev.Version, ev.Labels = "m/../../etc", "v\u202e1", labels
	l := &testLog{}
	l.add(0, ev)
	o := quiet(t.TempDir())
	for _, where := range []string{"in memory", "in the database", "after a restart"} {
		h := open(t, o)
		catchUp(t, h, l)
		got := selected(t, h, Query{Model: ev.Model, Metric: ev.Metric})
		if len(got) != 1 {
			t.Fatalf("%s: %d series", where, len(got))
		}
		if diff := cmp.Diff(labels, got[0].Labels); diff != "" || got[0].Version != ev.Version || got[0].Metric != ev.Metric {
			t.Errorf("%s: version %q, metric %q, labels (-want +got):\n%s", where, got[0].Version, got[0].Metric, diff)
		}
		l.add(int64(len(l.entries))*10_000, visutility.Event{Model: "tick", Metric: "x", Time: time.UnixMilli(epoch), Count: 1})
		if err := h.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
