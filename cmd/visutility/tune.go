package main

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/visutility/visutility/backtest"
	"github.com/visutility/visutility/policy"
)

func tuneCommand() *cobra.Command {
	var (
		out       output
		from      pastFlags
		vary      []string
		cost      float64
		set       map[string]string
		trainTime = spanValue(time.Hour)
		tick      = spanValue(time.Minute)
	)
	cmd := &cobra.Command{
		Use:   "tune POLICY {--data FILE | --from-server} --vary NAME=FROM..TO",
		Short: "Try a policy with other numbers: how many runs buy how little time in breach",
		Long: `Replay old events under a policy with other values of its numbers, and show what
each would have cost and saved: the runs, and how long models would have been in
breach of the policy as it is until a run was over. The frontier are those that
no other beats in both.

What can be varied is every number and duration of retrain: by what is written
("0.30", "24h"), by the parameter ("cusum.h") or by the key ("cooldown").
Without --vary they are listed. A range takes ten values unless it says how
many; with log they are spaced by equal factors. --vary may be given more than
once: all combinations are tried. --set prints the policy with other numbers.`,
		Example: `visutility tune policies/churn.yaml
visutility tune policies/churn.yaml --data scores.csv --vary 0.30=0.20..0.40
visutility tune policies/churn.yaml --data scores.csv --vary cusum.h=3..30:10:log --vary cooldown=6h,24h,3d
visutility tune policies/churn.yaml --set 0.30=0.27 > new.yaml`,
		Args: needs("POLICY"),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := onePolicy(args[0])
			if err != nil {
				return err
			}
			if len(set) > 0 {
				q, err := p.With(set)
				if err != nil {
					return err
				}
				_, err = cmd.OutOrStdout().Write(q.Source)
				return err
			}
			if len(vary) == 0 {
				return out.print(cmd, listing[knobRow]{Items: knobRows(p)}, func(pg *page) { drawKnobs(pg, p, args[0]) })
			}
			if err := from.check(cmd); err != nil {
				return err
			}
			var axes []backtest.Axis
			for _, text := range vary {
				axis, err := backtest.ParseAxis(p, text)
				if err != nil {
					return err
				}
				axes = append(axes, axis)
			}
			past, err := from.read(cmd, []*policy.Policy{p})
			if err != nil {
				return err
			}
			o := backtest.Options{TrainTime: time.Duration(trainTime), Tick: time.Duration(tick), Cost: cost}
			sweep, err := withBar(cmd, past, &o, func() (*backtest.Sweep, error) {
				return backtest.Tune(cmd.Context(), o, p, axes, past)
			})
			if err != nil {
				return err
			}
			return out.print(cmd, sweep, func(pg *page) { drawSweep(pg, sweep, axes, args[0], cost > 0) })
		},
	}
	out.flag(cmd)
	f := cmd.Flags()
	from.flags(cmd)
	f.StringArrayVar(&vary, "vary", nil, "a number of the policy and the values to try; may be repeated")
	f.StringToStringVar(&set, "set", nil, "print the policy with this number changed (NAME=VALUE) instead; may be repeated")
	f.Var(&trainTime, "train-time", "how long each run takes")
	f.Float64Var(&cost, "cost", 0, "what one run costs, in any currency")
	f.Var(&tick, "tick", "how often silence and age are looked at between events")
	return cmd
}

// onePolicy reads one policy file.
func onePolicy(file string) (*policy.Policy, error) {
	all, err := readPolicies([]string{file})
	if err != nil {
		return nil, err
	}
	if len(all) != 1 {
		return nil, fmt.Errorf("%s holds %d policies; name one file", file, len(all))
	}
	return all[0], nil
}

// A knobRow is a number that can be varied.
type knobRow struct {
	Name     string `json:"name"`
	Value    string `json:"value"`
	Line     int    `json:"line"`
	Column   int    `json:"column"`
	Written  bool   `json:"written"` // or a default
	Duration bool   `json:"duration,omitempty"`
}

