package trigger

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/visutility/visutility"
)

// A strategyState is a program's own strategy at work for one model.
type strategyState struct {
	policy    int
	strategy  visutility.Strategy
	verdict   visutility.Verdict
	since     visutility.Position
	sinceTime int64
	broken    string // why it is quarantined: it panicked
}

type strategySnapshot struct {
	State     []byte              `json:"state"`
	Verdict   visutility.Verdict  `json:"verdict"`
	Since     visutility.Position `json:"since,omitempty"`
	SinceTime int64               `json:"since_time,omitempty"`
	Broken    string              `json:"broken,omitempty"`
}

// observe folds one event; changed reports whether somebody should look.
// A strategy that panics is not asked again: its verdict stays as it was and explain shows why.
func (s *strategyState) observe(ev visutility.Event, pos visutility.Position) (look bool) {
	if s.broken != "" {
		return false
	}
	defer func() {
		if r := recover(); r != nil {
			s.broken, look = fmt.Sprintf("panicked: %v", r), false
		}
	}()
	v := s.strategy.Observe(ev)
	if v != s.verdict {
		if s.verdict == visutility.Hold {
			s.since, s.sinceTime = pos, ev.Time.UnixMilli()
		}
		s.verdict, look = v, true
	}
	return look || v == visutility.Fire
}

func (s *strategyState) marshal() ([]byte, error) {
	state, err := s.strategy.AppendBinary(nil)
	if err != nil {
		return nil, fmt.Errorf("snapshot of a strategy: %w", err)
	}
	return json.Marshal(strategySnapshot{state, s.verdict, s.since, s.sinceTime, s.broken})
}

func (s *strategyState) unmarshal(b []byte) error {
	var x strategySnapshot
	if err := json.Unmarshal(b, &x); err != nil {
		return err
	}
	s.verdict, s.since, s.sinceTime, s.broken = x.Verdict, x.Since, x.SinceTime, x.Broken
	return s.strategy.UnmarshalBinary(x.State)
}

// event rebuilds the event of a record, for strategies.
func event(s *visutility.Series, r visutility.Record) visutility.Event {
	return visutility.Event{
		Model: s.Model, Metric: s.Metric, Version: s.Version, Labels: s.Labels.Map(),
		Value: r.Value, Time: time.UnixMilli(r.Time).UTC(), Count: uint64(r.Count),
	}
}
