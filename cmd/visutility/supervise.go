package main

import (
	"github.com/spf13/cobra"

	"github.com/visutility/visutility/trainer"
)

// superviseCommand is how the server starts this program again as the guardian
// of one training, which it outlives the server with. It is not for people.
func superviseCommand() *cobra.Command {
	return &cobra.Command{
		Use:                "supervise DIR",
		Short:              "Look after one training program (started by the server)",
		Hidden:             true,
		DisableFlagParsing: true,
		// The supervisor has its own manners with signals: without this the root's would apply.
		PersistentPreRun: func(*cobra.Command, []string) {},
		RunE: func(_ *cobra.Command, args []string) error {
			if code := trainer.Supervise(args); code != exitOK {
				return exitError(code)
			}
			return nil
		},
	}
}
