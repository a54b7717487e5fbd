package server

import (
	"fmt"
	"io"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"time"
)

// bodyTime is how long the body of a request may take to arrive.
const bodyTime = 30 * time.Second

// count is the outermost layer: it counts answers by route and code, turns a panic
// into a 500, and bounds the time that a body may take.
func (s *server) count(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a := &answer{ResponseWriter: w, r: r}
		if r.Body != nil && r.Body != http.NoBody {
			// It is set even if nobody reads the body: net/http tries to read what is left before it
			// goes on. When all of the body is there, net/http takes the deadline back.
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(s.bodyTime)) // recorders in tests have none
			r.Body = unclosed{r.Body}
		}
		defer func() {
			if p := recover(); p != nil {
				s.panicked(a, r, p)
			}
			route := r.Pattern // set by the mux
			if route == "" {
				route = "none"
			}
			s.requests.WithLabelValues(route, strconv.Itoa(a.code())).Inc()
		}()
		next.ServeHTTP(a, r)
	})
}

func (s *server) panicked(a *answer, r *http.Request, p any) {
	if p == http.ErrAbortHandler {
		panic(p) // net/http's own way to break off an answer
	}
	s.Logger.ErrorContext(r.Context(), "handler panicked", "route", r.Pattern, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
	if a.status != 0 {
		panic(http.ErrAbortHandler) // half an answer must not look like a whole one
	}
	writeProblem(a, newProblem(http.StatusInternalServerError, "internal", "internal error; the server's log says more"))
}

// An answer remembers its status. What the mux itself answers (no such route, no such method)
// it turns into a problem like every other.
type answer struct {
	http.ResponseWriter
	r      *http.Request
	status int
	muted  bool
}

func (a *answer) code() int {
	if a.status == 0 {
		return http.StatusOK
	}
	return a.status
}

func (a *answer) WriteHeader(status int) {
	if a.status != 0 {
		return
	}
	a.status = status
	ofMux := a.r.Pattern == "" && !strings.HasPrefix(a.Header().Get("Content-Type"), problemType)
	if ofMux && (status == http.StatusNotFound || status == http.StatusMethodNotAllowed) {
		p := newProblem(status, "not_found", "there is nothing here; "+apiPath+"/openapi.json lists what there is")
		if status == http.StatusMethodNotAllowed {
			p.Detail = "not with this method; the Allow header lists those that can be used"
		}
		a.status = 0
		writeProblem(a, p)
		a.muted = true
		return
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(b []byte) (int, error) {
	if a.muted {
		return len(b), nil
	}
	if a.status == 0 {
		a.status = http.StatusOK
	}
	return a.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// An unclosed body is for net/http alone to close: it then sees whether all of it was read, and
// closes the connection if not. What is left of a body must not be taken for the next request.
type unclosed struct{ io.ReadCloser }

func (unclosed) Close() error { return nil }

// headers tells browsers to trust nothing that this server did not say.
func (s *server) headers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h["X-Content-Type-Options"] = nosniff
		h["X-Frame-Options"] = deny
		h["Referrer-Policy"] = noReferrer
		h["Cross-Origin-Resource-Policy"] = sameOrigin
		h["Cross-Origin-Opener-Policy"] = sameOrigin
		h["Content-Security-Policy"] = apiPolicy
		h["Cache-Control"] = noStore
		next.ServeHTTP(w, r)
	})
}

// Header values, made once: they are set on every answer and never changed.
var (
	nosniff    = []string{"nosniff"}
	deny       = []string{"DENY"}
	noReferrer = []string{"no-referrer"}
	sameOrigin = []string{"same-origin"}
	noStore    = []string{"no-store"}
	apiPolicy  = []string{"default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"}
	pagePolicy = []string{"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types svelte-trusted-html"}
)
