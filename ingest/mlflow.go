package ingest

import (
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/visutility/visutility"
)

// MLflowPath is where MLflow's clients find the tracking protocol.
const MLflowPath = "/api/2.0/mlflow/"

// MLflowNewPath is where they look for what came with MLflow 3, none of which is understood.
const MLflowNewPath = "/api/3.0/mlflow/"

// MLflowFormat is the name under which it is counted.
const MLflowFormat = "mlflow"

// maxTracked bounds the experiments and runs that are remembered, and the names of each run.
const (
	maxTracked      = 10_000
	maxTrackedNames = 1000
)

// An MLflow speaks MLflow's tracking protocol, as far as it takes to log: an experiment is a model, and what is
// logged in its runs is measured of it, with the version in a tag of the mapping. Runs are remembered for as long as
// there is room; a run's id says all that matters of it, so that a client may log on after a restart of the server.
//
// A training program that the server launched logs in its own run instead ([TrackedRun]). It is safe for
// concurrent use.
type MLflow struct {
	source *Source

	mu          sync.Mutex
	experiments recent[string]       // names, by id
	runs        recent[*trackingRun] // by id
}

// NewMLflow makes one.
func NewMLflow(s *Source) *MLflow {
	return &MLflow{source: s, experiments: recent[string]{max: maxTracked}, runs: recent[*trackingRun]{max: maxTracked}}
}

// A TrackedRun is a run of a training program, which may see nothing else but runs that it nests in it.
type TrackedRun struct {
	ID, Model   string
	ArtifactURI string
}

// A TrackingCall is a request of the protocol: a GET has Query, a POST Body.
type TrackingCall struct {
	Query url.Values
	Body  []byte
	Now   time.Time
	// Run is that of the training program that calls, nil for all other callers.
	Run *TrackedRun
}

// A TrackingAnswer is what came of a call.
type TrackingAnswer struct {
	Reply any
	// Batch has what was measured of a served model, nil for nothing.
	Batch *Batch
	// Logged are what a training program logged: to be kept before it is answered.
	Logged []Logged
}

// A Logged is a metric of a training program.
type Logged struct {
	Key   string
	Value float64
	Step  int64
}

// An MLflowEndpoint is a method of the protocol.
type MLflowEndpoint struct {
	Method, Path string // below [MLflowPath]
	call         func(*MLflow, TrackingCall) (TrackingAnswer, error)
}

// Call makes a call. What is wrong with it is [visutility.ErrInvalid] or [visutility.ErrNotFound].
func (e *MLflowEndpoint) Call(m *MLflow, c TrackingCall) (TrackingAnswer, error) { return e.call(m, c) }

// MLflowEndpoints is the table of what is understood.
var MLflowEndpoints = []MLflowEndpoint{
	{"POST", "experiments/create", (*MLflow).createExperiment},
	{"GET", "experiments/get", (*MLflow).getExperiment},
	{"GET", "experiments/get-by-name", (*MLflow).getExperiment},
	{"POST", "experiments/search", (*MLflow).searchExperiments},
	{"POST", "experiments/set-experiment-tag", (*MLflow).accept},
	{"POST", "runs/create", (*MLflow).createRun},
	{"GET", "runs/get", (*MLflow).getRun},
	{"POST", "runs/update", (*MLflow).updateRun},
	{"POST", "runs/search", (*MLflow).searchRuns},
	{"POST", "runs/log-metric", (*MLflow).logMetric},
	{"POST", "runs/log-batch", (*MLflow).logBatch},
	{"POST", "runs/log-parameter", (*MLflow).logParameter},
	{"POST", "runs/set-tag", (*MLflow).setTag},
	{"POST", "runs/delete-tag", (*MLflow).accept},
	{"POST", "runs/log-inputs", (*MLflow).accept},
	{"POST", "runs/log-model", (*MLflow).accept},
	{"POST", "runs/outputs", (*MLflow).accept},
	{"GET", "metrics/get-history", (*MLflow).metricHistory},
}

