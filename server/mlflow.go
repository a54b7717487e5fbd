package server

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/visutility/visutility/ingest"
	"github.com/visutility/visutility/trainer"
)

// maxTracking bounds a body of MLflow's protocol, whose clients send at most 1 MB.
const maxTracking = 2 << 20

// mlflowRoutes are the routes of MLflow's tracking protocol.
func (s *server) mlflowRoutes() []plainRoute {
	tracking := ingest.NewMLflow(s.source(ingest.MLflowFormat))
	var routes []plainRoute
	for i := range ingest.MLflowEndpoints {
		e := &ingest.MLflowEndpoints[i]
		routes = append(routes, plainRoute{e.Method, ingest.MLflowPath + e.Path, s.track(tracking, e), nil})
	}
	for _, root := range []string{ingest.MLflowPath, ingest.MLflowNewPath} {
		for _, method := range []string{"GET", "POST", "PATCH", "DELETE"} {
			routes = append(routes, plainRoute{method, root + "{method...}", trackUnknown, nil})
		}
	}
	return routes
}

// trackUnknown answers what is not understood, in words that MLflow's clients show.
func trackUnknown(w http.ResponseWriter, r *http.Request) {
	sendReply(w, ingest.MLflowUnknown(r.PathValue("method")))
}

type trainingKey struct{}

// A training is a training program that calls, known by the token of its attempt.
type training struct{ run, token string }

// trainingOf reads the credentials of a training program on routes where those are good, which are MLflow's:
// the run's id, a colon and the token of the attempt.
func (s *server) trainingOf(r *http.Request, pattern string) (training, bool) {
	_, path, _ := strings.Cut(pattern, " ")
	run, token, ok := strings.Cut(credentials(r), ":")
	ok = ok && (strings.HasPrefix(path, ingest.MLflowPath) || strings.HasPrefix(path, ingest.MLflowNewPath))
	if !ok || s.Engine.CheckToken(run, token) != nil {
		return training{}, false
	}
	return training{run, token}, true
}

// track makes a call of the tracking protocol. What a training program logs is kept with its run, what
// others log was measured of the models that serve.
func (s *server) track(tracking *ingest.MLflow, e *ingest.MLflowEndpoint) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		answer, err := s.callTracking(r, tracking, e)
		if err != nil {
			if e.Method == http.MethodPost { // to ask for what is not there is how clients begin
				s.countRefused(ingest.MLflowFormat, err)
			}
			s.failTracking(w, r, err)
			return
		}
		if b := answer.Batch; b != nil && b.RefusedCount() > 0 {
			sendReply(w, ingest.MLflowError(http.StatusBadRequest, b.Summary()))
			return
		}
		w.Header()["Content-Type"] = jsonType
		body, err := json.Marshal(answer.Reply)
		if err != nil {
			s.failTracking(w, r, err)
			return
		}
		w.Write(append(body, '\n')) // it is done, whether or not the client still listens
	}
}

func (s *server) callTracking(r *http.Request, tracking *ingest.MLflow, e *ingest.MLflowEndpoint) (ingest.TrackingAnswer, error) {
	call := ingest.TrackingCall{Query: r.URL.Query(), Now: time.Now()}
	who, isTraining := r.Context().Value(trainingKey{}).(training)
	if isTraining {
		run, artifacts, err := s.Engine.Tracked(r.Context(), who.run, who.token)
		if err != nil {
			return ingest.TrackingAnswer{}, err
		}
		call.Run = &ingest.TrackedRun{ID: run.ID, Model: run.Model, ArtifactURI: artifacts}
	}
	if e.Method == http.MethodPost {
		body, err := ingest.ReadBody(r.Body, r.Header.Get("Content-Encoding"), min(s.MaxBody, maxTracking), s.budget)
		if err != nil {
			return ingest.TrackingAnswer{}, err
		}
		defer body.Release()
		if err := body.Unfold(); err != nil {
			return ingest.TrackingAnswer{}, err
		}
		call.Body = body.Bytes
	}
	answer, err := e.Call(tracking, call)
	if err != nil {
		return answer, err
	}
	if answer.Batch != nil {
		return answer, s.keep(r.Context(), ingest.MLflowFormat, answer.Batch)
	}
	if len(answer.Logged) > 0 {
		return answer, s.keepLogged(r.Context(), who, answer.Logged)
	}
	return answer, nil
}

func (s *server) keepLogged(ctx context.Context, who training, logged []ingest.Logged) error {
	said := trainer.Tracking{Metrics: map[string]float64{}}
	for _, l := range logged {
		said.Metrics[l.Key] = l.Value
		said.Step = max(said.Step, l.Step)
	}
	return s.Engine.Track(ctx, who.run, who.token, said)
}

func (s *server) failTracking(w http.ResponseWriter, r *http.Request, err error) {
	p := s.report(r.Context(), r.Method, err)
	for name, values := range p.GetHeaders() {
		w.Header()[name] = values
	}
	text := p.Detail
	if len(p.Errors) > 0 { // whose details say no more than that there are some
		var parts []string
		for _, e := range p.Errors {
			parts = append(parts, e.Location+": "+e.Message)
		}
		text = strings.Join(parts, "; ")
	}
	sendReply(w, ingest.MLflowError(p.Status, text))
}
