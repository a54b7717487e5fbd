package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/diff"
	"github.com/spf13/cobra"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/visutility/visutility/backtest"
	"github.com/visutility/visutility/calibrate"
	"github.com/visutility/visutility/policy"
)

func calibrateCommand() *cobra.Command {
	var (
		out              output
		from             = pastFlags{pick: true}
		promise          backtest.Promise
		maxFalse         = 1
		per              = spanValue(90 * 24 * time.Hour)
		prob, confidence = 0.9, 0.9
		season           string
		seed             uint64
		patch            string
	)
	cmd := &cobra.Command{
		Use:   "calibrate POLICY {--data FILE | --from-server}",
		Short: "Find the threshold that keeps false retrains as rare as you say",
		Long: `Find the value of a number in retrain.when with which the policy retrains without
cause at most so often, on this model's own history: a metric that is measured
every hour is alike from hour to hour, and thresholds from textbooks fire again
and again on it.

The history is simulated many times over, by an autoregression with its daily or
weekly cycle, and the production fold decides on each; docs/policies.md says how
and what it is worth. Mark incidents in the data (column "incident"), or they
count as what is normal. Where the history does not carry the promise, it is
refused with the reason.`,
		Example: `visutility calibrate policies/churn.yaml --data scores.csv
visutility calibrate policies/churn.yaml --data scores.csv --number cusum.h --max-false 0 --per 30d --prob 0.95
visutility calibrate policies/churn.yaml --data scores.csv --patch churn.patch && patch -p0 < churn.patch`,
		Args: needs("POLICY"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := from.check(cmd); err != nil {
				return err
			}
			if len(from.models) > 1 {
				return usagef(cmd, "calibrate takes one --model: each has a history of its own")
			}
			promise.Model = strings.Join(from.models, "")
			p, err := onePolicy(args[0])
			if err != nil {
				return err
			}
			o := &promise.Calibration
			o.MaxFalse, o.Per, o.Prob, o.Confidence, o.Seed = maxFalse, time.Duration(per), prob, confidence, seed
			if maxFalse == 0 {
				o.MaxFalse = -1 // 0 stands for the default
			}
			if o.Season, err = parseSeason(season); err != nil {
				return err
			}
			past, err := from.read(cmd, []*policy.Policy{p})
			if err != nil {
				return err
			}
			c, err := calibrated(cmd, p, promise, past)
			if err != nil {
				return explainRefusal(err)
			}
			file := args[0]
			changes := diff.Diff(file, p.Source, file, []byte(c.Source))
			if patch != "" {
				if err := writeFile(patch, changes); err != nil {
					return err
				}
			}
			return out.print(cmd, c, func(pg *page) { drawCalibration(pg, c, string(changes), file) })
		},
	}
	out.flag(cmd)
	f := cmd.Flags()
	from.flags(cmd)
	f.Lookup("model").Usage = "whose history it is; needed where the policy watches several models of the data"
	f.StringVar(&promise.Number, "number", "", `the number to find, as "visutility tune POLICY" lists it; needed where several could be meant`)
	f.IntVar(&maxFalse, "max-false", maxFalse, "how many false retrains are allowed")
	f.Var(&per, "per", "in how long")
	f.Float64Var(&prob, "prob", prob, "in what share of all such times")
	f.Float64Var(&confidence, "confidence", confidence, "how sure to be, given that one history is all there is")
	f.StringVar(&season, "season", "auto", `cycle of the metric: "auto", "none", or a duration such as 24h`)
	f.Uint64Var(&seed, "seed", 0, "start of the random numbers")
	f.StringVar(&patch, "patch", "", "write the change of the policy to this file, as a patch")
	return cmd
}

func parseSeason(text string) (time.Duration, error) {
	switch text {
	case "auto":
		return 0, nil
	case "none":
		return -1, nil
	}
	d, err := parseSpan(text)
	if err != nil {
		return 0, fmt.Errorf(`--season: %w; or "auto", or "none"`, err)
	}
	return d, nil
}

// explainRefusal says what to do where a history does not carry the promise.
func explainRefusal(err error) error {
	if refusal, ok := errors.AsType[*calibrate.Refusal](err); ok {
		return fmt.Errorf("the history does not carry the promise: %w", refusal)
	}
	return err
}

