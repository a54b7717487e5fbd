package main

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/visutility/visutility/backtest"
	"github.com/visutility/visutility/policy"
)

// barEvents is from how many events on a replay is worth a progress bar.
const barEvents = 1_000_000

func backtestCommand() *cobra.Command {
	var (
		out           output
		from          pastFlags
		against, html string
		cost          float64
		trainTime     = spanValue(time.Hour)
		tick          = spanValue(time.Minute)
		outcome       = choiceValue{"promoted", []string{"promoted", "rejected"}}
		sim           simulation
	)
	cmd := &cobra.Command{
		Use:   "backtest POLICY… {--data FILE | --from-server}",
		Short: "Try policies on old events: when they would have retrained, and what it would have cost",
		Long: `Replay old events through the fold of production, and say when the policies
would have retrained, what would have suppressed it, and how long the models
would have been in breach; beside the schedules never, weekly and monthly, and
other policies with --against. Of a directory, every *.yaml and *.yml file is
taken.

The file is what "publish -f" takes, and every event needs a time. A column or
field "incident" (true or false) marks events of a model that is known to have
been unwell: the report then says how soon that was found.

With --from-server the events are those that a server keeps in its history, of
the models that the policies watch, and the policies that it runs for them today
are compared with, unless --against says otherwise.

Runs are played: each takes --train-time and ends with --outcome. With
--simulate they are trained in truth, by the command of train.run, and judged by
promote.when; from a promotion on, the events are those that the --score command
says the new version would have had. What the report cannot know it says.`,
		Example: `visutility backtest policies/churn.yaml --data scores.csv
visutility backtest new.yaml --against policies/ --data scores.parquet --cost 40 --html report.html
visutility backtest new.yaml --from-server --from 30d
visutility backtest policies/churn.yaml --data scores.csv --simulate --score "python score.py"`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef(cmd, "backtest needs a policy file or a directory of them")
			}
			if err := from.check(cmd); err != nil {
				return err
			}
			return sim.check(cmd)
		},
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			o := backtest.Options{
				TrainTime: time.Duration(trainTime), Tick: time.Duration(tick),
				Rejected: outcome.value == "rejected", Cost: cost,
			}
			if o.Policies, err = readPolicies(args); err != nil {
				return err
			}
			switch {
			case against != "":
				o.Against, err = readPolicies([]string{against})
			case from.server:
				o.AgainstName = backtest.RunningPlan
				o.Against, err = from.running(cmd, o.Policies)
			}
			if err != nil {
				return err
			}
			past, err := from.read(cmd, o.Policies, o.Against...)
			if err != nil {
				return err
			}
			done, err := sim.begin(&o)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, done()) }()
			report, err := withBar(cmd, past, &o, func() (*backtest.Report, error) { return backtest.Run(cmd.Context(), o, past) })
			if err != nil {
				return sim.interrupted(cmd, err)
			}
			if html != "" {
				if err := writeReport(html, report, past); err != nil {
					return err
				}
			}
			return out.print(cmd, report, func(p *page) { drawReport(p, report, cost > 0) })
		},
	}
	out.flag(cmd)
	f := cmd.Flags()
	from.flags(cmd)
	f.StringVar(&against, "against", "", "a policy file or directory to compare with")
	f.Var(&trainTime, "train-time", "how long each run takes")
	f.Var(&outcome, "outcome", "what becomes of each challenger")
	f.Float64Var(&cost, "cost", 0, "what one run costs, in any currency")
	f.Var(&tick, "tick", "how often silence and age are looked at between events")
	sim.flags(cmd)
	f.StringVar(&html, "html", "", "write a report with charts to this file too")
	return cmd
}

// readPolicies reads the policies of files and directories.
func readPolicies(args []string) ([]*policy.Policy, error) {
	files, err := policyFiles(args)
	if err != nil {
		return nil, err
	}
	var all []*policy.Policy
	for _, file := range files {
		src, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("reading a policy: %w", err)
		}
		p, err := policy.Parse(file, src)
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}

// withBar plays replays over the past, with a progress bar where that takes a while.
func withBar[T any](cmd *cobra.Command, past *backtest.Data, o *backtest.Options, play func() (T, error)) (T, error) {
	if o.Simulate == nil && past.Events() < barEvents || !isTerminal(cmd.ErrOrStderr()) {
		return play()
	}
	trained := new(atomic.Int64)
	doing := []decor.Decorator{decor.Name("replaying "), decor.CountersNoUnit("%d / %d events")}
	if o.Simulate != nil {
		o.Simulate.Trained = func() { trained.Add(1) }
		doing = append(doing, decor.Any(func(decor.Statistics) string { return ", " + plural(int(trained.Load()), "training") }))
	}
	bars := mpb.New(mpb.WithOutput(cmd.ErrOrStderr()), mpb.WithWidth(64))
	bar := bars.AddBar(0, mpb.PrependDecorators(doing...),
		mpb.AppendDecorators(decor.Percentage(), decor.Name(" "), decor.AverageETA(decor.ET_STYLE_GO)))
	o.Progress = func(done, all int64) {
		bar.SetTotal(all, false)
		bar.SetCurrent(done)
	}
	result, err := play()
	bar.SetTotal(-1, err == nil)
	bar.Abort(false) // does nothing when it is complete
	bars.Wait()
	return result, err
}

