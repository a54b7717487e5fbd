package backtest

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/history"
	"github.com/visutility/visutility/policy"
)

// An Episode is what is known of a decision and of what led to it: what [WriteTest] makes a test of.
type Episode struct {
	// Decision is the one that the test is about.
	Decision visutility.Decision
	// Policies are the one that decided, first, and those under which Runs were opened. File is the name by
	// which the test finds each.
	Policies []*policy.Policy
	// Decisions are those about the model around that time, in any order.
	Decisions []visutility.Decision
	// Runs are those of the model, in any order.
	Runs []visutility.Run
	// Promotions are those of the model before the decision, newest first.
	Promotions []Promotion
	// Scores are what the versions scored on the hold-out, by version and metric.
	Scores map[string]map[string]float64
	// Series are the history of the model's metrics, second by second: of those that the policies read, and best
	// of the others too.
	Series []history.Series
	// Missing is the stretch of time in which Series are not whole, because there was too much. A zero From is
	// the beginning, a zero To none.
	Missing visutility.Window
	// Tick is how often the server's log is told the time. Defaults to 10 s.
	Tick time.Duration
	// Warnings are what whoever reads the test should know besides.
	Warnings []string
}

// A Promotion is a move of the champion, forward or back, by a run or by hand.
type Promotion struct {
	Version, Replaced string
	Time              time.Time
}

// A DecisionTest is a file of tests made from a decision.
type DecisionTest struct {
	// Test is the text of the file, in YAML.
	Test string `json:"test"`
	// Reproduced says whether the test, played at once, gave the same decision. If not, the first of Warnings says what differs.
	Reproduced bool     `json:"reproduced"`
	Warnings   []string `json:"warnings"`
	// Policies are the files that the test names.
	Policies []PolicyFile `json:"policies"`
}

// A PolicyFile is a policy as it was when it decided.
type PolicyFile struct {
	File     string `json:"file"`
	Name     string `json:"name"`
	Revision string `json:"revision"`
	Source   string `json:"source"`
}

// WriteTest makes a test from a decision. Its story begins with the last promotion before the decision, for there
// the fold starts afresh, and has what the conditions can see of the past. Where that does not give the decision
// again, more is tried: everything since the promotion, also of metrics that no condition reads where new data, or
// silence, counts; then the same from earlier promotions on, since cooldowns and budgets remember the runs of before. Where
// nothing does, the shortest story comes with a comment on what differs. Errors: [visutility.ErrInvalid] for
// a decision that no policy took by itself, [visutility.ErrNotFound] for one of which the history has nothing.
func WriteTest(ctx context.Context, e Episode) (*DecisionTest, error) {
	a, err := newAccount(&e)
	if err != nil {
		return nil, err
	}
	var shortest, last *story
	for back, most := 0, a.mostBack(); ; back = min(max(1, 2*back), most) {
		for _, much := range []extent{justSeen, everything, everyMetric} {
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			s, err := a.story(back, much)
			if err != nil {
				return nil, err
			}
			if last != nil && s.same(last) || much == everyMetric && !a.waited() && !s.clocked {
				continue
			}
			found, err := s.play()
			if err == nil && found {
				err = s.write()
			}
			switch {
			case err != nil:
				return nil, err
			case s.result.Passed:
				return s.finished(), nil
			case shortest == nil:
				shortest = s
			}
			last = s
		}
		if back == most {
			if err := shortest.write(); err != nil {
				return nil, err
			}
			return shortest.finished(), nil
		}
	}
}

// mostBack is how many promotions a story can have: those that it can play. All of them are no more
// than the story from the first event on.
func (a *account) mostBack() int {
	for i, p := range a.Promotions {
		if !a.playable(p) {
			return i
		}
	}
	return len(a.Promotions)
}

// An extent says how much of the past a story tells.
type extent int

const (
	justSeen    extent = iota // what the conditions could still see
	everything                // everything since the beginning
	everyMetric               // also of metrics that no condition reads
)

// waited reports whether runs waited for new data: after one that was rejected or canceled. That of any metric is new.
func (a *account) waited() bool {
	return slices.ContainsFunc(a.runs, func(r opened) bool {
		return r.State == visutility.Rejected || r.State == visutility.Canceled
	})
}

// An account is an episode in order. Its times are Unix milliseconds in the time of the
// events, which is the time of the story, where nothing else is said.
type account struct {
	*Episode
	born   int64                 // the first event that the history has
	at     int64                 // the newest event that the decision looked at
	moment int64                 // when it was taken
	timely map[string]bool       // the policies whose verdicts events alone can change
	lags   []lag                 // in the order of the log
	known  []visutility.Decision // the decisions up to this one, oldest first
	runs   []opened              // the runs opened earlier, by policies, oldest first
}

// An opened run has the time at which the story opens it.
type opened struct {
	visutility.Run
	at int64
}

// A lag is how long after they were measured events were stored, by a decision: the least so far, for where
// nothing happened it looks greater than it is. It turns a time of storage into one of the story.
type lag struct {
	stored time.Time
	least  int64
}

