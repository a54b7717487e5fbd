package server

import (
	"context"

	"github.com/danielgtaylor/huma/v2"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/store"
)

func (s *server) decisionRoutes(api huma.API) {
	register(s, api, get("list-decisions", "/decisions", "List decisions, newest first, those not to retrain too"), s.listDecisions)
	register(s, api, get("get-decision", "/decisions/{decision}", "Get a decision with its evidence"), s.decision)
}

func (s *server) listDecisions(ctx context.Context, in *struct {
	Paging
	Model   string `query:"model" doc:"Of one model."`
	Policy  string `query:"policy" doc:"By one policy."`
	Outcome string `query:"outcome" enum:"noted,fired,suppressed,rollback" doc:"With that outcome."`
}) (*reply[pageOf[visutility.Decision]], error) {
	found, next, err := s.Store.Decisions(ctx, store.DecisionFilter{Model: in.Model, Policy: in.Policy, Outcome: in.Outcome, Page: in.page()})
	if err != nil {
		return nil, err
	}
	return page(found, next), nil
}

func (s *server) decision(ctx context.Context, in *struct {
	Decision string `path:"decision" doc:"The id of the decision."`
}) (*reply[visutility.Decision], error) {
	d, err := s.Store.Decision(ctx, in.Decision)
	return &reply[visutility.Decision]{d}, err
}
