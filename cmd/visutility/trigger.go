package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"charm.land/lipgloss/v2"
	"github.com/spf13/cobra"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/server"
)

// pollEvery is how often `trigger --wait` looks at its run.
const pollEvery = time.Second

func triggerCommand() *cobra.Command {
	var (
		r                  remote
		policy, reason, by string
		wait               bool
	)
	cmd := &cobra.Command{
		Use:   "trigger MODEL",
		Short: "Start a run by hand",
		Long: `Start a run by hand, whatever the policy's condition says. Cooldown, budget
and pause do not stand in the way of a person; a run under way does.

With --wait it prints how the run goes and returns when the run was promoted,
waits for approval, or has ended: exit code 0, or 1 when it failed, was
rejected or canceled.`,
		Example: "visutility trigger bike-demand --reason \"new holiday calendar\" --wait",
		Args:    needs("MODEL"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := r.client(cmd)
			if err != nil {
				return err
			}
			raw, err := c.post(cmd.Context(), endpoint("models", args[0], "trigger"),
				map[string]string{"policy": policy, "reason": reason, "by": by})
			if notFound(err) {
				return withHint(err, "list the policies with: visutility policies")
			}
			if err != nil {
				return err
			}
			if !wait {
				return show(cmd, &r.output, raw, func(p *page, t server.Triggered) {
					p.line("run %s of %s is %s", t.Run.ID, t.Run.Model, paint(t.Run.State.String()))
					p.next("visutility logs -f %s", t.Run.ID)
				})
			}
			t, err := decode[server.Triggered](raw)
			if err != nil {
				return err
			}
			return follow(cmd, c, &r.output, t.Run.ID)
		},
	}
	r.printing(cmd)
	cmd.Flags().StringVar(&policy, "policy", "", "the policy to follow; needed when several watch the model")
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the records")
	cmd.Flags().BoolVar(&wait, "wait", false, "wait until it is clear what came of the run")
	byFlag(cmd, &by)
	completeFlags(cmd, map[string][]string{"policy": nil, "reason": nil})
	return cmd
}

// follow watches a run to where a person's part begins, or it has none.
func follow(cmd *cobra.Command, c *client, out *output, id string) error {
	progress := io.Discard
	if !out.json() {
		progress = cmd.OutOrStdout()
	}
	raw, run, err := waitForRun(cmd.Context(), c, id, func(t visutility.Transition) {
		lipgloss.Fprintln(progress, strings.TrimRight(fmt.Sprintf("%s  %s  %s", t.Time.Local().Format(time.TimeOnly), paint(t.To.String()), t.Note), " "))
	})
	if err != nil {
		if cmd.Context().Err() != nil {
			return withHint(fmt.Errorf("stopped waiting; run %s goes on", id), "look at it with: visutility runs %s", id)
		}
		return err
	}
	if out.json() {
		if err := printJSON(cmd.OutOrStdout(), raw); err != nil {
			return err
		}
	} else if err := out.print(cmd, nil, func(p *page) { p.afterRun(run.Run) }); err != nil {
		return err
	}
	switch run.State {
	case visutility.Failed, visutility.Rejected, visutility.Canceled, visutility.RolledBack:
		return exitError(exitFailed)
	}
	return nil
}

// waitForRun polls a run until it is settled and tells of each step that it made.
func waitForRun(ctx context.Context, c *client, id string, step func(visutility.Transition)) (json.RawMessage, server.RunDetail, error) {
	told := 0
	for {
		raw, err := c.get(ctx, endpoint("runs", id), nil)
		if err != nil {
			return nil, server.RunDetail{}, err
		}
		run, err := decode[server.RunDetail](raw)
		if err != nil {
			return nil, run, err
		}
		for ; told < len(run.Transitions); told++ {
			step(run.Transitions[told])
		}
		if run.State.Ended() || run.State == visutility.Watching || run.State == visutility.AwaitingApproval {
			return raw, run, nil
		}
		if err := c.wait(ctx, pollEvery); err != nil {
			return nil, run, err
		}
	}
}
