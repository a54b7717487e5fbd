package server

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"strings"
)

// openRoutes need no token: health, which tells nothing but itself; callbacks of trainers, which
// bring the token of their run; and the files of the web page, the same for everybody, which asks
// for the token and sends it with its requests. Everything else is closed.
var openRoutes = map[string]bool{
	"GET /healthz":                     true,
	"GET /readyz":                      true,
	"POST /api/v1/runs/{run}/callback": true,
	pageRoute:                          true,
	assetRoute:                         true,
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
				*r = *r.WithContext(context.WithValue(r.Context(), trainingKey{}, who)) // in place: the layers outside read the route from it
			} else if s.Token != "" && !openRoutes[pattern] {
				unauthorized(w)
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
// password of Basic, for clients that know nothing else.
func credentials(r *http.Request) string {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if strings.EqualFold(scheme, "Bearer") {
		return token
	}
	_, password, _ := r.BasicAuth()
	return password
}

func unauthorized(w http.ResponseWriter) {
	// Not Basic: the browser would ask for the token with a window of its own, over that of the page.
	w.Header().Set("WWW-Authenticate", `Bearer realm="VisuTility"`)
	writeProblem(w, newProblem(http.StatusUnauthorized, "unauthorized", `a token is needed; send "Authorization: Bearer <token>"`))
}
