package quality

import (
	"maps"
	"math"
	"slices"

	"github.com/visutility/visutility"
)

const (
	maxClasses = 100 // of a cohort
	noClass    = int16(-1)
	scoreAlone = int16(-2) // in place of a class that was not told
	leastProb  = 1e-15     // log_loss takes no probability to be less
)

// A cohort is the predictions of one version and segment in one window.
type cohort struct {
	window    *window
	series    series
	predicted int64
	lag       sketch // from prediction to label, in seconds
	classes   []string
	confusion map[pair]int64
	scored    map[int16]*scored // by the class that was right
	numbers   numbers
	unclassed int64 // labels of scores that came without a class
	columns   map[string]*column
}

// A pair is a class that was predicted, and the one that was right.
type pair struct{ Said, Right int16 }

// scored is the scores of the predictions for which one class was right.
type scored struct {
	Count float64
	Yes   float64 // Σ −ln(score)
	No    float64 // Σ −ln(1−score)
	Logit sketch
}

// numbers are sums over predicted numbers and what was right.
type numbers struct {
	Count    int64
	Absolute float64 // Σ |error|
	Square   float64 // Σ error²
	Right    float64 // Σ |right|
}

func newCohort(w *window, s series) *cohort {
	return &cohort{window: w, series: s, lag: newSketch(), confusion: map[pair]int64{}, scored: map[int16]*scored{}, columns: map[string]*column{}}
}

// settle lets go of what was counted.
func (c *cohort) settle() { *c = cohort{window: c.window, series: c.series} }

// size is what it takes of [Limits.Columns]: nothing once it is settled.
func (c *cohort) size() int {
	if c.columns == nil {
		return 0
	}
	return 1 + len(c.columns)
}

// class is the number of a class, noClass when there are too many.
func (c *cohort) class(name string) int16 {
	if i := slices.Index(c.classes, name); i >= 0 {
		return int16(i)
	}
	if len(c.classes) >= maxClasses {
		return noClass
	}
	c.classes = append(c.classes, name)
	return int16(len(c.classes) - 1)
}

// join counts a prediction with its label; false when the label does not fit.
func (c *cohort) join(e entry, a visutility.Answer, task Task) bool {
	if e.class == noClass && (a.Class == "" || task == Regression) {
		if a.Class != "" {
			return false
		}
		off := math.Abs(e.value - a.Number)
		c.numbers.Count++
		c.numbers.Absolute += off
		c.numbers.Square += off * off
		c.numbers.Right += math.Abs(a.Number)
		return true
	}
	score := e.value
	if e.class == noClass { // the label is the first to say that this is a class
		e.class, score = c.class(className("", e.value)), math.NaN()
	}
	right := c.class(className(a.Class, a.Number))
	if e.class == noClass || right == noClass {
		return false
	}
	if e.class == scoreAlone {
		c.unclassed++
	} else {
		c.confusion[pair{e.class, right}]++
	}
	if !math.IsNaN(score) {
		c.score(right, score)
	}
	return true
}

func (c *cohort) score(right int16, score float64) {
	s := c.scored[right]
	if s == nil {
		s = &scored{Logit: newSketch()}
		c.scored[right] = s
	}
	s.Count++
	s.Yes -= math.Log(max(score, leastProb))
	s.No -= math.Log(max(1-score, leastProb))
	s.Logit.add(logit(score))
}

// logit spreads the scores near 0 and 1, where the bins of a sketch would be too wide.
func logit(p float64) float64 {
	p = min(max(p, leastProb), 1-leastProb)
	return math.Log(p / (1 - p))
}

// events are what the cohort came to.
func (c *cohort) events(m *model) []visutility.Event {
	var out []visutility.Event
	for _, x := range c.measure(m) {
		if math.IsNaN(x.value) || math.IsInf(x.value, 0) || x.count < 1 {
			continue
		}
		out = append(out, visutility.Event{
			Model: m.name, Metric: x.metric, Value: x.value, Count: uint64(x.count), Time: millisTime(c.window.end),
			Version: c.series.Version, Labels: c.series.Labels.Map(),
		})
	}
	return out
}

