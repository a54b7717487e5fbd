// Package backtest tries policies before they are trusted: on the events of the past, and on
// stories that somebody wrote down.
//
// [Run] replays events through the fold that also runs in production, under one or more
// policies, and says when they would have retrained, what would have suppressed it, and how long the
// models were in breach; beside what schedules (never, weekly, monthly) would have done.
// [ReadTests] reads unit tests of policies, in YAML; [Suite.Run] plays them. [WriteTest] makes one of a
// decision that a server took.
//
// None of them decides anything itself. A player hands entries to a [trigger.Fold]: the
// events, stored when they were measured; ticks where there are gaps, because silence decides
// too; and the controls by which the log learns what became of a run. Runs are played: each
// ends after a given time with a given outcome.
//
// # What cannot be known
//
// Old events tell how the models did that were serving then. After a run that is only played, they
// still do: whether the new version would have been better, nothing here can say. That,
// and the other assumptions, are listed in [Report.Caveats].
//
// # Simulation
//
// With [Options.Simulate] the runs are trained in truth: by the trainer of production, judged by the gate of production, kept
// in a registry of production, one for each plan. What a version would have scored, its [Simulation].Score says, once, when it is
// promoted; its events then take the place of the data's until another version serves. A rollback brings the earlier
// ones back. The fold notices nothing of this: it is handed other events.
package backtest
