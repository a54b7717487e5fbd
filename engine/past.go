package engine

import (
	"context"
	"slices"
	"time"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/history"
)

// maxPast bounds the seconds with events that a changed condition of one model begins with: at one a minute, two weeks.
const maxPast = 20_000

// How long changed conditions wait after a restart for the history to have all again, and how long they then read it.
const (
	pastPatience = 10 * time.Minute
	pastReading  = time.Minute
)

// warm gives conditions that were changed while the server was down what was measured before, as soon as the history
// has read from the log what it had only in memory.
func (e *Engine) warm(ctx context.Context) error {
	if !e.trigger.Missed() {
		return nil
	}
	waiting, cancel := context.WithTimeout(ctx, pastPatience)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for number := range e.bus.Partitions() {
		for want := e.trigger.Folded(number); ; {
			if at, err := e.history.Start(ctx, number); err != nil || at >= want {
				break // without a history, conditions begin with what there is
			}
			select {
			case <-tick.C:
			case <-waiting.Done():
				e.log.Warn("the history lags behind: changed conditions begin with what it has")
				want = 0
			}
			if ctx.Err() != nil {
				return nil
			}
		}
	}
	reading, cancel := context.WithTimeout(ctx, pastReading)
	defer cancel()
	e.trigger.Warm(reading)
	return nil
}

// past is what the history has of a model, second by second, for conditions that were not there when it was measured; see [trigger.Past].
func (e *Engine) past(ctx context.Context, model string, metrics []string, from, to time.Time) (events []visutility.Event, whole bool, err error) {
	series, covered, err := e.history.Rows(ctx, history.RowQuery{Model: model, Metrics: metrics, From: from, To: to.Add(time.Millisecond), Limit: maxPast})
	if err != nil {
		return nil, false, err
	}
	for _, s := range series {
		for _, p := range s.Points {
			events = append(events, visutility.Event{
				Model: model, Metric: s.Metric, Version: s.Version, Labels: s.Labels, Time: p.Time, Value: p.Last, Count: uint64(max(1, p.Count)),
			})
		}
	}
	slices.SortStableFunc(events, func(a, b visutility.Event) int { return a.Time.Compare(b.Time) })
	if from.IsZero() {
		return events, covered.From.IsZero(), nil
	}
	return events, !covered.From.After(from) && to.Sub(from) < e.o.HistoryRetention, nil
}
