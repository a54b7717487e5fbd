package engine_test

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/engine"
	"github.com/visutility/visutility/history"
	"github.com/visutility/visutility/store"
)

// TestApplyPolicy: a policy that is applied is in the directory and decides about the next event, and it is known who did it.
func TestApplyPolicy(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "p.yaml")
	if err := os.WriteFile(file, []byte("model: m\nretrain: {when: accuracy < 0.5}\ntrain: {trainer: at-once}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	e, _ := running(t, engine.Options{Dir: t.TempDir(), PolicyDir: dir, Trainers: trainers})
	measure := func(v float64) {
		t.Helper()
		if err := e.Publish(t.Context(), "", []visutility.Event{{Model: "m", Metric: "accuracy", Value: v}}); err != nil {
			t.Fatal(err)
		}
	}
	measure(0.7)
	first := e.Policies()[0].Revision
	source := strings.Replace(string(e.Policies()[0].Source), "0.5", "0.8", 1)
	p, err := e.ApplyPolicy(t.Context(), "p", first, []byte(source), "ann")
	if err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != source || e.Policies()[0].Revision != p.Revision {
		t.Errorf("%q, %v: in force is %s, not %s", b, err, e.Policies()[0].Revision, p.Revision)
	}
	measure(0.7)
	eventually(t, "a decision by the new policy", func() bool {
		found, _, err := e.Store().Decisions(t.Context(), store.DecisionFilter{Model: "m", Outcome: "fired"})
		return err == nil && len(found) == 1 && found[0].PolicyRevision == p.Revision && strings.Contains(found[0].Reason, "0.8")
	})

	if _, err := e.ApplyPolicy(t.Context(), "p", first, []byte(source), "bob"); !errors.Is(err, visutility.ErrConflict) {
		t.Errorf("in the place of an old revision: %v", err)
	}
	if _, err := e.ApplyPolicy(t.Context(), "new", p.Revision, []byte(source), "bob"); !errors.Is(err, visutility.ErrConflict) {
		t.Errorf("a new one in the place of another: %v", err)
	}
	if _, err := e.ApplyPolicy(t.Context(), "p", p.Revision, []byte(strings.Replace(source, "trainer: at-once", "run: [/bin/rm]", 1)), "bob"); !errors.Is(err, visutility.ErrInvalid) {
		t.Errorf("another command: %v", err)
	}
	if got := e.Policies()[0].Revision; got != p.Revision {
		t.Errorf("what was refused is in force: %s", got)
	}

	var told []string
	all, err := e.Store().Activities(t.Context(), 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range all {
		if a.Kind == "policy" {
			var d struct{ Revision, By string }
			if err := json.Unmarshal(a.Data, &d); err != nil {
				t.Fatal(err)
			}
			told = append(told, a.ID+" "+d.Revision+" by "+d.By)
		}
	}
	if len(told) != 1 || told[0] != "p "+p.Revision+" by ann" {
		t.Errorf("told of %q", told)
	}
}

func TestApplyPolicyNeedsADirectory(t *testing.T) {
	e, _ := running(t, engine.Options{Dir: t.TempDir(), Trainers: trainers})
	_, err := e.ApplyPolicy(context.Background(), "p", "", []byte("model: m\n"), "ann")
	if !errors.Is(err, visutility.ErrConflict) || !strings.Contains(err.Error(), "--policies") {
		t.Error(err)
	}
}

// TestChangedConditionsBeginWithThePast: a condition that comes to a model, or is changed, while the server runs or while it is down, sees
// what was measured before.
func TestChangedConditionsBeginWithThePast(t *testing.T) {
	dir, data := t.TempDir(), t.TempDir()
	put := func(when string) {
		t.Helper()
		text := "model: m\nretrain: {when: '" + when + "'}\ntrain: {trainer: at-once}\n"
		if err := os.WriteFile(filepath.Join(dir, "p.yaml"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	e, stop := running(t, engine.Options{Dir: data, PolicyDir: dir, Trainers: trainers})
	begin := time.Now().Add(-10 * time.Minute)
	var events []visutility.Event
	for i := range 10 {
		events = append(events, visutility.Event{Model: "m", Metric: "accuracy", Value: 0.5 + float64(i)/100, Time: begin.Add(time.Duration(i) * 10 * time.Second)})
	}
	if err := e.Publish(t.Context(), "", events); err != nil {
		t.Fatal(err)
	}
	value := func(e *engine.Engine) any {
		x, err := e.Explain(t.Context(), "m")
		if err != nil || len(x.Policies) == 0 || len(x.Policies[0].Terms) == 0 || len(x.Policies[0].Terms[0].Terms) == 0 {
			return nil
		}
		return x.Policies[0].Terms[0].Terms[0].Value
	}
	near := func(e *engine.Engine, want float64) func() bool {
		return func() bool {
			v, ok := value(e).(float64)
			return ok && math.Abs(v-want) < 1e-9
		}
	}
	eventually(t, "the events to be in the history", func() bool {
		found, _, err := e.History().Events(t.Context(), history.EventQuery{Model: "m"})
		return err == nil && len(found) == 10
	})
	put("avg(accuracy, 4) < 0.1") // the first policy of the model
	eventually(t, "the mean of four", near(e, (0.56+0.57+0.58+0.59)/4))
	put("avg(accuracy, \"1h\") < 0.1")
	eventually(t, "the mean of an hour", near(e, 0.545))
	stop()
	put("min(accuracy, 6) < 0.1")
	e, _ = running(t, engine.Options{Dir: data, PolicyDir: dir, Trainers: trainers})
	eventually(t, "the least of six", near(e, 0.54))
}
