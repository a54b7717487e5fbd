package calibrate

import (
	"context"
	"math"
	"slices"
	"time"
)

// A Rule is what is calibrated: a policy or a detector with one of its numbers left open.
type Rule interface {
	// Retrains plays the rule, its number set to level, over a stream of values at equal steps, from fresh
	// state on; after each retrain the state is fresh again, as after a promotion. NaN stands for
	// a step without a value. It puts into at, as far as there is room, the index in the stream of each
	// value at which the rule would retrain, ascending; it stops when at is full, and returns how many
	// there are. Whether it retrains at a value must depend only on that and the values before.
	//
	// It is called from many goroutines at once, and keeps neither slice.
	Retrains(level float64, stream []float64, at []int) int
}

// What a history needs to have, and below what it is only just enough.
const (
	minPoints    = 1000
	minSpan      = 30 * day
	minEffective = 100
	maxGaps      = 0.3 // of the steps that are not masked

	fewEffective = 200
	shortSpan    = 60 * day
	someGaps     = 0.1
)

// Calibrate finds the most nervous of the levels at which the rule keeps the promise on metrics like
// that of the history. It returns an [*OptionError], a [*Refusal] that says why the history is not fit for
// that, or the context's error. The same input gives the same report.
func Calibrate(ctx context.Context, h *History, rule Rule, o Options) (*Report, error) {
	if err := h.check(); err != nil {
		return nil, err
	}
	o, err := o.complete(h.Step)
	if err != nil {
		return nil, err
	}
	c := &calibration{h: h, rule: rule, o: o, values: h.Normal(), horizon: o.WarmUp + int(o.Per/h.Step)}
	if err := c.fit(); err != nil {
		return nil, err
	}
	c.progress = progress{all: 2*bestTimes + 2*o.Outer + len(o.Shifts) + 1, tell: o.Progress}
	best, err := c.needs(ctx)
	if err != nil {
		return nil, err
	}
	if err := c.refit(ctx, best); err != nil {
		return nil, err
	}
	level, err := c.bound(best)
	if err != nil {
		return nil, err
	}
	if err := c.extrapolates(ctx, best); err != nil {
		return nil, err
	}
	return c.report(ctx, level)
}

// A calibration is under way.
type calibration struct {
	h       *History
	rule    Rule
	o       Options
	values  []float64 // of the history, NaN where masked
	masked  int       // steps
	gaps    int       // steps without a value that are not masked
	points  int       // the others
	mean    float64
	horizon int // steps of a simulated stretch, warming up included

	tried    []season
	best     *model    // of the history
	again    []*model  // of the simulated histories
	slow     []float64 // how far those wander
	levels   []int     // what their models need
	rare     bool      // see extrapolates
	progress progress
}

// count takes stock of the values, and returns how far they reach.
func (c *calibration) count() (least, most float64) {
	for i, v := range c.values {
		switch {
		case c.h.Masked != nil && c.h.Masked[i]:
			c.masked++
		case v != v:
			c.gaps++
		default:
			if c.points++; c.points == 1 {
				least, most = v, v
			}
			c.mean += (v - c.mean) / float64(c.points)
			least, most = min(least, v), max(most, v)
		}
	}
	return least, most
}

// fit checks that there is enough of a history, and fits the model to it.
func (c *calibration) fit() error {
	least, most := c.count()
	switch {
	case c.horizon > maxHorizon:
		return refuse(TooManySteps, "%s are %d steps of %s; at most %d can be simulated: measure the metric less often, or average it over longer steps", days(c.o.Per), c.horizon, length(c.h.Step), maxHorizon)
	case c.h.span() < minSpan:
		return refuse(TooShort, "the history is %s long; at least %s are needed", days(c.h.span()), days(minSpan))
	case c.points < minPoints:
		return refuse(TooFewPoints, "the history has %d values outside of what is masked; at least %d are needed", c.points, minPoints)
	case float64(c.gaps) > maxGaps*float64(c.gaps+c.points):
		return refuse(TooManyGaps, "%d of %d steps of %s have no value; at most %.0f %% may have none", c.gaps, c.gaps+c.points, length(c.h.Step), 100*maxGaps)
	case c.o.Season > 0 && c.h.span() < minCycles*c.o.Season:
		return refuse(TooShort, "the history is %s long; to learn a cycle of %s it has to be %d times as long", days(c.h.span()), length(c.o.Season), minCycles)
	case most-least <= exact*max(math.Abs(most), math.Abs(least)):
		return refuse(Constant, "all values are %v: nothing can be learned about a metric that never changes", c.mean)
	}
	c.tried = seasons(c.h.Start, c.h.Step, len(c.values), c.o.Season)
	c.best = fit(c.values, c.tried, c.o.MaxOrder)
	effective := c.best.effective(c.points)
	switch {
	case c.best.deviation() <= exact*(most-least):
		return refuse(Constant, "the values are the same in every %s: nothing can be learned about a metric that never changes otherwise", length(time.Duration(c.best.season.length())*c.h.Step))
	case effective < minEffective:
		return refuse(TooLittleInformation, "neighbours are so much alike that the %d values tell as much as %.0f independent ones; %d are needed: give a longer history, or mask the times when the metric was not well", c.points, effective, minEffective)
	}
	return nil
}

