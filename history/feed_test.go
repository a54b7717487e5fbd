package history

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/visutility/visutility"
)

// told makes an entry with one event for each value: of one series, a second apart.
func told(model string, values ...float64) *visutility.Entry {
	e := &visutility.Entry{Series: []visutility.Series{{Model: model, Metric: "auc"}}}
	for i, v := range values {
		e.Records = append(e.Records, visutility.Record{Time: int64(1000 * i), Value: v, Count: 1})
	}
	return e
}

func seen(list []Measurement) (s []string) {
	for _, m := range list {
		s = append(s, fmt.Sprintf("%s %s %d %v", m.Model, m.Metric, m.Time.Unix(), m.Value))
	}
	return s
}

func TestFeed(t *testing.T) {
	var f Feed
	f.Tell(told("m", 0)) // nobody looks on
	all, one := f.Follow(), f.Follow("m", "x")
	defer all.Close()
	f.Tell(told("m", 1, 2))
	f.Tell(told("m", 3)) // the same second again
	f.Tell(told("n", 4))
	f.Tell(&visutility.Entry{})
	<-all.Changed()
	<-one.Changed()
	list, dropped := all.Take()
	if diff := cmp.Diff([]string{"m auc 0 3", "m auc 1 2", "n auc 0 4"}, seen(list)); diff != "" || dropped != 0 {
		t.Errorf("%d dropped, %s", dropped, diff)
	}
	list, _ = one.Take()
	if diff := cmp.Diff([]string{"m auc 0 3", "m auc 1 2"}, seen(list)); diff != "" {
		t.Error(diff)
	}
	if list, _ := all.Take(); list != nil {
		t.Errorf("taken twice: %v", list)
	}
	one.Close()
	one.Close()
	f.Tell(told("m", 5))
	if list, _ := one.Take(); list != nil {
		t.Errorf("after its end a tail was told %v", list)
	}
}

func TestFeedIsBounded(t *testing.T) {
	var f Feed
	tail := f.Follow()
	defer tail.Close()
	f.Tell(told("m", make([]float64, maxPending+7)...))
	if list, dropped := tail.Take(); len(list) != maxPending || dropped != 7 {
		t.Errorf("%d are kept and %d dropped", len(list), dropped)
	}
	f.Tell(told("m", 1))
	if list, dropped := tail.Take(); len(list) != 1 || dropped != 0 {
		t.Errorf("afterwards %d are kept and %d dropped", len(list), dropped)
	}
}

// Whoever follows first and selects then has everything, and nothing that Select has not.
func TestFeedTellsWhatSelectHas(t *testing.T) {
	h := open(t, quiet(t.TempDir()))
	tail := h.Follow("m")
	defer tail.Close()
	e := *told("m", 0.5)
	e.Position, e.Stored = 1, 1000
	if err := h.Observe(t.Context(), visutility.Batch{Entries: []visutility.Entry{e}}); err != nil {
		t.Fatal(err)
	}
	<-tail.Changed()
	if list, _ := tail.Take(); len(list) != 1 || list[0].Value != 0.5 {
		t.Errorf("got %v", list)
	}
	if got, err := h.Select(t.Context(), Query{Model: "m"}); err != nil || len(got) != 1 {
		t.Errorf("selected %v, %v", got, err)
	}
	if err := h.Observe(t.Context(), visutility.Batch{Entries: []visutility.Entry{e}}); err != nil { // handed over again
		t.Fatal(err)
	}
	if list, _ := tail.Take(); list != nil {
		t.Errorf("told twice: %v", list)
	}
}
