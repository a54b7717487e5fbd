package server

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/history"
	"github.com/visutility/visutility/store"
	"github.com/visutility/visutility/trigger"
)

// A Model is a model with the run that is under way for it.
type Model struct {
	store.Model
	ActiveRun string `json:"active_run" doc:"The run that is under way, empty for none."`
}

// A ModelPath is in the path of every route about one model. Names are URL-escaped: a slash is %2F.
type ModelPath struct {
	Model string `path:"model" doc:"The name of the model, URL-escaped."`
}

type historyQuery struct {
	ModelPath
	Metric string    `query:"metric" doc:"One metric. Defaults to all."`
	From   time.Time `query:"from" doc:"Event time. Defaults to the first event."`
	To     time.Time `query:"to" doc:"Event time, not included. Defaults to the last event."`
	Step   string    `query:"step" doc:"The time that a point stands for, such as 5m. Defaults to what makes a good chart."`
	Points int       `query:"points" minimum:"1" maximum:"10000" default:"2000" doc:"How many points a series may have; the step grows to fit."`
}

type historyBody struct {
	StepSeconds float64          `json:"step_seconds" doc:"The time that each point stands for. A point's time is where it begins, a multiple of its length since 1970. Zero without series."`
	Series      []history.Series `json:"series" nullable:"false"`
}

type eventsQuery struct {
	ModelPath
	Metric []string  `query:"metric,explode" maxItems:"100" doc:"Of this metric; repeat it for several. Defaults to all."`
	From   time.Time `query:"from" doc:"Event time. Defaults to the first event."`
	To     time.Time `query:"to" doc:"Event time, not included. Defaults to the last event."`
	Limit  int       `query:"limit" minimum:"1" maximum:"10000" default:"1000" doc:"How many events at most."`
	Cursor string    `query:"cursor" maxLength:"32768" doc:"The next of the page before."`
}

// TriggerRequest asks for a run by hand.
type TriggerRequest struct {
	Policy string `json:"policy,omitempty" maxLength:"256" doc:"Which policy to follow, when several watch the model."`
	Actor
}

// Triggered is the decision that a request for a run came to, and the run.
type Triggered struct {
	Decision visutility.Decision `json:"decision"`
	Run      visutility.Run      `json:"run"`
}

func (s *server) modelRoutes(api huma.API) {
	register(s, api, get("list-models", "/models", "List models, by name"), s.listModels)
	register(s, api, get("get-model", "/models/{model}", "Get a model"), func(ctx context.Context, in *ModelPath) (*reply[Model], error) {
		return s.model(ctx, in.Model)
	})
	register(s, api, get("explain-model", "/models/{model}/explain", "Explain how a model stands with its policies, and why it is not retraining"), s.explain)
	register(s, api, get("list-metrics", "/models/{model}/metrics", "List the metrics of a model: the newest value, which way is better, and what it is compared with"), s.listMetrics)
	register(s, api, get("get-history", "/models/{model}/history", "Get the history of a model's metrics"), s.history)
	register(s, api, get("list-history-events", "/models/{model}/history/events", "List what was measured of a model, second by second, as events"), s.historyEvents)
	trigger := post("trigger-model", "/models/{model}/trigger", "Start a run by hand")
	trigger.DefaultStatus = http.StatusAccepted
	register(s, api, trigger, s.trigger)
	register(s, api, post("pause-model", "/models/{model}/pause", "Stop automatic runs of a model"), s.pause)
	register(s, api, post("resume-model", "/models/{model}/resume", "Allow automatic runs of a model again"), s.resume)
}

func (s *server) listModels(ctx context.Context, in *struct {
	Paging
	Query string `query:"q" maxLength:"256" doc:"A part of the name."`
}) (*reply[pageOf[Model]], error) {
	found, next, err := s.Store.Models(ctx, in.page(), store.ModelFilter{Query: in.Query})
	if err != nil {
		return nil, err
	}
	open, err := s.Store.OpenRuns(ctx)
	if err != nil {
		return nil, err
	}
	active := make(map[string]string, len(open))
	for i := range open {
		if open[i].State.Active() {
			active[open[i].Model] = open[i].ID
		}
	}
	models := make([]Model, len(found))
	for i, m := range found {
		models[i] = Model{tidy(m), active[m.Name]}
	}
	return page(models, next), nil
}

