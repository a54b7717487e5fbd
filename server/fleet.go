package server

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/history"
	"github.com/visutility/visutility/store"
)

const (
	sparkSpan   = 24 * time.Hour // what a sparkline shows
	sparkPoints = 48
	sparkLeast  = 8 // with fewer points it shows all there is
)

// A FleetRow is a model as an overview shows it, all in one.
type FleetRow struct {
	store.Model
	State    string         `json:"state" doc:"What to tell models apart by; the list is in the order in which they want to be looked at." enum:"awaiting_approval,firing,breach,retraining,paused,holding,unwatched"`
	Lead     *LeadMetric    `json:"lead,omitempty" doc:"The metric that the model's policy looks at first. Absent for a model without metrics."`
	Run      *FleetRun      `json:"run,omitempty" doc:"The run that is under way."`
	Decision *FleetDecision `json:"decision,omitempty" doc:"The newest decision."`
}

// A LeadMetric is the metric that stands for its model.
type LeadMetric struct {
	Metric string    `json:"metric"`
	Goal   string    `json:"goal,omitempty" doc:"higher_is_better or lower_is_better, where a policy says so."`
	Value  float64   `json:"value" doc:"The newest."`
	Time   time.Time `json:"time"`
	Baseline
	Points []SparkPoint `json:"points" nullable:"false" doc:"The last 24 hours of event time, or all that is kept if those have fewer than eight points."`
}

// A Baseline is what a metric is compared with.
type Baseline struct {
	Level  *float64 `json:"baseline,omitempty" doc:"What the metric was when the champion was new. Absent when that is not known."`
	Source string   `json:"baseline_of,omitempty" doc:"policy: as the policy's conditions have it. champion: what the champion scored on the hold-out of its training."`
}

// A SparkPoint is a point of a sparkline.
type SparkPoint struct {
	Time  time.Time `json:"time"`
	Value float64   `json:"value"`
}

// A FleetRun is what an overview shows of a run.
type FleetRun struct {
	ID       string              `json:"id"`
	State    visutility.RunState `json:"state"`
	Progress float64             `json:"progress"`
}

// A FleetDecision is what an overview shows of a decision.
type FleetDecision struct {
	ID           string             `json:"id"`
	Time         time.Time          `json:"time"`
	Outcome      visutility.Outcome `json:"outcome"`
	SuppressedBy string             `json:"suppressed_by,omitempty"`
	Reason       string             `json:"reason"`
}

// FleetCounts says how many models are in each state.
type FleetCounts struct {
	Total  int            `json:"total"`
	States map[string]int `json:"states" doc:"By state, also those without a model."`
}

func (s *server) fleetRoutes(api huma.API) {
	register(s, api, get("list-fleet", "/fleet", "List models as an overview shows them: state, live score against baseline, sparkline, run and newest decision"), s.fleet)
	register(s, api, get("count-fleet", "/fleet/counts", "Count the models in each state"), s.fleetCounts)
}

func (s *server) fleetCounts(ctx context.Context, in *struct {
	Query string `query:"q" maxLength:"256" doc:"Of those with this part of a name."`
}) (*reply[FleetCounts], error) {
	counts, err := s.Store.CountFleet(ctx, in.Query)
	total := 0
	for _, n := range counts {
		total += n
	}
	return &reply[FleetCounts]{FleetCounts{total, counts}}, err
}

type fleetBody struct {
	Items []FleetRow `json:"items" nullable:"false"`
}

func (s *server) fleet(ctx context.Context, in *struct {
	Query  string `query:"q" maxLength:"256" doc:"A part of the name."`
	State  string `query:"state" enum:"awaiting_approval,firing,breach,retraining,paused,holding,unwatched" doc:"In that state."`
	Sort   string `query:"sort" enum:"name,state,event,baseline" default:"name" doc:"By name, by state (what wants to be looked at first), by newest event, or by how far the live score falls short of its baseline (which may be some seconds old)."`
	Offset int    `query:"offset" minimum:"0" maximum:"10000000" doc:"How many to leave out: an overview is jumped about in."`
	Limit  int    `query:"limit" minimum:"1" maximum:"100" default:"50" doc:"How many items at most."`
}) (*reply[fleetBody], error) {
	list := s.Store.Fleet
	q := store.FleetQuery{Query: in.Query, State: in.State, Sort: in.Sort, Offset: in.Offset, Limit: in.Limit}
	if in.Sort == "baseline" {
		list = s.byBaseline
	}
	models, err := list(ctx, q)
	if err != nil {
		return nil, err
	}
	ids := make([]string, 0, len(models))
	for i := range models {
		ids = append(ids, models[i].LastDecision)
	}
	decisions, err := s.Store.DecisionsOf(ctx, ids)
	if err != nil {
		return nil, err
	}
	rows := make([]FleetRow, len(models))
	for i := range models {
		m := &models[i]
		rows[i] = FleetRow{Model: tidy(m.Model), State: m.State}
		if d, ok := decisions[m.LastDecision]; ok {
			rows[i].Decision = &FleetDecision{d.ID, d.Time, d.Outcome, d.SuppressedBy, d.Reason}
		}
		if m.Run != "" {
			if run, err := s.Store.Run(ctx, m.Run); err == nil { // it may have ended, and been pruned, meanwhile
				rows[i].Run = &FleetRun{run.ID, run.State, run.Progress}
			}
		}
		if rows[i].Lead, err = s.leadMetric(ctx, &m.Model); err != nil {
			return nil, err
		}
	}
	return &reply[fleetBody]{fleetBody{rows}}, nil
}

