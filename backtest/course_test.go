package backtest

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/visutility/visutility"
)

// seen is an event of a course, in short.
type seen struct {
	Time          int
	Model, Metric string
	Value         float64
}

// pastOf makes a past of events whose time is seconds.
func pastOf(tb interface{ Fatal(...any) }, events []seen) *Data {
	d := NewData()
	for _, e := range events {
		if err := d.Add(visutility.Event{Model: e.Model, Metric: e.Metric, Value: e.Value, Time: start.Add(time.Duration(e.Time) * time.Second)}, false); err != nil {
			tb.Fatal(err)
		}
	}
	d.sort()
	return d
}

// someEvents draws events in the order of time; val tells where they come from.
func someEvents(val float64, models ...string) *rapid.Generator[[]seen] {
	return rapid.Custom(func(t *rapid.T) (events []seen) {
		at := 0
		for range rapid.IntRange(0, 25).Draw(t, "events") {
			at += rapid.IntRange(0, 2).Draw(t, "gap")
			events = append(events, seen{at, rapid.SampledFrom(models).Draw(t, "model"), rapid.SampledFrom([]string{"x", "y"}).Draw(t, "metric"), val})
		}
		return events
	})
}

// TestCourse: at every moment the events are those of the versions that serve then, and those of the data where a
// version says nothing; whatever was promoted and taken back before. Each is seen once.
func TestCourse(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		data := someEvents(0, "a", "b").Draw(rt, "data")
		if len(data) == 0 {
			return
		}
		versions := map[string][][]seen{"a": {nil}, "b": {nil}}
		for _, model := range []string{"a", "b"} {
			for v := 1; v <= 3; v++ {
				events := someEvents(float64(v), model).Filter(func(e []seen) bool { return len(e) > 0 }).Draw(rt, "version")
				versions[model] = append(versions[model], events)
			}
		}
		serves := map[string]int{}
		want := func(at int) (all []seen) {
			says := func(model, metric string) bool {
				for _, e := range versions[model][serves[model]] {
					if e.Metric == metric {
						return true
					}
				}
				return false
			}
			for _, e := range data {
				if e.Time == at && !says(e.Model, e.Metric) {
					all = append(all, e)
				}
			}
			for _, model := range []string{"a", "b"} {
				for _, e := range versions[model][serves[model]] {
					if e.Time == at {
						all = append(all, e)
					}
				}
			}
			return all
		}
		c := newCourse(pastOf(rt, data), true)
		for at := range 60 {
			ms := start.Add(time.Duration(at) * time.Second).UnixMilli()
			for range rapid.IntRange(0, 2).Draw(rt, "turns") { // before the events of this time
				model := rapid.SampledFrom([]string{"a", "b"}).Draw(rt, "turned")
				serves[model] = rapid.IntRange(0, 3).Draw(rt, "to")
				var scores *Data
				if serves[model] > 0 {
					scores = pastOf(rt, versions[model][serves[model]])
				}
				c.turn(c.from(ms), model, scores)
			}
			expected := want(at)
			var got []seen
			for len(c.records) > 0 && c.records[0].time == ms {
				r := c.records[0]
				c.records, c.fed = c.records[1:], r.time
				got = append(got, seen{at, c.series[r.series].Model, c.series[r.series].Metric, r.value})
				if rapid.IntRange(0, 9).Draw(rt, "midst") == 0 { // the rest of this time was measured with what has been seen
					c.turn(c.from(ms), "a", nil)
					serves["a"] = 0
				}
			}
			if diff := cmp.Diff(expected, got); diff != "" {
				rt.Fatalf("at %d, with versions %v (-want +got):\n%s", at, serves, diff)
			}
		}
		if len(c.records) > 0 {
			rt.Fatalf("%d events never came", len(c.records))
		}
	})
}
