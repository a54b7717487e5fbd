package main

import (
	"fmt"

	"charm.land/lipgloss/v2/tree"
	"github.com/spf13/cobra"

	"github.com/visutility/visutility"
)

func decisionsCommand() *cobra.Command {
	var (
		r                      remote
		pages                  paging
		model, policy, outcome string
	)
	cmd := &cobra.Command{
		Use:     "decisions [DECISION]",
		Short:   "List the decisions, the ones not to retrain too, or show one with its evidence",
		Example: "visutility decisions --model bike-demand\nvisutility decisions --outcome suppressed -o json",
		Args:    needs("[DECISION]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := r.client(cmd)
			if err != nil {
				return err
			}
			if len(args) == 1 {
				raw, err := c.get(cmd.Context(), endpoint("decisions", args[0]), nil)
				if err != nil {
					return err
				}
				return show(cmd, &r.output, raw, drawDecision)
			}
			q := pages.query()
			set(q, "model", model)
			set(q, "policy", policy)
			set(q, "outcome", outcome)
			raw, err := c.get(cmd.Context(), "/decisions", q)
			if err != nil {
				return err
			}
			return show(cmd, &r.output, raw, drawDecisions)
		},
	}
	r.printing(cmd)
	pages.flags(cmd)
	cmd.Flags().StringVar(&model, "model", "", "only decisions on this model")
	cmd.Flags().StringVar(&policy, "policy", "", "only decisions of this policy")
	cmd.Flags().StringVar(&outcome, "outcome", "", "only noted, fired, suppressed or rollback")
	completeFlags(cmd, map[string][]string{"model": nil, "policy": nil, "outcome": {"noted", "fired", "suppressed", "rollback"}})
	return cmd
}

func drawDecisions(p *page, l listing[visutility.Decision]) {
	if len(l.Items) == 0 {
		p.line("no decisions: one is recorded whenever a verdict changes")
		return
	}
	rows := make([][]string, len(l.Items))
	for i, d := range l.Items {
		rows[i] = []string{d.ID, p.ago(d.Time), d.Model, d.Policy, d.Verdict.String(), d.Outcome.String(), orDash(d.Run), d.Reason}
	}
	p.table([]string{"DECISION", "WHEN", "MODEL", "POLICY", "VERDICT", "OUTCOME", "RUN", "REASON"}, rows)
	p.more(l.Next)
}

func drawDecision(p *page, d visutility.Decision) {
	p.fact("decision", d.ID)
	p.fact("model", d.Model)
	p.fact("policy", fmt.Sprintf("%s (revision %s)", d.Policy, orDash(d.PolicyRevision)))
	p.fact("verdict", fmt.Sprintf("%s, before: %s", paint(d.Verdict.String()), d.Previous))
	p.fact("outcome", paint(d.Outcome.String()))
	p.fact("reason", d.Reason)
	p.fact("suppressed by", d.SuppressedBy)
	p.fact("until", p.at(d.Until))
	p.fact("asked by", d.By)
	p.fact("decided", p.at(d.Time))
	p.fact("event time", p.at(d.EventTime))
	p.fact("run", d.Run)
	for _, t := range d.Evidence {
		p.line("")
		p.line("%s", termTree(t))
	}
	if d.Run != "" {
		p.next("visutility runs %s", d.Run)
	}
}

// termTree draws a condition with the value of every part of it.
func termTree(t visutility.Term) *tree.Tree {
	node := tree.Root(termLine(t)).Enumerator(tree.RoundedEnumerator)
	for _, sub := range t.Terms {
		if len(sub.Terms) == 0 {
			node.Child(termLine(sub))
		} else {
			node.Child(termTree(sub))
		}
	}
	return node
}

func termLine(t visutility.Term) string {
	s := fmt.Sprintf("%s  %s", t.Expr, headStyle.Render("= "+value(t.Value)))
	if t.Name != "" {
		s = faintStyle.Render(t.Name+":") + " " + s
	}
	if t.Note != "" {
		s += faintStyle.Render("  (" + t.Note + ")")
	}
	return s
}
