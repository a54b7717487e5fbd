package server

import (
	"encoding/json"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"
)

// TestDocument checks that the document is whole: what it refers to exists, and every
// parameter of a path is declared.
func TestDocument(t *testing.T) {
	s := serve(t)
	text := s.get(apiPath+"/openapi.json", 200)
	doc := parse[document](t, text)
	if doc.OpenAPI != "3.1.0" {
		t.Errorf("version %q", doc.OpenAPI)
	}
	for _, ref := range regexp.MustCompile(`"\$ref":\s*"([^"]*)"`).FindAllStringSubmatch(text, -1) {
		name, ok := strings.CutPrefix(ref[1], "#/components/schemas/")
		if _, there := doc.Components.Schemas[name]; !ok || !there {
			t.Errorf("%s leads nowhere", ref[1])
		}
	}
	if strings.Contains(text, "ErrorModel") {
		t.Error("errors are described twice")
	}
	ids := map[string]bool{}
	for path, item := range doc.Paths {
		for method, op := range item {
			if op.OperationID == "" || ids[op.OperationID] {
				t.Errorf("%s %s: id %q is missing or not the only one", method, path, op.OperationID)
			}
			ids[op.OperationID] = true
			if len(op.Responses["default"].Content[problemType].Schema) == 0 {
				t.Errorf("%s %s: errors are not described", method, path)
			}
			for status, when := range map[string]bool{
				"401": !openRoutes[strings.ToUpper(method)+" "+path] || op.OperationID == "post-callback",
				"404": strings.Contains(path, "{"),
				"409": method == "post" && !slices.Contains([]string{metrics, apiPath + "/predictions", apiPath + "/labels"}, path) && op.OperationID != "post-backtest",
				"415": method == "post" && op.OperationID != "post-callback",
			} {
				if _, described := op.Responses[status]; described != when {
					t.Errorf("%s %s: status %s is described: %v", method, path, status, described)
				}
			}
			for _, p := range regexp.MustCompile(`\{(\w+)\}`).FindAllStringSubmatch(path, -1) {
				if !slices.ContainsFunc(op.Parameters, func(q struct{ Name, In string }) bool { return q.In == "path" && q.Name == p[1] }) {
					t.Errorf("%s %s: {%s} is not described", method, path, p[1])
				}
			}
		}
	}
}

// TestAnswersFollowTheDocument calls every route and holds the answer against its schema.
func TestAnswersFollowTheDocument(t *testing.T) {
	s := serve(t)
	s.logs["r0"] = logFile(t, "one\n")
	doc := s.described()
	bodies := map[string]string{
		"post-metrics": `{"model":"m","metric":"x","value":1}`, "post-predictions": `{"model":"m","id":"1","prediction":1,"score":0.5}`, "post-labels": `{"model":"m","id":"1","label":"x"}`,
		"promote-version": `{"version":"v1"}`, "post-callback": `{"status":"running"}`,
		"post-backtest": `{"source":"model: model-0\nretrain: {when: accuracy < 0.8}\ntrain: {trainer: x}\n"}`,
	}
	for path, item := range doc.Paths {
		for _, op := range []*huma.Operation{item.Get, item.Post} {
			if op == nil || op.OperationID == "stream-events" { // which never ends, and has tests of its own
				continue
			}
			r := s.request(op.Method, example.Replace(path), bodies[op.OperationID])
			if op.OperationID == "post-callback" {
				r.Header.Set("Authorization", "Bearer token of r0")
			}
			status, body, h := s.do(r)
			described := op.Responses[strconv.Itoa(status)]
			if described == nil {
				t.Errorf("%s: status %d is not described: %s", op.OperationID, status, body)
				continue
			}
			contentType, _, _ := strings.Cut(h.Get("Content-Type"), ";")
			media := described.Content[contentType]
			if media == nil && (contentType != "" || len(described.Content) > 0) {
				t.Errorf("%s: content type %q is not described", op.OperationID, contentType)
			} else if contentType == "application/json" {
				holds(t, doc, op.OperationID, media.Schema, body)
			}
		}
	}
}

