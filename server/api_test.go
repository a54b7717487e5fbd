package server

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/visutility/visutility/ingest"
	"github.com/visutility/visutility/store"
)

// A document is the OpenAPI document as a client sees it.
type document struct {
	OpenAPI    string
	Paths      map[string]map[string]operation
	Components struct{ Schemas map[string]any }
}

type operation struct {
	OperationID string
	Parameters  []struct{ Name, In string }
	RequestBody any
	Responses   map[string]struct {
		Content map[string]struct{ Schema map[string]any }
	}
}

func (s *site) document() document {
	s.t.Helper()
	return parse[document](s.t, s.get(apiPath+"/openapi.json", 200))
}

// example fills the parameters of a path with names that the fake knows.
var example = strings.NewReplacer("{model}", "model-0", "{run}", "r0", "{decision}", "d0", "{ref}", "v1")

// every returns all routes: those of the document, and those that are not in it.
func (s *site) every() [][2]string {
	all := [][2]string{
		{"GET", "/metrics"}, {"GET", "/healthz"}, {"GET", "/readyz"}, {"GET", apiPath + "/openapi.json"},
		{"GET", apiPath + "/schemas/job.json"}, {"GET", apiPath + "/schemas/result.json"}, {"GET", apiPath + "/schemas/policy.json"},
		{"GET", "/"}, {"GET", "/assets/app.js"}, {"GET", "/nowhere"}, {"POST", "/nowhere"}, {"GET", apiPath + "/metrics"},
	}
	for _, p := range ingest.Protocols {
		for _, path := range p.Paths {
			all = append(all, [2]string{"POST", path})
		}
		if p.GRPC != "" {
			all = append(all, [2]string{"POST", "/" + p.GRPC + "/Export"})
		}
	}
	for _, e := range ingest.MLflowEndpoints {
		all = append(all, [2]string{e.Method, ingest.MLflowPath + e.Path})
	}
	for path, item := range s.document().Paths {
		for method := range item {
			all = append(all, [2]string{strings.ToUpper(method), example.Replace(path)})
		}
	}
	return all
}

func withUI(o *Options) {
	o.UI = fstest.MapFS{"index.html": {Data: []byte("<!doctype html>")}, "assets/app.js": {Data: []byte("1")}}
}

func TestEveryRouteNeedsTheToken(t *testing.T) {
	s := serve(t, withUI)
	routes := s.every()
	if len(routes) < 35 {
		t.Fatalf("only %d routes", len(routes))
	}
	if len(openRoutes) != 5 {
		t.Errorf("there are %d open routes; each needs a reason", len(openRoutes))
	}
	open := []string{"GET /healthz", "GET /readyz", "POST /api/v1/runs/r0/callback", "GET /", "GET /assets/app.js"}
	for _, route := range routes {
		name := route[0] + " " + route[1]
		for _, credentials := range []string{"", "Bearer", "Bearer ", "Bearer nothing", "bearer " + token + "x", token, "Bearer  " + token, "Basic eDp5", "Token " + token} {
			r := s.request(route[0], route[1], `{"status":"running"}`)
			r.Header.Set("Authorization", credentials)
			status, body, header := s.do(r)
			if slices.Contains(open, name) {
				if strings.HasSuffix(name, "callback") != (status == 401) {
					t.Errorf("%s with %q: status %d", name, credentials, status)
				}
				continue
			}
			if status != 401 || header.Get("Content-Type") != problemType || len(header.Values("WWW-Authenticate")) == 0 {
				t.Errorf("%s with %q: status %d, %v, %s", name, credentials, status, header, body)
			}
		}
	}
	if len(s.published)+len(s.acted)+len(s.callbacks) > 0 {
		t.Errorf("something was done: %v %v %v", s.published, s.acted, s.callbacks)
	}
}

func TestTokenLetsIn(t *testing.T) {
	s := serve(t, withUI)
	s.get("/", 200)
	s.get("/assets/app.js", 200)
	r := s.request("GET", apiPath+"/models", "")
	r.SetBasicAuth("anybody", token)
	s.want(r, 200)
	r.Header.Set("Authorization", "bearer "+token)
	s.want(r, 200)

	free := serve(t, func(o *Options) { o.Token = "" })
	r = free.request("GET", apiPath+"/models", "")
	r.Header.Del("Authorization")
	free.want(r, 200)
}

func TestPathTricksNeedTheToken(t *testing.T) {
	s := serve(t)
	for _, path := range []string{
		"/healthz/../metrics", "/healthz/..%2fmetrics", "//metrics", "/healthz%2f..%2fmetrics", "/api/v1/runs/x/../../models/callback",
		"/api/v1/runs/%2e%2e/logs", "/healthz/", "/healthz%00", "/api/v1/runs/r0/callback/../logs",
	} {
		r := s.request("GET", "/", "")
		r.Header.Del("Authorization")
		r.URL.Path, r.URL.RawPath = "", ""
		r.URL.Opaque = path
		res, err := http.DefaultTransport.RoundTrip(r) // follows no redirects
		if err != nil {
			t.Fatal(path, err)
		}
		res.Body.Close()
		if res.StatusCode == 200 || res.StatusCode >= 500 {
			t.Errorf("%s: status %d", path, res.StatusCode)
		}
	}
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
}

