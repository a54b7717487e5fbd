package bikedemand

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/visutility/visutility"
)

// past writes what had been measured had nothing ever been retrained, for a backtest: the events of the first
// champion, and what its training left.
func past(args []string, getenv func(string) string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("past", flag.ContinueOnError)
	flags.SetOutput(stderr)
	data := flags.String("data", "", `the CSV file of hours, plain or gzipped; "generated" for the generated stream (default $BIKE_DATA)`)
	out := flags.String("out", "past", "the directory to write, made when it does not exist")
	if err := parse(flags, args); err != nil {
		return err
	}
	s, err := openStream(*data, getenv)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(*out, 0o755); err != nil {
		return fmt.Errorf("make the directory: %w", err)
	}
	model, err := s.leaveFirst(*out, stdout)
	if err != nil {
		return err
	}
	var events bytes.Buffer
	n, err := s.measure(&events, model, visutility.Event{Model: ModelName}, model.To.Add(week), s.End())
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(*out, "events.ndjson"), events.Bytes(), 0o644); err != nil {
		return fmt.Errorf("write the events: %w", err)
	}
	fmt.Fprintf(stdout, "%s: the first champion and its %d weeks are in %s\n\nNext:\n  visutility backtest bike-demand.yaml --data %[3]s/events.ndjson --champion %[3]s --simulate --score './bike-demand score'\n",
		s.Source, n, *out)
	return nil
}

// score is the score command of a simulated backtest: it says how wrong a version would have been, week by week.
func score(args []string, getenv func(string) string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("score", flag.ContinueOnError)
	flags.SetOutput(stderr)
	data := flags.String("data", "", "the CSV file of hours, plain or gzipped (default $BIKE_DATA)")
	if err := parse(flags, args); err != nil {
		return err
	}
	from, err := time.Parse(time.RFC3339, getenv("VISUTILITY_FROM"))
	if err != nil {
		return fmt.Errorf("VISUTILITY_FROM: %w (a backtest starts this command: visutility backtest --simulate --score './bike-demand score')", err)
	}
	to, err := time.Parse(time.RFC3339, getenv("VISUTILITY_TO"))
	if err != nil {
		return fmt.Errorf("VISUTILITY_TO: %w", err)
	}
	s, err := openStream(*data, getenv)
	if err != nil {
		return err
	}
	model, err := loadArtifact(visutility.Artifact{URI: getenv("VISUTILITY_ARTIFACT")})
	if err != nil {
		return err
	}
	if model.Digest != s.Digest {
		return fmt.Errorf("the model was trained on other data than %s", s.Source)
	}
	_, err = s.measure(stdout, model, visutility.Event{Model: getenv("VISUTILITY_MODEL"), Version: getenv("VISUTILITY_VERSION")}, from, to)
	return err
}

// leaveFirst trains the first champion and leaves it in dir as the training program would.
func (s *Stream) leaveFirst(dir string, stdout io.Writer) (*Model, error) {
	p, err := makePlan(s, visutility.Window{}, nil)
	if err != nil {
		return nil, err
	}
	model, res, err := p.carryOut(s, nil, func(float64, string) error { return nil }, stdout)
	if err != nil {
		return nil, err
	}
	return model, leave(dir, model, res)
}

// measure writes what a model's error was in each of the replay's weeks that ends between two times, both included, and
// returns their number. like is an event of the model.
func (s *Stream) measure(w io.Writer, m *Model, like visutility.Event, from, to time.Time) (n int, err error) {
	enc := json.NewEncoder(w)
	for end := s.Start().Add(week); !end.After(to) && !end.After(s.End()); end = end.Add(week) {
		hours := s.Between(end.Add(-week), end)
		if end.Before(from) || len(hours) == 0 {
			continue
		}
		like.Metric, like.Time, like.Count = Metric, end, uint64(len(hours))
		if like.Value, err = m.score(hours); err != nil {
			return n, err
		}
		if err := enc.Encode(like); err != nil {
			return n, fmt.Errorf("write an event: %w", err)
		}
		n++
	}
	return n, nil
}
