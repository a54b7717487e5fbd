package ingest

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/visutility/visutility"
)

// kindOf says in words what a JSON value is.
func kindOf(v jsontext.Value) string {
	switch v.Kind() {
	case 'n':
		return "null"
	case 't', 'f':
		return "a boolean"
	case '"':
		return "a string"
	case '0':
		return "a number"
	case '[':
		return "an array"
	case '{':
		return "an object"
	}
	return "no JSON value"
}

// words are what is said of the objects of a body.
type words struct {
	noun     string
	article  string
	example  string
	fields   []string          // in the order of the documentation
	synonyms map[string]string // names that other systems give to them
}

var eventWords = words{
	noun: "event", article: "an", example: `an event such as {"model": "churn", "metric": "auc", "value": 0.91}`,
	fields: []string{"model", "metric", "value", "time", "count", "version", "labels"},
	synonyms: map[string]string{
		"model_name": "model", "modelname": "model", "model_id": "model",
		"metric_name": "metric", "metricname": "metric", "name": "metric", "key": "metric",
		"score": "value", "val": "value", "metric_value": "value",
		"ts": "time", "timestamp": "time", "at": "time", "event_time": "time",
		"n": "count", "samples": "count", "sample_count": "count", "size": "count",
		"model_version": "version", "tags": "labels", "attributes": "labels", "segments": "labels",
	},
}

// unknown refuses a field that there is none of, and suggests the one that was meant.
func (d *decoder) unknown(i int, name string) {
	name = clip(name)
	w := d.words
	if meant := w.meant(name); meant != "" {
		d.add(i, name, "unknown_field", "is not a field of %s %s; did you mean %q?", w.article, w.noun, meant)
		return
	}
	d.add(i, name, "unknown_field", "is not a field of %s %s; the fields are %s", w.article, w.noun, strings.Join(w.fields, ", "))
}

func (w *words) meant(name string) string {
	lower := strings.ToLower(name)
	if s := w.synonyms[lower]; s != "" {
		return s
	}
	best, distance := "", 3 // two slips of the finger, no more
	for _, f := range w.fields {
		if n := levenshtein.ComputeDistance(lower, f); n < distance && n < len(f)/2+1 {
			best, distance = f, n
		}
	}
	return best
}

// syntaxError says where a body stops being JSON.
func syntaxError(body []byte, s *jsontext.SyntacticError) error {
	at := min(max(int(s.ByteOffset), 0), len(body))
	line := 1 + bytes.Count(body[:at], []byte("\n"))
	column := at - bytes.LastIndexByte(body[:at], '\n')
	cause := s.Err
	for inner := errors.Unwrap(cause); inner != nil; inner = errors.Unwrap(cause) {
		cause = inner
	}
	return fmt.Errorf("%w: line %d, column %d: %w", ErrSyntax, line, column, cause)
}

// quoteNonFinite puts the bare words NaN, Infinity and Inf, in any case and with
// any sign, into quotes. The words lose their last two letters to the quotes,
// so that every other byte stays in its place. ok tells whether there were any.
func quoteNonFinite(body []byte) (quoted []byte, ok bool) {
	quoted = bytes.Clone(body)
	inString := false
	for i := 0; i < len(body); i++ {
		switch c := body[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case !inString && isWord(c) && (i == 0 || !isWord(body[i-1])):
			n := 1
			for i+n < len(body) && isWord(body[i+n]) {
				n++
			}
			if isNonFinite(body[i : i+n]) {
				copy(quoted[i+1:i+n-1], body[i:])
				quoted[i], quoted[i+n-1] = '"', '"'
				ok = true
			}
			i += n - 1
		}
	}
	return quoted, ok
}

func isWord(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '+' || c == '.' || c == '_'
}

func isNonFinite(word []byte) bool {
	if word[0] == '-' || word[0] == '+' {
		word = word[1:]
	}
	return equalFold(word, "nan") || equalFold(word, "infinity") || equalFold(word, "inf")
}

func equalFold(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i := range b {
		if b[i]|0x20 != lower[i] {
			return false
		}
	}
	return true
}

func sortFields(errs []visutility.FieldError) {
	slices.SortFunc(errs, func(a, b visutility.FieldError) int {
		return cmp.Or(cmp.Compare(a.Field, b.Field), cmp.Compare(a.Reason, b.Reason))
	})
}