// bestTimes is how many times as many stretches are simulated from the best fit as from each of the others.
const bestTimes = 5

// needs is the level that the best fit needs.
func (c *calibration) needs(ctx context.Context) (int, error) {
	var levels [bestTimes]int
	err := c.each(ctx, bestTimes, func(s *scratch, i int) {
		levels[i] = c.search(ctx, s, c.best, forecasts, i, len(c.o.Levels)/2)
	})
	sum := 0
	for _, level := range levels {
		sum += level
	}
	return (sum + bestTimes - 1) / bestTimes, err
}

// refit simulates histories, fits models to them, and finds what levels these need.
func (c *calibration) refit(ctx context.Context, best int) error {
	outer := c.o.Outer
	c.again, c.slow, c.levels = make([]*model, outer), make([]float64, outer), make([]int, outer)
	return c.each(ctx, outer, func(s *scratch, i int) {
		s.seed(c.o.Seed, histories, i, 0)
		s.simulate(c.best, len(c.values), 0)
		for t, v := range c.values {
			if v != v {
				s.stream[t] = v
			}
		}
		m := fit(s.stream, c.tried, c.o.MaxOrder)
		c.again[i], c.slow[i] = m, m.wander()
		m.rest = nil // the fit has all that is needed
		c.levels[i] = c.search(ctx, s, m, stretches, i, best)
	})
}

// search is the level at which as many stretches of a model as Prob asks for keep the promise.
func (c *calibration) search(ctx context.Context, s *scratch, m *model, what uint64, outer, begin int) int {
	return search(len(c.o.Levels), c.o.Inner, c.o.misses(), begin, func(inner, level int) bool {
		return ctx.Err() == nil && c.retrains(s, m, what, outer, inner, level, c.o.MaxFalse+1) > c.o.MaxFalse
	})
}

// bound is the level of which Confidence holds that it is calm enough.
func (c *calibration) bound(best int) (int, error) {
	sorted, rank := slices.Sorted(slices.Values(c.levels)), c.o.rank()
	level := max(sorted[rank-1], 2*best-sorted[c.o.Outer-rank], 0)
	if n := len(c.o.Levels); level >= n {
		return 0, c.notCalm()
	}
	return level, nil
}

// extrapolates finds out whether values decide that are rarer than any in the history: whether the level
// that would do without them breaks the promise twice as often as it may.
func (c *calibration) extrapolates(ctx context.Context, best int) error {
	return c.each(ctx, 1, func(s *scratch, _ int) {
		without := *c.best
		without.tail = 0
		if level := c.search(ctx, s, &without, forecasts, 0, best); level < len(c.o.Levels) {
			c.rare = c.outcome(s, c.best, forecasts, 0, level).exceeds > 2*(1-c.o.Prob)
		}
	})
}

func (c *calibration) notCalm() error {
	last := c.o.Levels[len(c.o.Levels)-1]
	return refuse(NotCalmEnough, "even at the calmest level, %v, the rule may retrain more than %d times in %s without cause: give calmer levels, or a rule that looks at more values before it fires", last, c.o.MaxFalse, days(c.o.Per))
}

// retrains counts, up to limit, the false retrains at a level in one simulated stretch.
func (c *calibration) retrains(s *scratch, m *model, what uint64, outer, inner, level, limit int) int {
	s.seed(c.o.Seed, what, outer, inner)
	s.simulate(m, c.horizon, int(s.source.Uint64()%uint64(m.season.length())))
	return c.rule.Retrains(c.o.Levels[level], s.stream, s.places(limit))
}
