package trigger

import (
	"testing"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/policy"
)

func TestFoldByItself(t *testing.T) {
	p, err := policy.Parse("p.yaml", []byte("model: m\nretrain: {when: accuracy < 0.8}\ntrain: {trainer: x}\n"))
	if err != nil {
		t.Fatal(err)
	}
	set, err := policy.NewSet(p)
	if err != nil {
		t.Fatal(err)
	}
	f := NewFold(set, nil)
	for i, value := range []float64{0.9, 0.7} {
		ds, runs := f.Entry(&visutility.Entry{
			Position: visutility.Position(i + 1), Stored: epoch0 + int64(i),
			Series:  []visutility.Series{{Model: "m", Metric: visutility.Accuracy}},
			Records: []visutility.Record{{Time: epoch0 + int64(i), Value: value, Count: 1}},
		})
		if len(ds) != i || len(runs) != i {
			t.Errorf("%g: %d decisions and %d runs, want %d of each", value, len(ds), len(runs), i)
		}
	}
}
