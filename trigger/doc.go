// Package trigger turns events into decisions, and decisions into runs.
//
// A [Trigger] is an observer of the log. For each partition it keeps the state of
// every model and folds the entries into it: events go through the programs of the
// policies, controls (a pause, the end of a run, a promotion) change the facts that
// guardrails look at. Where a verdict changes, a decision is recorded with its
// evidence; where the verdict is to retrain and no guardrail stands against it, a run is opened.
//
// The fold reads no clock, does no I/O and starts no goroutine: "now" is the time at which
// the log stored the entry. What it decides goes to the committer, which writes positions,
// decisions, runs and, less often, snapshots of the state in one SQL transaction for all
// partitions. A restart loads the snapshots and folds what came after them again: the
// identities of decisions and runs are derived from places in the log, so what was
// recorded before is not recorded twice.
//
// Anchors of time (the end of the last run, the starts that a budget counts) that lie in the
// future, because the clock was set back, are pulled to the present: a guardrail then
// holds for its full length once more and is never stuck.
package trigger