// calibrated calibrates, with a progress bar.
func calibrated(cmd *cobra.Command, p *policy.Policy, promise backtest.Promise, past *backtest.Data) (*backtest.Calibration, error) {
	play := func() (*backtest.Calibration, error) {
		return backtest.Calibrate(cmd.Context(), backtest.Options{}, p, promise, past)
	}
	if !isTerminal(cmd.ErrOrStderr()) {
		return play()
	}
	bars := mpb.New(mpb.WithOutput(cmd.ErrOrStderr()), mpb.WithWidth(64))
	bar := bars.AddBar(0,
		mpb.PrependDecorators(decor.Name("simulating "), decor.CountersNoUnit("%d / %d")),
		mpb.AppendDecorators(decor.Percentage(), decor.Name(" "), decor.AverageETA(decor.ET_STYLE_GO)))
	promise.Calibration.Progress = func(done, all int) {
		bar.SetTotal(int64(all), false)
		bar.SetCurrent(int64(done))
	}
	c, err := play()
	bar.SetTotal(-1, err == nil)
	bar.Abort(false) // does nothing when it is complete
	bars.Wait()
	return c, err
}

func drawCalibration(pg *page, c *backtest.Calibration, changes, file string) {
	pg.fact("policy", c.Policy)
	pg.fact("history", fmt.Sprintf("%s of %s, %s to %s, every %s", c.Metric, c.Model, day(c.Report.Model.From), day(c.Report.Model.To), short(seconds(c.Report.Model.Step))))
	pg.fact("promise", fmt.Sprintf("at most %s per %s, %s times in 10", plural(c.Promise.MaxFalse, "false retrain"), short(seconds(c.Promise.Per)), number(10*c.Promise.Prob)))
	pg.fact(c.Number, fmt.Sprintf("%s, where the policy has %s", headStyle.Render(c.Value), c.Was))
	pg.line("")
	pg.line("%s", headStyle.Render("predicted, on a metric that is well"))
	pg.fact("false retrains per "+short(seconds(c.Promise.Per)), estimate(c.Predicted.FalseRetrains, 1, ""))
	pg.fact("promise broken", estimate(c.Predicted.Exceeds, 100, "%"))
	pg.line("")
	rows := make([][]string, len(c.Delays))
	for i, d := range c.Delays {
		rows[i] = []string{
			number(d.Shift), fmt.Sprintf("%+.4g", d.Change), delay(d.Median), delay(d.Late), fmt.Sprintf("%.0f%%", 100*d.Never),
		}
	}
	pg.table([]string{"SHIFT (SIGMA)", "IN " + strings.ToUpper(c.Metric), "FOUND AFTER, MEDIAN", "9 OF 10", "NEVER"}, rows)
	pg.line("")
	m := c.Report.Model
	pg.fact("model", fmt.Sprintf("autoregression of order %d, lag 1 %.2f, cycle: %s; %.0f values tell as much as %.0f independent ones",
		m.Order, m.Lag1, m.Season, float64(m.Steps-m.Masked-m.Gaps), m.Effective))
	pg.fact("in this history", fmt.Sprintf("%s, %d of them outside of marked incidents", plural(len(c.History.Runs), "run"), outside(c.History)))
	for _, f := range c.Flags {
		pg.line("%s %s", errorStyle.Render("mind:"), f.Message)
	}
	drawList(pg, "this assumes", c.Assumptions)
	drawList(pg, "and cannot know", c.Limits)
	pg.line("")
	pg.line("%s", strings.TrimRight(changes, "\n"))
	pg.next("visutility tune %s --set %s=%s > new.yaml", file, c.Number, c.Value)
}

func outside(p backtest.Plan) int {
	if p.Detection == nil {
		return len(p.Runs)
	}
	return p.Detection.Outside
}

func estimate(e calibrate.Estimate, factor float64, unit string) string {
	text := func(v float64) string { return strconv.FormatFloat(factor*v, 'f', 2, 64) + unit }
	return fmt.Sprintf("%s (%s to %s)", text(e.Value), text(e.Low), text(e.High))
}

func delay(s *float64) string {
	if s == nil {
		return "-"
	}
	return short(seconds(*s))
}
