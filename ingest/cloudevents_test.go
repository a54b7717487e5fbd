package ingest

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/visutility/visutility"
)

// binary is a request with the attributes of an event in its headers.
func binary(kind, id, body string, extensions ...string) Request {
	h := http.Header{}
	for name, v := range map[string]string{"Ce-Specversion": "1.0", "Ce-Type": kind, "Ce-Id": id, "Ce-Source": "/test", "Content-Type": "application/json", "Ce-Time": now.Format(time.RFC3339)} {
		h.Set(name, v)
	}
	for i := 0; i < len(extensions); i += 2 {
		h.Set("Ce-"+extensions[i], extensions[i+1])
	}
	return Request{Header: h, Body: []byte(body), Now: now}
}

const structuredEvent = `{"specversion":"1.0","type":"visutility.metric.v1","id":"1","source":"/test","time":"2026-01-31T12:00:00Z","data":%s}`

func structured(contentType, body string) Request {
	return Request{Header: http.Header{"Content-Type": {contentType}}, Body: []byte(body), Now: now}
}

func TestCloudEvents(t *testing.T) {
	one := `{"model":"fraud","metric":"accuracy","value":0.91}`
	event := visutility.Event{Model: "fraud", Metric: "accuracy", Value: 0.91, Time: now}
	for name, c := range map[string]struct {
		r    Request
		want []visutility.Event
	}{
		"binary":     {binary(MetricType, "1", one), []visutility.Event{event}},
		"list":       {binary(MetricType, "1", "["+one+","+one+"]"), []visutility.Event{event, event}},
		"structured": {structured("application/cloudevents+json; charset=UTF-8", fmt.Sprintf(structuredEvent, one)), []visutility.Event{event}},
		"batch": {structured("application/cloudevents-batch+json", "["+fmt.Sprintf(structuredEvent, one)+","+fmt.Sprintf(structuredEvent, one)+"]"),
			[]visutility.Event{event, event}},
		"own time": {binary(MetricType, "1", `{"model":"fraud","metric":"accuracy","value":0.91,"time":"2026-01-30T12:00:00Z"}`),
			[]visutility.Event{{Model: "fraud", Metric: "accuracy", Value: 0.91, Time: now.Add(-24 * time.Hour)}}},
	} {
		b, err := CloudEvents.Read(newSource(), c.r)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		checkBatch(t, b)
		if diff := cmp.Diff(c.want, b.Events); diff != "" || b.RefusedCount() > 0 {
			t.Errorf("%s: %v %s", name, b.Faults, diff)
		}
		if a := CloudEvents.Answer(c.r, b); a.Status != 200 || string(a.Body) != fmt.Sprintf("{\"accepted\":%d}\n", len(c.want)) {
			t.Errorf("%s: %d %s", name, a.Status, a.Body)
		}
	}
}

func TestCloudEventsHaveKeys(t *testing.T) {
	key := func(r Request) string {
		b, err := CloudEvents.Read(newSource(), r)
		if err != nil {
			t.Fatal(err)
		}
		return b.Key
	}
	one := key(binary(MetricType, "1", `{"model":"m","metric":"x","value":1}`))
	if one != key(binary(MetricType, "1", `{"model":"m","metric":"x","value":1}`)) {
		t.Error("a repetition has another key")
	}
	elsewhere := binary(MetricType, "1", `{}`)
	elsewhere.Header.Set("Ce-Source", "/elsewhere")
	for _, other := range []Request{binary(MetricType, "2", `{}`), binary("other", "1", `{}`), elsewhere} {
		if key(other) == one {
			t.Error("another event has the same key")
		}
	}
}

func TestCloudEventsRefuse(t *testing.T) {
	for name, c := range map[string]struct {
		r    Request
		want error
		text string
	}{
		"nothing":      {structured("application/json", "{}"), ErrUnsupported, "Ce-Specversion"},
		"format":       {structured("application/cloudevents+xml", "<a/>"), ErrUnsupported, "application/cloudevents+xml"},
		"syntax":       {structured("application/cloudevents+json", "{"), ErrSyntax, ""},
		"batch syntax": {structured("application/cloudevents-batch+json", "[{"), ErrSyntax, ""},
		"depth":        {structured("application/cloudevents+json", strings.Repeat("[", 1000)), ErrTooLarge, ""},
	} {
		b, err := CloudEvents.Read(newSource(), c.r)
		if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %+v %v", name, b, err)
		}
	}
	bare := binary(MetricType, "", "{}")
	bare.Header.Del("Ce-Id")
	other := binary(MetricType, "1", "x")
	other.Header.Set("Content-Type", "text/plain")
	for name, c := range map[string]struct {
		r                     Request
		field, reason, status string
	}{
		"no id":   {bare, "event", "syntax", "422"},
		"type":    {binary("com.example.other", "1", "{}"), "type", "unknown", "422"},
		"data":    {binary(MetricType, "1", `{"model":"m","metric":"x","value":"y"}`), "data.value", "type", "422"},
		"no JSON": {binary(MetricType, "1", `{`), "data", "syntax", "422"},
		"text":    {other, "datacontenttype", "unsupported", "422"},
		"in part": {structured("application/cloudevents-batch+json", "["+fmt.Sprintf(structuredEvent, `{"model":"m","metric":"x","value":1}`)+","+fmt.Sprintf(structuredEvent, `{"model":"m"}`)+"]"),
			"[1].data.value", "empty", "200"},
	} {
		b, err := CloudEvents.Read(newSource(), c.r)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		checkBatch(t, b)
		a := CloudEvents.Answer(c.r, b)
		if len(b.Faults) == 0 || b.Faults[0].Field != c.field || b.Faults[0].Reason != c.reason || fmt.Sprint(a.Status) != c.status || !json.Valid(a.Body) {
			t.Errorf("%s: %v, %d %s", name, b.Faults, a.Status, a.Body)
		}
	}
}

