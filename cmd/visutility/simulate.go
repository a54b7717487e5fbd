package main

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/backtest"
	"github.com/visutility/visutility/policy"
	"github.com/visutility/visutility/trainer"
)

// maxNote bounds what the terminal shows of what came of a run; JSON has all.
const maxNote = 100

// simulation is the flags of a backtest that trains.
type simulation struct {
	on        bool
	score     string
	timeout   spanValue
	champions []string
	keep      string
}

func (s *simulation) flags(cmd *cobra.Command) {
	s.timeout = spanValue(10 * time.Minute)
	f := cmd.Flags()
	f.BoolVar(&s.on, "simulate", false, "train each run in truth, and score on with the new version; needs --score")
	f.StringVar(&s.score, "score", "", "the command that prints what a version would have scored")
	f.Var(&s.timeout, "score-timeout", "how long it may take for one version")
	f.StringArrayVar(&s.champions, "champion", nil, "what the training of the version left that the data measured: `DIR` with its result.json, or MODEL=DIR (repeatable)")
	f.StringVar(&s.keep, "keep", "", "keep the trainings in this new directory")
}

// check refuses flags that do not go together.
func (s *simulation) check(cmd *cobra.Command) error {
	if !s.on {
		for _, name := range []string{"score", "score-timeout", "champion", "keep"} {
			if cmd.Flags().Changed(name) {
				return usagef(cmd, "--%s goes with --simulate", name)
			}
		}
		return nil
	}
	switch {
	case s.score == "":
		return usagef(cmd, "--simulate needs --score COMMAND: it prints what a version would have scored")
	case cmd.Flags().Changed("outcome"):
		return usagef(cmd, "--outcome is for runs that are played; with --simulate the policy's gate decides")
	}
	return nil
}

// begin has a backtest simulate, if the flags say so. The caller calls done when it is over.
func (s *simulation) begin(o *backtest.Options) (done func() error, err error) {
	if !s.on {
		return func() error { return nil }, nil
	}
	argv, ok := policy.SplitCommand(s.score)
	if !ok {
		return nil, fmt.Errorf("--score: %q cannot be split into words: it has an open quote, or something only a shell understands", s.score)
	}
	o.Simulate = &backtest.Simulation{Score: backtest.ScoreCommand{Argv: argv, Timeout: time.Duration(s.timeout)}.Score, Dir: s.keep}
	if o.Simulate.Champions, err = readChampions(s.champions, o.Policies); err != nil {
		return nil, err
	}
	if s.keep != "" {
		return func() error { return nil }, nil
	}
	if o.Simulate.Dir, err = os.MkdirTemp("", "visutility-simulate-*"); err != nil {
		return nil, fmt.Errorf("making a directory for the trainings: %w", err)
	}
	return func() error {
		if err := os.RemoveAll(o.Simulate.Dir); err != nil {
			return fmt.Errorf("removing the trainings: %w", err)
		}
		return nil
	}, nil
}

// readChampions reads what trainings left. Whose it is need not be said where the policies are for one model only.
func readChampions(args []string, policies []*policy.Policy) (map[string]visutility.Version, error) {
	all := make(map[string]visutility.Version)
	for _, arg := range args {
		model, dir, named := strings.Cut(arg, "=")
		if !named {
			dir = arg
			if model = onlyModel(policies); model == "" {
				return nil, fmt.Errorf("--champion %s: the policies are for more than one model; say which it is: --champion MODEL=%s", arg, arg)
			}
		}
		if _, ok := all[model]; ok {
			return nil, fmt.Errorf("--champion %s: %s has one already", arg, model)
		}
		if filepath.Base(dir) == "result.json" {
			dir = filepath.Dir(dir)
		}
		dir, err := filepath.Abs(dir)
		if err != nil {
			return nil, fmt.Errorf("--champion %s: %w", arg, err)
		}
		a, err := trainer.ReadResult(dir)
		if err != nil {
			return nil, fmt.Errorf("--champion %s: %w", arg, err)
		}
		if filepath.IsAbs(a.URI) { // as the registry has it
			a.URI = (&url.URL{Scheme: "file", Path: filepath.ToSlash(a.URI)}).String()
		}
		all[model] = visutility.Version{Model: model, Artifact: a, Metrics: a.Metrics}
	}
	return all, nil
}

// onlyModel is the one model that policies are for, "" where there may be more.
func onlyModel(policies []*policy.Policy) (model string) {
	for _, p := range policies {
		for _, m := range p.Models {
			if strings.ContainsAny(m, `*?[\`) || model != "" && m != model {
				return ""
			}
			model = m
		}
	}
	return model
}

// simulatedHeads are the columns that a simulation adds to the table of plans.
func simulatedHeads(r *backtest.Report) []string {
	if !r.Simulated() {
		return nil
	}
	var heads []string
	for _, metric := range r.Means() {
		heads = append(heads, "MEAN "+strings.ToUpper(metric))
	}
	return append(heads, "REJECTED", "FAILED", "TRAINING")
}

// simulatedCells are those of a plan.
func simulatedCells(r *backtest.Report, l *backtest.Plan) []string {
	if l.Simulated == nil {
		return nil
	}
	var cells []string
	for _, metric := range r.Means() {
		mean, ok := l.Simulated.Means[metric]
		if !ok {
			cells = append(cells, "-")
			continue
		}
		cells = append(cells, strconv.FormatFloat(mean, 'g', 4, 64))
	}
	return append(cells, strconv.Itoa(l.Simulated.Rejected), strconv.Itoa(l.Simulated.Failed), took(l.Simulated.TrainingSeconds))
}

// took writes how long trainings took, which may be moments.
func took(s float64) string {
	if s < 60 {
		return strconv.FormatFloat(s, 'f', 1, 64) + "s"
	}
	return short(seconds(s))
}

// cameOf says what came of a run that was trained; nothing of one that was played.
func cameOf(l *backtest.Plan, r *backtest.Played) []string {
	if l.Simulated == nil {
		return nil
	}
	note := []rune(strings.Join(strings.Fields(r.Note), " "))
	if len(note) > maxNote {
		note = append(note[:maxNote], '…')
	}
	if r.Version == "" {
		return []string{string(note)}
	}
	return []string{r.Version + ": " + string(note)}
}

// interrupted words the end of a simulation that somebody stopped.
func (s *simulation) interrupted(cmd *cobra.Command, err error) error {
	if !s.on || cmd.Context().Err() == nil {
		return err
	}
	if s.keep != "" {
		return fmt.Errorf("interrupted: the trainings were stopped; what they left is in %s", s.keep)
	}
	return errors.New("interrupted: the trainings were stopped, and nothing of them is left")
}
