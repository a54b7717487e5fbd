package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"

	"github.com/danielgtaylor/huma/v2"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/trainer"
)

// schemaRoutes serves the JSON Schemas of the files that people and training programs write and read.
func (s *server) schemaRoutes(mux *http.ServeMux) error {
	documents := map[string][]byte{}
	for name, t := range map[string]reflect.Type{
		"job":    reflect.TypeFor[visutility.Job](),
		"result": reflect.TypeFor[trainer.Result](),
	} {
		b, err := schemaOf(name, t)
		if err != nil {
			return err
		}
		documents[name] = b
	}
	if s.PolicySchema != nil {
		documents["policy"] = s.PolicySchema
	}
	for name, b := range documents {
		mux.HandleFunc("GET "+apiPath+"/schemas/"+name+".json", fixed("application/schema+json", b))
	}
	return nil
}

// schemaOf is a schema that stands alone, with what it refers to in $defs.
func schemaOf(name string, t reflect.Type) ([]byte, error) {
	registry := huma.NewMapRegistry("#/$defs/", huma.DefaultSchemaNamer)
	root := registry.Schema(t, true, name)
	b, err := json.MarshalIndent(struct {
		Schema string                  `json:"$schema"`
		ID     string                  `json:"$id"`
		Ref    string                  `json:"$ref"`
		Defs   map[string]*huma.Schema `json:"$defs"`
	}{"https://json-schema.org/draft/2020-12/schema", apiPath + "/schemas/" + name + ".json", root.Ref, registry.Map()}, "", " ")
	if err != nil {
		return nil, fmt.Errorf("writing the schema of %s: %w", name, err)
	}
	return b, nil
}

// fixed serves bytes that never change.
func fixed(contentType string, b []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.Write(b) // nothing to do about a client that is gone
	}
}
