package engine_test

import (
	"testing"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/engine"
	"github.com/visutility/visutility/policy"
	"github.com/visutility/visutility/store"
)

// TestShutdownKeepsDecisions stops the engine at the moment at which the fold has decided and
// the commit is under way: nothing that was decided may be lost.
func TestShutdownKeepsDecisions(t *testing.T) {
	p, err := policy.Parse("flip.yaml", []byte("model: flip\nretrain: {when: accuracy < 0.5, for: 1000h}\ntrain: {trainer: none}\n"))
	if err != nil {
		t.Fatal(err)
	}
	var events []visutility.Event
	const flips = 100
	for i := range flips {
		events = append(events, visutility.Event{Model: "flip", Metric: visutility.Accuracy, Value: float64(i % 2)})
	}
	for range 5 {
		dir := t.TempDir()
		e, stop := running(t, engine.Options{Dir: dir, Policies: []*policy.Policy{p}})
		if err := e.Publish(t.Context(), "", events); err != nil {
			t.Fatal(err)
		}
		folded(t, e, flips)
		stop()
		st, err := store.Open(t.Context(), store.Options{Path: dir + "/state.db"})
		if err != nil {
			t.Fatal(err)
		}
		ds, _, err := st.Decisions(t.Context(), store.DecisionFilter{Page: store.Page{Limit: 1000}})
		if err != nil {
			t.Fatal(err)
		}
		if len(ds) != flips {
			t.Errorf("%d decisions survived the shutdown, want %d", len(ds), flips)
		}
		if err := st.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
