package backtest

import (
	"cmp"
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/policy"
)

// Options says what a backtest tries.
type Options struct {
	// Policies are tried. Required.
	Policies []*policy.Policy
	// Against are tried beside them, for comparison. Defaults to none.
	Against []*policy.Policy
	// AgainstName is what the plan of Against is called. Defaults to "against".
	AgainstName string
	// TrainTime is how long each run takes, from the decision to the promotion. Defaults to one hour.
	TrainTime time.Duration
	// Rejected has every challenger rejected. Defaults to every one being promoted.
	Rejected bool
	// Cost is what one run costs, in any currency. Defaults to 0.
	Cost float64
	// Tick is how often silence and age are looked at where no event comes. Defaults to one minute.
	Tick time.Duration
	// Workers is how many plans are replayed at once. Defaults to one for each processor.
	Workers int
	// Progress is told, now and then and from several goroutines, how many of all events to be
	// replayed have been. Defaults to nothing.
	Progress func(done, all int64)
	// Simulate has the runs trained in truth. TrainTime then is how long they take in the replay, and Rejected
	// is nothing. Defaults to runs that are only played.
	Simulate *Simulation
}

// A Report says what would have happened.
type Report struct {
	From   time.Time `json:"from"`
	To     time.Time `json:"to"`
	Events int       `json:"events"`
	Models int       `json:"models"`
	// Watched is how many of the models a policy watches.
	Watched   int `json:"watched"`
	Incidents int `json:"incidents"`
	// Plans are, in this order, the policies, those against them, and the schedules never, weekly, monthly.
	Plans []Plan `json:"plans"`
	// Checks hold the scores against the data. Only a simulation has any, one that was given champions.
	Checks []Check `json:"checks,omitempty"`
	// Caveats are what the report cannot know, in sentences.
	Caveats []string `json:"caveats"`

	incidents map[string][]span
	policies  []*policy.Policy
	priced    bool
}

// A Plan is what one way of deciding would have done. What schedules have to do with
// conditions is how long the models would have been in breach of the policies under them.
type Plan struct {
	// Name is "policy", "against" (or what [Options] calls it), "never", "weekly" or "monthly".
	Name     string   `json:"name"`
	Policies []string `json:"policies"`
	Runs     []Played `json:"runs"`
	// RunsPerMonth is over the whole of the data, by months of 30 days.
	RunsPerMonth float64 `json:"runs_per_month"`
	Months       []Month `json:"months"`
	Spend        float64 `json:"spend"`
	// InBreach is how long the conditions held, in seconds, summed over the models; BreachShare
	// is that as a part of the time from each model's first event to the end.
	InBreach    float64 `json:"in_breach_seconds"`
	BreachShare float64 `json:"breach_share"`
	// Suppressed counts the fires that a guardrail stood against, by its name.
	Suppressed map[string]int `json:"suppressed"`
	// Detection says how the runs fit the incidents; nil where the data marks none.
	Detection *Detection `json:"detection,omitempty"`
	// Simulated is what came of the trainings; nil where runs were only played.
	Simulated *Simulated `json:"simulated,omitempty"`
	// Decisions are the first 10,000; DecisionsOmitted is how many more there were. Schedules have none.
	Decisions        []visutility.Decision `json:"decisions,omitempty"`
	DecisionsOmitted int                   `json:"decisions_omitted,omitempty"`

	breaches map[string][]span
	lived    *Data // the events that the policies saw in a simulation; of the first plan only
}

// Played is a run that would have been opened.
type Played struct {
	ID     string    `json:"id"`
	Model  string    `json:"model"`
	Policy string    `json:"policy"`
	Time   time.Time `json:"time"`
	Ended  time.Time `json:"ended,omitzero"`
	// State is what was made of it; pending when the data ends before it does.
	State  visutility.RunState `json:"state"`
	Reason string              `json:"reason"`
	// Incident says whether the data marks an incident of the model then.
	Incident bool `json:"incident"`
	// In a simulation only: the version that was registered, what the gate said or why no attempt succeeded, and how
	// long the training took in truth.
	Version         string  `json:"version,omitempty"`
	Note            string  `json:"note,omitempty"`
	TrainingSeconds float64 `json:"training_seconds,omitempty"`
}