func writeReport(file string, r *backtest.Report, past *backtest.Data) error {
	var b bytes.Buffer
	if err := r.WriteHTML(&b, past); err != nil {
		return err
	}
	return writeFile(file, b.Bytes())
}

// writeFile writes what a command was asked to leave beside its output.
func writeFile(file string, b []byte) error {
	if err := os.WriteFile(file, b, 0o644); err != nil {
		return fmt.Errorf("writing %s: %w", file, err)
	}
	return nil
}

// maxRuns is how many runs the terminal shows of each plan; JSON has all.
const maxRuns = 20

func drawReport(p *page, r *backtest.Report, priced bool) {
	p.fact("data", fmt.Sprintf("%s of %s, %s to %s", plural(r.Events, "event"), plural(r.Models, "model"), day(r.From), day(r.To)))
	if r.Incidents > 0 {
		p.fact("incidents", strconv.Itoa(r.Incidents))
	}
	p.line("")
	heads := []string{"PLAN", "RUNS", "PER MONTH", "IN BREACH", "SHARE"}
	if priced {
		heads = append(heads, "SPEND")
	}
	if r.Incidents > 0 {
		heads = append(heads, detectionHeads...)
	}
	heads = append(heads, simulatedHeads(r)...)
	rows := make([][]string, len(r.Plans))
	for i := range r.Plans {
		rows[i] = append(planRow(&r.Plans[i], priced), simulatedCells(r, &r.Plans[i])...)
	}
	p.table(heads, rows)
	for i := range r.Plans {
		if l := &r.Plans[i]; ofPolicies(l) {
			drawPlan(p, l)
		}
	}
	drawList(p, "what this cannot know", r.Caveats)
}

// drawList shows sentences under a head.
func drawList(p *page, head string, sentences []string) {
	p.line("")
	p.line("%s", headStyle.Render(head))
	for _, s := range sentences {
		p.line("- %s", s)
	}
}

// ofPolicies reports whether a plan is one of policies, not of a schedule.
func ofPolicies(l *backtest.Plan) bool {
	return slices.Contains([]string{"policy", "against", backtest.RunningPlan}, l.Name)
}

// planRow is a plan in the table of all.
func planRow(l *backtest.Plan, priced bool) []string {
	name := l.Name
	if ofPolicies(l) {
		name += " " + shortList(l.Policies)
	}
	row := []string{
		name, strconv.Itoa(len(l.Runs)), strconv.FormatFloat(l.RunsPerMonth, 'f', 1, 64),
		short(seconds(l.InBreach)), strconv.FormatFloat(100*l.BreachShare, 'f', 1, 64) + "%",
	}
	if priced {
		row = append(row, number(l.Spend))
	}
	if l.Detection != nil {
		row = append(row, detection(l.Detection)...)
	}
	return row
}

// detectionHeads are the columns of detection.
var detectionHeads = []string{"FOUND", "MEDIAN DELAY", "RUNS OUTSIDE"}

// detection is how runs fit incidents.
func detection(d *backtest.Detection) []string {
	delay := "-"
	if d.Found > 0 {
		delay = short(seconds(d.MedianDelay))
	}
	return []string{fmt.Sprintf("%d of %d", d.Found, d.Found+d.Missed), delay, strconv.Itoa(d.Outside)}
}

// shortList names a few.
func shortList(names []string) string {
	if len(names) > 3 {
		return fmt.Sprintf("(%s and %d more)", strings.Join(names[:3], ", "), len(names)-3)
	}
	return "(" + strings.Join(names, ", ") + ")"
}

// drawPlan shows the runs that policies would have opened, and what they would have suppressed.
func drawPlan(p *page, l *backtest.Plan) {
	p.line("")
	p.line("%s", headStyle.Render(l.Name+" "+shortList(l.Policies)))
	if len(l.Runs) == 0 {
		p.line("would never have retrained")
	} else {
		heads := []string{"RETRAINED (UTC)", "MODEL", "POLICY", "OUTCOME", "REASON"}
		if l.Simulated != nil {
			heads = append(heads, "WHAT CAME OF IT")
		}
		rows := make([][]string, 0, maxRuns)
		for i := range l.Runs[:min(len(l.Runs), maxRuns)] {
			r := &l.Runs[i]
			rows = append(rows, append([]string{r.Time.Format("2006-01-02 15:04"), r.Model, r.Policy, r.State.String(), r.Reason}, cameOf(l, r)...))
		}
		p.table(heads, rows)
		if more := len(l.Runs) - maxRuns; more > 0 {
			p.line("and %d more: -o json has them all", more)
		}
		months := make([]string, len(l.Months))
		for i, m := range l.Months {
			months[i] = fmt.Sprintf("%s: %d", m.Month, m.Runs)
		}
		p.fact("by month", strings.Join(months, ", "))
	}
	var held []string
	for _, name := range slices.Sorted(maps.Keys(l.Suppressed)) {
		held = append(held, fmt.Sprintf("%s: %d", name, l.Suppressed[name]))
	}
	p.fact("suppressed by", strings.Join(held, ", "))
}

func day(t time.Time) string { return t.Format(time.DateOnly) }

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
