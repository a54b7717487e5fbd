// Command visutility watches the quality of models in production and retrains
// the ones that need it.
//
// It is one binary: `visutility serve` is the server, everything else talks to
// a server over its REST API, or works offline (lint, test, backtest). Each subcommand has a
// file of its name. What they share:
//
//   - client.go speaks to the server: addresses, tokens, retries, errors;
//   - output.go prints: JSON for programs, tables for people;
//   - errors.go decides about exit codes: 0 done, 1 failed, 2 used wrongly;
//   - flags.go has the kinds of flag value that the standard ones lack.
//
// testdata holds the stories that the commands are tested with, from outside.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"charm.land/fang/v2"
	"github.com/spf13/cobra"
)

func main() {
	cobra.EnableCommandSorting = false // the help lists them as people need them
	os.Exit(run(context.Background(), os.Args, os.Stdin, os.Stdout, os.Stderr))
}

// run is the whole program: it returns the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args[1:])
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	version := buildVersion(debug.ReadBuildInfo()).String()
	var err error
	if isTerminal(stdout) {
		err = fang.Execute(ctx, root, fang.WithVersion(version), fang.WithoutManpage(),
			fang.WithErrorHandler(func(io.Writer, fang.Styles, error) {})) // printed below, the same everywhere
	} else {
		// Fang pads its help to the width of a terminal.
		root.Version, root.SilenceUsage, root.SilenceErrors = version, true, true
		err = root.ExecuteContext(ctx)
	}
	printError(stderr, err)
	return exitCode(err)
}

// The groups in which `visutility --help` lists the commands.
const (
	groupServe = "serve"
	groupTry   = "try"
	groupLook  = "look"
	groupAct   = "act"
)

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "visutility",
		Short: "Watches the quality of models in production and retrains the ones that need it",
		Example: `visutility serve --policies ./policies
visutility publish bike-demand wmape 0.34
visutility explain bike-demand`,
		Args:                       knownCommand,
		SuggestionsMinimumDistance: 2,
		RunE:                       func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRun: func(cmd *cobra.Command, _ []string) {
			// The first signal asks for an orderly end, the second gets the default: at once.
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			context.AfterFunc(ctx, stop)
			cmd.SetContext(ctx)
		},
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError{err: err, command: cmd.CommandPath()}
	})
	root.AddGroup(
		&cobra.Group{ID: groupServe, Title: "Run"},
		&cobra.Group{ID: groupTry, Title: "Try policies, without a server"},
		&cobra.Group{ID: groupLook, Title: "Look"},
		&cobra.Group{ID: groupAct, Title: "Act"},
	)
	add := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
		}
		root.AddCommand(commands...)
	}
	add(groupServe, serveCommand(), publishCommand())
	add(groupTry, lintCommand(), testCommand(), backtestCommand(), tuneCommand(), calibrateCommand())
	add(groupLook, modelsCommand(), explainCommand(), policiesCommand(), decisionsCommand(), runsCommand(), logsCommand(), versionsCommand(), eventsCommand())
	add(groupAct, triggerCommand(), approveCommand(), cancelCommand(), promoteCommand(), rollbackCommand(), pauseCommand(), resumeCommand())
	root.AddCommand(versionCommand(), superviseCommand())
	return root
}

// knownCommand refuses arguments of the bare program: they are misspelt commands.
func knownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	err := fmt.Errorf("there is no command %q", args[0])
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		err = fmt.Errorf("%w; did you mean %q?", err, near[0])
	}
	return usageError{err: err, command: cmd.CommandPath()}
}
