package calibrate

import (
	"fmt"
	"time"
)

// model says what the history was taken for.
func (c *calibration) model() Model {
	m := c.best
	return Model{
		From: c.h.time(0), To: c.h.time(len(c.values) - 1), Step: c.h.Step.Seconds(),
		Steps: len(c.values), Masked: c.masked, Gaps: c.gaps,
		Mean: c.mean, Deviation: m.deviation(), Season: c.cycle(),
		Order: len(m.coefficients), Coefficients: append([]float64{}, m.coefficients...),
		Lag1: neighbours(m.rest), Effective: m.effective(c.points),
	}
}

// cycle names the season.
func (c *calibration) cycle() string {
	s := c.best.season
	length := time.Duration(s.length()) * c.h.Step
	switch {
	case len(s) == 1:
		return "none"
	case len(s) == 3:
		return "day and weekday"
	case length == day:
		return "day"
	case length == week:
		return "week"
	default:
		return length.String()
	}
}

// neighbours is the correlation between values, which are around 0, and those just before them.
func neighbours(values []float64) float64 {
	var product, squares, pairs, n float64
	for t, v := range values {
		if v != v {
			continue
		}
		n++
		squares += v * v
		if t > 0 && values[t-1] == values[t-1] {
			pairs++
			product += v * values[t-1]
		}
	}
	return product / max(pairs, 1) / (squares / n)
}

// wander is how far the level of what the season leaves moves slowly: the mean square of the means
// of its blocks.
func (m *model) wander() float64 {
	const blocks = 20
	var sum, counted float64
	size := len(m.rest) / blocks
	for b := range blocks {
		var mean, n float64
		for _, v := range m.rest[b*size : (b+1)*size] {
			if v == v {
				n++
				mean += (v - mean) / n
			}
		}
		if n >= float64(size)/4 {
			counted++
			sum += mean * mean
		}
	}
	return sum / max(counted, 1)
}

// wanders: the slow movements of the history are larger than in any simulated one, by more than chance
// would do once in a hundred histories.
func (c *calibration) wanders() bool {
	const beyondChance = 1.2
	limit := 0.0
	for _, x := range c.slow {
		limit = max(limit, beyondChance*x)
	}
	return c.best.wander() > limit
}

// flags are what is doubtful about the history and its level.
func (c *calibration) flags(level int, alarms []time.Time) []Flag {
	all := []Flag{}
	flag := func(when bool, reason Reason, format string, args ...any) {
		if when {
			all = append(all, Flag{reason, fmt.Sprintf(format, args...)})
		}
	}
	effective := c.best.effective(c.points)
	flag(c.h.span() < shortSpan, ShortHistory,
		"the history is %s long; below %s the promise has been broken more often than it says", days(c.h.span()), days(shortSpan))
	flag(effective < fewEffective, LittleInformation,
		"the values tell as much as %.0f independent ones; from %d on the level is less of a guess", effective, fewEffective)
	flag(float64(c.gaps) > someGaps*float64(c.gaps+c.points), Gaps,
		"%d of %d steps have no value; if the metric is missing when it is bad, the level is too nervous", c.gaps, c.gaps+c.points)
	flag(c.wanders(), Wanders,
		"the metric moves slowly by more than the model can say: there may be changes in it that are not masked, and the level may be too nervous")
	flag(c.rare, Extrapolates,
		"values rarer than any in the history decide when the rule fires, so the level rests on how its tails go on; a rule that fires at several values, or at their mean, would rest on more")
	flag(len(alarms) > 0, SelfAlarms,
		"the rule would have retrained %d times in the history itself, which the promise allows: at %s", len(alarms), list(alarms))
	flag(level == 0, NotNervousEnough,
		"the most nervous level keeps the promise: a more nervous one may do so too")
	flag(c.o.Season == 0 && day%c.h.Step != 0, NoCycleSought,
		"a day is not a whole number of steps of %s, so no daily cycle was looked for; say Season where there is one", length(c.h.Step))
	return all
}

func (c *calibration) assumptions() []string {
	all := []string{
		"The history outside of what is masked shows the metric as it is when nothing is wrong.",
		fmt.Sprintf("Each value follows from those of up to %d steps before it, in the same way at all times, and from something new that does not depend on the past.", c.o.MaxOrder),
		"What is new is like what was new in the history; beyond the outermost 5 % of each side it follows a generalized Pareto tail.",
		fmt.Sprintf("The rule sees a value every %s without a gap, and begins afresh after each retrain.", length(c.h.Step)),
	}
	switch season := c.cycle(); {
	case season != "none":
		all = append(all, "The cycle ("+season+", in UTC) goes on as it was, and the size of what is new does not depend on it.")
	case c.o.Season < 0:
		all = append(all, "There is no cycle: none was looked for.")
	default:
		all = append(all, "There is no cycle of a day or a week: none was found that is worth its means.")
	}
	return append(all, "Shifts are sudden, stay, and leave everything else as it was.")
}

// limits hold for every calibration.
var limits = []string{
	"What the history has not shown (a new season, another way of measuring, a different mix of traffic) is not covered.",
	"Times of greater and lesser noise are averaged: where noise comes in bursts, false retrains do too, and more often.",
	"The confidence is approximate: the outer replicates repeat the errors of fitting a model, not that of having chosen this kind of model.",
	"Short histories say little about the rarest values; a rule that fires at single values depends on them the most.",
	"The promise is for one metric of one model: over a fleet false retrains add up, 200 models have 200 times as many as one.",
}