func TestKServe(t *testing.T) {
	isvc := []string{"inferenceservicename", "fraud", "namespace", "prod", "component", "predictor", "endpoint", "default", "metadata", `{"a":["b"]}`}
	labels := map[string]string{"component": "predictor"}
	for body, want := range map[string][]visutility.Event{
		`{"predictions":[1,0,1,true]}`: {{Metric: "prediction", Value: 0.75, Count: 4}},
		`{"predictions":[[0.5],[1]]}`:  {{Metric: "prediction", Value: 0.75, Count: 2}},
		`{"predictions":[[0.5,0.5]]}`:  nil,
		`{"predictions":["cat"]}`:      nil,
		`{"predictions":[]}`:           nil,
		`{"model_name":"x","model_version":"7","outputs":[{"name":"y","datatype":"FP32","shape":[2,1],"data":[1,2]}]}`:                  {{Metric: "prediction", Value: 1.5, Count: 2, Version: "7"}},
		`{"outputs":[{"name":"a","shape":[1],"data":[1]},{"name":"b","shape":[1],"data":[2]},{"name":"c","shape":[1,2],"data":[1,2]}]}`: {{Metric: "prediction_a", Value: 1, Count: 1}, {Metric: "prediction_b", Value: 2, Count: 1}},
		`{}`: nil,
	} {
		b, err := CloudEvents.Read(newSource(), binary(kserveResponse, "1", body, isvc...))
		if err != nil {
			t.Errorf("%s: %v", body, err)
			continue
		}
		checkBatch(t, b)
		for i := range want {
			want[i].Model, want[i].Labels, want[i].Time = "fraud", labels, now
		}
		if diff := cmp.Diff(want, b.Events); diff != "" || b.RefusedCount() > 0 || len(want) == 0 && b.Ignored["no_value"] != 1 {
			t.Errorf("%s: %v %v %s", body, b.Refused, b.Ignored, diff)
		}
		if a := CloudEvents.Answer(Request{}, b); a.Status != 200 { // or its logger calls it an error
			t.Errorf("%s: status %d", body, a.Status)
		}
	}
	b, err := CloudEvents.Read(newSource(), binary(kserveRequest, "1", `{"instances":[[1]]}`, isvc...))
	if err != nil || !maps.Equal(b.Ignored, map[string]int{"unsupported": 1}) || CloudEvents.Answer(Request{}, b).Status != 200 {
		t.Errorf("%+v %v", b, err)
	}
}

func FuzzCloudEvents(f *testing.F) {
	f.Add("application/cloudevents+json", "", fmt.Appendf(nil, structuredEvent, `{"model":"m","metric":"x","value":1}`))
	f.Add("application/cloudevents-batch+json", "", fmt.Appendf(nil, "["+structuredEvent+"]", "1"))
	f.Add("application/json", kserveResponse, []byte(`{"predictions":[1],"outputs":[{"shape":[1],"data":[1]}]}`))
	f.Add("application/json", MetricType, []byte(`[]`))
	s := newSource()
	f.Fuzz(func(t *testing.T, contentType, kind string, body []byte) {
		r := structured(contentType, string(body))
		if kind != "" {
			r = binary(kind, "1", string(body), "inferenceservicename", "m")
		}
		b, err := CloudEvents.Read(s, r)
		if err != nil {
			if !errors.Is(err, visutility.ErrInvalid) {
				t.Fatal(err)
			}
			return
		}
		checkBatch(t, b)
		CloudEvents.Answer(r, b)
	})
}

func BenchmarkCloudEvents(b *testing.B) {
	s := newSource()
	r := binary(MetricType, "1", string(benchBody("array", false)))
	r.Body = benchBody("array", false)
	b.SetBytes(int64(len(r.Body)))
	b.ReportAllocs()
	for b.Loop() {
		batch, err := CloudEvents.Read(s, r)
		if err != nil || len(batch.Events) != 500 {
			b.Fatal(err, batch)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/500, "ns/event")
}

func BenchmarkKServe(b *testing.B) {
	s := newSource()
	r := binary(kserveResponse, "1", `{"predictions":[0.5,0.25,1,0]}`, "inferenceservicename", "fraud")
	b.ReportAllocs()
	for b.Loop() {
		if batch, err := CloudEvents.Read(s, r); err != nil || len(batch.Events) != 1 {
			b.Fatal(err, batch)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N), "ns/event")
}
