// Package policy turns policy files into something that can be folded.
//
// A policy is a YAML file that says for one model, or a fleet of them, when to
// retrain, with what, and what the new version must achieve:
//
//	model: churn
//	metrics:
//	  auc: {goal: higher_is_better, min_samples: 500}
//	retrain:
//	  when: avg(auc, "24h") < baseline.auc - 0.02
//	  for: 2h
//	  cooldown: {after_success: 24h, after_failure: 2h}
//	train:
//	  run: python train.py
//	promote:
//	  when: candidate.auc >= champion.auc + 0.005
//
// [Parse] checks a file and reports every fault with line, column and caret.
// [LoadDir] and [Watch] keep a directory of them; a bad file never replaces a good one.
// A [Set] finds the policies of a model and makes a [Program] of them.
//
// # Conditions
//
// A condition is a CEL expression in which all numbers are doubles, and
//
//	x                     the latest value of metric x, by event time
//	avg(x, "24h")         over a window by time, or avg(x, 30) over the last 30 events;
//	                      also sum, stddev, min, max, count. avg, sum and stddev weigh by the
//	                      events' sample counts; count counts samples
//	quantile(x, 0.9, w)   a quantile over a window
//	baseline.x            what x was when the champion was new
//	previous.x            what the replaced champion scored (rollback.when only)
//	absent(x, "6h")       no event of x came for six hours
//	age                   how long ago the champion was promoted
//	m_of_n(cond, 2, 3)    cond held at 2 of the last 3 events that could tell
//
// Missing data is neither breach nor recovery: what has no value makes what
// depends on it unknown, in the logic of Kleene (false && unknown is false). An
// unknown condition changes nothing. A result that is not a number (0/0) is unknown too.
//
// A window by time ends at the model's clock, the newest event time seen of the
// model, and is kept in 12 panes: it covers between 11/12 and all of its length.
// Late events count in the pane of their own time, so that the order of arrival
// does not matter inside the window. A window by count holds the last events to arrive.
//
// # How it runs
//
// A condition is parsed and type-checked by CEL. Its metrics and aggregates
// become operators: a few words of state that each event updates in constant
// time, shared by all policies of a model that ask for the same. What is left,
// comparisons and boolean algebra over the operators' values, is lowered to native
// code; what cannot be lowered (lists, strings, macros) is evaluated by CEL, at a bounded cost.
//
// A [Program] is immutable and safe for concurrent use; the state it folds is a flat
// slice of words that the caller owns. It has no clock, no randomness and no I/O:
// the same events give the same state, bit for bit.
package policy
