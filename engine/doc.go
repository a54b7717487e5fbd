// Package engine opens the parts of VisuTility and wires them together. It is what a Go
// program embeds, and what the server serves:
//
//	bus        the durable log of events, in the data directory
//	dispatch   hands the log to observers, each at its own pace
//	trigger    the observer that decides
//	history    the observer that keeps the metrics for charts
//	retrain    carries runs from the decision to the end
//	registry   keeps what was trained
//	store      SQL: positions, state, decisions, runs, versions
//
// One process at a time owns a data directory; a second one is refused with the pid of the first.
//
// Facts that the fold must know about runs and people travel through the log. Those that arise in
// SQL (a run ended, the champion moved) are stored in an outbox in the same transaction and
// published from there, so that neither is ever without the other.
package engine