// lead is the metric that stands for a model: the one that comes first in the condition of
// its first policy, or in the alphabet; nil for a model without metrics.
func (s *server) lead(m *store.Model) *store.Metric {
	if len(m.Metrics) == 0 {
		return nil
	}
	best := &m.Metrics[0]
	for _, p := range s.Engine.Policies() {
		if len(m.Policies) == 0 || p.Name != m.Policies[0] {
			continue
		}
		first := len(p.Retrain.When)
		for i := range m.Metrics {
			if at := wordIndex(p.Retrain.When, m.Metrics[i].Name); at >= 0 && at < first {
				first, best = at, &m.Metrics[i]
			}
		}
	}
	return best
}

// leadMetric is what an overview shows of the lead.
func (s *server) leadMetric(ctx context.Context, m *store.Model) (*LeadMetric, error) {
	best := s.lead(m)
	if best == nil {
		return nil, nil
	}
	points, err := s.spark(ctx, m.Name, best)
	if err != nil {
		return nil, err
	}
	return &LeadMetric{
		Metric: best.Name, Goal: s.goal(m.Policies, best.Name), Value: best.Last, Time: best.LastTime,
		Baseline: s.baseline(ctx, m.Name, m.Champion, best.Name), Points: points,
	}, nil
}

// wordIndex is where a name stands by itself in an expression, -1 for nowhere.
func wordIndex(expr, name string) int {
	part := func(b byte) bool {
		return b == '_' || b >= '0' && b <= '9' || b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z'
	}
	for from := 0; ; {
		at := strings.Index(expr[from:], name)
		if at < 0 || name == "" {
			return -1
		}
		at += from
		end := at + len(name)
		if (at == 0 || !part(expr[at-1])) && (end == len(expr) || !part(expr[end])) {
			return at
		}
		from = at + 1
	}
}

// spark is the line of a metric, drawn from its newest event back. Versions and labels are joined.
func (s *server) spark(ctx context.Context, model string, m *store.Metric) ([]SparkPoint, error) {
	end := m.LastTime.Add(time.Second)
	points, err := s.sparkFrom(ctx, history.Query{Model: model, Metric: m.Name, From: end.Add(-sparkSpan), To: end, Points: sparkPoints})
	if err != nil || len(points) >= sparkLeast {
		return points, err
	}
	return s.sparkFrom(ctx, history.Query{Model: model, Metric: m.Name, To: end, Points: sparkPoints})
}

func (s *server) sparkFrom(ctx context.Context, q history.Query) ([]SparkPoint, error) {
	series, err := s.History.Select(ctx, q)
	if err != nil {
		return nil, err
	}
	points := []SparkPoint{}
	for _, one := range series {
		points = joinPoints(points, one.Points)
	}
	return points, nil
}

// joinPoints merges the points of a further series, by time; of two at one time the later series' counts.
func joinPoints(a []SparkPoint, b []history.Point) []SparkPoint {
	joined := make([]SparkPoint, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		switch c := a[0].Time.Compare(b[0].Time); {
		case c < 0:
			joined, a = append(joined, a[0]), a[1:]
		case c == 0:
			a = a[1:]
		default:
			joined, b = append(joined, SparkPoint{b[0].Time, b[0].Last}), b[1:]
		}
	}
	joined = append(joined, a...)
	for _, p := range b {
		joined = append(joined, SparkPoint{p.Time, p.Last})
	}
	return joined
}

// baseline is what a metric of a model is compared with: the policy's own baseline where a condition
// reads it, else the champion's score.
func (s *server) baseline(ctx context.Context, model, champion, metric string) Baseline {
	if x, err := s.Engine.Explain(ctx, model); err == nil {
		for _, p := range x.Policies {
			if v, ok := findTerm(p.Terms, "baseline."+metric); ok {
				return Baseline{&v, "policy"}
			}
		}
	}
	if champion == "" {
		return Baseline{}
	}
	if v, ok := s.scores.of(ctx, s.Engine.Registry(), model, champion)[metric]; ok {
		return Baseline{&v, "champion"}
	}
	return Baseline{}
}

func findTerm(terms []visutility.Term, expr string) (float64, bool) {
	for i := range terms {
		if v, ok := terms[i].Value.(float64); ok && terms[i].Expr == expr {
			return v, true
		}
		if v, ok := findTerm(terms[i].Terms, expr); ok {
			return v, true
		}
	}
	return 0, false
}

// maxScores bounds the versions whose scores are remembered.
const maxScores = 20_000

// scores remembers what versions scored: they never change, and a registry may be far away.
type scores struct {
	mu    sync.Mutex
	known map[[2]string]map[string]float64 // by model and version
}

func (c *scores) of(ctx context.Context, r visutility.Registry, model, version string) map[string]float64 {
	key := [2]string{model, version}
	c.mu.Lock()
	m, ok := c.known[key]
	c.mu.Unlock()
	if ok {
		return m
	}
	v, err := r.Resolve(ctx, model, version)
	if err != nil {
		return nil // an overview without a baseline is better than none
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known == nil || len(c.known) >= maxScores {
		c.known = make(map[[2]string]map[string]float64)
	}
	c.known[key] = v.Metrics
	return v.Metrics
}
