// Package pb is the form of predictions and truths in the log, generated from samples.proto; run
// "make proto" after changing it.
package pb
