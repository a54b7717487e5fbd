package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"

	"github.com/spf13/cobra"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/server"
)

func runsCommand() *cobra.Command {
	var (
		r      remote
		pages  paging
		model  string
		states []string
	)
	cmd := &cobra.Command{
		Use:     "runs [RUN]",
		Short:   "List the training runs, or show one",
		Example: "visutility runs --model bike-demand --state training --state watching\nvisutility runs RUN",
		Args:    needs("[RUN]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, s := range states {
				if new(visutility.RunState).UnmarshalText([]byte(s)) != nil {
					return usagef(cmd, "%q is no state of a run; there are %s", s, visutility.RunStates())
				}
			}
			c, err := r.client(cmd)
			if err != nil {
				return err
			}
			if len(args) == 1 {
				raw, err := c.get(cmd.Context(), endpoint("runs", args[0]), nil)
				if err != nil {
					return runHint(err)
				}
				return show(cmd, &r.output, raw, drawRun)
			}
			q := pages.query()
			set(q, "model", model)
			q["state"] = states
			raw, err := c.get(cmd.Context(), "/runs", q)
			if err != nil {
				return err
			}
			return show(cmd, &r.output, raw, drawRuns)
		},
	}
	r.printing(cmd)
	pages.flags(cmd)
	cmd.Flags().StringVar(&model, "model", "", "only runs of this model")
	cmd.Flags().StringSliceVar(&states, "state", nil, "only runs in this state (repeatable)")
	completeFlags(cmd, map[string][]string{"model": nil, "state": runStates()})
	return cmd
}

// runHint adds to "not found" where the runs are listed.
func runHint(err error) error {
	if notFound(err) {
		return withHint(err, "list the runs with: visutility runs")
	}
	return err
}

func drawRuns(p *page, l listing[visutility.Run]) {
	if len(l.Items) == 0 {
		p.line("no runs")
		return
	}
	rows := make([][]string, len(l.Items))
	for i, r := range l.Items {
		rows[i] = []string{r.ID, r.Model, r.State.String(), progress(r), orDash(r.Version), p.ago(r.CreatedAt), orDash(outcome(p, r))}
	}
	p.table([]string{"RUN", "MODEL", "STATE", "PROGRESS", "VERSION", "STARTED", "NOTE"}, rows)
	p.more(l.Next)
}

// progress is how far the training is, while it goes on.
func progress(r visutility.Run) string {
	if r.State != visutility.Training {
		return "-"
	}
	return fmt.Sprintf("%.0f%%", 100*r.Progress)
}

// outcome is the one thing to know about how a run stands.
func outcome(p *page, r visutility.Run) string {
	switch {
	case r.Wish != "":
		return "asked to " + r.Wish
	case r.State == visutility.Training && !r.NextAt.IsZero():
		return fmt.Sprintf("attempt %d begins %s; %s", r.Attempt+1, p.ago(r.NextAt), r.Error)
	case r.Error != "":
		return r.Error
	case r.State == visutility.AwaitingApproval:
		return "waits for somebody to approve " + r.Version
	case r.State == visutility.Canceled: // whatever the gate may have said before
		return "somebody asked for it"
	case r.Report != nil && r.State.Ended():
		return r.Report.Reason
	default:
		return r.Message
	}
}

func drawRun(p *page, r server.RunDetail) {
	p.fact("run", r.ID)
	p.fact("model", r.Model)
	p.fact("state", paint(r.State.String()))
	p.fact("asked to", r.Wish)
	if r.State == visutility.Training {
		p.fact("progress", progress(r.Run)+" "+r.Message)
	}
	p.fact("policy", fmt.Sprintf("%s (revision %s)", r.Policy, orDash(r.PolicyRevision)))
	p.fact("decision", r.Decision)
	p.fact("asked by", r.By)
	p.fact("approved by", r.ApprovedBy)
	p.fact("champion", r.Champion)
	p.fact("version", r.Version)
	p.fact("attempt", attempts(r.Run))
	p.fact("error", r.Error)
	p.fact("next attempt", p.at(r.NextAt))
	p.fact("watch until", p.at(r.WatchUntil))
	if r.Artifact != nil {
		p.fact("artifact", r.Artifact.URI)
		p.fact("scored", metrics(r.Artifact.Metrics))
		p.fact("champion did", metrics(r.Artifact.ChampionMetrics))
	}
	if r.Report != nil {
		p.fact("gate", r.Report.Reason)
		for _, t := range r.Report.Evidence {
			p.line("%s", termTree(t))
		}
	}
	if len(r.Transitions) > 0 {
		rows := make([][]string, len(r.Transitions))
		for i, t := range r.Transitions {
			rows[i] = []string{t.To.String(), p.at(t.Time), t.Note}
		}
		p.line("")
		p.table([]string{"BECAME", "AT", "NOTE"}, rows)
	}
	p.afterRun(r.Run)
}