// A Month is a calendar month, in UTC.
type Month struct {
	Month string  `json:"month"` // "2026-11"
	Runs  int     `json:"runs"`
	Spend float64 `json:"spend"`
}

// Detection says how runs fit incidents. A run opened during an incident of its model has found it.
type Detection struct {
	Found   int `json:"found"`
	Missed  int `json:"missed"`
	Outside int `json:"outside"` // runs opened outside of any incident
	// MedianDelay and MaxDelay are from the beginning of an incident to its first run, in
	// seconds, of those found.
	MedianDelay float64 `json:"median_delay_seconds"`
	MaxDelay    float64 `json:"max_delay_seconds"`
}

const day = 24 * time.Hour

// The schedules that policies are held against.
var schedules = []struct {
	name  string
	every time.Duration // 0: never
}{{"never", 0}, {"weekly", 7 * day}, {"monthly", 30 * day}}

// Run replays the past under the policies, and under the schedules. Events must not be added to data any more.
func Run(ctx context.Context, o Options, data *Data) (*Report, error) {
	set, err := replayable(o.Policies)
	if err != nil {
		return nil, err
	}
	r, err := o.report(set, data)
	if err != nil {
		return nil, err
	}
	if o.Simulate != nil {
		if o.Simulate, err = o.Simulate.check(slices.Concat(o.Policies, o.Against)); err != nil {
			return nil, err
		}
	}
	first := data.firsts()
	replays := []*replay{{o: o, data: data, first: first, set: set, plan: Plan{Name: "policy"}}}
	if len(o.Against) > 0 {
		against, err := replayable(o.Against)
		if err != nil {
			return nil, err
		}
		replays = append(replays, &replay{o: o, data: data, first: first, set: against, plan: Plan{Name: cmp.Or(o.AgainstName, "against")}})
	}
	for _, s := range schedules {
		replays = append(replays, &replay{o: o, data: data, first: first, set: set, scheduled: true, every: s.every, plan: Plan{Name: s.name}})
	}
	var sims []*simulator
	if o.Simulate != nil {
		if r.Checks, err = o.Simulate.hold(ctx, set, data, first); err != nil {
			return nil, err
		}
		for _, x := range replays {
			x.sim = newSimulator(x)
			sims = append(sims, x.sim)
		}
	}
	if err := runAll(ctx, o, replays, int64(data.Events())); err != nil {
		return nil, err
	}
	for _, x := range replays {
		x.conclude(r)
		r.Plans = append(r.Plans, x.plan)
	}
	r.Caveats = caveats(o, r, data, sims)
	return r, nil
}

// report begins a report, of what does not depend on any plan; it fills in the options' defaults.
func (o *Options) report(set *policy.Set, data *Data) (*Report, error) {
	if data.Events() == 0 {
		return nil, fmt.Errorf("%w: there are no events to replay", visutility.ErrInvalid)
	}
	if o.TrainTime <= 0 {
		o.TrainTime = time.Hour
	}
	if o.Tick <= 0 {
		o.Tick = time.Minute
	}
	data.sort()
	from, to := data.span()
	first := data.firsts()
	r := &Report{
		From: utc(from), To: utc(to), Events: data.Events(), Models: len(first),
		incidents: data.incidents(), policies: o.Policies, priced: o.Cost != 0,
	}
	for _, spans := range r.incidents {
		r.Incidents += len(spans)
	}
	for m := range first {
		if set.For(m) != nil {
			r.Watched++
		}
	}
	return r, nil
}

// replayable makes a set of policies whose verdicts the fold can tell by itself.
func replayable(policies []*policy.Policy) (*policy.Set, error) {
	for _, p := range policies {
		if p.Retrain.Strategy != "" {
			return nil, fmt.Errorf("%w: %s: strategy %q is part of another program and cannot be replayed here", visutility.ErrInvalid, p.File, p.Retrain.Strategy)
		}
	}
	return policy.NewSet(policies...)
}

