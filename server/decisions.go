package server

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/backtest"
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

const yamlType = "application/yaml"

// getDecisionTest answers with a test of a policy, made from a decision: its text, or for those who
// ask for JSON that and what goes with it.
func (s *server) getDecisionTest(w http.ResponseWriter, r *http.Request) {
	t, err := act(r.Context(), s, func(ctx context.Context) (*backtest.DecisionTest, error) {
		return s.Engine.DecisionTest(ctx, r.PathValue("decision"))
	})
	if err != nil {
		s.fail(w, r, err)
		return
	}
	kind, body := yamlType, []byte(t.Test)
	if strings.Contains(r.Header.Get("Accept"), "application/json") {
		kind = "application/json"
		if body, err = json.Marshal(t); err != nil {
			s.fail(w, r, err)
			return
		}
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Vary", "Accept")
	w.Write(body) // nothing to do about a client that is gone
}

func decisionTestDoc() *huma.Operation {
	text := &huma.Schema{Type: "string"}
	policies := &huma.Schema{Type: "array", Items: &huma.Schema{
		Type: "object", Required: []string{"file", "name", "revision", "source"},
		Properties: map[string]*huma.Schema{"file": text, "name": text, "revision": text, "source": text},
	}}
	return &huma.Operation{
		OperationID: "get-decision-test", Summary: "Get a unit test of the policy, made from a decision",
		Description: "A file for visutility test: the decision becomes a regression test. It was played: where it does not give the decision again, comments at the top say what differs. In JSON, the policies as they were come along.",
		Parameters:  []*huma.Param{param("path", "decision", "string", "The id of the decision.")},
		Responses: map[string]*huma.Response{"200": {Description: "The test.", Content: map[string]*huma.MediaType{
			yamlType: {Schema: text},
			"application/json": {Schema: &huma.Schema{
				Type: "object", Required: []string{"test", "reproduced", "warnings", "policies"},
				Properties: map[string]*huma.Schema{
					"test":       {Type: "string", Description: "The text of the file."},
					"reproduced": {Type: "boolean", Description: "Whether the test, played at once, gave the decision again."},
					"warnings":   {Type: "array", Items: text, Description: "What to know before relying on it."},
					"policies":   policies,
				},
			}},
		}}},
	}
}
