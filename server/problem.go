package server

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/ingest"
	"github.com/visutility/visutility/trainer"
)

// A Problem is an error as a client sees it: RFC 9457, application/problem+json.
type Problem struct {
	Type   string `json:"type,omitempty" doc:"Always about:blank: the status says what kind of problem it is."`
	Title  string `json:"title" doc:"The status in words."`
	Status int    `json:"status" doc:"The HTTP status code."`
	Detail string `json:"detail" doc:"What is wrong, and what would be right."`
	// Errors names every bad field.
	Errors []ProblemField `json:"errors,omitempty" doc:"Every bad field of the request, up to 20."`

	retryAfter time.Duration
	reason     string // the word under which a refusal is counted
	cause      error  // what a client is not told
}

// A ProblemField is one bad field of a request.
type ProblemField struct {
	Location string `json:"location,omitempty" doc:"Where, such as events[3].value or query.limit."`
	Line     int    `json:"line,omitempty" doc:"The line of a text, from 1."`
	Column   int    `json:"column,omitempty" doc:"The column of that line, from 1, in characters."`
	Message  string `json:"message,omitempty" doc:"What is wrong with it."`
	Reason   string `json:"reason,omitempty" doc:"The same in one word that does not change."`
	Value    any    `json:"value,omitempty" doc:"What was sent."`
}

func (p *Problem) Error() string { return p.Detail }

// GetStatus, GetHeaders and ContentType tell huma how to send the problem.
func (p *Problem) GetStatus() int { return p.Status }

// GetHeaders says when to try again, if that makes sense.
func (p *Problem) GetHeaders() http.Header {
	h := http.Header{}
	if p.retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int(p.retryAfter.Seconds())))
	}
	return h
}

// ContentType is that of problems.
func (p *Problem) ContentType(string) string { return problemType }

const problemType = "application/problem+json"

func newProblem(status int, reason, detail string) *Problem {
	return &Problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: detail, reason: reason}
}

// How long a client is to wait before it tries again.
const (
	retryOverloaded  = time.Second
	retryUnavailable = 5 * time.Second
)

// problemOf is the one place where errors become HTTP: the first kind that matches says which status.
func problemOf(err error) *Problem {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p
	}
	var p *Problem
	switch {
	case errors.Is(err, ingest.ErrTooLarge):
		p = newProblem(http.StatusRequestEntityTooLarge, "too_large", err.Error())
	case errors.Is(err, ingest.ErrUnsupported):
		p = newProblem(http.StatusUnsupportedMediaType, "unsupported", err.Error())
	case errors.Is(err, ingest.ErrSyntax):
		p = newProblem(http.StatusBadRequest, "syntax", err.Error())
	case errors.Is(err, trainer.ErrToken):
		p = newProblem(http.StatusUnauthorized, "unauthorized", err.Error())
	case errors.Is(err, visutility.ErrOverloaded):
		p = newProblem(http.StatusTooManyRequests, "overloaded", err.Error())
		p.retryAfter = retryOverloaded
	case errors.Is(err, visutility.ErrUnavailable):
		p = newProblem(http.StatusServiceUnavailable, "unavailable", err.Error())
		p.retryAfter = retryUnavailable
	case errors.Is(err, visutility.ErrNotFound):
		p = newProblem(http.StatusNotFound, "not_found", plainly(err, visutility.ErrNotFound))
	case errors.Is(err, visutility.ErrConflict):
		p = newProblem(http.StatusConflict, "conflict", strings.TrimSuffix(plainly(err, visutility.ErrConflict), ": "+visutility.ErrConflict.Error()))
	case errors.Is(err, visutility.ErrInvalid):
		p = invalidProblem(err)
	case isTimeout(err):
		p = newProblem(http.StatusRequestTimeout, "timeout", "the request did not arrive in time")
	case errors.Is(err, context.Canceled):
		// The client is gone; nobody reads this.
		p = newProblem(http.StatusServiceUnavailable, "canceled", "the request was given up")
	default:
		p = newProblem(http.StatusInternalServerError, "internal", "internal error; the server's log says more")
		p.cause = err
	}
	return p
}

