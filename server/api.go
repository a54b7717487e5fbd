package server

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/visutility/visutility/store"
)

// maxActionBody bounds the small bodies of actions, in bytes.
const maxActionBody = 64 << 10

// apiDescription is at the head of the OpenAPI document.
const apiDescription = `Watches the quality of models in production and retrains the ones that need it.

What other systems send is taken in too, in the forms of their own specifications, which are not repeated here: OpenTelemetry's OTLP at /v1/metrics
and /v1/logs, and over gRPC; Prometheus remote write at /api/v1/write; Alertmanager's webhook at /api/v1/alertmanager; CloudEvents at
/api/v1/cloudevents; MLflow's tracking protocol below /api/2.0/mlflow/.`

// routes is the one table of everything that is served, with its description.
func (s *server) routes() (*http.ServeMux, *huma.OpenAPI, error) {
	mux := http.NewServeMux()
	registry := huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer)
	api := humago.New(mux, huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI:    "3.1.0",
			Info:       &huma.Info{Title: "VisuTility", Version: s.Version, Description: apiDescription},
			Components: &huma.Components{Schemas: registry, SecuritySchemes: map[string]*huma.SecurityScheme{"token": {Type: "http", Scheme: "bearer"}}},
			Security:   []map[string][]string{{"token": {}}},
		},
		Formats:                      map[string]huma.Format{"application/json": huma.DefaultJSONFormat, "json": huma.DefaultJSONFormat},
		DefaultFormat:                "application/json",
		RejectUnknownQueryParameters: true,
		Transformers:                 []huma.Transformer{oneShape},
	})
	api.UseMiddleware(func(ctx huma.Context, next func(huma.Context)) { next(jsonBody{ctx}) })
	s.fleetRoutes(api)
	s.modelRoutes(api)
	s.versionRoutes(api)
	s.decisionRoutes(api)
	s.runRoutes(api)
	s.policyRoutes(api)
	s.backtestRoutes(api)
	s.settingsRoutes(api)
	s.plainRoutes(mux, api)
	api.OpenAPI().AddOperation(fixedDoc("get-openapi", apiPath+"/openapi.json", "Get this document", openapiType))
	documentErrors(api.OpenAPI())
	document, err := json.MarshalIndent(api.OpenAPI(), "", " ")
	if err != nil {
		return nil, nil, fmt.Errorf("writing the OpenAPI document: %w", err)
	}
	mux.HandleFunc("GET "+apiPath+"/openapi.json", fixed(openapiType, document))
	if s.UI != nil {
		page := s.pages()
		mux.Handle(pageRoute, page)
		mux.Handle(assetRoute, page)
	}
	return mux, api.OpenAPI(), nil
}

// A jsonBody takes bodies that are declared to be forms for JSON: that is what curl -d declares. Metrics do so too.
type jsonBody struct{ humaContext }

type humaContext = huma.Context // under its own name it would hide the method Context

func (b jsonBody) Header(name string) string {
	v := b.humaContext.Header(name)
	if kind, _, _ := strings.Cut(v, ";"); strings.EqualFold(name, "Content-Type") && kind == "application/x-www-form-urlencoded" {
		return "application/json"
	}
	return v
}

// plainRoutes are those that huma cannot carry: streams, and what must be lean.
func (s *server) plainRoutes(mux *http.ServeMux, api huma.API) {
	for _, route := range s.plain() {
		mux.HandleFunc(route.method+" "+route.path, route.handle)
		if route.doc != nil {
			route.doc.Method, route.doc.Path = route.method, route.path
			api.OpenAPI().AddOperation(route.doc)
		}
	}
}

// register adds a route that huma checks the input of and documents. Errors of handle become problems.
func register[I, O any](s *server, api huma.API, op huma.Operation, handle func(context.Context, *I) (*O, error)) {
	op.Path = apiPath + op.Path
	op.MaxBodyBytes = cmp.Or(op.MaxBodyBytes, maxActionBody)
	op.BodyReadTimeout = s.bodyTime
	huma.Register(api, op, func(ctx context.Context, in *I) (*O, error) {
		out, err := handle(ctx, in)
		if err != nil {
			return nil, s.report(ctx, op.Method, err)
		}
		return out, nil
	})
}

// get and post describe a route in one line.
func get(id, path, summary string) huma.Operation {
	return huma.Operation{OperationID: id, Method: http.MethodGet, Path: path, Summary: summary}
}

func post(id, path, summary string) huma.Operation {
	return huma.Operation{OperationID: id, Method: http.MethodPost, Path: path, Summary: summary}
}

// act runs an action, which may wait for the fold, but not for ever.
func act[T any](ctx context.Context, s *server, f func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, s.ActionWait)
	defer cancel()
	return f(ctx)
}

// A reply is a body with the status of the operation, which is 200 unless it says otherwise.
type reply[T any] struct{ Body T }

// A pageOf is a page of a list.
type pageOf[T any] struct {
	Items []T    `json:"items" nullable:"false"`
	Next  string `json:"next" doc:"The cursor of the next page; empty at the end."`
}

// page makes a page, with an empty list rather than null.
func page[T any](items []T, next string) *reply[pageOf[T]] {
	if items == nil {
		items = []T{}
	}
	return &reply[pageOf[T]]{pageOf[T]{items, next}}
}

// Paging are the parameters of every list.
type Paging struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"How many items at most."`
	Cursor string `query:"cursor" maxLength:"4096" doc:"The next of the page before."`
}

func (p Paging) page() store.Page { return store.Page{Cursor: p.Cursor, Limit: p.Limit} }

// An Actor says who asks and why.
type Actor struct {
	By     string `json:"by,omitempty" maxLength:"256" doc:"Who asks. Defaults to api."`
	Reason string `json:"reason,omitempty" maxLength:"1024" doc:"Why."`
}

// An Asker says who asks.
type Asker struct {
	By string `json:"by,omitempty" maxLength:"256" doc:"Who asks. Defaults to api."`
}

// who is the name to record.
func who(by string) string {
	if by = strings.TrimSpace(by); by == "" {
		return "api"
	}
	return by
}