// attempts is the attempt that a run is at, and what became of those before.
func attempts(r visutility.Run) string {
	if r.Attempt < 2 {
		return fmt.Sprint(r.Attempt)
	}
	return fmt.Sprintf("%d, after %d that failed", r.Attempt, r.Attempt-1)
}

// afterRun names the command that is likely to be wanted next.
func (p *page) afterRun(r visutility.Run) {
	switch r.State {
	case visutility.AwaitingApproval:
		p.next("visutility approve %s", r.ID)
	case visutility.Training:
		p.next("visutility logs -f %s", r.ID)
	case visutility.Failed:
		p.next("visutility logs %s", r.ID)
	default:
		p.next("visutility explain %s", r.Model)
	}
}

// metrics writes measurements by name, sorted.
func metrics(m map[string]float64) string {
	var s string
	for i, k := range slices.Sorted(maps.Keys(m)) {
		if i > 0 {
			s += ", "
		}
		s += k + " " + number(m[k])
	}
	return s
}

func logsCommand() *cobra.Command {
	var (
		r      remote
		follow bool
	)
	cmd := &cobra.Command{
		Use:     "logs RUN",
		Short:   "Print what a run's training program wrote",
		Example: "visutility logs -f RUN",
		Args:    needs("RUN"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := r.client(cmd)
			if err != nil {
				return err
			}
			q := url.Values{}
			if follow {
				q.Set("follow", "true")
			}
			body, err := c.stream(cmd.Context(), request{method: http.MethodGet, path: endpoint("runs", args[0], "logs"), query: q})
			if err != nil {
				return logHint(cmd.Context(), c, args[0], err)
			}
			defer body.Close()
			if _, err := io.Copy(cmd.OutOrStdout(), body); err != nil && cmd.Context().Err() == nil {
				return fmt.Errorf("the log broke off: %w", unexpected(err))
			}
			return nil
		},
	}
	r.flags(cmd)
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on until the run has ended")
	return cmd
}

// logHint adds to "not found", for a run that there is, where else to look: not every trainer keeps a log.
func logHint(ctx context.Context, c *client, run string, err error) error {
	if !notFound(err) {
		return err
	}
	if _, missing := c.get(ctx, endpoint("runs", run), nil); missing != nil {
		return runHint(err)
	}
	return withHint(err, "see how it goes with: visutility runs %s", run)
}

// unexpected names a connection that ended early in words.
func unexpected(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the server closed the connection")
	}
	return err
}

func approveCommand() *cobra.Command {
	return runAction("approve", "Say yes to a run that waits for approval", "approval")
}

func cancelCommand() *cobra.Command {
	return runAction("cancel", "Stop a run", "cancellation")
}

// runAction is a command that asks something of a run.
func runAction(verb, help, noun string) *cobra.Command {
	var (
		r  remote
		by string
	)
	cmd := &cobra.Command{
		Use:   verb + " RUN",
		Short: help,
		Args:  needs("RUN"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := r.client(cmd)
			if err != nil {
				return err
			}
			raw, err := c.post(cmd.Context(), endpoint("runs", args[0], verb), map[string]string{"by": by})
			if err != nil {
				return runHint(err)
			}
			return show(cmd, &r.output, raw, func(p *page, run visutility.Run) {
				p.line("%s of run %s of %s is asked for", noun, run.ID, run.Model)
				p.next("visutility runs %s", run.ID)
			})
		},
	}
	r.printing(cmd)
	byFlag(cmd, &by)
	return cmd
}

// byFlag adds --by, which says who acts.
func byFlag(cmd *cobra.Command, by *string) {
	cmd.Flags().StringVar(by, "by", actor(), "who asks, for the records")
	completeFlags(cmd, map[string][]string{"by": nil})
}
