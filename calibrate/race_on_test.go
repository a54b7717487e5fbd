//go:build race

package calibrate_test

// The race detector slows simulations down tenfold.
const (
	promiseHistories, truthStretches = 1, 200
	propertyChecks                   = "5"
)
