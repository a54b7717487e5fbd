package server

import (
	"net/http"

	"github.com/visutility/visutility/policy"
	"github.com/visutility/visutility/trainer"
)

// schemaRoutes serves the JSON Schemas of the files that people and training programs write and read.
func schemaRoutes(mux *http.ServeMux) {
	mux.HandleFunc("GET "+apiPath+"/schemas/policy.json", fixed(schemaType, policy.Schema()))
	for name, b := range trainer.Schemas() {
		mux.HandleFunc("GET "+apiPath+"/schemas/"+name, fixed(schemaType, b))
	}
}

const schemaType = "application/schema+json"

// fixed serves bytes that never change.
func fixed(contentType string, b []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.Write(b) // nothing to do about a client that is gone
	}
}
