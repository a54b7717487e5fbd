package server

import "github.com/danielgtaylor/huma/v2"

// The OpenAPI of the bodies that are taken in.

func nameSchema(text string) *huma.Schema {
	return &huma.Schema{Type: "string", Description: text, MaxLength: new(256)}
}

func timeSchema(text string) *huma.Schema {
	return &huma.Schema{Description: text + " Defaults to now. A number below 1e11 is Unix seconds, from there on milliseconds.",
		OneOf: []*huma.Schema{{Type: "string", Format: "date-time"}, {Type: "number"}}}
}

func answerSchema(text string) *huma.Schema {
	return &huma.Schema{Description: text, OneOf: []*huma.Schema{{Type: "string", MinLength: new(1), MaxLength: new(256)}, {Type: "boolean"}, {Type: "number"}}}
}

func segmentsSchema() *huma.Schema {
	return &huma.Schema{Type: "object", AdditionalProperties: nameSchema(""), Description: "Tell segments of a model apart: at most 16."}
}

func metricsDoc() *huma.Operation {
	return intakeDoc("post-metrics", "Send metric events", "events", "", &huma.Schema{
		Type: "object", AdditionalProperties: false, Required: []string{"model", "metric", "value"},
		Properties: map[string]*huma.Schema{
			"model":   nameSchema("The model that was measured."),
			"metric":  nameSchema("What was measured: accuracy, drift_score, or any other name."),
			"value":   {Type: "number", Description: "The measurement, finite."},
			"time":    timeSchema("When it was true."),
			"count":   {Type: "integer", Minimum: new(0.0), Description: "The samples behind the value. Defaults to 1."},
			"version": nameSchema("The version of the model that was measured."),
			"labels":  segmentsSchema(),
		},
	})
}

func predictionsDoc() *huma.Operation {
	return intakeDoc("post-predictions", "Send predictions", "predictions",
		" They are joined with their labels by model and id, and come to metric events once their window is mature.", &huma.Schema{
			Type: "object", AdditionalProperties: false, Required: []string{"model", "id"},
			Properties: map[string]*huma.Schema{
				"model":      nameSchema("The model that predicted."),
				"id":         nameSchema("Tells the predictions of a model apart. A whole number is taken too."),
				"prediction": answerSchema("What was predicted: a class or a number. A score alone will do."),
				"score":      {Type: "number", Minimum: new(0.0), Maximum: new(1.0), Description: "The probability of the positive class."},
				"features": {Type: "object", AdditionalProperties: answerSchema(""),
					Description: "Inputs whose drift is to be watched, at most 256: numbers and categories. Null is as good as absent."},
				"version": nameSchema("The version of the model that predicted."),
				"time":    timeSchema("When it was predicted."),
				"labels":  segmentsSchema(),
			},
		})
}

func labelsDoc() *huma.Operation {
	return intakeDoc("post-labels", "Send what turned out to be true", "labels",
		" A label is joined with the prediction of the same model and id; the first one counts.", &huma.Schema{
			Type: "object", AdditionalProperties: false, Required: []string{"model", "id", "label"},
			Properties: map[string]*huma.Schema{
				"model": nameSchema("The model that predicted."),
				"id":    nameSchema("The id of the prediction."),
				"label": answerSchema("What would have been right: a class or a number."),
				"time":  timeSchema("When it became known."),
			},
		})
}

// intakeDoc describes a route that takes objects of a kind.
func intakeDoc(id, summary, noun, more string, one *huma.Schema) *huma.Operation {
	return &huma.Operation{
		OperationID: id, Summary: summary,
		Description: "All " + noun + " of a body are accepted or none. When it answers 200 they are on disk. At most 16 MiB after decompression." + more,
		Parameters: []*huma.Param{
			param("header", "Idempotency-Key", "string", "Up to 256 printable characters. A second body with the same key within ten minutes is answered like the first and dropped. The key alone decides, the body is not compared: use a new one for every body."),
			param("header", "Content-Encoding", "string", "gzip or zstd."),
		},
		RequestBody: &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{
			"application/json":     {Schema: &huma.Schema{OneOf: []*huma.Schema{one, {Type: "array", Items: one}}}},
			"application/x-ndjson": {Schema: one},
		}},
		Responses: map[string]*huma.Response{"200": {Description: "Accepted and on disk.", Content: content("application/json", &huma.Schema{
			Type: "object", Required: []string{"accepted"}, AdditionalProperties: false,
			Properties: map[string]*huma.Schema{"accepted": {Type: "integer", Description: "How many " + noun + "."}},
		})}},
	}
}
