package ingest

import (
	"cmp"
	"crypto/rand"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/visutility/visutility"
)

func (m *MLflow) createRun(c TrackingCall) (TrackingAnswer, error) {
	var in struct {
		ExperimentID string     `json:"experiment_id"`
		RunName      string     `json:"run_name"`
		StartTime    looseInt   `json:"start_time"`
		Tags         []keyValue `json:"tags"`
	}
	if err := decodeCall(c, &in); err != nil {
		return TrackingAnswer{}, err
	}
	if c.Run != nil {
		return m.createTraining(c, in.RunName, int64(in.StartTime), in.Tags)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	name, _ := m.experiments.get(in.ExperimentID)
	r := &trackingRun{experiment: in.ExperimentID, name: in.RunName, status: "RUNNING", start: int64(in.StartTime), artifacts: noArtifacts, tags: map[string]string{}}
	r.tag(in.Tags)
	r.model = name
	id := m.identity(r)
	if id.model == "" {
		return TrackingAnswer{}, visutility.Invalidf("experiment_id", reasonNoModel, "names no model: call mlflow.set_experiment with the model's name, or give the run a tag such as ml.model.name")
	}
	var err error
	if r.id, err = encodeRunID(id.model, id.version); err != nil {
		return TrackingAnswer{}, err
	}
	m.runs.put(r.id, r)
	return TrackingAnswer{Reply: map[string]any{"run": r.describe()}}, nil
}

// parentTag is how MLflow's clients say that a run is nested in another.
const parentTag = "mlflow.parentRunId"

// createTraining gives a training program the run that it has: one that asks for another logs in the same. Only nested runs,
// its trials and folds, are runs of their own, lest what they score be taken for what the challenger scored.
func (m *MLflow) createTraining(c TrackingCall, name string, start int64, tags []keyValue) (TrackingAnswer, error) {
	id := c.Run.ID
	nested := slices.ContainsFunc(tags, func(t keyValue) bool { return t.Key == parentTag })
	if nested {
		id += nestedMark + rand.Text()[:10]
	}
	return m.withRun(c, id, func(r *trackingRun) error {
		if nested {
			r.name, r.start = name, start
			r.tag(tags)
		}
		return nil
	})
}

// nestedMark stands in the id of a nested run, after that of the training program's run. Where a run's artifacts are, it leads
// those of nested ones away from them: none of those is the model.
const nestedMark = "-nested-"

// of tells whether a run is that of the training program, or nested in it, and where its artifacts are.
func (t *TrackedRun) of(id string) (artifacts string, ok bool) {
	nested, ok := strings.CutPrefix(id, t.ID)
	return t.ArtifactURI + nested, ok && (nested == "" || strings.HasPrefix(nested, nestedMark) && !strings.ContainsAny(nested, "/."))
}

// identity is the model that a run's tags name, or else its experiment, with version and labels.
func (m *MLflow) identity(r *trackingRun) identity {
	var attrs []attribute
	for _, name := range slices.Sorted(maps.Keys(r.tags)) {
		label := !strings.HasPrefix(name, "mlflow.") && len(r.tags[name]) <= visutility.MaxNameBytes // not notes, nor what the client adds
		attrs = append(attrs, attribute{name, r.tags[name], label})
	}
	id := m.source.identify(attrs)
	id.model, id.version = cmp.Or(id.model, r.model), cmp.Or(id.version, r.version)
	return id
}

func (r *trackingRun) tag(tags []keyValue) {
	for _, t := range tags {
		if len(r.tags) < maxTrackedNames {
			r.tags[t.Key] = t.Value
		}
	}
}

// run finds a run that the caller may see. The caller holds the lock.
func (m *MLflow) run(c TrackingCall, id string) (*trackingRun, error) {
	artifacts := noArtifacts
	if c.Run != nil {
		var ok bool
		if artifacts, ok = c.Run.of(id); !ok {
			return nil, fmt.Errorf("run %q: %w: a training program sees its own run only", clip(id), visutility.ErrNotFound)
		}
	}
	if r, ok := m.runs.get(id); ok && (c.Run == nil || r.artifacts == artifacts) { // another attempt begins anew
		return r, nil
	}
	r := &trackingRun{id: id, status: "RUNNING", start: c.Now.UnixMilli(), artifacts: artifacts, tags: map[string]string{}}
	if c.Run != nil {
		r.experiment, r.name = experimentID(c.Run.Model), id
	} else if from, ok := decodeRunID(id); ok { // made before the server started
		r.experiment = experimentID(from.Model)
		r.model, r.version = from.Model, from.Version
	} else {
		return nil, fmt.Errorf("run %q: %w", clip(id), visutility.ErrNotFound)
	}
	m.runs.put(id, r)
	return r, nil
}

// withRun changes a run and describes it.
func (m *MLflow) withRun(c TrackingCall, id string, change func(*trackingRun) error) (TrackingAnswer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, err := m.run(c, id)
	if err != nil {
		return TrackingAnswer{}, err
	}
	if err := change(r); err != nil {
		return TrackingAnswer{}, err
	}
	return TrackingAnswer{Reply: map[string]any{"run": r.describe()}}, nil
}

func (m *MLflow) getRun(c TrackingCall) (TrackingAnswer, error) {
	return m.withRun(c, c.Query.Get("run_id"), func(*trackingRun) error { return nil })
}

func (m *MLflow) updateRun(c TrackingCall) (TrackingAnswer, error) {
	var in struct {
		RunID   string   `json:"run_id"`
		Status  string   `json:"status"`
		EndTime looseInt `json:"end_time"`
		RunName string   `json:"run_name"`
	}
	if err := decodeCall(c, &in); err != nil {
		return TrackingAnswer{}, err
	}
	a, err := m.withRun(c, in.RunID, func(r *trackingRun) error {
		if in.Status != "" {
			r.status = in.Status
		}
		if in.RunName != "" {
			r.name = in.RunName
		}
		if in.EndTime > 0 {
			r.end = int64(in.EndTime)
		}
		return nil
	})
	if err != nil {
		return a, err
	}
	run, _ := a.Reply.(map[string]any)["run"].(map[string]any)
	return TrackingAnswer{Reply: map[string]any{"run_info": run["info"]}}, nil
}

func (m *MLflow) searchRuns(c TrackingCall) (TrackingAnswer, error) {
	var in struct {
		ExperimentIDs []string `json:"experiment_ids"`
		Filter        string   `json:"filter"`
		OrderBy       []string `json:"order_by"`
		MaxResults    looseInt `json:"max_results"`
	}
	if err := decodeCall(c, &in); err != nil {
		return TrackingAnswer{}, err
	}
	if in.Filter != "" {
		return TrackingAnswer{}, visutility.Invalidf("filter", reasonUnsupported, "is not understood here; search without one")
	}
	if len(in.OrderBy) > 0 {
		return TrackingAnswer{}, visutility.Invalidf("order_by", reasonUnsupported, "is not understood here; search without it and sort what comes")
	}
	most := min(max(cmp.Or(int(in.MaxResults), 1000), 1), 1000)
	runs := []any{}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, id := range m.runs.keys() {
		r, ok := m.runs.get(id)
		mine := true
		if c.Run != nil {
			_, mine = c.Run.of(id)
		}
		if ok && mine && slices.Contains(in.ExperimentIDs, r.experiment) && len(runs) < most {
			runs = append(runs, r.describe())
		}
	}
	return TrackingAnswer{Reply: map[string]any{"runs": runs}}, nil
}

func (m *MLflow) setTag(c TrackingCall) (TrackingAnswer, error) {
	var in struct {
		RunID string `json:"run_id"`
		keyValue
	}
	if err := decodeCall(c, &in); err != nil {
		return TrackingAnswer{}, err
	}
	_, err := m.withRun(c, in.RunID, func(r *trackingRun) error {
		r.tag([]keyValue{in.keyValue})
		return nil
	})
	return TrackingAnswer{Reply: struct{}{}}, err
}

func (m *MLflow) logParameter(c TrackingCall) (TrackingAnswer, error) {
	var in struct {
		RunID string `json:"run_id"`
		keyValue
	}
	if err := decodeCall(c, &in); err != nil {
		return TrackingAnswer{}, err
	}
	_, err := m.withRun(c, in.RunID, func(r *trackingRun) error {
		r.param([]keyValue{in.keyValue})
		return nil
	})
	return TrackingAnswer{Reply: struct{}{}}, err
}

func (r *trackingRun) param(params []keyValue) {
	if r.params == nil {
		r.params = map[string]string{}
	}
	for _, p := range params {
		if len(r.params) < maxTrackedNames {
			r.params[p.Key] = p.Value
		}
	}
}

func (m *MLflow) logMetric(c TrackingCall) (TrackingAnswer, error) {
	var in trackingMetric
	if err := decodeCall(c, &in); err != nil {
		return TrackingAnswer{}, err
	}
	return m.log(c, in.RunID, []trackingMetric{in}, nil, nil)
}

func (m *MLflow) logBatch(c TrackingCall) (TrackingAnswer, error) {
	var in struct {
		RunID   string           `json:"run_id"`
		Metrics []trackingMetric `json:"metrics"`
		Params  []keyValue       `json:"params"`
		Tags    []keyValue       `json:"tags"`
	}
	if err := decodeCall(c, &in); err != nil {
		return TrackingAnswer{}, err
	}
	return m.log(c, in.RunID, in.Metrics, in.Params, in.Tags)
}

// log takes metrics of a run: measurements of a served model, or what a training program tells.
func (m *MLflow) log(c TrackingCall, run string, metrics []trackingMetric, params, tags []keyValue) (TrackingAnswer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, err := m.run(c, run)
	if err != nil {
		return TrackingAnswer{}, err
	}
	r.tag(tags)
	r.param(params)
	out := TrackingAnswer{Reply: struct{}{}}
	r.newest(metrics)
	if c.Run != nil && r.id != c.Run.ID {
		return out, nil // of a nested run
	}
	if c.Run != nil {
		for _, x := range metrics {
			if v := float64(x.Value); !math.IsNaN(v) && !math.IsInf(v, 0) {
				out.Logged = append(out.Logged, Logged{x.Key, v, int64(x.Step)})
			}
		}
		return out, nil
	}
	if len(metrics) == 0 {
		return out, nil
	}
	id := m.identity(r)
	b := m.source.begin(c.Now)
	b.Key = contentKey(MLflowFormat, c.Body)
	for i, x := range metrics {
		v := float64(x.Value)
		if math.IsNaN(v) || math.IsInf(v, 0) { // MLflow has them for numbers like any other
			b.ignore(reasonNoValue)
			continue
		}
		rd := reading{field: func() string { return fmt.Sprintf("metrics[%d]", i) }, metric: x.Key, value: v}
		if x.Timestamp > 0 {
			rd.time = time.UnixMilli(int64(x.Timestamp))
		}
		m.source.add(b, id, rd)
	}
	out.Batch = b
	return out, nil
}

// newest remembers the newest value of each metric.
func (r *trackingRun) newest(metrics []trackingMetric) {
	if r.metrics == nil {
		r.metrics = map[string]trackingMetric{}
	}
	for _, x := range metrics {
		if _, known := r.metrics[x.Key]; known || len(r.metrics) < maxTrackedNames {
			x.RunID = ""
			r.metrics[x.Key] = x
		}
	}
}

// metricHistory answers with the newest value: the history is in the history of the model.
func (m *MLflow) metricHistory(c TrackingCall) (TrackingAnswer, error) {
	list := []trackingMetric{}
	_, err := m.withRun(c, c.Query.Get("run_id"), func(r *trackingRun) error {
		if x, ok := r.metrics[c.Query.Get("metric_key")]; ok {
			list = append(list, x)
		}
		return nil
	})
	return TrackingAnswer{Reply: map[string]any{"metrics": list}}, err
}

// describe is a run as MLflow's clients read it.
func (r *trackingRun) describe() map[string]any {
	list := func(m map[string]string) []keyValue {
		out := []keyValue{}
		for _, k := range slices.Sorted(maps.Keys(m)) {
			out = append(out, keyValue{k, m[k]})
		}
		return out
	}
	metrics := []trackingMetric{}
	for _, k := range slices.Sorted(maps.Keys(r.metrics)) {
		metrics = append(metrics, r.metrics[k])
	}
	info := map[string]any{
		"run_id": r.id, "run_uuid": r.id, "run_name": r.name, "experiment_id": r.experiment, "status": r.status,
		"start_time": r.start, "artifact_uri": r.artifacts, "lifecycle_stage": "active", "user_id": "",
	}
	if r.end > 0 {
		info["end_time"] = r.end
	}
	return map[string]any{"info": info, "data": map[string]any{"metrics": metrics, "params": list(r.params), "tags": list(r.tags)}, "inputs": map[string]any{}}
}
