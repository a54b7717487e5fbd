package backtest

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/policy"
)

// Simulated is what came of a plan's trainings.
type Simulated struct {
	// Means are those of the metrics that the policies read, over the whole past and the models that the policies are
	// for, each event weighed by its count.
	Means    map[string]float64 `json:"means"`
	Promoted int                `json:"promoted"` // also those rolled back later
	Rejected int                `json:"rejected"`
	Failed   int                `json:"failed"`
	// TrainingSeconds is what the trainings took in truth, all together.
	TrainingSeconds float64 `json:"training_seconds"`
}

// Simulated reports whether the runs were trained in truth.
func (r *Report) Simulated() bool { return r.Plans[0].Simulated != nil }

// Means are the names of the metrics of which a simulation has means, sorted; none where runs were only played.
func (r *Report) Means() []string {
	names := make(map[string]bool)
	for i := range r.Plans {
		if s := r.Plans[i].Simulated; s != nil {
			for metric := range s.Means {
				names[metric] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// A Check holds the scores against the data, for the champion that the data measured: the means of both.
type Check struct {
	Model  string  `json:"model"`
	Metric string  `json:"metric"`
	Data   float64 `json:"data"`
	Scored float64 `json:"scored"`
}

// apart is from which part of the larger on two means are said to differ.
const apart = 0.01

func (c Check) differs() bool {
	return math.Abs(c.Data-c.Scored) > apart*max(math.Abs(c.Data), math.Abs(c.Scored))
}

// A mean is one in the making.
type mean struct{ sum, count float64 }

func (m *mean) add(r *record) {
	m.sum += r.value * float64(r.count)
	m.count += float64(r.count)
}

// A tally sums up the events that a plan saw.
type tally struct {
	reads  func(model, metric string) bool
	means  map[string]*mean // by metric
	series []*mean          // by the course's series; nil: of no interest
	lived  []record         // all of them, if they are kept
	keep   bool
}

// note takes note of events that were folded.
func (t *tally) note(series []visutility.Series, records []record) {
	for i := range records {
		r := &records[i]
		for len(t.series) <= int(r.series) {
			t.series = append(t.series, t.of(&series[len(t.series)]))
		}
		if m := t.series[r.series]; m != nil {
			m.add(r)
		}
	}
	if t.keep {
		t.lived = append(t.lived, records...)
	}
}

// of is the mean that a series is part of.
func (t *tally) of(s *visutility.Series) *mean {
	if !t.reads(s.Model, s.Metric) {
		return nil
	}
	if t.means[s.Metric] == nil {
		t.means[s.Metric] = new(mean)
	}
	return t.means[s.Metric]
}

// reads reports whether a policy for the model has a metric.
func (o *Options) reads(model, metric string) bool {
	return slices.ContainsFunc(slices.Concat(o.Policies, o.Against), func(p *policy.Policy) bool {
		_, ok := p.Metrics[metric]
		return ok && p.Matches(model)
	})
}

// conclude sums up the simulation of a plan.
func (s *simulator) conclude(p *Plan) {
	p.Simulated = &Simulated{Means: make(map[string]float64)}
	for metric, m := range s.tally.means {
		if m.count > 0 {
			p.Simulated.Means[metric] = m.sum / m.count
		}
	}
	for i := range p.Runs {
		p.Simulated.TrainingSeconds += p.Runs[i].TrainingSeconds
		switch p.Runs[i].State {
		case visutility.Rejected:
			p.Simulated.Rejected++
		case visutility.Failed:
			p.Simulated.Failed++
		case visutility.Pending:
		default:
			p.Simulated.Promoted++
		}
	}
	if s.tally.keep {
		p.lived = &Data{series: s.x.course.series, records: s.tally.lived, sorted: true}
	}
}

// hold has the champions scored from their models' first events on, and holds that against the data.
func (s *Simulation) hold(ctx context.Context, set *policy.Set, data *Data, first map[string]int64) ([]Check, error) {
	var all []Check
	_, to := data.span()
	for _, model := range slices.Sorted(maps.Keys(s.Champions)) {
		from, known := first[model]
		if !known || set.For(model) == nil {
			return nil, visutility.Invalidf("champion", "unknown", "is given for the model %q, which has no events or no policy here", model)
		}
		v := s.Champions[model]
		v.ID, v.Model = "v1", model
		scores, err := s.Score(ctx, set.For(model).Policies()[0], v, visutility.Window{From: utc(from), To: utc(to)})
		if err != nil {
			return nil, fmt.Errorf("scoring the champion of %s: %w", model, err)
		}
		was, scored := data.means(model), scores.means(model)
		for _, metric := range slices.Sorted(maps.Keys(scored)) {
			if m := was[metric]; m != nil {
				all = append(all, Check{model, metric, m.sum / m.count, scored[metric].sum / scored[metric].count})
			}
		}
	}
	return all, nil
}

// means are those of a model's metrics.
func (d *Data) means(model string) map[string]*mean {
	all := make(map[string]*mean)
	for i := range d.records {
		r := &d.records[i]
		if s := &d.series[r.series]; s.Model == model {
			if all[s.Metric] == nil {
				all[s.Metric] = new(mean)
			}
			all[s.Metric].add(r)
		}
	}
	return all
}

// trust says what a simulation cannot know.
func (o *Options) trust(r *Report, data *Data, sims []*simulator) []string {
	says := []string{
		"What a new version would have scored is the word of the score command, and what challengers scored on their hold-outs that of the training program: both are trusted. A training that looks beyond the window of its job has seen the future.",
	}
	for _, c := range r.Checks {
		word := "they agree"
		if c.differs() {
			word = "they differ, so that a plan that retrains is not measured as never is"
		}
		says = append(says, fmt.Sprintf("Of the champion of %s the score command has a mean %s of %.4g, the data one of %.4g: %s.", c.Model, c.Metric, c.Scored, c.Data, word))
	}
	all := slices.Concat(o.Policies, o.Against)
	if len(o.Simulate.Champions) == 0 {
		says = append(says, "Which version the data measured is not known: the first challenger of a model has nothing to beat, and is not watched.")
	}
	if slices.ContainsFunc(all, func(p *policy.Policy) bool { return p.Promote.Approval }) {
		says = append(says, "Every approval that a policy asks for is taken as given, at once.")
	}
	if slices.ContainsFunc(all, func(p *policy.Policy) bool { return p.Train.Retries > 0 }) {
		says = append(says, "An attempt that failed is followed by the next at once.")
	}
	if names := unscored(sims); len(names) > 0 {
		says = append(says, fmt.Sprintf("The score command has nothing on %s: those events are the data's, whatever version serves.", strings.Join(names, ", ")))
	}
	if data.versioned() {
		says = append(says, "Events count whatever version the data says they measured. If that is more than one of a model, never is the past with the promotions that it had.")
	}
	return says
}

// unscored are the metrics that policies read, and of which no promoted version has a score.
func unscored(sims []*simulator) []string {
	lacks, promoted := make(map[string]bool), false
	for _, s := range sims {
		promoted = promoted || len(s.scored) > 0
		for metric := range s.tally.means {
			lacks[metric] = true
		}
	}
	for _, s := range sims {
		for metric := range s.scored {
			delete(lacks, metric)
		}
	}
	if !promoted {
		return nil
	}
	return slices.Sorted(maps.Keys(lacks))
}
