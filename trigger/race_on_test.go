//go:build race

package trigger

// The race detector slows SQLite down tenfold, and property tests have one goroutine.
const propertyChecks = "12"
