// Package calibrate finds the number in a policy that keeps a promise such as "at most one
// false retrain in 90 days, 9 times in 10", on the history of a metric. It is mathematics:
// no clock, no I/O, and it imports nothing of this module.
//
//	h, err := calibrate.NewHistory(points)             // what was measured, incidents masked
//	r, err := calibrate.Calibrate(ctx, h, rule, calibrate.Options{Levels: levels})
//	fmt.Println(r.Level, r.Predicted.Exceeds.Value)
//
// What is calibrated is a [Rule]: a policy, or a detector, with one of its numbers left open. The
// promise is about what the rule does on a metric that is well: a retrain then is a false one.
//
// # Why not a textbook
//
// Textbooks set limits for independent values. Values of a metric measured every hour are not: the classic
// CUSUM, meant to alarm once in 931 values, alarms in 90 days of them almost surely, while
// the same history lets one find a limit that does not.
//
// # How
//
//  1. What is masked (incidents, retrains) counts as not measured.
//  2. A cycle of a day or a week, if there is one, is taken out: the means of each phase.
//  3. An autoregression is fitted to the rest, its order chosen by Akaike's criterion. What remains,
//     the novelties, are drawn from those seen; beyond the outermost 5 % of each side, from
//     generalized Pareto tails fitted to those, for a history has not seen the worst that will come.
//  4. Outer replicates: a history as long and with the same gaps is simulated, and everything fitted anew
//     to it, cycle and order too. So is learned how wrong a fit to so much history may be.
//  5. Inner replicates: from each such fit, stretches as long as the promise are simulated, with time to warm
//     up before, and the most nervous level found that keeps it in, say, 9 of 10.
//  6. The level is the calmer of two bounds: the one that, say, 9 of 10 of the outer levels do not exceed, and
//     what the best fit needs plus how far it lies above the lowest of the outer ones. The first is right
//     where errors grow with the level, the second (Gandy and Kvaløy, Guaranteed conditional
//     performance of control charts via bootstrap methods, Scandinavian Journal of Statistics 40, 2013) where fits err to one side.
//
// No simulated value is clipped: what a rule clips, it clips itself.
//
// # What it is worth
//
// BenchmarkPromise simulates what the method does not know, calibrates on 60 days of it, and measures on
// other stretches how often the promise is broken; docs/benchmarks.md has the table.
package calibrate
