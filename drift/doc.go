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
// Independent errors of probability p: false alarms in 100,000 events, and
// after 20,000 events the median delay in noticing twice as many, with the
// percentage of streams in which 5,000 events were not enough (BenchmarkDetection):
//
//	                       p = 0.1              p = 0.01
//	adwin, baseline 0      0    288    0 %      0    3,200   23 %
//	page_hinkley           0.6  385    0 %      0        –   96 %
//	ddm                    4    1,390  21 %     12   3,507   34 %
//	eddm                   119  941    0 %      22     762    0 %
//	hddm_a                 0.2  469    0 %      0        –  100 %
//	hddm_w                 0    2,256  18 %     0        –  100 %
//	kswin                  0    –      89 %     0        –  100 %
//	stepd                  51   63     1 %      33     322    1 %
//	edetector              0.5  204    0 %      0.2      –   61 %
//	edetector, 5,000 to
//	learn from             0.9  156    2 %      0.6  1,458   11 %
//
// Nervous detectors notice early: read the three columns together.
//
// # Distances
//
// Beside the detectors there are two-sample distances over histograms and
// samples: [PSI], [KS], [ChiSquare], [JensenShannon], [Wasserstein]. Each comes
// with a p-value that knows the sizes of the samples, or with [Permutation] to
// get one: a fixed limit such as "PSI above 0.25" fires on chance alone when samples are small.
package drift
