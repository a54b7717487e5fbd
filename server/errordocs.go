package server

import (
	"net/http"
	"reflect"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// documentErrors describes the errors of all operations: they are problems. Each operation names
// the statuses that a client of it may want to tell apart; any other is its default.
func documentErrors(doc *huma.OpenAPI) {
	schema := doc.Components.Schemas.Schema(reflect.TypeFor[Problem](), true, "Problem")
	problem := func(description string) *huma.Response {
		return &huma.Response{Description: description, Content: content(problemType, schema)}
	}
	for path, item := range doc.Paths {
		for _, op := range []*huma.Operation{item.Get, item.Post} {
			if op == nil {
				continue
			}
			for _, status := range errorsOf(path, op) {
				r := problem(errorTexts[status])
				if status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable {
					r.Headers = map[string]*huma.Header{"Retry-After": {Description: "When to try again, in seconds.", Schema: &huma.Schema{Type: "integer"}}}
				}
				op.Responses[strconv.Itoa(status)] = r
			}
			op.Responses["default"] = problem("A problem: 4xx says what to mend, 429 and 503 when to try again.")
		}
	}
	delete(doc.Components.Schemas.Map(), "ErrorModel") // huma's own, which no client sees
}

var errorTexts = map[int]string{
	http.StatusBadRequest:            "The body is missing or not JSON.",
	http.StatusUnauthorized:          "The token is missing or wrong.",
	http.StatusForbidden:             "A page of another site may not change anything here.",
	http.StatusNotFound:              "What the path names does not exist.",
	http.StatusConflict:              "The state does not allow it now.",
	http.StatusRequestEntityTooLarge: "The body is too large.",
	http.StatusUnsupportedMediaType:  "The body is of a type or encoding that is not read here.",
	http.StatusUnprocessableEntity:   "Something in the request is wrong: errors names it.",
	http.StatusTooManyRequests:       "Too much at once.",
	http.StatusServiceUnavailable:    "Not possible now, such as on a full disk.",
}

// errorsOf lists the errors that an operation is known to come to.
func errorsOf(path string, op *huma.Operation) []int {
	if op.Security != nil { // open to all
		return []int{http.StatusServiceUnavailable}
	}
	statuses := []int{http.StatusUnauthorized}
	if strings.Contains(path, "{") {
		statuses = append(statuses, http.StatusNotFound)
	}
	if len(op.Parameters) > strings.Count(path, "{") || op.RequestBody != nil {
		statuses = append(statuses, http.StatusUnprocessableEntity)
	}
	if op.RequestBody != nil {
		statuses = append(statuses, http.StatusBadRequest, http.StatusForbidden, http.StatusRequestEntityTooLarge, http.StatusServiceUnavailable)
	}
	switch {
	case op.OperationID == "post-metrics", op.OperationID == "post-predictions", op.OperationID == "post-labels":
		return append(statuses, http.StatusUnsupportedMediaType, http.StatusTooManyRequests)
	case op.OperationID == "post-callback": // of any type
		return append(statuses, http.StatusConflict)
	case op.OperationID == "post-backtest": // which changes nothing
		return append(statuses, http.StatusUnsupportedMediaType, http.StatusTooManyRequests)
	case op.RequestBody != nil:
		return append(statuses, http.StatusConflict, http.StatusUnsupportedMediaType)
	case op.OperationID == "get-decision-test": // not of every decision, nor at once
		return append(statuses, http.StatusUnprocessableEntity, http.StatusTooManyRequests, http.StatusServiceUnavailable)
	case op.OperationID == "stream-events", op.OperationID == "get-logs":
		return append(statuses, http.StatusTooManyRequests)
	}
	return statuses
}
