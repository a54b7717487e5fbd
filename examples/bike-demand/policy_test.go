package main

import (
	"os"
	"slices"
	"testing"

	"github.com/visutility/visutility/policy"
)

func TestThePolicyIsGoodAndNamesThisProgram(t *testing.T) {
	src, err := os.ReadFile("bike-demand.yaml")
	if err != nil {
		t.Fatal(err)
	}
	p, err := policy.Parse("bike-demand.yaml", src)
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Warnings) > 0 {
		t.Error(p.Warnings)
	}
	if !p.Matches(modelName) || p.Metrics[metric].Goal != policy.LowerIsBetter {
		t.Errorf("the policy is for %v, with metrics %v", p.Models, p.Metrics)
	}
	if !slices.Equal(p.Train.Run, []string{"./bike-demand", "train"}) {
		t.Errorf("it trains with %q", p.Train.Run)
	}
}
