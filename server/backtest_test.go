package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/backtest"
)

const (
	trying = "model: model-0\nretrain: {when: accuracy < 0.8}\ntrain: {trainer: x}\n"
	wrong  = "model: model-0\nretrain: {when: acuracy < 0.8}\ntrain: {trainer: x}\nwhen: never\n"
)

func asJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestBacktest(t *testing.T) {
	s := serve(t)
	body := asJSON(t, map[string]any{
		"policies": []any{map[string]any{"name": "new", "source": trying}}, "model": "model-*", "models": []string{"a*"},
		"from": "2026-01-01T00:00:00Z", "to": "2026-02-01T00:00:00Z", "train_time": "2d", "rejected": true, "cost": 2.5,
	})
	report := parse[backtest.Report](t, s.post(apiPath+"/backtest", body, 200))
	if len(report.Plans) != 4 || !cmp.Equal(report.Plans[0].Policies, []string{"new"}) || len(report.Plans[0].Runs) != 1 || report.Plans[0].Spend != 2.5 {
		t.Errorf("%+v", report)
	}
	s.post(apiPath+"/backtest", asJSON(t, BacktestRequest{Source: trying}), 200)
	want := []string{
		`1 [a* model-\*] 2026-01-01T00:00:00Z 2026-02-01T00:00:00Z 48h0m0s true 2.5`,
		`1 [] 0001-01-01T00:00:00Z 0001-01-01T00:00:00Z 0s false 0`,
	}
	if diff := cmp.Diff(want, s.tried); diff != "" {
		t.Errorf("tried (-want +got):\n%s", diff)
	}
}

func TestBacktestFaults(t *testing.T) {
	s := serve(t)
	try := func(sources ...string) (r BacktestRequest) {
		for _, source := range sources {
			r.Policies = append(r.Policies, PolicySource{Name: "p", Source: source})
		}
		return r
	}
	both, late := try(trying), try(trying)
	both.Source, late.TrainTime = trying, "soon"
	path := try(trying)
	path.Policies[0].Name = "../p"
	for name, test := range map[string]struct {
		body BacktestRequest
		want []ProblemField
	}{
		"nothing": {BacktestRequest{}, []ProblemField{{Location: "body.policies", Reason: "missing"}}},
		"both":    {both, []ProblemField{{Location: "body.policies", Reason: "missing"}}},
		"time":    {late, []ProblemField{{Location: "body.train_time", Reason: "syntax"}}},
		"path":    {path, []ProblemField{{Location: "body.policies[0].name", Reason: "syntax"}}},
		"a policy": {BacktestRequest{Source: wrong}, []ProblemField{
			{Location: "body.source", Line: 2, Column: 17, Reason: "policy"}, {Location: "body.source", Line: 4, Column: 1, Reason: "policy"}}},
		"the second": {try(trying, wrong), []ProblemField{
			{Location: "body.policies[1].source", Line: 2, Column: 17, Reason: "policy"}, {Location: "body.policies[1].source", Line: 4, Column: 1, Reason: "policy"}}},
	} {
		p := parse[Problem](t, s.post(apiPath+"/backtest", asJSON(t, test.body), 422))
		if diff := cmp.Diff(test.want, p.Errors, cmpopts.IgnoreFields(ProblemField{}, "Message")); diff != "" {
			t.Errorf("%s (-want +got):\n%s%+v", name, diff, p.Errors)
		}
		if name == "a policy" && !strings.Contains(p.Errors[0].Message, `did you mean "accuracy"?`) {
			t.Errorf("no suggestion: %s", p.Errors[0].Message)
		}
	}
	many := trying
	for i := range 2 * maxFaults {
		many += fmt.Sprintf("x%d: 1\n", i)
	}
	if p := parse[Problem](t, s.post(apiPath+"/backtest", asJSON(t, try(many)), 422)); len(p.Errors) != maxFaults {
		t.Errorf("%d faults are named", len(p.Errors))
	}
	if len(s.tried) > 0 {
		t.Errorf("tried: %v", s.tried)
	}
	s.post(apiPath+"/backtest", asJSON(t, BacktestRequest{Source: strings.Repeat("#", maxBacktestBody)}), 413)
}

func TestBacktestsAreFew(t *testing.T) {
	s := serve(t)
	s.replay = func(context.Context) error { return fmt.Errorf("%w: two are under way", visutility.ErrOverloaded) }
	status, body, h := s.do(s.request("POST", apiPath+"/backtest", asJSON(t, BacktestRequest{Source: trying})))
	if status != 429 || h.Get("Retry-After") == "" {
		t.Errorf("%d %v %s", status, h, body)
	}
}

// TestBacktestEnds: nobody waits for it, or the server stops.
func TestBacktestEnds(t *testing.T) {
	for name, end := range map[string]func(s *site, leave func()){
		"the client leaves": func(_ *site, leave func()) { leave() },
		"the server stops":  func(s *site, _ func()) { _ = s.http.Shutdown(t.Context()) },
	} {
		s := serve(t)
		began, ended := make(chan struct{}), make(chan error, 1)
		s.replay = func(ctx context.Context) error {
			close(began)
			select {
			case <-ctx.Done():
			case <-time.After(soon):
				ended <- errors.New("it went on")
				return nil
			}
			ended <- nil
			return ctx.Err()
		}
		r := s.request("POST", apiPath+"/backtest", asJSON(t, BacktestRequest{Source: trying}))
		ctx, leave := context.WithCancel(t.Context())
		answered := make(chan struct{})
		go func() {
			defer close(answered)
			if res, err := s.client.Do(r.WithContext(ctx)); err == nil {
				_ = res.Body.Close()
			}
		}()
		<-began
		end(s, leave)
		if err := <-ended; err != nil {
			t.Errorf("%s: %v", name, err)
		}
		<-answered
		leave()
	}
}

// TestBacktestMayTakeLongerThanItsBody: the deadline of the body must not end it.
func TestBacktestMayTakeLongerThanItsBody(t *testing.T) {
	f := newFake()
	srv, err := newServer(Options{Engine: f, Store: f, History: f})
	if err != nil {
		t.Fatal(err)
	}
	srv.bodyTime = 10 * time.Millisecond
	f.replay = func(ctx context.Context) error {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * srv.bodyTime):
			return nil
		}
	}
	mux, _, err := srv.routes()
	if err != nil {
		t.Fatal(err)
	}
	ts := httptest.NewServer(srv.count(mux))
	defer ts.Close()
	res, err := ts.Client().Post(ts.URL+apiPath+"/backtest", "application/json", strings.NewReader(asJSON(t, BacktestRequest{Source: trying})))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Errorf("status %d", res.StatusCode)
	}
}

func TestHistoryEvents(t *testing.T) {
	s := serve(t)
	list := parse[pageOf[visutility.Event]](t, s.get(apiPath+"/models/a%2Fb/history/events?metric=auc&metric=psi&from=2026-01-01T00:00:00Z&limit=7&cursor=x", 200))
	if len(list.Items) != 1 || list.Items[0].Model != "a/b" || list.Items[0].Count != 3 || list.Next != "more" {
		t.Errorf("%+v", list)
	}
	if q := s.askedFor; !cmp.Equal(q.Metrics, []string{"auc", "psi"}) || q.Limit != 7 || q.Cursor != "x" || q.From.Year() != 2026 || !q.To.IsZero() {
		t.Errorf("asked for %+v", q)
	}
	s.get(apiPath+"/models/m/history/events?limit=10001", 422)
}
