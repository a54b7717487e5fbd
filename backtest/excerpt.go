package backtest

import (
	"cmp"
	"context"
	"fmt"
	"path"
	"slices"
	"time"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/history"
	"github.com/visutility/visutility/policy"
)

// A History is asked for what was measured, page by page: a [history.History], or a server that has one.
type History interface {
	Events(ctx context.Context, q history.EventQuery) (events []visutility.Event, next string, err error)
}

// RunningPlan is what the plan of the policies that a server runs is called.
const RunningPlan = "running"

// An Excerpt says which part of a history is to be replayed.
type Excerpt struct {
	// Policies say which metrics of a model are wanted: those that any of its policies reads, or
	// all where they read none. Required.
	Policies []*policy.Policy
	// Models are the names of the models. Required. See [Watched].
	Models []string
	// From and To bound the time of the events, From ≤ t < To. Default to all there are.
	From, To time.Time
	// Max is how many events there may be. Defaults to [MaxEvents].
	Max int
	// Progress is told how many of the models have been read, and how many events there are so far, after
	// each page. Defaults to nothing.
	Progress func(models, events int)
}

// Read reads it. ErrInvalid: there are more than Max events, or none.
func (x Excerpt) Read(ctx context.Context, from History) (*Data, error) {
	x.Max = min(cmp.Or(x.Max, MaxEvents), MaxEvents)
	data := NewData()
	needs, err := newNeeds(x.Policies)
	if err != nil {
		return nil, err
	}
	for i, model := range x.Models {
		q := history.EventQuery{Model: model, Metrics: needs.of(model), From: x.From, To: x.To}
		for more := true; more; more = q.Cursor != "" {
			var page []visutility.Event
			if page, q.Cursor, err = from.Events(ctx, q); err != nil {
				return nil, err
			}
			if data.Events()+len(page) > x.Max {
				return nil, fmt.Errorf("%w: that are more than %d seconds with events; ask for a shorter time with from and to, or for fewer models", visutility.ErrInvalid, x.Max)
			}
			for _, e := range page {
				if err := data.Add(e, false); err != nil {
					return nil, err
				}
			}
			if x.Progress != nil {
				x.Progress(i, data.Events())
			}
		}
	}
	if data.Events() == 0 {
		return nil, fmt.Errorf("%w: the history of these models has no events in that time, of the metrics that the policies read", visutility.ErrInvalid)
	}
	data.Caveat("The past is that of a server's history: of each second it keeps the last value of a metric, with the samples of all, and only the metrics that the policies read are replayed.")
	return data, nil
}

// Watched are those of some models that any of the policies matches, and of the globs (see [path.Match]) too, if there are any.
func Watched(models []string, policies []*policy.Policy, globs []string) ([]string, error) {
	for _, glob := range globs {
		if _, err := path.Match(glob, ""); err != nil {
			return nil, fmt.Errorf("%w: %q is not a pattern for names of models, such as fraud-*", visutility.ErrInvalid, glob)
		}
	}
	var found []string
	for _, m := range models {
		wanted := len(globs) == 0 || slices.ContainsFunc(globs, func(glob string) bool {
			ok, _ := path.Match(glob, m) // checked
			return ok
		})
		if wanted && slices.ContainsFunc(policies, func(p *policy.Policy) bool { return p.Matches(m) }) {
			found = append(found, m)
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%w: the policies watch none of the models that are known here and asked for", visutility.ErrInvalid)
	}
	return found, nil
}

// Running are those of the policies in force that watch any of the models, to be compared with. Those with a
// strategy that only another program has are left out; the caveat says so, "" for none.
func Running(inForce []*policy.Policy, models []string) (running []*policy.Policy, caveat string) {
	var foreign []string
	for _, p := range inForce {
		switch {
		case !slices.ContainsFunc(models, p.Matches):
		case p.Retrain.Strategy != "":
			foreign = append(foreign, p.Name)
		default:
			running = append(running, p)
		}
	}
	switch {
	case len(foreign) > 0:
		caveat = fmt.Sprintf("Policies that are running by a strategy of the server's own program cannot be replayed and are not compared: %q.", foreign)
	case len(running) == 0:
		caveat = "The server runs no policy for these models today: there is nothing to compare with."
	}
	return running, caveat
}

// needs says which metrics of a model policies read.
type needs []*policy.Set // of one policy each: those that are compared may have the same name

func newNeeds(policies []*policy.Policy) (needs, error) {
	n := make(needs, len(policies))
	for i, p := range policies {
		var err error
		if n[i], err = policy.NewSet(p); err != nil {
			return nil, err
		}
	}
	return n, nil
}

// of are the metrics, sorted; none stands for all.
func (n needs) of(model string) []string {
	var all []string
	for _, set := range n {
		if p := set.For(model); p != nil {
			all = append(all, p.Metrics()...)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}
