// Package drift detects changes: that the numbers of a stream are no longer
// what they were. It is mathematics over float64 alone: no clock, no I/O, no
// goroutine, and it imports nothing of this module.
//
// A [Detector] is a plain struct of parameters. Its zero value has the defaults
// of the field, and its state is kept by the caller, in words of a bigger array:
//
//	d := drift.CUSUM{Direction: drift.Down} // an accuracy: less is worse
//	state := make([]uint64, d.Words())
//	d.Init(state)
//	for _, x := range stream {
//		if d.Add(state, x) {
//			…
//		}
//	}
//
// The words are all there is: a copy of them continues exactly as the original
// would. [Detectors] is the table of all detectors by name, [New] makes one of
// them from parameters by name.
//
// # Direction
//
// A detector fires on harm. Its Direction says where harm lies: [Up] for errors,
// losses and distances (the default), [Down] for scores such as accuracy. An
// improvement never fires a detector that has one direction. [Both] fires on any
// change, for inputs of which neither end is better.
//
// # What they promise
//
// An alarm is false if nothing changed. What a detector promises about false
// alarms is its [Promise]: only [EDetector] is guaranteed, for any size of
// sample and without independence in time; [EWMA] and [CUSUM] are calibrated, for
// independent normal values; the others are heuristics with known rates on some
// data. No promise survives the wrong input. In particular, values that are
// correlated in time (hourly metrics are) make every detector but a blocked
// EDetector fire far more often than independent ones: choose thresholds on history.
//
// False alarms in 100,000 independent errors of probability 0.1, and the median
// number of events until a change to 0.2 after 20,000 events is noticed:
//
//	page_hinkley  1.8 / 377       hddm_a  0.1 / 495
//	adwin         0 / 288         hddm_w  0 / 2,566, and 28 % missed
//	ddm           0.7 / 2,024, and 27 % missed (231 after 1,000 events)
//	eddm          52 / 719        stepd   32 / 93
//	edetector     7.9 / 113, with a bound of 10
//
// Good models err rarely. From 1 % to 2 % of errors, HDDM_A, Page-Hinkley and
// KSWIN missed 94 % and more of the changes within 5,000 events; the e-detector
// needed 613 to 646.
//
// # Distances
//
// Beside the detectors there are two-sample distances over histograms and
// samples: [PSI], [KS], [ChiSquare], [JensenShannon], [Wasserstein]. Each comes
// with a p-value that knows the sizes of the samples, or with [Permutation] to
// get one: a fixed limit such as "PSI above 0.25" fires on chance alone when samples are small.
package drift