// TestProblemsFollowTheDocument holds problems, wherever they are made, against the one schema.
func TestProblemsFollowTheDocument(t *testing.T) {
	s := serve(t)
	evil := s.request("GET", "/", "")
	evil.Host = "evil.example"
	for name, body := range map[string]string{
		"404":            s.get(apiPath+"/models/none", 404),
		"404 of the mux": s.get("/nowhere", 404),
		"401":            s.get(apiPath+"/models", 401, "Authorization", ""),
		"403":            s.post(apiPath+"/models/model-0/pause", "", 403, "Sec-Fetch-Site", "cross-site"),
		"421":            s.want(evil, 421),
		"422 of huma":    s.get(apiPath+"/models?limit=0", 422),
		"422":            s.post(metrics, `{}`, 422),
		"400 of huma":    s.post(apiPath+"/models/m/pause", `{`, 400),
		"400":            s.post(metrics, `{`, 400),
		"415":            s.post(apiPath+"/models/m/pause", "by: me", 415, "Content-Type", "text/yaml"),
	} {
		if p := parse[Problem](t, body); p.Type != "about:blank" || p.Detail == "" || p.Detail == "validation failed" {
			t.Errorf("%s: %s", name, body)
		}
		doc := s.described()
		holds(t, doc, name, doc.Components.Schemas.Map()["Problem"], body)
	}
}

// TestFaultsOfHumaReadLikeAllOthers holds the faults that huma finds against the words that others have for them.
func TestFaultsOfHumaReadLikeAllOthers(t *testing.T) {
	s := serve(t)
	const look, act = "see errors for what to mend", "nothing was applied; see errors for what to mend"
	for _, c := range []struct{ body, detail, location, reason string }{
		{s.get(apiPath+"/models?limit=0", 422), look, "query.limit", "range"},
		{s.get(apiPath+"/models?limit=x", 422), look, "query.limit", "type"},
		{s.get(apiPath+"/models?x=1", 422), look, "query.x", "unknown_field"},
		{s.get(apiPath+"/runs?state=x", 422), look, "query.state[0]", "unknown"},
		{s.get(apiPath+"/models/m/history?from=x", 422), look, "query.from", "syntax"},
		{s.get(apiPath+"/models/m/history?step=x", 422), look, "query.step", "syntax"},
		{s.post(apiPath+"/models/m/pause", `{"by":7}`, 422), act, "body.by", "type"},
		{s.post(apiPath+"/models/m/pause", `{"x":"secret"}`, 422), act, "body.x", "unknown_field"},
		{s.post(apiPath+"/models/m/promote", `{}`, 422), act, "body", "missing"},
		{s.post(apiPath+"/models/m/promote", `{"version":""}`, 422), act, "body.version", "empty"},
		{s.post(apiPath+"/models/m/pause", `{"by":"`+strings.Repeat("x", 257)+`"}`, 422), act, "body.by", "too_long"},
		{s.post(apiPath+"/models/m/pause", `{`, 400), act, "body", "syntax"},
	} {
		p := parse[Problem](t, c.body)
		if p.Detail != c.detail || len(p.Errors) != 1 || p.Errors[0].Location != c.location || p.Errors[0].Reason != c.reason || p.Errors[0].Value != nil {
			t.Errorf("want %q, %s %s: %s", c.detail, c.location, c.reason, c.body)
		}
	}
}

// described is the document with its schemas.
func (s *site) described() *huma.OpenAPI {
	s.t.Helper()
	srv, err := newServer(Options{Engine: s.fake, Store: s.fake, History: s.fake})
	if err != nil {
		s.t.Fatal(err)
	}
	_, doc, err := srv.routes()
	if err != nil {
		s.t.Fatal(err)
	}
	return doc
}

// holds validates a body against a schema of the document.
func holds(t *testing.T, doc *huma.OpenAPI, name string, schema *huma.Schema, body string) {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(body), &v); err != nil {
		t.Errorf("%s: %v in %s", name, err, body)
		return
	}
	schema.PrecomputeMessages()
	res := &huma.ValidateResult{}
	huma.Validate(doc.Components.Schemas, schema, huma.NewPathBuffer(nil, 0), huma.ModeReadFromServer, v, res)
	if len(res.Errors) > 0 {
		t.Errorf("%s: %v in %s", name, res.Errors, body)
	}
}
