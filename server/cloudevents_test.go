package server

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"

	"github.com/visutility/visutility"
)

// logInference sends an event as KServe's inference logger does, which holds anything but 200 for an error.
func logInference(ctx context.Context, url, kind, id string, body []byte) error {
	protocol, err := cloudevents.NewHTTP(cloudevents.WithTarget(url))
	if err != nil {
		return err
	}
	client, err := cloudevents.NewClient(protocol, cloudevents.WithTimeNow())
	if err != nil {
		return err
	}
	e := cloudevents.NewEvent(cloudevents.VersionV1)
	e.SetID(id)
	e.SetType(kind)
	e.SetSource("http://localhost:9081/")
	e.SetExtension("inferenceservicename", "fraud")
	e.SetExtension("namespace", "prod")
	e.SetExtension("component", "predictor")
	e.SetExtension("endpoint", "")
	if err := e.SetData("application/json", body); err != nil {
		return err
	}
	var answer *cehttp.Result
	if res := client.Send(ctx, e); !cloudevents.ResultAs(res, &answer) {
		return fmt.Errorf("not delivered: %w", res)
	}
	if answer.StatusCode != 200 {
		return fmt.Errorf("status %d", answer.StatusCode)
	}
	return nil
}

func TestKServeLogger(t *testing.T) {
	s := serve(t)
	// The logger knows no header for a token, but takes one in the URL.
	url := strings.Replace(s.url, "http://", "http://kserve:"+strings.ReplaceAll(token, " ", "%20")+"@", 1) + apiPath + "/cloudevents"
	for kind, body := range map[string]string{"org.kubeflow.serving.inference.request": `{"instances":[[1],[2]]}`, "org.kubeflow.serving.inference.response": `{"predictions":[1,0]}`} {
		if err := logInference(t.Context(), url, kind, "inference-1", []byte(body)); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
	}
	got := s.events()
	if len(got) != 1 || got[0].Model != "fraud" || got[0].Metric != "prediction" || got[0].Value != 0.5 || got[0].Count != 2 || got[0].Labels["component"] != "predictor" {
		t.Errorf("%+v", got)
	}
	if err := logInference(t.Context(), s.url+apiPath+"/cloudevents", "org.kubeflow.serving.inference.response", "2", nil); err == nil || !strings.Contains(err.Error(), "401") {
		t.Errorf("without a token: %v", err)
	}
}

func TestCloudEventsClient(t *testing.T) {
	s := serve(t)
	for _, encode := range []func(context.Context) context.Context{cloudevents.WithEncodingBinary, cloudevents.WithEncodingStructured} {
		client, err := cloudevents.NewClientHTTP(cloudevents.WithTarget(s.url+apiPath+"/cloudevents"), cloudevents.WithHeader("Authorization", "Bearer "+token))
		if err != nil {
			t.Fatal(err)
		}
		e := cloudevents.NewEvent()
		e.SetID("1")
		e.SetType("visutility.metric.v1")
		e.SetSource("/scorer")
		e.SetTime(start)
		if err := e.SetData(cloudevents.ApplicationJSON, map[string]any{"model": "fraud", "metric": "accuracy", "value": 0.91}); err != nil {
			t.Fatal(err)
		}
		if res := client.Send(encode(t.Context()), e); !cloudevents.IsACK(res) {
			t.Error(res)
		}
	}
	want := visutility.Event{Model: "fraud", Metric: "accuracy", Value: 0.91, Time: start}
	got := s.events()
	if len(got) != 2 || fmt.Sprint(got[0]) != fmt.Sprint(want) || fmt.Sprint(got[1]) != fmt.Sprint(want) || s.keys[0] != s.keys[1] || s.keys[0] == "" {
		t.Errorf("%+v %q", got, s.keys)
	}
	status, body, h := s.do(s.request("POST", apiPath+"/cloudevents", "{}", "Content-Type", "application/cloudevents-batch+json"))
	if status != 400 || h.Get("Content-Type") != problemType || !bytes.Contains([]byte(body), []byte("malformed")) {
		t.Errorf("%d %v %s", status, h, body)
	}
}
