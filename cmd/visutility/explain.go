package main

import (
	"fmt"

	"charm.land/lipgloss/v2"
	"charm.land/lipgloss/v2/tree"
	"github.com/spf13/cobra"

	"github.com/visutility/visutility/trigger"
)

func explainCommand() *cobra.Command {
	var (
		r remote
		t asTest
	)
	cmd := &cobra.Command{
		Use:   "explain MODEL",
		Short: "Say why a model is, or is not, retraining, with every value that counts",
		Long: `Say why a model is, or is not, retraining, with every value that counts.

With --as-test, print a decision of the past as a test for visutility test: what was
measured before, what became of the runs, and what was decided. So an incident becomes
a regression test. It is played at once; where it does not give the decision again, its
comments say what differs and why, and so does the standard error.`,
		Example: "visutility explain bike-demand\nvisutility explain bike-demand --as-test > bike-demand_test.yaml",
		Args:    needs("MODEL"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := t.check(cmd); err != nil {
				return err
			}
			c, err := r.client(cmd)
			if err != nil {
				return err
			}
			if t.wanted {
				return t.print(cmd, &r.output, c, args[0])
			}
			raw, err := c.get(cmd.Context(), endpoint("models", args[0], "explain"), nil)
			if err != nil {
				return modelHint(err)
			}
			return show(cmd, &r.output, raw, drawExplanation)
		},
	}
	r.printing(cmd)
	t.flags(cmd)
	return cmd
}

func drawExplanation(p *page, x trigger.Explanation) {
	p.fact("model", x.Model)
	p.fact("champion", x.Champion)
	if x.Paused {
		p.fact("paused", lipgloss.NewStyle().Foreground(lipgloss.Yellow).Render("yes"))
	}
	p.fact("active run", x.ActiveRun)
	p.fact("watched run", x.Watched)
	p.fact("last event", p.at(x.LastEvent))
	if len(x.Policies) == 0 {
		p.line("no policy watches this model, so nothing is decided about it")
		p.next("add a policy with `model: %s` to the policies directory", x.Model)
		return
	}
	for _, pol := range x.Policies {
		p.line("")
		p.line("%s", policyTree(p, pol))
	}
	switch {
	case x.Paused:
		p.next("visutility resume %s", x.Model)
	case x.ActiveRun != "":
		p.next("visutility runs %s", x.ActiveRun)
	default:
		p.next("visutility decisions --model %s", x.Model)
	}
}

// policyTree draws how a model stands with one policy.
func policyTree(p *page, x trigger.PolicyExplanation) *tree.Tree {
	verdict := "verdict " + paint(x.Verdict.String())
	if !x.Since.IsZero() {
		verdict += faintStyle.Render(", since " + p.at(x.Since))
	}
	root := tree.Root(headStyle.Render("policy "+x.Policy) + "  " + verdict).Enumerator(tree.RoundedEnumerator)
	root.Child(x.Why)
	for _, t := range x.Terms {
		root.Child(termTree(t))
	}
	if len(x.Guardrails) > 0 {
		guards := tree.Root("guardrails")
		for _, g := range x.Guardrails {
			guards.Child(guardLine(p, g))
		}
		root.Child(guards)
	}
	return root
}

func guardLine(p *page, g trigger.Guardrail) string {
	state := "open"
	if g.Blocks {
		state = lipgloss.NewStyle().Foreground(lipgloss.Red).Render("blocks")
	}
	s := fmt.Sprintf("%s: %s", g.Name, state)
	if g.Detail != "" {
		s += "  " + g.Detail
	}
	if !g.Until.IsZero() {
		s += ", until " + p.at(g.Until)
	}
	return s
}