// MLflowError is an error as the protocol says it.
func MLflowError(status int, text string) Reply {
	code := "INVALID_PARAMETER_VALUE"
	switch status {
	case http.StatusNotFound:
		code = "RESOURCE_DOES_NOT_EXIST"
	case http.StatusTooManyRequests:
		code = "REQUEST_LIMIT_EXCEEDED"
	case http.StatusServiceUnavailable:
		code = "TEMPORARILY_UNAVAILABLE"
	case http.StatusForbidden:
		code = "PERMISSION_DENIED"
	case http.StatusInternalServerError:
		code = "INTERNAL_ERROR"
	case http.StatusUnprocessableEntity:
		status = http.StatusBadRequest
	}
	return mlflowReply(status, code, text)
}

func mlflowReply(status int, code, text string) Reply {
	body, err := json.Marshal(map[string]string{"error_code": code, "message": text})
	if err != nil {
		body = nil // strings always marshal
	}
	return Reply{Status: status, ContentType: jsonType, Body: body}
}

// instead says what to do where a part of MLflow is not understood, by how its methods begin.
var instead = []struct{ method, advice string }{
	{"logged-models", "logged models are not kept here: save the model to a file and log that with mlflow.log_artifact, and call autolog with log_models=False"},
	{"registered-models", "MLflow's model registry is not kept here: VisuTility registers and promotes what a run logs with mlflow.log_artifact, as the policy says"},
	{"model-versions", "MLflow's model registry is not kept here: VisuTility registers and promotes what a run logs with mlflow.log_artifact, as the policy says"},
	{"traces", "traces are not kept here: call mlflow.tracing.disable, or send them elsewhere"},
	{"runs/delete", "runs are not deleted: they are the record of what happened"},
	{"runs/restore", "runs are not deleted: they are the record of what happened"},
}

// MLflowUnknown answers a call of a method that is not understood, named by its path below [MLflowPath].
func MLflowUnknown(method string) Reply {
	text := clip(method) + " is not understood here; docs/ingest.md lists what is"
	for _, x := range instead {
		if strings.HasPrefix(method, x.method) {
			text = x.advice
			break
		}
	}
	return mlflowReply(http.StatusNotFound, "ENDPOINT_NOT_FOUND", text)
}

// recent remembers at most max values by key, forgetting the oldest by halves. Not safe for concurrent use.
type recent[T any] struct {
	max            int
	younger, older map[string]T
}

func (r *recent[T]) get(key string) (T, bool) {
	v, ok := r.younger[key]
	if !ok {
		if v, ok = r.older[key]; ok {
			r.put(key, v)
		}
	}
	return v, ok
}

func (r *recent[T]) put(key string, v T) {
	if len(r.younger) >= r.max/2 || r.younger == nil {
		r.older, r.younger = r.younger, make(map[string]T)
	}
	r.younger[key] = v
}

func (r *recent[T]) keys() []string {
	all := maps.Clone(r.older)
	if all == nil {
		all = make(map[string]T)
	}
	maps.Copy(all, r.younger)
	return slices.Sorted(maps.Keys(all))
}

// A trackingRun is a run of MLflow's.
type trackingRun struct {
	id, experiment, name string
	model, version       string // unless tags say otherwise
	status               string
	start, end           int64
	artifacts            string
	tags, params         map[string]string
	metrics              map[string]trackingMetric // the newest of each
}

type trackingMetric struct {
	Key       string   `json:"key"`
	Value     looseNum `json:"value"`
	Timestamp looseInt `json:"timestamp"`
	Step      looseInt `json:"step"`
	RunID     string   `json:"run_id,omitempty"`
}

type keyValue struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// A looseInt is a whole number, in quotes or not: MLflow's clients write both.
type looseInt int64

func (n *looseInt) UnmarshalJSON(b []byte) error {
	v, err := strconv.ParseInt(strings.Trim(string(b), `"`), 10, 64)
	if err != nil {
		return fmt.Errorf("%s is no whole number", clip(string(b)))
	}
	*n = looseInt(v)
	return nil
}

// A looseNum is a number, or a word for none.
type looseNum float64

func (n *looseNum) UnmarshalJSON(b []byte) error {
	v, err := strconv.ParseFloat(strings.Trim(string(b), `"`), 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return fmt.Errorf("%s is no number", clip(string(b)))
	}
	*n = looseNum(v)
	return nil
}

func (n looseNum) MarshalJSON() ([]byte, error) {
	if v := float64(n); math.IsNaN(v) || math.IsInf(v, 0) {
		return json.Marshal(strings.Replace(strconv.FormatFloat(v, 'g', -1, 64), "Inf", "Infinity", 1))
	}
	return json.Marshal(float64(n))
}

