package server

import (
	"context"

	"github.com/visutility/visutility/policy"
	"github.com/visutility/visutility/store"
)

// A ModelMetric is a metric of a model.
type ModelMetric struct {
	store.Metric
	Goal string `json:"goal,omitempty" doc:"higher_is_better or lower_is_better, where a policy says so."`
	Baseline
}

func (s *server) listMetrics(ctx context.Context, in *ModelPath) (*reply[pageOf[ModelMetric]], error) {
	m, err := s.Store.Model(ctx, in.Model)
	if err != nil {
		return nil, err
	}
	list := make([]ModelMetric, len(m.Metrics))
	for i, metric := range m.Metrics {
		list[i] = ModelMetric{metric, s.goal(m.Policies, metric.Name), s.baseline(ctx, m.Name, m.Champion, metric.Name)}
	}
	return page(list, ""), nil
}

// goal says which way a metric is better, by the first of these policies that knows.
func (s *server) goal(policies []string, metric string) string {
	for _, name := range policies {
		for _, p := range s.Engine.Policies() {
			if goal := p.Metrics[metric].Goal; p.Name == name && goal != policy.Goal("") {
				return string(goal)
			}
		}
	}
	return ""
}
