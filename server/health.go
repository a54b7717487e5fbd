package server

import (
	"context"
	"net/http"
	"runtime"
	"time"
)

// readyTime is how long the parts may take to say that they are ready.
const readyTime = 2 * time.Second

// getHealth says that the process lives.
func (s *server) getHealth(w http.ResponseWriter, _ *http.Request) { writeText(w, "ok\n") }

// getReady says whether events can be accepted. It needs no token, so the reason goes to the log only.
func (s *server) getReady(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), readyTime)
	defer cancel()
	if err := s.Engine.Ready(ctx); err != nil {
		s.Logger.WarnContext(r.Context(), "not ready", "error", err)
		p := newProblem(http.StatusServiceUnavailable, "unavailable", "not ready; the server's log says why")
		p.retryAfter = retryUnavailable
		s.fail(w, r, p)
		return
	}
	writeText(w, "ready\n")
}

func writeText(w http.ResponseWriter, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Write([]byte(text)) // nothing to do about a client that is gone
}

// A ProgramVersion says what is running.
type ProgramVersion struct {
	Version  string `json:"version"`
	Revision string `json:"revision"`
	Go       string `json:"go"`
}

func (s *server) programVersion(context.Context, *struct{}) (*reply[ProgramVersion], error) {
	return &reply[ProgramVersion]{ProgramVersion{s.Version, s.Revision, runtime.Version()}}, nil
}
