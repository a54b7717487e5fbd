package trainer

import (
	"bytes"
	"encoding"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/visutility/visutility"
)

// schema is the part of JSON Schema that ours use.
type schema struct {
	Ref         string             `json:"$ref"`
	Type        any                `json:"type"`
	Format      string             `json:"format"`
	Enum        []string           `json:"enum"`
	Required    []string           `json:"required"`
	Properties  map[string]*schema `json:"properties"`
	Additional  json.RawMessage    `json:"additionalProperties"`
	Items       *schema            `json:"items"`
	Defs        map[string]*schema `json:"$defs"`
	Description string             `json:"description"`
}

// TestSchemasDescribeTheGoTypes walks each type beside its schema: every field is there, under its
// name, with its type, required exactly when it is always written.
func TestSchemasDescribeTheGoTypes(t *testing.T) {
	for file, v := range map[string]any{"job.json": visutility.Job{}, "result.json": Result{}} {
		var root schema
		dec := json.NewDecoder(bytes.NewReader(Schemas()[file]))
		if err := dec.Decode(&root); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		w := walk{t, &root, map[reflect.Type]bool{}}
		w.check(file, reflect.TypeOf(v), &root)
	}
}

type walk struct {
	*testing.T
	root *schema
	seen map[reflect.Type]bool
}

func (w walk) check(path string, typ reflect.Type, s *schema) {
	if s == nil {
		w.Errorf("%s: the schema does not have it", path)
		return
	}
	if name, ok := strings.CutPrefix(s.Ref, "#/$defs/"); ok {
		s = w.root.Defs[name]
	}
	want := func(name string) {
		if s.Type != name {
			w.Errorf("%s: type %v, want %s", path, s.Type, name)
		}
	}
	switch {
	case typ.Kind() == reflect.Pointer:
		w.check(path, typ.Elem(), s)
	case typ == reflect.TypeFor[time.Time]():
		want("string")
		if s.Format != "date-time" {
			w.Errorf("%s: format %q, want date-time", path, s.Format)
		}
	case typ.Implements(reflect.TypeFor[encoding.TextMarshaler]()):
		w.enum(path, typ, s)
	case typ.Kind() == reflect.Struct:
		want("object")
		w.fields(path, typ, s)
	case typ.Kind() == reflect.Map:
		want("object")
	case typ.Kind() == reflect.Slice:
		want("array")
		w.check(path+"[]", typ.Elem(), s.Items)
	case typ.Kind() == reflect.String:
		want("string")
	case typ.Kind() == reflect.Float64:
		want("number")
	case typ.Kind() == reflect.Interface: // anything
	default:
		want("integer")
	}
}

// enum makes sure that the schema lists every name that the type has.
func (w walk) enum(path string, typ reflect.Type, s *schema) {
	var names []string
	for i := int64(0); ; i++ {
		v := reflect.New(typ).Elem()
		v.SetInt(i)
		name, err := v.Interface().(encoding.TextMarshaler).MarshalText()
		if err != nil {
			break
		}
		names = append(names, string(name))
	}
	if !slices.Equal(names, s.Enum) {
		w.Errorf("%s: enum %v, want %v", path, s.Enum, names)
	}
}

func (w walk) fields(path string, typ reflect.Type, s *schema) {
	if w.seen[typ] {
		return
	}
	w.seen[typ] = true
	known := map[string]bool{}
	for f := range typ.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "-" {
			continue
		}
		known[name] = true
		always := !strings.Contains(options, "omit") || path == "result.json" && name == "artifact"
		if slices.Contains(s.Required, name) != always {
			w.Errorf("%s.%s: required %t, want %t", path, name, !always, always)
		}
		w.check(path+"."+name, f.Type, s.Properties[name])
	}
	for name := range s.Properties {
		if !known[name] {
			w.Errorf("%s.%s: the type does not have it", path, name)
		}
	}
}

func TestResultSchemaRefusesUnknownFields(t *testing.T) {
	var s schema
	if err := json.Unmarshal(Schemas()["result.json"], &s); err != nil || string(s.Additional) != "false" {
		t.Errorf("additionalProperties %s (%v), want false as the decoder has it", s.Additional, err)
	}
}
