// Package pb is the form of messages in the log, generated from batch.proto; run
// "make proto" after changing it.
package pb
