package server

import (
	"context"
	"time"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/backtest"
	"github.com/visutility/visutility/dispatch"
	"github.com/visutility/visutility/engine"
	"github.com/visutility/visutility/history"
	"github.com/visutility/visutility/policy"
	"github.com/visutility/visutility/store"
	"github.com/visutility/visutility/trainer"
	"github.com/visutility/visutility/trigger"
)

// An Engine is what the server needs of *engine.Engine, which documents the methods.
type Engine interface {
	Publish(ctx context.Context, key string, events []visutility.Event) error
	Predictions(ctx context.Context, key string, predictions []visutility.Prediction) error
	Labels(ctx context.Context, key string, labels []visutility.Truth) error
	Explain(ctx context.Context, model string) (trigger.Explanation, error)
	DecisionTest(ctx context.Context, decision string) (*backtest.DecisionTest, error)
	Trigger(ctx context.Context, model, policy, by, reason string) (visutility.Decision, error)
	Pause(ctx context.Context, model, by, reason string) error
	Resume(ctx context.Context, model, by, reason string) error
	Approve(ctx context.Context, run, by string) (visutility.Run, error)
	Cancel(ctx context.Context, run, by string) (visutility.Run, error)
	Promote(ctx context.Context, model, version, by string) (visutility.Version, error)
	Rollback(ctx context.Context, model, by string) (visutility.Version, error)
	Backtest(ctx context.Context, o backtest.Options, globs []string, from, to time.Time) (*backtest.Report, error)
	Registry() visutility.Registry
	Policies() []*policy.Policy
	PolicyErrors() []error
	ApplyPolicy(ctx context.Context, name, revision string, source []byte, by string) (*policy.Policy, error)
	Observers() []dispatch.Status
	Limits() engine.Limits
	RunLog(ctx context.Context, run string) (path string, err error)
	Callback(ctx context.Context, run, token string, body trainer.Callback) error
	CheckToken(run, token string) error
	Tracked(ctx context.Context, run, token string) (r visutility.Run, artifacts string, err error)
	Track(ctx context.Context, run, token string, said trainer.Tracking) error
	Ready(ctx context.Context) error
}

// A Store is what the server reads of *store.Store, which documents the methods.
type Store interface {
	Models(ctx context.Context, p store.Page, f store.ModelFilter) (models []store.Model, next string, err error)
	Model(ctx context.Context, name string) (store.Model, error)
	Fleet(ctx context.Context, f store.FleetQuery) ([]store.FleetModel, error)
	CountFleet(ctx context.Context, query string) (map[string]int, error)
	AliasMoves(ctx context.Context, model, alias string, limit int) ([]store.AliasMove, error)
	Decision(ctx context.Context, id string) (visutility.Decision, error)
	Decisions(ctx context.Context, f store.DecisionFilter) (decisions []visutility.Decision, next string, err error)
	DecisionsOf(ctx context.Context, ids []string) (map[string]visutility.Decision, error)
	Run(ctx context.Context, id string) (visutility.Run, error)
	Runs(ctx context.Context, f store.RunFilter) (runs []visutility.Run, next string, err error)
	OpenRuns(ctx context.Context) ([]visutility.Run, error)
	Transitions(ctx context.Context, run string) ([]visutility.Transition, error)
	Activities(ctx context.Context, after int64, limit int) ([]store.Activity, error)
	LastActivity(ctx context.Context) (int64, error)
	Watch() (changed <-chan struct{}, stop func())
}

// A History is what the server reads of *history.History, which documents the methods.
type History interface {
	Select(ctx context.Context, q history.Query) ([]history.Series, error)
	Events(ctx context.Context, q history.EventQuery) (events []visutility.Event, next string, err error)
	Follow(models ...string) *history.Tail
}