func (s *server) model(ctx context.Context, name string) (*reply[Model], error) {
	m, err := s.Store.Model(ctx, name)
	if err != nil {
		return nil, err
	}
	active, err := s.activeRun(ctx, name)
	return &reply[Model]{Model{tidy(m), active}}, err
}

// tidy makes absent lists empty ones, not null.
func tidy(m store.Model) store.Model {
	if m.Metrics == nil {
		m.Metrics = []store.Metric{}
	}
	if m.Policies == nil {
		m.Policies = []string{}
	}
	return m
}

// activeRun is the id of the run under way for a model: there is one at most.
func (s *server) activeRun(ctx context.Context, model string) (string, error) {
	var states []visutility.RunState
	for _, state := range visutility.RunStates() {
		if state.Active() {
			states = append(states, state)
		}
	}
	runs, _, err := s.Store.Runs(ctx, store.RunFilter{Model: model, States: states, Page: store.Page{Limit: 1}})
	if err != nil || len(runs) == 0 {
		return "", err
	}
	return runs[0].ID, nil
}

func (s *server) explain(ctx context.Context, in *ModelPath) (*reply[trigger.Explanation], error) {
	x, err := s.Engine.Explain(ctx, in.Model)
	return &reply[trigger.Explanation]{x}, err
}

func (s *server) history(ctx context.Context, in *historyQuery) (*reply[historyBody], error) {
	q := history.Query{Model: in.Model, Metric: in.Metric, From: in.From, To: in.To, Points: in.Points}
	if in.Step != "" {
		step, err := time.ParseDuration(in.Step)
		if err != nil || step <= 0 {
			return nil, visutility.Invalidf("query.step", "syntax", "is not a duration such as 30s, 5m or 24h")
		}
		q.Step = step
	}
	series, err := s.History.Select(ctx, q)
	body := historyBody{Series: series}
	if len(series) == 0 {
		body.Series = []history.Series{}
	} else {
		body.StepSeconds = series[0].Step.Seconds() // of all
	}
	return &reply[historyBody]{body}, err
}

func (s *server) historyEvents(ctx context.Context, in *eventsQuery) (*reply[pageOf[visutility.Event]], error) {
	found, next, err := s.History.Events(ctx, history.EventQuery{
		Model: in.Model, Metrics: in.Metric, From: in.From, To: in.To, Limit: in.Limit, Cursor: in.Cursor,
	})
	if err != nil {
		return nil, err
	}
	return page(found, next), nil
}

func (s *server) trigger(ctx context.Context, in *struct {
	ModelPath
	Body *TriggerRequest `required:"false"`
}) (*reply[Triggered], error) {
	ask := TriggerRequest{}
	if in.Body != nil {
		ask = *in.Body
	}
	d, err := act(ctx, s, func(ctx context.Context) (visutility.Decision, error) {
		return s.Engine.Trigger(ctx, in.Model, ask.Policy, who(ask.By), ask.Reason)
	})
	if err != nil {
		return nil, err
	}
	if d.Outcome != visutility.Fired {
		p := newProblem(http.StatusConflict, "suppressed", "no run was started: "+d.Reason)
		p.Errors = []ProblemField{{Location: "decision", Message: d.Reason, Reason: d.SuppressedBy, Value: d.ID}}
		return nil, p
	}
	run, err := s.Store.Run(ctx, d.Run)
	return &reply[Triggered]{Triggered{d, run}}, err
}

type actorInput struct {
	ModelPath
	Body *Actor `required:"false"`
}

func (in *actorInput) actor() (by, reason string) {
	if in.Body == nil {
		return who(""), ""
	}
	return who(in.Body.By), in.Body.Reason
}

func (s *server) pause(ctx context.Context, in *actorInput) (*reply[Model], error) {
	return s.setPaused(ctx, in, s.Engine.Pause)
}

func (s *server) resume(ctx context.Context, in *actorInput) (*reply[Model], error) {
	return s.setPaused(ctx, in, s.Engine.Resume)
}

func (s *server) setPaused(ctx context.Context, in *actorInput, f func(ctx context.Context, model, by, reason string) error) (*reply[Model], error) {
	return act(ctx, s, func(ctx context.Context) (*reply[Model], error) {
		by, reason := in.actor()
		if err := f(ctx, in.Model, by, reason); err != nil {
			return nil, err
		}
		return s.model(ctx, in.Model)
	})
}
