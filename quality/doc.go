// Package quality measures models by what they said and what turned out to be true: it joins
// predictions with the labels that come hours or weeks later, and makes ordinary metric events of them.
//
// # Windows
//
// Predictions belong to the window of their own time. A window is judged once it is mature: so
// long after its end, and after the last of its predictions arrived, that nearly all labels are there that ever
// will be. Labels that come early are not a fair sample (a fraud that is found within the hour is not
// like one that takes a month), so nothing is told before. How long that is is told
// ([Settings.MatureAfter]) or learned: the time within which 95 of 100 labels arrived.
//
// Of each version, and each segment, a window yields
//
//	accuracy precision recall f1_score    of classes; of the positive one, or the mean of all
//	auc log_loss                          where there are scores
//	mae rmse wmape                        of numbers
//	label_coverage label_lag              the share that got a label; the median delay, in seconds
//	drift.FEATURE                         the distance of a feature from the reference
//	prediction_drift probability_drift    that of what is predicted, and of the scores
//	drift_score                           the greatest of these
//
// The reference is data that were given ([Settings.Reference]), or else the first mature window of a version that has enough samples.
//
// # One way through
//
//	log of predictions ──▶ Observer ──▶ Joiner ──▶ Judged: events with a key ──▶ log of events
//
// A [Joiner] is a pure fold: its clock is when the log stored an entry. So whatever it makes of a log it makes again,
// and an [Observer] need only remember a state now and then, and up to where its events were published.
// All memory is bounded; what is given up is counted by reason ([Counts]).
package quality

//go:generate protoc --go_out=. --go_opt=module=github.com/visutility/visutility/quality samples.proto
