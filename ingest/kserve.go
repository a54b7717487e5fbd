package ingest

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/cloudevents/sdk-go/v2/event"
)

// What KServe's inference logger sends. Request and response of an inference have the same id.
const (
	kserveRequest  = "org.kubeflow.serving.inference.request"
	kserveResponse = "org.kubeflow.serving.inference.response"
)

// predictionMetric is the metric that the answers of a model make.
const predictionMetric = "prediction"

// An inference is the response of KServe's protocols: of version 1 the predictions, of version 2 the rest.
type inference struct {
	Predictions []any    `json:"predictions"`
	ModelName   string   `json:"model_name"`
	Version     string   `json:"model_version"`
	Outputs     []tensor `json:"outputs"`
}

type tensor struct {
	Name     string `json:"name"`
	Datatype string `json:"datatype"`
	Shape    []int  `json:"shape"`
	Data     []any  `json:"data"`
}

// predictions makes a measurement of what a model answered: the mean of the numbers, and how many there
// were. A model that answers otherwise than it used to has drifted, or its inputs have.
func (c *cloudReader) predictions(e *event.Event) {
	var in inference
	if t := e.DataMediaType(); t != jsonType && t != "" {
		c.b.ignore(reasonUnsupported) // images, binary tensors
		return
	}
	if err := json.Unmarshal(e.Data(), &in); err != nil {
		c.b.refuse(c.prefix+"data", "syntax", "is not the response of an inference: %s", clipLine(err.Error()))
		return
	}
	id := c.s.identify(c.attributes(e, &in))
	add := func(metric, field string, values []any) {
		mean, n := meanOf(values)
		if n == 0 {
			c.b.ignore(reasonNoValue)
			return
		}
		c.s.add(c.b, id, reading{
			field:  func() string { return c.prefix + "data." + field },
			metric: metric, value: mean, count: n, time: e.Time(),
		})
	}
	if in.Predictions != nil {
		add(predictionMetric, "predictions", in.Predictions)
	}
	for _, out := range in.Outputs {
		metric := predictionMetric
		if len(in.Outputs) > 1 {
			metric += "_" + out.Name
		}
		if out.vector() {
			add(metric, "outputs."+clip(out.Name), out.Data)
		} else {
			c.b.ignore(reasonNoValue)
		}
	}
	if in.Predictions == nil && len(in.Outputs) == 0 {
		c.b.ignore(reasonNoValue)
	}
}

// attributes are those of the event, then those of the response.
func (c *cloudReader) attributes(e *event.Event, in *inference) []attribute {
	var attrs []attribute
	for name, v := range e.Extensions() {
		s, ok := v.(string)
		// The headers of requests and annotations are no segments.
		attrs = append(attrs, attribute{name, s, ok && name != "metadata" && name != "annotations"})
	}
	slices.SortFunc(attrs, func(a, b attribute) int { return strings.Compare(a.name, b.name) })
	return append(attrs, attribute{"model_name", in.ModelName, false}, attribute{"model_version", in.Version, false})
}

// vector reports whether the tensor is one number for each instance.
func (t *tensor) vector() bool {
	size := 1
	for _, n := range t.Shape {
		if n <= 0 || n > len(t.Data) {
			return false
		}
		size *= n
	}
	return size == len(t.Data) && (len(t.Shape) == 1 || len(t.Shape) == 2 && t.Shape[1] == 1)
}

// meanOf is the mean of numbers, each possibly in a list of its own; n is 0 when there is anything else.
func meanOf(values []any) (mean float64, n uint64) {
	for _, v := range values {
		if list, ok := v.([]any); ok && len(list) == 1 {
			v = list[0]
		}
		x, ok := v.(float64)
		if b, is := v.(bool); is {
			ok = true
			if b {
				x = 1
			}
		}
		if !ok {
			return 0, 0
		}
		n++
		mean += (x - mean) / float64(n)
	}
	return mean, n
}
