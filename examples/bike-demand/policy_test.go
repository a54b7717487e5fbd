package bikedemand

import (
	"slices"
	"testing"

	"github.com/visutility/visutility/policy"
)

func TestThePolicyIsGoodAndNamesThisProgram(t *testing.T) {
	p, err := policy.Parse("bike-demand.yaml", policyFile)
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Warnings) > 0 {
		t.Error(p.Warnings)
	}
	if !p.Matches(ModelName) || p.Metrics[Metric].Goal != policy.LowerIsBetter {
		t.Errorf("the policy is for %v, with metrics %v", p.Models, p.Metrics)
	}
	if !slices.Equal(p.Train.Run, []string{"./bike-demand", "train"}) {
		t.Errorf("it trains with %q", p.Train.Run)
	}
}

func TestThePolicyTrainsWithAnotherCommandAndIsOtherwiseTheSame(t *testing.T) {
	argv := []string{"/opt/an odd: place/'visutility", "demo", "train", "--seed", "1"}
	src, err := Policy(argv)
	if err != nil {
		t.Fatal(err)
	}
	p, err := policy.Parse("bike-demand.yaml", src)
	if err != nil {
		t.Fatalf("%v in\n%s", err, src)
	}
	if !slices.Equal(p.Train.Run, argv) || !slices.Equal(p.Train.Env, []string{TrainTime}) {
		t.Errorf("it trains with %q and %q", p.Train.Run, p.Train.Env)
	}
	first, err := policy.Parse("bike-demand.yaml", policyFile)
	if err != nil {
		t.Fatal(err)
	}
	if p.Retrain.When != first.Retrain.When || p.Promote.When != first.Promote.When {
		t.Errorf("it retrains when %s and promotes when %s", p.Retrain.When, p.Promote.When)
	}
}
