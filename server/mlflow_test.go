package server

import (
	"context"
	"strings"
	"testing"

	"github.com/visutility/visutility"
)

const mlflow = "/api/2.0/mlflow/"

func TestMLflowMeasures(t *testing.T) {
	s := serve(t)
	exp := parse[map[string]string](t, s.post(mlflow+"experiments/create", `{"name":"fraud"}`, 200))["experiment_id"]
	type created struct {
		Run struct {
			Info struct {
				ID string `json:"run_id"`
			}
		}
	}
	run := parse[created](t, s.post(mlflow+"runs/create", `{"experiment_id":"`+exp+`"}`, 200)).Run.Info.ID
	metric := `{"run_id":"` + run + `","key":"accuracy","value":0.91,"timestamp":1769860800000}`
	if got := s.post(mlflow+"runs/log-metric", metric, 200); got != "{}\n" {
		t.Error(got)
	}
	if got := s.events(); len(got) != 1 || got[0].Model != "fraud" || got[0].Metric != "accuracy" || !got[0].Time.Equal(start) || !strings.HasPrefix(s.keys[0], "mlflow:") {
		t.Errorf("%+v %q", got, s.keys)
	}
	if got := s.post(mlflow+"runs/log-metric", strings.Replace(metric, "accuracy", "", 1), 400); !strings.Contains(got, "INVALID_PARAMETER_VALUE") || !strings.Contains(got, "metrics[0].metric: ") {
		t.Error(got)
	}
	if got := s.get(mlflow+"runs/get?run_id=none", 404); !strings.Contains(got, "RESOURCE_DOES_NOT_EXIST") {
		t.Error(got)
	}
	s.get("/api/3.0/mlflow/server-info", 404) // which clients take for an old server
	s.post(mlflow+"runs/log-batch", strings.Repeat(" ", 3<<20), 413)
	s.publish = func(context.Context, []visutility.Event) error { return visutility.ErrOverloaded }
	if status, text, h := s.do(s.request("POST", mlflow+"runs/log-metric", metric)); status != 429 || h.Get("Retry-After") == "" || !strings.Contains(text, "REQUEST_LIMIT_EXCEEDED") {
		t.Errorf("%d %v %s", status, h, text)
	}
}

// A training program is let in by the token of its attempt, to its own run, and nowhere else.
func TestMLflowTrainingToken(t *testing.T) {
	s := serve(t)
	mine := []string{"Authorization", "Bearer r0:token of r0"}
	log := `{"run_id":"r0","metrics":[{"key":"auc","value":0.9,"step":3}]}`
	s.post(mlflow+"runs/log-batch", log, 200, mine...)
	if len(s.acted) != 1 || s.acted[0] != "track r0 map[auc:0.9] 3" || len(s.published) > 0 {
		t.Errorf("%q %v", s.acted, s.published)
	}
	if got := s.get(mlflow+"runs/get?run_id=r0", 200, mine...); !strings.Contains(got, "file:///output") {
		t.Error(got)
	}
	if got := s.post(mlflow+"runs/log-batch", strings.Replace(log, "r0", "r1", 1), 404, mine...); !strings.Contains(got, `"error_code":"RESOURCE_DOES_NOT_EXIST"`) {
		t.Error(got)
	}
	if n := s.counter(`visutility_http_requests_total{code="404",route="POST /api/2.0/mlflow/runs/log-batch"}`); n != "1" {
		t.Errorf("%q calls are counted", n)
	}
	for _, who := range [][]string{mine, nil} {
		if got := s.post(mlflow+"logged-models", "{}", 404, who...); !strings.Contains(got, `"error_code":"ENDPOINT_NOT_FOUND"`) || !strings.Contains(got, "mlflow.log_artifact") {
			t.Error(got)
		}
		if got := s.post("/api/3.0/mlflow/traces", "{}", 404, who...); !strings.Contains(got, `"error_code":"ENDPOINT_NOT_FOUND"`) || !strings.Contains(got, "traces") {
			t.Error(got)
		}
	}
	s.fault = visutility.ErrConflict
	s.post(mlflow+"runs/log-batch", log, 409, mine...)
	for _, bad := range []string{"Bearer r1:token of r0", "Bearer r0:", "Bearer token of r0", "Bearer :token of r0"} {
		s.post(mlflow+"runs/log-batch", log, 401, "Authorization", bad)
	}
	for _, path := range []string{"/api/v1/models", "/metrics", "/api/2.0/mlflow/../../v1/models", "/api/v1/runs/r0"} {
		if status, body, _ := s.do(s.request("GET", path, "", mine...)); status != 401 {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	s.post(metrics, `{"model":"m","metric":"x","value":1}`, 401, mine...)
}
