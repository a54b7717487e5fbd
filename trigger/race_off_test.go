//go:build !race

package trigger

const propertyChecks = "100"
