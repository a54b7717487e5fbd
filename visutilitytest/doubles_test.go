package visutilitytest

import (
	"errors"
	"testing"

	"github.com/visutility/visutility"
)

func TestInMemoryRegistryConforms(t *testing.T) {
	TestRegistry(t, func(*testing.T) visutility.Registry { return &InMemoryRegistry{} })
}

func TestNopTrainer(t *testing.T) {
	a, err := NopTrainer{Metrics: map[string]float64{"wmape": 0.2}}.Train(t.Context(), visutility.Job{Run: "r1"})
	if err != nil || a.URI != "nop://r1" || a.Metrics["wmape"] != 0.2 {
		t.Errorf("Train: %+v, %v", a, err)
	}
	broken := errors.New("broken")
	if _, err := (NopTrainer{Err: broken}).Train(t.Context(), visutility.Job{}); !errors.Is(err, broken) {
		t.Errorf("Train: %v", err)
	}
}
