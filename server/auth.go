package server

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"strings"
)

// openRoutes need no token: health, which tells nothing but itself, and callbacks of
// trainers, which bring the token of their run. Everything else is closed.
var openRoutes = map[string]bool{
	"GET /healthz":                     true,
	"GET /readyz":                      true,
	"POST /api/v1/runs/{run}/callback": true,
}

// auth lets requests pass that bear the token, or go to an open route. Without a token set, all pass. A training
// program bears the token of its attempt, with which it may track its own run and nothing else.
func (s *server) auth(mux *http.ServeMux, next http.Handler) http.Handler {
	want := sha256.Sum256([]byte(s.Token))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		free := s.Token == "" && r.Header.Get("Authorization") == ""
		if !free && (s.Token == "" || !tokenMatches(r, &want)) {
			// The mux itself says which route the request would take, so that the two cannot disagree.
			_, pattern := mux.Handler(r)
			if who, ok := s.trainingOf(r, pattern); ok {
				r = r.WithContext(context.WithValue(r.Context(), trainingKey{}, who))
			} else if s.Token != "" && !openRoutes[pattern] {
				s.unauthorized(w, r)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// tokenMatches compares in constant time; hashing makes the lengths equal.
func tokenMatches(r *http.Request, want *[sha256.Size]byte) bool {
	got := sha256.Sum256([]byte(credentials(r)))
	return subtle.ConstantTimeCompare(got[:], want[:]) == 1
}

// credentials is the token that a request bears, "" for none: as "Bearer <token>", or as the
// password of Basic, which is how a browser sends it with everything that a page loads.
func credentials(r *http.Request) string {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if strings.EqualFold(scheme, "Bearer") {
		return token
	}
	_, password, _ := r.BasicAuth()
	return password
}

func (s *server) unauthorized(w http.ResponseWriter, r *http.Request) {
	w.Header().Add("WWW-Authenticate", `Bearer realm="VisuTility"`)
	if s.UI != nil && !strings.HasPrefix(r.URL.Path, apiPath+"/") {
		// Makes the browser ask for the token (any user name will do).
		w.Header().Add("WWW-Authenticate", `Basic realm="VisuTility", charset="UTF-8"`)
	}
	writeProblem(w, newProblem(http.StatusUnauthorized, "unauthorized", `a token is needed; send "Authorization: Bearer <token>"`))
}