// runAll plays the replays, on all processors.
func runAll(ctx context.Context, o Options, replays []*replay, events int64) error {
	var done atomic.Int64
	g, all := errgroup.WithContext(ctx)
	g.SetLimit(cmp.Or(o.Workers, runtime.GOMAXPROCS(0)))
	for _, x := range replays {
		x.seen = func(n int) {
			if now := done.Add(int64(n)); o.Progress != nil {
				total := events * int64(len(replays)) // about, where scores took the place of events
				o.Progress(min(now, total), total)
			}
		}
		g.Go(func() error { return x.run(all) })
	}
	if err := g.Wait(); err != nil {
		return cmp.Or(context.Cause(ctx), err) // what was canceled fails in many ways
	}
	return nil
}

// months lists the calendar months from the first event to the last, with what was run in them.
func months(r *Report, runs []Played, cost float64) []Month {
	count := make(map[string]int)
	for _, run := range runs {
		count[run.Time.Format("2006-01")]++
	}
	var all []Month
	for m := time.Date(r.From.Year(), r.From.Month(), 1, 0, 0, 0, 0, time.UTC); !m.After(r.To); m = m.AddDate(0, 1, 0) {
		name := m.Format("2006-01")
		all = append(all, Month{name, count[name], float64(count[name]) * cost})
	}
	return all
}

// detect holds the runs against the incidents.
func detect(incidents map[string][]span, runs []Played) *Detection {
	if len(incidents) == 0 {
		return nil
	}
	d := new(Detection)
	first := make(map[string]map[int]int64) // model, incident → its first run
	for i := range runs {
		run, t := &runs[i], runs[i].Time.UnixMilli()
		k := slices.IndexFunc(incidents[run.Model], func(s span) bool { return s.within(t) })
		if k < 0 {
			d.Outside++
			continue
		}
		run.Incident = true
		if first[run.Model] == nil {
			first[run.Model] = make(map[int]int64)
		}
		if _, ok := first[run.Model][k]; !ok { // runs are in the order of time
			first[run.Model][k] = t
		}
	}
	var delays []float64
	for m, spans := range incidents {
		for k, s := range spans {
			if t, ok := first[m][k]; ok {
				delays = append(delays, float64(t-s.from)/1000)
			} else {
				d.Missed++
			}
		}
	}
	d.Found = len(delays)
	if len(delays) > 0 {
		slices.Sort(delays)
		d.MaxDelay = delays[len(delays)-1]
		d.MedianDelay = (delays[(len(delays)-1)/2] + delays[len(delays)/2]) / 2
	}
	return d
}

// caveats says what the report cannot know.
func caveats(o Options, r *Report, data *Data, sims []*simulator) []string {
	says := []string{}
	switch {
	case o.Simulate != nil:
		says = o.trust(r, data, sims)
	case o.Rejected:
		says = append(says, "Every challenger is taken to be rejected: the old model serves on.")
	default:
		says = append(says, "Without retraining, later scores are the old model's: after a run that is played here, the data does not show how the new version would have done. So the time in breach and the later runs are those of a retraining that did not help.",
			"Every challenger is taken to be promoted: promote.when is not judged, for nobody was trained.")
	}
	says = append(says, fmt.Sprintf("Every run is taken to last %s, and every event to have come when it was measured: what came late came later in truth.", policy.FormatDuration(o.TrainTime)),
		"Nobody paused a model, asked for a run or canceled one.")
	if o.Simulate == nil && slices.ContainsFunc(slices.Concat(o.Policies, o.Against), func(p *policy.Policy) bool { return p.Rollback != nil }) {
		says = append(says, "What champions scored on their hold-outs is not in the data: previous.x has no value, and what reads it cannot tell.")
	}
	if o.Simulate == nil && data.versioned() {
		says = append(says, "Events count whatever version they measured: the promotions of the past are not replayed.")
	}
	if len(o.Against) > 0 {
		says = append(says, "Time in breach is by each policy's own condition: one that asks for less is in breach less.")
	}
	if span := r.To.Sub(r.From); span < 30*day {
		says = append(says, fmt.Sprintf("The data covers %s only: runs per month are extrapolated.", policy.FormatDuration(span.Round(time.Second))))
	}
	if r.Watched < r.Models {
		says = append(says, fmt.Sprintf("%d of %d models are watched by no policy; nothing is said of them.", r.Models-r.Watched, r.Models))
	}
	return append(says, data.caveats...)
}

// names are the names of the policies of a set.
func names(set *policy.Set) []string {
	all := []string{}
	for _, p := range set.Policies() {
		all = append(all, p.Name)
	}
	return all
}
