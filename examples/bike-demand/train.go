package bikedemand

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/visutility/visutility"
)

const (
	// trainWeeks is how far back a training looks from the end of the job's
	// window; the newest holdOut of it is what challenger and champion are scored on.
	trainWeeks = 26
	holdOut    = 2 * week
	// leastNew is the least that must be new to the champion for a retraining to make sense.
	leastNew = 24 * time.Hour
)

// TrainTime names the variable by which a training that is shown to people is made to last.
const TrainTime = "BIKE_TRAIN_TIME"

// A result is what the training program leaves in result.json.
type result struct {
	Artifact        string             `json:"artifact"`
	Metrics         map[string]float64 `json:"metrics"`
	ChampionMetrics map[string]float64 `json:"champion_metrics,omitempty"`
}

// A plan says which hours a training uses.
type plan struct {
	from, hold, end time.Time // learn from [from, hold), score on [hold, end), then learn from all
}

// train is the subcommand.
func train(args []string, getenv func(string) string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("train", flag.ContinueOnError)
	flags.SetOutput(stderr)
	data := flags.String("data", "", "the CSV file of hours, plain or gzipped (default $BIKE_DATA)")
	if err := parse(flags, args); err != nil {
		return err
	}
	stream, err := openStream(*data, getenv)
	if err != nil {
		return err
	}
	return Train(stream, getenv, stdout, stderr)
}

// Train is the training program that the policy names. It finds its job in the
// file named by VISUTILITY_JOB and leaves model.bin, result.json and, as it goes
// along, progress.json in the directory named by VISUTILITY_OUTPUT. Where the variable TrainTime is a duration it takes
// that long at least, so that it can be watched: all but the first, for which everybody waits.
func Train(stream *Stream, getenv func(string) string, stdout, stderr io.Writer) error {
	job, out, err := readJob(getenv)
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "run %s: training %s on %s\n", job.Run, job.Model, stream.Source)

	var champion *Model
	if job.Champion != nil {
		champion, err = loadArtifact(job.Champion.Artifact)
		if err != nil { // the gate then has to do with what the registry knows of it
			fmt.Fprintf(stderr, "champion %s is not scored: %v\n", job.Champion.ID, err)
		}
	}
	p, err := makePlan(stream, job.Window, champion)
	if err != nil {
		return err
	}
	report := progressFile(out)
	if text := getenv(TrainTime); text != "" && job.Champion != nil {
		least, err := time.ParseDuration(text)
		if err != nil {
			return fmt.Errorf("%s: %w", TrainTime, err)
		}
		report = slowly(least, report)
	}
	model, res, err := p.carryOut(stream, champion, report, stdout)
	if err != nil {
		return err
	}
	return leave(out, model, res)
}

// leave writes what a training leaves: the model, and result.json.
func leave(dir string, model *Model, res result) error {
	b, err := model.encode()
	if err != nil {
		return err
	}
	res.Artifact = "model.bin"
	if err := os.WriteFile(filepath.Join(dir, res.Artifact), b, 0o644); err != nil {
		return fmt.Errorf("write the model: %w", err)
	}
	return writeJSON(filepath.Join(dir, "result.json"), res)
}

func readJob(getenv func(string) string) (job visutility.Job, out string, err error) {
	file, out := getenv("VISUTILITY_JOB"), getenv("VISUTILITY_OUTPUT")
	if file == "" || out == "" {
		return job, "", errors.New("VISUTILITY_JOB and VISUTILITY_OUTPUT are not set: the server starts this command, as train.run of bike-demand.yaml; to see it happen, start `visutility serve` and `bike-demand replay`")
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return job, "", fmt.Errorf("read the job: %w", err)
	}
	if err := json.Unmarshal(b, &job); err != nil {
		return job, "", fmt.Errorf("read the job %s: %w", file, err)
	}
	return job, out, nil
}