// invalidProblem names every bad field.
func invalidProblem(err error) *Problem {
	p := newProblem(http.StatusUnprocessableEntity, "invalid", plainly(err, visutility.ErrInvalid))
	if bad, ok := errors.AsType[*visutility.InvalidError](err); ok {
		p.Detail = seeErrors
		for _, f := range bad.Fields {
			p.Errors = append(p.Errors, ProblemField{Location: f.Field, Message: f.Message, Reason: f.Reason})
		}
	}
	return p
}

const seeErrors = "see errors for what to mend"

// plainly is the text of an error without the word for its kind, where more is said: the
// status has that word already.
func plainly(err, kind error) string {
	text := strings.TrimPrefix(err.Error(), kind.Error()+": ")
	return strings.Replace(text, ": "+kind.Error()+": ", ": ", 1)
}

// oneShape makes the problems that huma finds into problems like all others. What was sent is not sent
// back: a body may hold what no log of answers should.
func oneShape(ctx huma.Context, _ string, v any) (any, error) {
	found, ok := v.(*huma.ErrorModel)
	if !ok {
		return v, nil
	}
	p := newProblem(found.Status, "", found.Detail)
	for _, e := range found.Errors {
		p.Errors = append(p.Errors, ProblemField{Location: e.Location, Message: e.Message, Reason: humaReason(found.Status, e.Message)})
	}
	if len(p.Errors) > 0 {
		p.Detail = seeErrors
	}
	if p.Status == http.StatusUnsupportedMediaType {
		p.Errors, p.Detail = nil, "the body is of no type that is read here; send Content-Type: application/json"
	}
	p.reassure(ctx.Method())
	return p, nil
}

// humaReasons are the words for the faults that huma finds, by how its messages begin. Any other is of the wrong type.
var humaReasons = []struct{ message, reason string }{
	{"unexpected property", "unknown_field"},
	{"unknown query parameter", "unknown_field"},
	{"expected required property", "missing"},
	{"required ", "missing"},
	{"expected length >= 1", "empty"},
	{"expected length", "too_long"},
	{"expected number >", "range"},
	{"expected number <", "range"},
	{"expected value to be one of", "unknown"},
	{"invalid date/time", "syntax"},
}

func humaReason(status int, message string) string {
	if status == http.StatusBadRequest {
		return "syntax"
	}
	at := slices.IndexFunc(humaReasons, func(r struct{ message, reason string }) bool { return strings.HasPrefix(message, r.message) })
	if at < 0 {
		return "type"
	}
	return humaReasons[at].reason
}

// reassure says that a request that could have changed something did not.
func (p *Problem) reassure(method string) {
	if p.Detail == seeErrors && method != http.MethodGet {
		p.Detail = "nothing was applied; " + seeErrors
	}
}

func isTimeout(err error) bool {
	n, ok := errors.AsType[net.Error](err)
	return ok && n.Timeout()
}

// fail answers with the problem that err is.
func (s *server) fail(w http.ResponseWriter, r *http.Request, err error) {
	p := s.report(r.Context(), r.Method, err)
	for name, values := range p.GetHeaders() {
		w.Header()[name] = values
	}
	writeProblem(w, p)
}

// report turns err into a problem, and logs what the client is not told.
func (s *server) report(ctx context.Context, method string, err error) *Problem {
	p := problemOf(err)
	p.reassure(method)
	if p.cause != nil {
		s.Logger.ErrorContext(ctx, "request failed", "error", p.cause)
	}
	return p
}

func writeProblem(w http.ResponseWriter, p *Problem) {
	h := w.Header()
	h.Set("Content-Type", problemType)
	h.Del("Content-Length")
	w.WriteHeader(p.Status)
	b, err := json.Marshal(p)
	if err != nil {
		return // a Problem of strings and numbers always marshals
	}
	w.Write(append(b, '\n')) // a client that is gone reads no error
}
