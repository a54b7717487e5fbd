//go:build !race

package calibrate_test

const promiseHistories, truthStretches = 6, 1000
