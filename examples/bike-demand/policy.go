package bikedemand

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
)

//go:embed bike-demand.yaml
var policyFile []byte

// commandLines are how the example's policy trains.
var commandLines = []byte("  run: ./bike-demand train\n  env: [BIKE_DATA] # of the server's variables the training program sees no other\n")

// Policy returns the example's policy with another training command, which is told of [TrainTime].
func Policy(argv []string) ([]byte, error) {
	run, err := json.Marshal(argv) // which is YAML, too
	if err != nil {
		return nil, fmt.Errorf("write the policy: %w", err)
	}
	before, after, ok := bytes.Cut(policyFile, commandLines)
	if !ok {
		return nil, fmt.Errorf("bike-demand.yaml does not train with %q", commandLines)
	}
	return fmt.Appendf(nil, "%s  run: %s\n  env: [%s]\n%s", before, run, TrainTime, after), nil
}