// runPrefix begins the ids of runs that say which model and version they are of.
const runPrefix = "vis"

// identityOf is what a run's id says.
type identityOf struct {
	Model   string `json:"m"`
	Version string `json:"v,omitempty"`
	Nonce   string `json:"n"`
}

func encodeRunID(model, version string) (string, error) {
	b, err := json.Marshal(identityOf{model, version, rand.Text()[:10]})
	if err != nil {
		return "", err
	}
	id := runPrefix + base64.RawURLEncoding.EncodeToString(b)
	if len(id) > 256 {
		return "", visutility.Invalidf("experiment", "too_long", "%q is too long for MLflow's protocol; give the model a name of at most 100 bytes", clip(model))
	}
	return id, nil
}

func decodeRunID(id string) (out identityOf, ok bool) {
	b, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(id, runPrefix))
	return out, strings.HasPrefix(id, runPrefix) && err == nil && json.Unmarshal(b, &out) == nil && out.Model != ""
}

func experimentID(name string) string {
	sum := sha256.Sum256([]byte(name))
	return hex.EncodeToString(sum[:16])
}

// decodeCall reads the body of a call.
func decodeCall(c TrackingCall, v any) error {
	if err := checkBraces(c.Body); err != nil {
		return err
	}
	if len(c.Body) == 0 {
		return nil
	}
	if err := json.Unmarshal(c.Body, v); err != nil {
		return malformed(err)
	}
	return nil
}

func (m *MLflow) accept(TrackingCall) (TrackingAnswer, error) {
	return TrackingAnswer{Reply: struct{}{}}, nil
}

// experiment describes an experiment. That of a training program is its model's, whatever name it is asked for by.
func experiment(id, name string) map[string]any {
	return map[string]any{"experiment_id": id, "name": name, "lifecycle_stage": "active", "artifact_location": noArtifacts, "tags": []any{}}
}

// noArtifacts is where the artifacts of served models are: nowhere.
const noArtifacts = "visutility-keeps-no-artifacts:/"

func (m *MLflow) createExperiment(c TrackingCall) (TrackingAnswer, error) {
	var in struct{ Name string }
	if err := decodeCall(c, &in); err != nil {
		return TrackingAnswer{}, err
	}
	name := in.Name
	if c.Run != nil {
		name = c.Run.Model
	}
	if errs := (&visutility.Event{Model: name, Metric: "-"}).Check(nil, "", c.Now); len(errs) > 0 {
		errs[0].Field = "name"
		return TrackingAnswer{}, &visutility.InvalidError{Fields: errs[:1]}
	}
	m.remember(name)
	return TrackingAnswer{Reply: map[string]string{"experiment_id": experimentID(name)}}, nil
}

func (m *MLflow) remember(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.experiments.put(experimentID(name), name)
}

func (m *MLflow) getExperiment(c TrackingCall) (TrackingAnswer, error) {
	name := c.Query.Get("experiment_name")
	id := c.Query.Get("experiment_id")
	if c.Run != nil {
		return TrackingAnswer{Reply: map[string]any{"experiment": experiment(experimentID(c.Run.Model), c.Run.Model)}}, nil
	}
	m.mu.Lock()
	known, ok := m.experiments.get(cmp.Or(id, experimentID(name)))
	m.mu.Unlock()
	if id == "0" { // MLflow's experiment for those who name none
		known, ok = "Default", true
	}
	if !ok {
		return TrackingAnswer{}, fmt.Errorf("experiment %q: %w", clip(cmp.Or(name, id)), visutility.ErrNotFound)
	}
	return TrackingAnswer{Reply: map[string]any{"experiment": experiment(cmp.Or(id, experimentID(known)), known)}}, nil
}

func (m *MLflow) searchExperiments(c TrackingCall) (TrackingAnswer, error) {
	list := []any{}
	if c.Run != nil {
		list = append(list, experiment(experimentID(c.Run.Model), c.Run.Model))
	} else {
		m.mu.Lock()
		defer m.mu.Unlock()
		for _, id := range m.experiments.keys() {
			if name, ok := m.experiments.get(id); ok && len(list) < 1000 {
				list = append(list, experiment(id, name))
			}
		}
	}
	return TrackingAnswer{Reply: map[string]any{"experiments": list}}, nil
}
