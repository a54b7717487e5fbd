package server

import (
	"bytes"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"
	"time"
)

// The routes of the web page. Its own routes are in the fragment, so there are only files.
const (
	pageRoute  = "GET /{$}"
	assetRoute = "GET /assets/{file}"
)

// pages serves the files of the web page, compressed where the build has left them so: name.gz beside name.
func (s *server) pages() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, cached := "index.html", false
		if file := r.PathValue("file"); file != "" {
			name, cached = "assets/"+file, true // an fs.FS refuses dots
		}
		h := w.Header()
		b, err := fs.ReadFile(s.UI, name)
		if err != nil {
			writeProblem(w, newProblem(http.StatusNotFound, "not_found", "there is nothing here"))
			return
		}
		h["Content-Security-Policy"] = pagePolicy
		h.Set("Content-Type", mime.TypeByExtension(path.Ext(name)))
		h.Set("Vary", "Accept-Encoding")
		if cached {
			h.Set("Cache-Control", "public, max-age=31536000, immutable") // their names hold a digest
		} else {
			h.Set("Cache-Control", "no-cache")
		}
		if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			if packed, err := fs.ReadFile(s.UI, name+".gz"); err == nil {
				h.Set("Content-Encoding", "gzip")
				b = packed
			}
		}
		http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(b))
	})
}