func TestHostsAndOrigins(t *testing.T) {
	s := serve(t, func(o *Options) {
		o.AllowedHosts = []string{"Vis.Example.com", "other.example:8443"}
		o.AllowedOrigins = []string{"https://console.example.com"}
	})
	port := s.url[strings.LastIndex(s.url, ":"):]
	for _, c := range []struct {
		host, origin, site string
		get, post          int
	}{
		{"127.0.0.1" + port, "", "", 200, 200},
		{"localhost" + port, "", "", 200, 200},
		{"LOCALHOST.", "", "", 200, 200},
		{"[::1]:1", "", "", 200, 200},
		{"[::ffff:127.0.0.1]", "", "", 200, 200},
		{"vis.example.com", "", "", 200, 200},
		{"vis.example.com:1234", "", "", 200, 200},
		{"other.example", "", "", 200, 200},
		{"evil.example", "", "", 421, 421},
		{"evil.example" + port, "http://evil.example" + port, "same-origin", 421, 421},
		{"vis.example.com.evil.example", "", "", 421, 421},
		{"localhost.evil.example", "", "", 421, 421},
		{"127.0.0.1.evil.example", "", "", 421, 421},
		{"10.0.0.1", "", "", 421, 421},
		{"0.0.0.0", "", "", 421, 421},
		{"169.254.169.254", "", "", 421, 421},
		{"localhost" + port, "http://localhost" + port, "same-origin", 200, 200},
		{"localhost" + port, "http://localhost" + port, "", 200, 200},
		{"localhost" + port, "http://localhost:1", "", 200, 403},
		{"localhost" + port, "https://evil.example", "cross-site", 200, 403},
		{"localhost" + port, "https://evil.example", "", 200, 403},
		{"localhost" + port, "null", "", 200, 403},
		{"localhost" + port, "", "same-site", 200, 403},
		{"localhost" + port, "", "none", 200, 200},
		{"localhost" + port, "https://console.example.com", "cross-site", 200, 200},
		{"localhost" + port, "http://console.example.com", "cross-site", 200, 403},
	} {
		for method, want := range map[string]int{"GET": c.get, "POST": c.post} {
			path := apiPath + "/models"
			if method == "POST" {
				path += "/model-0/pause"
			}
			r := s.request(method, path, "")
			r.Host = c.host
			if c.origin != "" {
				r.Header.Set("Origin", c.origin)
			}
			if c.site != "" {
				r.Header.Set("Sec-Fetch-Site", c.site)
			}
			status, body, header := s.do(r)
			if status != want {
				t.Errorf("%s host %q origin %q site %q: status %d, want %d: %s", method, c.host, c.origin, c.site, status, want, body)
			}
			if header.Get("Access-Control-Allow-Origin") != "" {
				t.Error("there is CORS")
			}
		}
	}
}

func TestSecurityHeaders(t *testing.T) {
	s := serve(t, withUI)
	for _, path := range []string{"/", "/nowhere", "/healthz", apiPath + "/models", apiPath + "/models/none"} {
		_, _, h := s.do(s.request("GET", path, ""))
		for _, name := range []string{"X-Content-Type-Options", "X-Frame-Options", "Referrer-Policy", "Content-Security-Policy", "Cache-Control", "Cross-Origin-Resource-Policy"} {
			if h.Get(name) == "" {
				t.Errorf("%s: no %s", path, name)
			}
		}
		if csp := h.Get("Content-Security-Policy"); strings.Contains(csp, "unsafe") || strings.Contains(csp, "*") {
			t.Errorf("%s: policy %q", path, csp)
		}
	}
}

// A name that is a single slash is the one that net/http cannot route.
func TestHostileNames(t *testing.T) {
	s := serve(t)
	for _, name := range []string{"a/b", "100%", "a%2Fb", "..", ".", "../../etc/passwd", `c:\x`, "ä ö", "?q=1", "#x", "a b", "<script>", "a\x00b", "%", "a/", "//", "+", ";x=1", strings.Repeat("n", 256)} {
		s.models = append(s.models, store.Model{Name: name})
		escaped := strings.ReplaceAll(url.PathEscape(name), ".", "%2E")
		path := apiPath + "/models/" + escaped
		if got := parse[Model](t, s.get(path, 200)); got.Name != name {
			t.Errorf("asked for %q, got %q", name, got.Name)
		}
		s.post(path+"/pause", `{"by":"me"}`, 200)
		if got, want := s.acted[len(s.acted)-1], fmt.Sprintf("pause %s me ", name); got != want {
			t.Errorf("did %q, want %q", got, want)
		}
		s.get(path+"/versions/"+escaped, 404)
		s.get(path+"/explain", 200)
	}
}