// makePlan chooses the hours. Without events (the first run) it is the first
// eight weeks of the stream.
//
// A model must not be scored on hours that it has learnt from. The champion was
// trained on everything up to its own promotion, so where that is less than two
// weeks ago the hold-out is only what came after it.
func makePlan(s *Stream, window visutility.Window, champion *Model) (plan, error) {
	end := window.To
	switch {
	case !end.IsZero():
	case champion != nil:
		end = champion.To
	default:
		end = s.Start().Add(firstWeeks * week)
	}
	if end.After(s.End()) {
		end = s.End()
	}
	p := plan{from: end.Add(-trainWeeks * week), hold: end.Add(-holdOut), end: end}
	if p.from.Before(s.Start()) {
		p.from = s.Start()
	}
	if champion != nil && champion.To.After(p.hold) {
		p.hold = champion.To
	}
	if champion != nil && p.end.Sub(p.hold) < leastNew {
		return plan{}, fmt.Errorf("there is nothing new to learn: the champion has seen all hours up to %s, and the job's window ends on %s",
			champion.To.Format(time.DateOnly), end.Format(time.DateOnly))
	}
	if least := s.Start().Add(2 * holdOut); end.Before(least) {
		return plan{}, fmt.Errorf("there is too little to learn from before %s: the data begin on %s",
			end.Format(time.DateOnly), s.Start().Format(time.DateOnly))
	}
	return p, nil
}

// carryOut trains twice. A twin learns from what comes before the hold-out; its
// score there is the challenger's, and the champion is scored on the same
// hours. The model that is handed in then learns from all hours, the newest too:
// in a changing world those teach the most. So the reported figure is that of
// the recipe on hours it had not seen, never that of a model on its own lessons.
func (p plan) carryOut(s *Stream, champion *Model, report func(float64, string) error, stdout io.Writer) (*Model, result, error) {
	res := result{Metrics: map[string]float64{}}
	step := func(what string, done int) func(int) error {
		return func(trees int) error {
			if trees%10 != 0 {
				return nil
			}
			return report(float64(done+trees)/(2*treeCount), fmt.Sprintf("%s: %d of %d trees", what, trees, treeCount))
		}
	}
	test := s.Between(p.hold, p.end)
	twin, err := fit(s.Digest, s.Between(p.from, p.hold), step("to be scored", 0))
	if err != nil {
		return nil, res, err
	}
	if res.Metrics[Metric], err = twin.score(test); err != nil {
		return nil, res, err
	}
	fmt.Fprintf(stdout, "learnt from %s to %s; wmape %.4f on the %d hours up to %s\n",
		p.from.Format(time.DateOnly), p.hold.Format(time.DateOnly), res.Metrics[Metric], len(test), p.end.Format(time.DateOnly))
	if champion != nil {
		score, err := champion.score(test)
		if err != nil {
			return nil, res, err
		}
		res.ChampionMetrics = map[string]float64{Metric: score}
		fmt.Fprintf(stdout, "the champion, which learnt up to %s: wmape %.4f on the same\n", champion.To.Format(time.DateOnly), score)
	}
	model, err := fit(s.Digest, s.Between(p.from, p.end), step("on all hours", treeCount))
	return model, res, err
}

// progressFile returns a function that writes progress.json in dir.
func progressFile(dir string) func(float64, string) error {
	return func(fraction float64, message string) error {
		return writeJSON(filepath.Join(dir, "progress.json"), map[string]any{"progress": fraction, "message": message})
	}
}

// slowly reports progress no sooner than it would be made by a training that takes so long.
func slowly(least time.Duration, report func(float64, string) error) func(float64, string) error {
	begun := time.Now()
	return func(fraction float64, message string) error {
		if err := report(fraction, message); err != nil {
			return err
		}
		time.Sleep(time.Duration(fraction*float64(least)) - time.Since(begun))
		return nil
	}
}

// writeJSON puts v in a file at once: a reader sees the old one or the new one.
func writeJSON(name string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if err := os.WriteFile(name+".new", b, 0o644); err != nil {
		return err // names the file
	}
	return os.Rename(name+".new", name)
}
