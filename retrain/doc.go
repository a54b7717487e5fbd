// Package retrain carries runs from the decision to the end: train, validate,
// register, promote, watch.
//
// A run is a row in the store. The [Runner] looks at the rows that are not at an end, does for each the
// one thing that its state calls for, and stores the next state, by compare-and-swap. It keeps
// nothing in memory that matters: after a crash it looks at the rows and goes on. So each step is made to be
// done twice without harm:
//
//	pending            wait for a free place, then note that attempt 1 begins
//	training           Train: a trainer that has this attempt already attaches to it
//	validating         ask the policy's gate, against the champion of this moment
//	registering        Register: idempotent by the run's id
//	awaiting_approval  wait for a person
//	promoting          move the champion alias, from the version the challenger was held against
//	watching           wait for the end of the watch, or the order to roll back
//
// That an attempt begins is stored before the trainer is called, and nothing else makes the trainer start: so a
// trigger trains once, and a failed attempt is followed by another only as the policy's retries allow.
//
// What the log must know, a promotion or the end of a run, is handed to the store in the same
// transaction as the state it belongs to. A run that is promoted and watched has ended as
// far as the log is concerned (its model may be retrained again): it is announced as ended
// when the watch begins, and once more when the watch is over.
//
// Anything that fails for reasons that may pass (the store, the registry) is
// tried again, with growing pauses, for as long as it takes; the run says so in its Error.
package retrain