func knobRows(p *policy.Policy) []knobRow {
	rows := []knobRow{}
	for _, k := range p.Knobs() {
		rows = append(rows, knobRow{k.Name, k.Text, k.Line, k.Column, !k.Absent(), k.Span})
	}
	return rows
}

func drawKnobs(pg *page, p *policy.Policy, file string) {
	var rows [][]string
	for _, k := range knobRows(p) {
		where := fmt.Sprintf("line %d, column %d", k.Line, k.Column)
		if !k.Written {
			where = "by default"
		}
		rows = append(rows, []string{k.Name, k.Value, where})
	}
	pg.table([]string{"NUMBER", "NOW", "WRITTEN"}, rows)
	if len(rows) > 0 {
		pg.next("visutility tune %s --data FILE --vary %s=FROM..TO", file, rows[0][0])
	}
}

// drawSweep shows the trials by their runs, with a bar for the time unattended.
func drawSweep(pg *page, s *backtest.Sweep, axes []backtest.Axis, file string, priced bool) {
	pg.fact("policy", s.Policy)
	pg.fact("in breach if never retrained", short(seconds(s.InBreach)))
	pg.line("")
	heads := []string{""}
	for _, a := range axes {
		heads = append(heads, a.Knob)
	}
	heads = append(heads, "RUNS", "PER MONTH", "UNATTENDED", "")
	if priced {
		heads = append(heads, "SPEND")
	}
	detects := slices.ContainsFunc(s.Trials, func(t backtest.Trial) bool { return t.Detection != nil })
	if detects {
		heads = append(heads, detectionHeads...)
	}
	trials := slices.Clone(s.Trials)
	slices.SortStableFunc(trials, func(a, b backtest.Trial) int { return cmp.Compare(a.Runs, b.Runs) })
	var rows [][]string
	for _, t := range trials {
		mark := " "
		if t.Frontier {
			mark = "*"
		}
		row := []string{mark}
		for _, a := range axes {
			v := t.Values[a.Knob]
			if t.Same {
				v += " (now)"
			}
			row = append(row, v)
		}
		row = append(row, strconv.Itoa(t.Runs), strconv.FormatFloat(t.RunsPerMonth, 'f', 1, 64),
			short(seconds(t.Unattended)), bar(t.UnattendedShare)+fmt.Sprintf(" %.1f%%", 100*t.UnattendedShare))
		if priced {
			row = append(row, number(t.Spend))
		}
		if detects {
			row = append(row, detection(t.Detection)...)
		}
		rows = append(rows, row)
	}
	pg.table(heads, rows)
	pg.line("* no other has fewer runs and less time unattended")
	if t := knee(trials); t != nil {
		next := "visutility tune " + file
		for _, a := range axes {
			next += fmt.Sprintf(" --set %s=%s", a.Knob, t.Values[a.Knob])
		}
		pg.next("%s > new.yaml", next)
	}
	drawList(pg, "what this cannot know", s.Caveats)
}

// knee is the trial other than the present policy that is nearest to neither runs nor time unattended, each as a part
// of the most that any trial has; nil for none.
func knee(trials []backtest.Trial) *backtest.Trial {
	runs, time := 1.0, 1.0
	for _, t := range trials {
		runs, time = max(runs, float64(t.Runs)), max(time, t.Unattended)
	}
	var best *backtest.Trial
	far := func(t *backtest.Trial) float64 { return float64(t.Runs)/runs + t.Unattended/time }
	for i := range trials {
		if t := &trials[i]; t.Frontier && !t.Same && t.Runs > 0 && (best == nil || far(t) < far(best)) {
			best = t
		}
	}
	return best
}

// bar draws a share of one.
func bar(share float64) string {
	const width = 20
	n := int(share*width + 0.5)
	return strings.Repeat("█", n) + strings.Repeat("·", width-n)
}
