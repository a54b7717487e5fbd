// Package trainer runs training jobs: as a program on this machine ([Command]),
// or by asking another system over HTTP ([Webhook]). Both are a [visutility.Trainer].
//
// # Attempts
//
// A run has a directory, and in it each attempt has its own, attempt-1, attempt-2 …, which is
// everything that is needed to attach to the attempt after a restart:
//
//	job.json     the job, as the training program reads it
//	output/      what the program leaves: result.json, progress.json, the artifact
//	output.log   what the program printed
//	spec.json    what the supervisor is to run
//	lock         held by the one supervisor, for as long as it lives
//	started      written before the program starts, and again with its process id
//	cancel       asks the supervisor to stop the program
//	exit.json    how it ended: once it is there, the attempt is over
//
// An attempt that has been started is never started again: where it is not known how it
// went, it has failed, and the next attempt is another one.
//
// # The training program
//
// It finds the job in the file named by VISUTILITY_JOB and leaves result.json in the
// directory named by VISUTILITY_OUTPUT ([Result] has the form, [ReadResult] the checks).
// On the way it may replace progress.json there: {"progress": 0.4, "message": "60 of 150 trees"}.
// It succeeded when its exit code is 0 and result.json is right.
//
// # The supervisor
//
// A training lasts hours, longer than a server that is upgraded meanwhile. So the program
// is not the server's child but that of a supervisor, a small process in a session of its own that copies
// the output, keeps the deadline, stops the program's whole process group when asked, and
// writes down how it ended. [Supervise] is its main function. The server only ever looks at files,
// so it makes no difference whether it started the attempt or found it.
//
// Under systemd, set KillMode=process, or stopping the service stops the trainings too.
//
// Without a supervisor (a program that embeds the engine and names none) the caller of
// Train does the same work itself. The training program then still outlives it, but while nobody is there
// its deadline is not kept, and its exit code is lost: result.json alone decides.
//
// # Webhooks
//
// A [Webhook] posts the job, signed as Standard Webhooks says, and waits for the other side to
// call back with a token that is good for this attempt only. [Callbacks] takes the calls.
package trainer
