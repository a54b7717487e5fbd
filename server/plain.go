package server

import (
	"net/http"

	"github.com/danielgtaylor/huma/v2"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// A plainRoute is a route that huma does not carry, with its part of the OpenAPI document, if any.
type plainRoute struct {
	method, path string
	handle       http.HandlerFunc
	doc          *huma.Operation
}

func (s *server) plain() []plainRoute {
	metrics := promhttp.HandlerFor(s.Registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
	routes := append(schemaRoutes(), s.protocolRoutes()...)
	return append(routes, []plainRoute{
		{"GET", "/healthz", s.getHealth, healthDoc("get-health", "Say that the process lives")},
		{"GET", "/readyz", s.getReady, healthDoc("get-readiness", "Say whether events can be accepted")},
		{"GET", "/metrics", metrics.ServeHTTP, nil},
		{"POST", apiPath + "/metrics", s.post(s.metricsIntake()), metricsDoc()},
		{"POST", apiPath + "/predictions", s.post(s.predictionsIntake()), predictionsDoc()},
		{"POST", apiPath + "/labels", s.post(s.labelsIntake()), labelsDoc()},
		{"GET", apiPath + "/events", s.getEvents, eventsDoc()},
		{"GET", apiPath + "/decisions/{decision}/test", s.getDecisionTest, decisionTestDoc()},
		{"GET", apiPath + "/runs/{run}/logs", s.getLogs, logsDoc()},
		{"POST", apiPath + "/runs/{run}/callback", s.postCallback, callbackDoc()},
	}...)
}

// healthDoc describes a route that needs no token.
func healthDoc(id, summary string) *huma.Operation {
	return &huma.Operation{
		OperationID: id, Summary: summary, Security: []map[string][]string{{}},
		Responses: map[string]*huma.Response{"200": {Description: "Yes.", Content: content("text/plain", &huma.Schema{Type: "string"})}},
	}
}

func param(in, name, kind, text string) *huma.Param {
	return &huma.Param{Name: name, In: in, Description: text, Required: in == "path", Schema: &huma.Schema{Type: kind}}
}

func content(contentType string, schema *huma.Schema) map[string]*huma.MediaType {
	return map[string]*huma.MediaType{contentType: {Schema: schema}}
}

func eventsDoc() *huma.Operation {
	return &huma.Operation{
		OperationID: "stream-events", Summary: "Stream what happens, as server-sent events",
		Description: "id is a sequence number, event the kind (decision, run, progress, alias, model, policy), data the activity as JSON. A comment comes every 15 seconds. " +
			`Measurements come too when they are asked for, as events of the kind measurements, without an id: {"items": […], "dropped": 0}. Of a second of a series the newest is told; the history has all.`,
		Parameters: []*huma.Param{
			param("header", "Last-Event-ID", "integer", "Resume after this event."),
			param("query", "after", "integer", "The same, for a first connection. Defaults to now."),
			param("query", "measurements", "boolean", "Send the measurements of all models too."),
			{Name: "measurements_of", In: "query", Description: "Send the measurements of this model too; repeat it for several, up to 100.", Schema: &huma.Schema{Type: "array", Items: &huma.Schema{Type: "string"}}},
		},
		Responses: map[string]*huma.Response{"200": {Description: "The stream.", Content: content("text/event-stream", &huma.Schema{Type: "string"})}},
	}
}

func logsDoc() *huma.Operation {
	return &huma.Operation{
		OperationID: "get-logs", Summary: "Get the end of the log of a run's newest attempt",
		Parameters: []*huma.Param{
			param("path", "run", "string", "The id of the run."),
			param("query", "follow", "boolean", "Go on with what is written until the training is over."),
			param("query", "tail", "integer", "How many bytes of what is there. Defaults to 1 MiB, at most 64 MiB."),
		},
		Responses: map[string]*huma.Response{"200": {Description: "The log. The header Visutility-Log-Skipped says how many bytes came before.", Content: content("text/plain", &huma.Schema{Type: "string"})}},
	}
}

func callbackDoc() *huma.Operation {
	return &huma.Operation{
		OperationID: "post-callback", Summary: "Tell how a webhook's training goes",
		Description: "For webhook trainers, with the token that came with the job as bearer token. The body is of at most 1 MiB.",
		Parameters:  []*huma.Param{param("path", "run", "string", "The id of the run.")},
		RequestBody: &huma.RequestBody{Required: true, Content: content("application/json", &huma.Schema{Type: "object"})},
		Responses:   map[string]*huma.Response{"204": {Description: "Taken."}},
	}
}
