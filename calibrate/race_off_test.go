//go:build !race

package calibrate_test

const (
	promiseHistories, truthStretches = 4, 800
	propertyChecks                   = "30"
)
