package server

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"strconv"
	"time"

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
		p = newProblem(http.StatusNotFound, "not_found", err.Error())
	case errors.Is(err, visutility.ErrConflict):
		p = newProblem(http.StatusConflict, "conflict", err.Error())
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
	p := newProblem(http.StatusUnprocessableEntity, "invalid", err.Error())
	if bad, ok := errors.AsType[*visutility.InvalidError](err); ok {
		p.Detail = "nothing was applied; see errors for what to mend"
		for _, f := range bad.Fields {
			p.Errors = append(p.Errors, ProblemField{Location: f.Field, Message: f.Message, Reason: f.Reason})
		}
	}
	return p
}

func isTimeout(err error) bool {
	n, ok := errors.AsType[net.Error](err)
	return ok && n.Timeout()
}

// fail answers with the problem that err is.
func (s *server) fail(w http.ResponseWriter, r *http.Request, err error) {
	p := s.report(r.Context(), err)
	for name, values := range p.GetHeaders() {
		w.Header()[name] = values
	}
	writeProblem(w, p)
}

// report turns err into a problem, and logs what the client is not told.
func (s *server) report(ctx context.Context, err error) *Problem {
	p := problemOf(err)
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
