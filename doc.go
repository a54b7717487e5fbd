// Package visutility names the things that VisuTility is about, and the seams
// between its parts.
//
// VisuTility watches the quality of every model in production and retrains the
// ones that need it. The nouns are here: an [Event] is one measurement; a
// [Decision] is a verdict on a model, with its evidence; a [Run] is one attempt
// to give the model a better [Version]. The seams are here too, as small
// interfaces: [Bus], [Observer], [Strategy], [Trainer], [Validator], [Registry].
// What implements them lives in the packages below; package engine wires them together
// and is what a Go program embeds.
//
// The one idea: decisions are a deterministic fold over a durable log, committed
// in one transaction, then acted upon. So a crash at any moment loses nothing
// and repeats nothing.
//
// This package imports the standard library only.
package visutility
