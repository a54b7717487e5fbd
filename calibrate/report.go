package calibrate

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// A Report is the level that keeps the promise, and what one has to know about it.
type Report struct {
	// Level is the most nervous of the levels that keep the promise.
	Level   float64 `json:"level"`
	Promise Promise `json:"promise"`
	// Predicted is what the rule does at that level on a metric that is well.
	Predicted Predicted `json:"predicted"`
	Delays    []Delay   `json:"delays"`
	Model     Model     `json:"model"`
	// SelfAlarms are the times at which the rule would have retrained in the history itself, outside of
	// what is masked.
	SelfAlarms []time.Time `json:"self_alarms"`
	// Flags are what is doubtful about this history, Assumptions and Limits what holds for all of them.
	Flags       []Flag     `json:"flags"`
	Assumptions []string   `json:"assumptions"`
	Limits      []string   `json:"limits"`
	Simulation  Simulation `json:"simulation"`
	// Input is the SHA-256 of the history, in hexadecimal.
	Input string `json:"input_sha256"`
}

// A Promise is what the level keeps: at most MaxFalse false retrains in Per, in the share Prob of all
// such times; and how likely a history like this leads to a level that does so.
type Promise struct {
	MaxFalse   int     `json:"max_false"`
	Per        float64 `json:"per_seconds"`
	Prob       float64 `json:"prob"`
	Confidence float64 `json:"confidence"`
}

// Predicted is what comes of a level, per Per.
type Predicted struct {
	FalseRetrains Estimate `json:"false_retrains"` // the mean
	Exceeds       Estimate `json:"exceeds"`        // how likely there are more than MaxFalse
}

// An Estimate is the value for the model of the history. Between Low and High it lies for 9 of 10 models of
// histories simulated from that, which is how far the model may be off.
type Estimate struct {
	Value float64 `json:"value"`
	Low   float64 `json:"low"`
	High  float64 `json:"high"`
}

// A Delay is how long a harmful shift lasts until the rule fires.
type Delay struct {
	// Shift is its size in standard deviations of what the cycle leaves, Change that in the metric's units.
	Shift  float64 `json:"shift"`
	Change float64 `json:"change"`
	// Median and Late, of half and of 9 of 10 shifts, are in seconds; nil where so many are never found.
	Median *float64 `json:"median_seconds"`
	Late   *float64 `json:"p90_seconds"`
	// Never is the share that is not found within Per.
	Never float64 `json:"never_found"`
}

// A Model says what the history was taken for.
type Model struct {
	From   time.Time `json:"from"`
	To     time.Time `json:"to"`
	Step   float64   `json:"step_seconds"`
	Steps  int       `json:"steps"`
	Masked int       `json:"masked"`
	Gaps   int       `json:"gaps"` // steps without a value that are not masked
	Mean   float64   `json:"mean"`
	// Deviation is the standard deviation of what the season leaves.
	Deviation float64 `json:"deviation"`
	// Season is the cycle: "none", "day", "week", "day and weekday" (both, added), or its length.
	Season string `json:"season"`
	// Order is from how many values before it a value follows, by these coefficients, the nearest first.
	Order        int       `json:"order"`
	Coefficients []float64 `json:"coefficients"`
	// Lag1 is the correlation between neighbours.
	Lag1 float64 `json:"lag1_autocorrelation"`
	// Effective is how many independent values tell as much about the mean.
	Effective float64 `json:"effective_size"`
}

// A Simulation is how the level was found: what one needs to find it again.
type Simulation struct {
	Outer    int    `json:"outer"`
	Inner    int    `json:"inner"`
	MaxOrder int    `json:"max_order"`
	WarmUp   int    `json:"warm_up"`
	Levels   int    `json:"levels"`
	Seed     uint64 `json:"seed"`
}

// report says what comes of a level, or of the next one that proves to be calm enough.
func (c *calibration) report(ctx context.Context, level int) (*Report, error) {
	o := &c.o
	predicted, level, err := c.predict(ctx, level)
	if err != nil {
		return nil, err
	}
	r := &Report{
		Level:       o.Levels[level],
		Promise:     Promise{o.MaxFalse, o.Per.Seconds(), o.Prob, o.Confidence},
		Predicted:   predicted,
		Model:       c.model(),
		Assumptions: c.assumptions(),
		Limits:      slices.Clone(limits),
		Simulation:  Simulation{o.Outer, o.Inner, o.MaxOrder, o.WarmUp, len(o.Levels), o.Seed},
		Input:       c.h.digest(),
	}
	if r.SelfAlarms, err = c.selfAlarms(r.Level); err != nil {
		return nil, err
	}
	r.Flags = c.flags(level, r.SelfAlarms)
	r.Delays, err = c.delays(ctx, level)
	return r, err
}

// An outcome is what the inner stretches of one model come to at a level.
type outcome struct{ retrains, exceeds float64 }

// mostCounted bounds the retrains counted in one stretch.
const mostCounted = 1000

func (c *calibration) outcome(s *scratch, m *model, what uint64, outer, level int) (o outcome) {
	for inner := range c.o.Inner {
		n := c.retrains(s, m, what, outer, inner, level, mostCounted)
		o.retrains += float64(n) / float64(c.o.Inner)
		if n > c.o.MaxFalse {
			o.exceeds += 1 / float64(c.o.Inner)
		}
	}
	return o
}

