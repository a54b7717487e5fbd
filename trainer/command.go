package trainer

import "time"

// A Command runs a training program on this machine; the package comment says how. It works on
// Unix. A Command may be used for any number of jobs at once.
type Command struct {
	// Argv is the program and its arguments. No shell sees them, unless Argv names one. Required.
	Argv []string
	// Dir is the program's working directory. Defaults to the attempt's output directory.
	Dir string
	// Env names variables of this process that are handed to the program, where they
	// are set. It also gets PATH, HOME, LANG, TZ and TMPDIR, and VISUTILITY_RUN_ID, VISUTILITY_MODEL,
	// VISUTILITY_JOB and VISUTILITY_OUTPUT; nothing else but for TrackingURL's. Defaults to none.
	Env []string
	// TrackingURL is the server at which the program finds MLflow's tracking protocol: with Tokens, its
	// MLFLOW_TRACKING_URI, MLFLOW_TRACKING_TOKEN and MLFLOW_RUN_ID lead there, unless Env hands the first one
	// through. Defaults to none.
	TrackingURL string
	// Tokens makes the token by which the program is known there. Defaults to none.
	Tokens *Tokens
	// Supervisor is the command line that ends up in [Supervise]; the attempt's directory is
	// added to it. Defaults to none: Train then supervises the program itself.
	Supervisor []string
	// Grace is how long the program may take to stop when it is told to, by
	// SIGTERM; then its process group is killed. Defaults to 10 s.
	Grace time.Duration
	// MaxLog bounds the bytes kept of the program's output. Defaults to 64 MiB.
	MaxLog int64
}

// A Program is run once, for what it prints: it ends with this process, and nothing of it is kept. Like a training
// program it sees a small environment, and no shell. It works on Unix.
type Program struct {
	// Argv is the program and its arguments. Required.
	Argv []string
	// Env names variables of this process that it gets beside PATH, HOME, LANG, TZ and TMPDIR. Defaults to none.
	Env []string
	// Set are variables of its own, as NAME=value; nothing stands in for them. Defaults to none.
	Set []string
	// Timeout is how long it may take. Defaults to 10 minutes.
	Timeout time.Duration
	// Grace is how long it may take to stop when it is told to, as with a [Command]. Defaults to 10 s.
	Grace time.Duration
}