// newAccount checks an episode and brings it into order.
func newAccount(e *Episode) (*account, error) {
	d := &e.Decision
	switch {
	case d.Policy == "" || d.By != "" || d.Request != "":
		return nil, fmt.Errorf("%w: decision %s was made by hand (%s): a test can be made of what a policy decided by itself", visutility.ErrInvalid, d.ID, d.Reason)
	case len(e.Policies) == 0 || e.Policies[0].Name != d.Policy:
		return nil, visutility.Invalidf("policies", "missing", "policy %q, which decided, must come first", d.Policy)
	}
	a := &account{Episode: e, born: math.MaxInt64}
	for _, s := range e.Series {
		for _, p := range s.Points {
			a.born = min(a.born, wholeSecond(p.Time))
		}
	}
	if a.born > d.Time.UnixMilli() {
		return nil, fmt.Errorf("decision %s: %w: the history has no metrics of model %q from before it; how long they are kept is said by --history-retention", d.ID, visutility.ErrNotFound, d.Model)
	}
	for _, x := range e.Decisions {
		if x.ID != d.ID && !later(&x, d) {
			a.known = append(a.known, x)
		}
	}
	a.known = append(a.known, *d)
	slices.SortStableFunc(a.known, func(x, y visutility.Decision) int { return order(&x, &y) })
	if err := a.learnLags(); err != nil {
		return nil, err
	}
	a.moment = a.told(d.Time)
	if a.at = a.moment; !d.EventTime.IsZero() {
		a.at = wholeSecond(d.EventTime)
	}
	a.sortRuns()
	return a, nil
}

// order compares the places in the log at which two decisions were taken.
func order(x, y *visutility.Decision) int {
	return cmp.Or(cmp.Compare(x.Position, y.Position), cmp.Compare(x.Index, y.Index))
}

func later(x, y *visutility.Decision) bool { return order(x, y) > 0 }

// wholeSecond is a time as the history has it.
func wholeSecond(t time.Time) int64 { return 1000 * t.Unix() }

// learnLags learns from decisions that events brought about. Those of policies that look at the clock may have had none.
func (a *account) learnLags() error {
	a.timely = make(map[string]bool)
	for _, p := range a.Policies {
		set, err := replayable([]*policy.Policy{p})
		if err != nil {
			return err
		}
		prog := set.For(a.Decision.Model)
		a.timely[p.Name] = prog != nil && !prog.Clocked()
	}
	for i := range a.known {
		x := &a.known[i]
		if x.EventTime.IsZero() || !a.timely[x.Policy] {
			continue
		}
		least := x.Time.Sub(x.EventTime).Milliseconds()
		if n := len(a.lags); n > 0 {
			least = min(least, a.lags[n-1].least)
		}
		a.lags = append(a.lags, lag{x.Time, least})
	}
	return nil
}

// told is a time of storage in the time of the story: without the least lag up to then, or the first there is.
func (a *account) told(t time.Time) int64 {
	if len(a.lags) == 0 {
		return t.UnixMilli()
	}
	later := slices.IndexFunc(a.lags, func(l lag) bool { return l.stored.After(t) })
	if later < 0 {
		later = len(a.lags)
	}
	return t.UnixMilli() - a.lags[max(0, later-1)].least
}

// near is how far from where it is expected a decision of the clock may be: it is looked at now and then only.
const near = 60_000

// when is the time in the story at which a decision was taken: that of its newest event, if it was brought
// about by one, else that of storage.
func (a *account) when(x *visutility.Decision) int64 {
	stored := a.told(x.Time)
	if at := wholeSecond(x.EventTime); !x.EventTime.IsZero() && (a.byEvent(x) || stored-at <= near) {
		return at
	}
	return stored
}

// byEvent reports whether an event must have brought a decision about: nothing else changes the verdict.
func (a *account) byEvent(x *visutility.Decision) bool {
	return a.timely[x.Policy] && x.Verdict != x.Previous && !x.EventTime.IsZero()
}

// sortRuns takes the runs that were opened before the decision.
func (a *account) sortRuns() {
	known := make(map[string]*visutility.Decision)
	for i := range a.known {
		known[a.known[i].ID] = &a.known[i]
	}
	for _, r := range a.Runs {
		x := known[r.Decision]
		switch {
		case r.Decision == a.Decision.ID || x == nil && !r.CreatedAt.Before(a.Decision.Time):
		case r.By != "": // a story cannot ask for it
		case x == nil: // not kept, or not sent along
			a.runs = append(a.runs, opened{r, a.told(r.CreatedAt)})
		default:
			a.runs = append(a.runs, opened{r, a.when(x)})
		}
	}
	slices.SortStableFunc(a.runs, func(x, y opened) int { return x.CreatedAt.Compare(y.CreatedAt) })
}

// ended is when a run ended, as the fold sees it: was promoted, or came to its end without. Zero if it had
// not when the decision was taken.
func (a *account) ended(r *opened) time.Time {
	end := r.EndedAt
	if !r.PromotedAt.IsZero() {
		end = r.PromotedAt
	}
	if end.After(a.Decision.Time) {
		return time.Time{}
	}
	return end
}

// playable reports whether a promotion was by a run that a story can play, or took that back.
func (a *account) playable(p Promotion) bool {
	then := func(t time.Time) bool { return t.Sub(p.Time).Abs() < near*time.Millisecond }
	return slices.ContainsFunc(a.runs, func(r opened) bool {
		return r.Version == p.Version && then(r.PromotedAt) || r.Version == p.Replaced && r.State == visutility.RolledBack && then(r.EndedAt)
	})
}