// predict plays the level for every model. The search took for granted that a calmer level never
// retrains more; where a rule is not so, this finds out, and goes on to the next level that does keep the promise.
func (c *calibration) predict(ctx context.Context, level int) (Predicted, int, error) {
	for ; level < len(c.o.Levels); level++ {
		again, kept := make([]outcome, c.o.Outer), 0
		if err := c.each(ctx, c.o.Outer, func(s *scratch, i int) {
			again[i] = c.outcome(s, c.again[i], stretches, i, level)
		}); err != nil {
			return Predicted{}, 0, err
		}
		for _, x := range again {
			if x.exceeds*float64(c.o.Inner) < float64(c.o.misses())+0.5 {
				kept++
			}
		}
		if kept < c.o.rank() {
			continue
		}
		best := make([]outcome, bestTimes)
		err := c.each(ctx, bestTimes, func(s *scratch, i int) {
			best[i] = c.outcome(s, c.best, forecasts, bestTimes+i, level)
		})
		return Predicted{
			FalseRetrains: estimate(best, again, func(x outcome) float64 { return x.retrains }),
			Exceeds:       estimate(best, again, func(x outcome) float64 { return x.exceeds }),
		}, level, err
	}
	return Predicted{}, 0, c.notCalm()
}

func estimate(best, again []outcome, of func(outcome) float64) (e Estimate) {
	for _, x := range best {
		e.Value += of(x) / float64(len(best))
	}
	all := make([]float64, len(again))
	for i, x := range again {
		all[i] = of(x)
	}
	slices.Sort(all)
	e.Low, e.High = min(e.Value, all[share(len(all), 0.05)]), max(e.Value, all[share(len(all), 0.95)])
	return e
}

// share is the index of the least of n sorted values that at least a share of them do not exceed.
func share(n int, of float64) int { return max(int(math.Ceil(of*float64(n)-tiny))-1, 0) }

// Of each size so many shifts are simulated, each in a stretch that has been going on for a part of Per.
const shiftTimes, shiftAfter = 200, 10

// delays are how long it takes the rule to find shifts of the metric. A false retrain before a shift is part of
// life: the rule is then as far as it has got since.
func (c *calibration) delays(ctx context.Context, level int) ([]Delay, error) {
	all := make([]Delay, len(c.o.Shifts))
	per := c.horizon - c.o.WarmUp
	begin := c.o.WarmUp + per/shiftAfter
	err := c.each(ctx, len(all), func(s *scratch, i int) {
		change := c.o.Shifts[i] * c.best.deviation()
		if c.o.Harm == Down {
			change = -change
		}
		var found []int // in how many steps
		for j := range shiftTimes {
			if ctx.Err() != nil {
				return
			}
			s.seed(c.o.Seed, shifts, i, j)
			s.simulate(c.best, begin+per, int(s.source.Uint64()%uint64(c.best.season.length())))
			for t := begin; t < len(s.stream); t++ {
				s.stream[t] += change
			}
			n := c.rule.Retrains(c.o.Levels[level], s.stream, s.places(mostCounted))
			if k, _ := slices.BinarySearch(s.found[:n], begin); k < n {
				found = append(found, s.found[k]-begin+1)
			}
		}
		slices.Sort(found)
		after := func(of float64) *float64 {
			k := share(shiftTimes, of)
			if k >= len(found) {
				return nil
			}
			seconds := float64(found[k]) * c.h.Step.Seconds()
			return &seconds
		}
		all[i] = Delay{c.o.Shifts[i], change, after(0.5), after(0.9), 1 - float64(len(found))/shiftTimes}
	})
	return all, err
}

// selfAlarms are the times at which the rule would have retrained in the history; an error if there
// are more than the promise allows in that time.
func (c *calibration) selfAlarms(level float64) ([]time.Time, error) {
	found := make([]int, mostCounted)
	found = found[:c.rule.Retrains(level, c.values, found)]
	times := make([]time.Time, len(found))
	for i, at := range found {
		times[i] = c.h.time(at)
	}
	allowed := int(float64(c.o.MaxFalse) * max(float64(c.h.span())/float64(c.o.Per), 1))
	if len(times) > allowed {
		return nil, refuse(SelfAlarming, "at the level %v, which should be calm enough, the rule would have retrained %d times in the history itself, where the promise allows %d: at %s; mask the times when the metric was not well, or give a history since it has been",
			level, len(times), allowed, list(times))
	}
	return times, nil
}

// list names a few times.
func list(times []time.Time) string {
	const few = 5
	var names []string
	for _, t := range times[:min(len(times), few)] {
		names = append(names, t.Format(time.RFC3339))
	}
	if len(times) > few {
		names = append(names, "…")
	}
	return strings.Join(names, ", ")
}

// length writes a duration without the zeros at its end: "1h", not "1h0m0s".
func length(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func days(d time.Duration) string {
	if d%day != 0 {
		return fmt.Sprintf("%.1f days", d.Hours()/24)
	}
	return fmt.Sprintf("%d days", d/day)
}