func TestPaging(t *testing.T) {
	s := serve(t)
	for path, want := range map[string]string{
		"/models":                  "model-0 model-1 model-2 model-3 model-4",
		"/models?q=l-3":            "model-3",
		"/decisions":               "d0 d1 d2 d3 d4",
		"/decisions?outcome=noted": "",
		"/runs":                    "r0 r1 r2 r3 r4",
		"/runs?state=training&state=pending&model=model-2": "r2",
		"/runs?state=failed":       "",
		"/models/model-0/versions": "v5 v4 v3 v2 v1",
	} {
		for limit := 1; limit <= 6; limit++ {
			var got []string
			for cursor, pages := "", 0; ; pages++ {
				at := apiPath + path + "?"
				if strings.Contains(path, "?") {
					at = apiPath + path + "&"
				}
				p := parse[pageOf[struct{ ID, Name string }]](t, s.get(fmt.Sprintf("%slimit=%d&cursor=%s", at, limit, cursor), 200))
				if p.Items == nil || len(p.Items) > limit || pages > 6 {
					t.Fatalf("%s: page %d is %v", path, pages, p)
				}
				for _, x := range p.Items {
					got = append(got, x.ID+x.Name)
				}
				if cursor = p.Next; cursor == "" {
					break
				}
			}
			if strings.Join(got, " ") != want {
				t.Errorf("%s by %d: %v, want %v", path, limit, got, want)
			}
		}
		sep := "?"
		if strings.Contains(path, "?") {
			sep = "&"
		}
		for _, bad := range []string{"limit=0", "limit=-1", "limit=1001", "limit=x", "cursor=%00nonsense", "nonsense=1"} {
			p := parse[Problem](t, s.get(apiPath+path+sep+bad, 422))
			if len(p.Errors) != 1 || p.Errors[0].Location == "" {
				t.Errorf("%s: %+v", bad, p)
			}
		}
	}
}

func TestActions(t *testing.T) {
	s := serve(t)
	s.post(apiPath+"/models/model-0/trigger", `{"policy":"p","by":"ann","reason":"new data"}`, 202)
	s.post(apiPath+"/models/model-0/trigger", "", 202)
	s.post(apiPath+"/models/model-0/pause", `{"by":"ann","reason":"holiday"}`, 200)
	s.post(apiPath+"/models/model-0/resume", `{}`, 200)
	s.post(apiPath+"/models/model-0/promote", `{"version":"v2","by":"ann"}`, 200)
	s.post(apiPath+"/models/model-0/rollback", "", 200)
	s.post(apiPath+"/runs/r1/approve", `{"by":"ann"}`, 200)
	s.post(apiPath+"/runs/r1/cancel", "", 200)
	s.post(apiPath+"/models/model-0/pause", `{"by":"curl"}`, 200, "Content-Type", "application/x-www-form-urlencoded") // as curl -d declares it
	want := []string{
		"trigger model-0 p ann new data", "trigger model-0  api ", "pause model-0 ann holiday", "resume model-0 api ",
		"promote model-0 v2 ann", "rollback model-0 api", "approve r1 ann", "cancel r1 api",
		"pause model-0 curl ",
	}
	if diff := cmp.Diff(want, s.acted); diff != "" {
		t.Error(diff)
	}
	p := parse[Problem](t, s.post(apiPath+"/models/model-0/trigger", `{"policy":"busy"}`, 409))
	if !strings.Contains(p.Detail, "run r0 is under way") || p.Errors[0].Reason != "active_run" {
		t.Errorf("%+v", p)
	}
	n := len(s.acted)
	for path, bodies := range map[string][]string{
		"/models/model-0/promote": {"", "{}", `{"version":""}`, `{"version":" "}`, `{"version":7}`, `{"version":"v1","x":1}`},
		"/models/model-0/pause":   {`{"by":7}`, `{"reson":"x"}`, `[]`, `{"by":"` + strings.Repeat("x", 257) + `"}`},
	} {
		for _, body := range bodies {
			status, text, h := s.do(s.request("POST", apiPath+path, body))
			if status != 422 && !(body == "" && status == 400) || h.Get("Content-Type") != problemType {
				t.Errorf("%s with %.40s: %d %s", path, body, status, text)
			}
		}
	}
	s.post(apiPath+"/models/model-0/pause", `{`, 400)
	s.post(apiPath+"/models/model-0/pause", `{"by":"`+strings.Repeat("x", maxActionBody)+`"}`, 413)
	if len(s.acted) != n {
		t.Errorf("bad requests did something: %v", s.acted[n:])
	}
}
