package server

import (
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/visutility/visutility/policy"
	"github.com/visutility/visutility/trainer"
)

// schemaRoutes serve the JSON Schemas of the files that people and training programs write and read.
func schemaRoutes() []plainRoute {
	route := func(name string, b []byte) plainRoute {
		path, kind := apiPath+"/schemas/"+name, strings.TrimSuffix(name, ".json")
		return plainRoute{"GET", path, fixed(schemaType, b), fixedDoc("get-schema-of-"+kind, path, "Get the JSON Schema of a "+kind+" file", schemaType)}
	}
	routes := []plainRoute{route("policy.json", policy.Schema())}
	for name, b := range trainer.Schemas() {
		routes = append(routes, route(name, b))
	}
	return routes
}

// fixedDoc describes a route that serves a JSON object which never changes.
func fixedDoc(id, path, summary, contentType string) *huma.Operation {
	return &huma.Operation{
		OperationID: id, Method: http.MethodGet, Path: path, Summary: summary,
		Responses: map[string]*huma.Response{"200": {Description: "OK", Content: content(contentType, &huma.Schema{Type: "object"})}},
	}
}

const (
	schemaType  = "application/schema+json"
	openapiType = "application/openapi+json"
)

// fixed serves bytes that never change.
func fixed(contentType string, b []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.Write(b) // nothing to do about a client that is gone
	}
}
