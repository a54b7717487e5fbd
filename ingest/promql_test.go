package ingest

import (
	"errors"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/model"

	"github.com/visutility/visutility"
)

func TestReadQuery(t *testing.T) {
	at := model.TimeFromUnixNano(now.UnixNano())
	vector := model.Vector{
		{Metric: model.Metric{"__name__": "psi", "model": "fraud", "country": "DE", "instance": "a"}, Value: 0.3, Timestamp: at},
		{Metric: model.Metric{"model": "churn"}, Value: model.SampleValue(math.NaN()), Timestamp: at},
		{Metric: model.Metric{}, Value: 1, Timestamp: at},
		{Metric: model.Metric{"model": "churn"}, Histogram: &model.SampleHistogram{}, Timestamp: at},
	}
	for _, c := range []struct {
		answer  model.Value
		name    string
		want    []visutility.Event
		refused map[string]int
	}{
		{vector, "", []visutility.Event{{Model: "fraud", Metric: "drift_score", Value: 0.3, Time: now, Labels: map[string]string{"country": "DE"}}}, map[string]int{"no_model": 1}},
		{vector[2:3], "churn", []visutility.Event{{Model: "churn", Metric: "drift_score", Value: 1, Time: now}}, nil},
		{&model.Scalar{Value: 2, Timestamp: at}, "churn", []visutility.Event{{Model: "churn", Metric: "drift_score", Value: 2, Time: now}}, nil},
		{&model.Scalar{Value: 2, Timestamp: at}, "", nil, map[string]int{"no_model": 1}},
	} {
		b, err := ReadQuery(newSource(), c.answer, "drift_score", c.name, now)
		if err != nil {
			t.Fatal(err)
		}
		checkBatch(t, b)
		if diff := cmp.Diff(c.want, b.Events) + cmp.Diff(c.refused, b.Refused); diff != "" {
			t.Error(diff)
		}
	}
	if _, err := ReadQuery(newSource(), model.Matrix{}, "x", "m", now); !errors.Is(err, visutility.ErrInvalid) {
		t.Error(err)
	}
}