// A measured is a metric of a cohort; NaN where it cannot be told.
type measured struct {
	metric string
	value  float64
	count  float64
}

func (c *cohort) measure(m *model) []measured {
	var classified float64
	for _, n := range c.confusion {
		classified += float64(n)
	}
	joined := classified + float64(c.numbers.Count+c.unclassed)
	out := []measured{
		{"label_coverage", joined / float64(c.predicted), float64(c.predicted)},
		{"label_lag", c.lag.quantile(0.5), joined},
	}
	if n := c.numbers; n.Count > 0 {
		count := float64(n.Count)
		out = append(out, measured{"mae", n.Absolute / count, count}, measured{"rmse", math.Sqrt(n.Square / count), count})
		if n.Right > 0 {
			out = append(out, measured{"wmape", n.Absolute / n.Right, count})
		}
	}
	positive := c.positive(m.settings.Positive)
	if classified > 0 {
		out = append(out, c.classification(positive, classified)...)
	}
	if len(c.scored) > 0 {
		out = append(out, c.probabilities(positive)...)
	}
	return append(out, c.drifts(m)...)
}

// positive is the number of the positive class, noClass where there is none.
func (c *cohort) positive(configured string) int16 {
	if configured != "" {
		return c.class(configured)
	}
	for _, two := range [][2]string{{"true", "false"}, {"1", "0"}} {
		if !slices.ContainsFunc(c.classes, func(name string) bool { return name != two[0] && name != two[1] }) {
			return c.class(two[0])
		}
	}
	return noClass
}

// classification is accuracy, and precision, recall and F1 of the positive class or, without one, their means over
// the classes that were predicted or right. What is 0/0 is not told of a positive class, and 0 in a mean.
func (c *cohort) classification(positive int16, all float64) []measured {
	n := len(c.classes)
	hit, said, right := make([]float64, n), make([]float64, n), make([]float64, n)
	hits := 0.0
	for p, k := range c.confusion {
		said[p.Said] += float64(k)
		right[p.Right] += float64(k)
		if p.Said == p.Right {
			hit[p.Said] += float64(k)
			hits += float64(k)
		}
	}
	var precision, recall, f1 float64
	if positive != noClass {
		precision, recall, f1 = hit[positive]/said[positive], hit[positive]/right[positive], 2*hit[positive]/(said[positive]+right[positive])
	} else {
		occurs := 0.0
		for i := range n {
			if said[i]+right[i] == 0 {
				continue
			}
			occurs++
			if hit[i] > 0 {
				precision += hit[i] / said[i]
				recall += hit[i] / right[i]
				f1 += 2 * hit[i] / (said[i] + right[i])
			}
		}
		precision, recall, f1 = precision/occurs, recall/occurs, f1/occurs
	}
	return []measured{
		{visutility.Accuracy, hits / all, all},
		{visutility.Precision, precision, all}, {visutility.Recall, recall, all}, {visutility.F1Score, f1, all},
	}
}

// probabilities is the loss, and the area under the curve, of the scores of the positive class.
func (c *cohort) probabilities(positive int16) []measured {
	if positive == noClass {
		return nil
	}
	var loss, count float64
	yes, no := map[float64]float64{}, map[float64]float64{}
	for _, right := range slices.Sorted(maps.Keys(c.scored)) { // in one order: sums come out the same each time
		s := c.scored[right]
		count += s.Count
		into := no
		if right == positive {
			loss += s.Yes
			into = yes
		} else {
			loss += s.No
		}
		s.Logit.ForEach(func(v, n float64) bool { into[v] += n; return false })
	}
	return []measured{{"log_loss", loss / count, count}, {"auc", auc(yes, no), count}}
}

// auc is the probability that a positive scores higher than a negative, ties counting half.
func auc(yes, no map[float64]float64) float64 {
	values := make([]float64, 0, len(yes)+len(no))
	for v := range yes {
		values = append(values, v)
	}
	for v := range no {
		if _, both := yes[v]; !both {
			values = append(values, v)
		}
	}
	slices.Sort(values)
	var below, pairs, positives float64
	for _, v := range values {
		pairs += yes[v] * (below + no[v]/2)
		below += no[v]
		positives += yes[v]
	}
	return pairs / (positives * below)
}
