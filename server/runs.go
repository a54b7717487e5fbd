package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	jsonv2 "github.com/go-json-experiment/json"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/ingest"
	"github.com/visutility/visutility/store"
	"github.com/visutility/visutility/trainer"
)

// A RunDetail is a run with its life so far.
type RunDetail struct {
	visutility.Run
	Transitions []visutility.Transition `json:"transitions" nullable:"false"`
}

// A RunPath is in the path of every route about one run.
type RunPath struct {
	Run string `path:"run" doc:"The id of the run."`
}

func (s *server) runRoutes(api huma.API) {
	register(s, api, get("list-runs", "/runs", "List runs, newest first"), s.listRuns)
	register(s, api, get("get-run", "/runs/{run}", "Get a run with its transitions"), s.run)
	register(s, api, post("approve-run", "/runs/{run}/approve", "Let a run that awaits approval go on"), s.approve)
	register(s, api, post("cancel-run", "/runs/{run}/cancel", "Stop a run that has not been promoted"), s.cancel)
}

func (s *server) listRuns(ctx context.Context, in *struct {
	Paging
	Model string   `query:"model" doc:"Of one model."`
	State []string `query:"state,explode" doc:"In one of these states; repeat it for several." enum:"pending,training,validating,registering,awaiting_approval,promoting,watching,succeeded,failed,rejected,canceled,rolled_back"`
}) (*reply[pageOf[visutility.Run]], error) {
	f := store.RunFilter{Model: in.Model, Page: in.page()}
	for _, name := range in.State {
		var state visutility.RunState
		if err := state.UnmarshalText([]byte(name)); err != nil {
			return nil, err
		}
		f.States = append(f.States, state)
	}
	found, next, err := s.Store.Runs(ctx, f)
	if err != nil {
		return nil, err
	}
	return page(found, next), nil
}

func (s *server) run(ctx context.Context, in *RunPath) (*reply[RunDetail], error) {
	run, err := s.Store.Run(ctx, in.Run)
	if err != nil {
		return nil, err
	}
	steps, err := s.Store.Transitions(ctx, in.Run)
	if steps == nil {
		steps = []visutility.Transition{}
	}
	return &reply[RunDetail]{RunDetail{run, steps}}, err
}

type runInput struct {
	RunPath
	Body *Asker `required:"false"`
}

func (s *server) approve(ctx context.Context, in *runInput) (*reply[visutility.Run], error) {
	run, err := s.Engine.Approve(ctx, in.Run, in.Body.who())
	return &reply[visutility.Run]{run}, err
}

func (s *server) cancel(ctx context.Context, in *runInput) (*reply[visutility.Run], error) {
	run, err := s.Engine.Cancel(ctx, in.Run, in.Body.who())
	return &reply[visutility.Run]{run}, err
}

// maxCallback bounds the body of a callback, in bytes.
const maxCallback = 1 << 20

// postCallback takes what a webhook trainer says of its run. The token of the run lets it in: the
// engine checks it before it looks at the body.
func (s *server) postCallback(w http.ResponseWriter, r *http.Request) {
	if err := s.callback(w, r); err != nil {
		s.fail(w, r, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (s *server) callback(w http.ResponseWriter, r *http.Request) error {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") || token == "" {
		w.Header().Set("WWW-Authenticate", `Bearer realm="VisuTility run"`)
		return fmt.Errorf("the token of the run is needed; it came with the job: %w", trainer.ErrToken)
	}
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxCallback))
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return fmt.Errorf("%w: over %d bytes", ingest.ErrTooLarge, maxCallback)
	} else if err != nil {
		return fmt.Errorf("reading the body: %w", err)
	}
	var body trainer.Callback
	if err := jsonv2.Unmarshal(b, &body, jsonv2.RejectUnknownMembers(true)); err != nil {
		if !json.Valid(b) {
			return fmt.Errorf("%w: it is not JSON: %w", ingest.ErrSyntax, err)
		}
		return visutility.Invalidf("body", "type", "%v", err)
	}
	return s.Engine.Callback(r.Context(), r.PathValue("run"), token, body)
}
