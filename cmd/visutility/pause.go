package main

import (
	"github.com/spf13/cobra"

	"github.com/visutility/visutility/server"
)

func pauseCommand() *cobra.Command {
	return pauseOrResume("pause", "Stop automatic runs of a model; by hand they are still possible", func(p *page, m server.Model) {
		p.line("%s is %s: no automatic runs until it is resumed", m.Name, paint("paused"))
		p.next("visutility resume %s", m.Name)
	})
}

func resumeCommand() *cobra.Command {
	return pauseOrResume("resume", "Allow automatic runs of a paused model again", func(p *page, m server.Model) {
		p.line("%s is watched again", m.Name)
		p.next("visutility explain %s", m.Name)
	})
}

func pauseOrResume(verb, help string, draw func(*page, server.Model)) *cobra.Command {
	var (
		r          remote
		by, reason string
	)
	cmd := &cobra.Command{
		Use:     verb + " MODEL",
		Short:   help,
		Example: "visutility " + verb + ` bike-demand --reason "labels of last week are being corrected"`,
		Args:    needs("MODEL"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := r.client(cmd)
			if err != nil {
				return err
			}
			raw, err := c.post(cmd.Context(), endpoint("models", args[0], verb), map[string]string{"by": by, "reason": reason})
			if err != nil {
				return modelHint(err)
			}
			return show(cmd, &r.output, raw, draw)
		},
	}
	r.printing(cmd)
	byFlag(cmd, &by)
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the records")
	completeFlags(cmd, map[string][]string{"reason": nil})
	return cmd
}
