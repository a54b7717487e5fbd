// Package dispatch carries the entries of the log to whoever observes it.
//
// A [Dispatcher] holds any number of observers under their names. Each has its own
// place in every partition of the log and reads from there at its own pace, so a
// slow observer delays nobody and loses nothing: the log keeps what it has not
// read yet. Observers come and go while the dispatcher runs.
//
//	bus ──▶ partition 0 ──▶ worker ──▶ Observe   one goroutine per observer and partition:
//	    └─▶ partition 1 ──▶ worker ──▶ Observe   in order, one call at a time
//
// # Positions
//
// An observer that is a [visutility.Positioner] says itself where to start. The
// positions of every other observer are kept in [Positions], saved at most once in
// [Options.SaveEvery] and at the end; such an observer may see the entries since
// the last save a second time after a crash. Positions outlive [Dispatcher.Detach]:
// attached again under the same name, an observer goes on where it stopped.
// [Dispatcher.Forget] is the way to lose them.
//
// # Trouble
//
// An error or a panic of an observer concerns its own partition of its own work: the same
// batch is handed over again, later and later. After [Options.QuarantineAfter] failures in a
// row it counts as quarantined: shown, logged with its stack, and tried
// once in [Options.ProbeEvery], so that it heals by itself when the cause is gone.
// A call that takes longer than [Options.HangAfter] has its context ended and is shown
// as hung; nothing can end a goroutine from outside, so it is waited for, and the
// observer is never called a second time meanwhile.
//
// An observer that falls so far behind that the log no longer has what it should
// read next goes on with the oldest entry there is. That is the one way to miss entries; they
// are counted in visutility_observer_skipped_entries_total and logged as an error.
//
// A batch is lent for the duration of a call and its memory is used again after it. Nothing guards
// against an observer that keeps it: copy what must stay.
package dispatch
