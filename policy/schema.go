package policy

import "encoding/json"

// A schema is a piece of JSON Schema.
type schema map[string]any

var (
	stringSchema   = schema{"type": "string"}
	numberSchema   = schema{"type": "number"}
	booleanSchema  = schema{"type": "boolean"}
	durationSchema = schema{"type": "string", "examples": []any{"90s", "2h", "30d"}}
	goalSchema     = schema{"enum": []any{string(HigherIsBetter), string(LowerIsBetter)}}
)

func integerSchema(least int) schema { return schema{"type": "integer", "minimum": least} }

func listSchema(items schema) schema {
	return schema{"type": "array", "items": items, "minItems": 1}
}

func metricSchema() schema {
	return schema{"oneOf": []any{goalSchema, objectSchema(metricFields())}}
}

// objectSchema is the schema of a map with the given fields.
func objectSchema[T any](fields []field[T]) schema {
	properties := make(schema, len(fields))
	for _, f := range fields {
		p := schema{"description": f.doc}
		for k, v := range f.schema {
			p[k] = v
		}
		properties[f.key] = p
	}
	return schema{"type": "object", "additionalProperties": false, "properties": properties}
}

// Schema is the JSON Schema (2020-12) of a policy file, made of the same
// tables that Parse reads it by. Editors complete and check keys by it; only Parse checks conditions.
func Schema() []byte {
	s := objectSchema(policyFields())
	s["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	s["title"] = "VisuTility policy"
	s["required"] = []any{"retrain", "train"}
	s["oneOf"] = []any{schema{"required": []any{"model"}}, schema{"required": []any{"models"}}}
	b, _ := json.MarshalIndent(s, "", "  ") // maps of plain values: cannot fail
	return append(b, '\n')
}
