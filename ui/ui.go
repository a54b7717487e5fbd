// Package ui is the web page: an app of Svelte components that speaks the server's public API and
// nothing else. What the page can do, curl can do.
//
// Vite builds it into dist, which is not committed; `make build` does that where there is Node. A
// build of the program without it embeds dist-stub alone, a page that says how to get the real one.
//
//	src/api       the API: types made from openapi.json, requests, the one event stream of a tab
//	src/lib       logic without a screen, tested by Vitest beside it
//	src/parts     components that several screens share
//	src/screens   a component per screen
//	e2e           tests in a browser against the built program, and the screenshots
package ui

import (
	"embed"
	"io/fs"
)

//go:embed all:dist*
var files embed.FS

// FS is the page as it was built, or the one that says how to build it: index.html and, in
// assets, what that loads, under names that change with the contents.
func FS() fs.FS {
	for _, dir := range []string{"dist", "dist-stub"} {
		if _, err := fs.Stat(files, dir+"/index.html"); err != nil {
			continue
		}
		if page, err := fs.Sub(files, dir); err == nil {
			return page
		}
	}
	panic("ui: dist-stub is part of the package") // the compiler has put it there
}
