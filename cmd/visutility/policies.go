package main

import (
	"cmp"
	"strings"

	"charm.land/lipgloss/v2"
	"github.com/spf13/cobra"

	"github.com/visutility/visutility/server"
)

func policiesCommand() *cobra.Command {
	var r remote
	cmd := &cobra.Command{
		Use:   "policies",
		Short: "List the policies in force, and what is wrong with those that are not",
		Args:  needs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := r.client(cmd)
			if err != nil {
				return err
			}
			raw, err := c.get(cmd.Context(), "/policies", nil)
			if err != nil {
				return err
			}
			return show(cmd, &r.output, raw, drawPolicies)
		},
	}
	r.printing(cmd)
	return cmd
}

func drawPolicies(p *page, l listing[server.Policy]) {
	if len(l.Items) == 0 {
		p.line("no policies: nothing is retrained")
		p.next("visutility serve --policies DIR")
		return
	}
	rows := make([][]string, len(l.Items))
	for i, x := range l.Items {
		state := "in force"
		if x.Error != "" {
			state = "bad"
		}
		rows[i] = []string{orDash(x.Name), state, orDash(strings.Join(x.Models, ",")), orDash(x.Revision), orDash(x.File)}
	}
	p.table([]string{"POLICY", "STATE", "MODELS", "REVISION", "FILE"}, rows)
	for _, x := range l.Items {
		for _, w := range x.Warnings {
			p.line("\n%s %s: %s", lipgloss.NewStyle().Bold(true).Foreground(lipgloss.Yellow).Render("warning:"), x.Name, w)
		}
		if x.Error != "" {
			p.line("\n%s %s", errorStyle.Render(cmp.Or(x.Name, "error")+":"), x.Error)
		}
	}
}
