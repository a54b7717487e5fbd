package server

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/visutility/visutility/ingest"
)

// A protocolCounter counts what the formats of other systems bring.
type protocolCounter struct{ accepted, ignored *prometheus.CounterVec }

func newProtocolCounter() protocolCounter {
	return protocolCounter{
		accepted: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "visutility_ingest_accepted_total", Help: "Events accepted from other systems, by format.",
		}, []string{"format"}),
		ignored: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "visutility_ingest_ignored_total", Help: "Measurements of other systems that were passed over, by format and reason.",
		}, []string{"format", "reason"}),
	}
}

// protocolRoutes are the routes of the formats of other systems. They are not in the OpenAPI document: each has
// a specification of its own.
func (s *server) protocolRoutes() []plainRoute {
	var routes []plainRoute
	for i := range ingest.Protocols {
		p := &ingest.Protocols[i]
		for _, path := range p.Paths {
			routes = append(routes, plainRoute{"POST", path, s.postProtocol(p), nil})
		}
	}
	return append(append(routes, s.grpcRoutes()...), s.mlflowRoutes()...)
}

// postProtocol takes in bodies of a format, as far as they are good, and answers as its senders expect.
func (s *server) postProtocol(p *ingest.Protocol) http.HandlerFunc {
	source := s.source(p.Name)
	return func(w http.ResponseWriter, r *http.Request) {
		req := ingest.Request{Header: r.Header, Now: time.Now()}
		b, err := s.acceptProtocol(r, p, source, &req)
		if err != nil {
			s.countRefused(p.Name, err)
			s.refuseProtocol(w, r, p, req, err)
			return
		}
		sendReply(w, p.Answer(req, b))
	}
}

// source is a format's way in.
func (s *server) source(format string) *ingest.Source {
	if src := s.sources[format]; src != nil {
		return src
	}
	src := ingest.NewSource(*s.Mapping, time.Now())
	s.sources[format] = src
	return src
}

func (s *server) acceptProtocol(r *http.Request, p *ingest.Protocol, source *ingest.Source, req *ingest.Request) (*ingest.Batch, error) {
	limit := min(s.MaxBody, ingest.MaxProtocolBody)
	if r.ContentLength > limit {
		return nil, fmt.Errorf("%w: %d bytes are over the limit of %d; send smaller batches", ingest.ErrTooLarge, r.ContentLength, limit)
	}
	if err := s.budget.Admit(r.ContentLength); err != nil { // before all of it is sent for nothing
		return nil, err
	}
	body, err := ingest.ReadBody(r.Body, strings.Join(r.Header.Values("Content-Encoding"), ","), limit, s.budget)
	if err != nil {
		return nil, err
	}
	defer body.Release()
	if err := body.Unfold(); err != nil {
		return nil, err
	}
	req.Body = body.Bytes
	defer func() { req.Body = nil }() // the answer does without
	b, err := p.Read(source, *req)
	if err != nil {
		return nil, err
	}
	return b, s.keep(r.Context(), p.Name, b)
}

// keep publishes what is good in a batch, and counts.
func (s *server) keep(ctx context.Context, format string, b *ingest.Batch) error {
	if len(b.Events) > 0 {
		if err := s.publish(ctx, b.Key, b.Events); err != nil {
			return err
		}
	}
	b.Done()
	s.protocols.accepted.WithLabelValues(format).Add(float64(len(b.Events)))
	for reason, n := range b.Refused {
		s.refused.WithLabelValues(format, reason).Add(float64(n))
	}
	for reason, n := range b.Ignored {
		s.protocols.ignored.WithLabelValues(format, reason).Add(float64(n))
	}
	return nil
}

// refuseProtocol answers a request of which nothing was taken in.
func (s *server) refuseProtocol(w http.ResponseWriter, r *http.Request, p *ingest.Protocol, req ingest.Request, err error) {
	problem := s.report(r.Context(), r.Method, err)
	if problem.Status == http.StatusTooManyRequests && p.Busy != 0 {
		problem.Status, problem.Title = p.Busy, http.StatusText(p.Busy)
	}
	for name, values := range problem.GetHeaders() {
		w.Header()[name] = values
	}
	if p.Refuse == nil {
		writeProblem(w, problem)
		return
	}
	text := problem.Detail
	for _, e := range problem.Errors {
		text += "; " + e.Location + ": " + e.Message
	}
	sendReply(w, p.Refuse(req, problem.Status, text))
}

func sendReply(w http.ResponseWriter, a ingest.Reply) {
	h := w.Header()
	for name, value := range a.Header {
		h.Set(name, value)
	}
	if a.ContentType != "" {
		h.Set("Content-Type", a.ContentType)
	}
	w.WriteHeader(a.Status)
	w.Write(a.Body) // the events are safe, whether or not the client still listens
}
