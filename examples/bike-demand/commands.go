package bikedemand

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"time"
)

// What is measured.
const (
	ModelName = "bike-demand"
	Metric    = "wmape"
)

const usage = `Usage: bike-demand COMMAND [FLAGS]

  replay   play two years of bike rentals against a running server
  train    train a model; the server starts this one
  past     write the past without retraining, for visutility backtest
  score    score a version on it; the backtest starts this one
  data     show the data that is used, or write it as CSV

bike-demand COMMAND -h shows the command's flags.
`

// errUsage: the flags were wrong, which the flag package has already said.
var errUsage = errors.New("usage")

// Run is the program bike-demand; it returns the exit status.
func Run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	var err error
	switch command := strings.Join(args[:min(1, len(args))], ""); command {
	case "train":
		err = train(args[1:], getenv, stdout, stderr)
	case "replay":
		err = replay(ctx, args[1:], getenv, stdout, stderr)
	case "past":
		err = past(args[1:], getenv, stdout, stderr)
	case "score":
		err = score(args[1:], getenv, stdout, stderr)
	case "data":
		err = showData(args[1:], getenv, stdout, stderr)
	case "", "help", "-h", "--help":
		fmt.Fprint(stdout, usage)
	default:
		fmt.Fprintf(stderr, "bike-demand: there is no command %q\n\n%s", command, usage)
		return 2
	}
	switch {
	case err == nil || errors.Is(err, flag.ErrHelp):
		return 0
	case errors.Is(err, errUsage):
		return 2
	}
	fmt.Fprintf(stderr, "bike-demand: %v\n", err)
	return 1
}

// parse reads the flags of a command that takes no other arguments.
func parse(flags *flag.FlagSet, args []string) error {
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return err
	case err != nil:
		return errUsage // flags has told what is wrong
	case flags.NArg() > 0:
		return fmt.Errorf("%s takes no argument %q", flags.Name(), flags.Arg(0))
	}
	return nil
}

// showData is the subcommand data.
func showData(args []string, getenv func(string) string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("data", flag.ContinueOnError)
	flags.SetOutput(stderr)
	data := flags.String("data", "", `the CSV file of hours, plain or gzipped; "generated" for the generated stream (default $BIKE_DATA)`)
	asCSV := flags.Bool("csv", false, "write the hours as CSV instead of showing them")
	if err := parse(flags, args); err != nil {
		return err
	}
	s, err := openStream(*data, getenv)
	if err != nil {
		return err
	}
	if *asCSV {
		return writeHours(stdout, s.Hours)
	}
	fmt.Fprintf(stdout, "%s: %d hours, %s to %s\n\nmean rentals an hour, by four weeks\n",
		s.Source, len(s.Hours), s.Start().Format(time.DateOnly), s.End().Format(time.DateOnly))
	for from := s.Start(); from.Before(s.End()); from = from.Add(4 * week) {
		hours := s.Between(from, from.Add(4*week))
		if len(hours) == 0 {
			continue
		}
		sum := 0.0
		for i := range hours {
			sum += hours[i].Rentals()
		}
		mean := sum / float64(len(hours))
		fmt.Fprintf(stdout, "%s %5.0f %s\n", from.Format(time.DateOnly), mean, strings.Repeat("#", int(mean/8)))
	}
	return nil
}
