package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"charm.land/lipgloss/v2"
	"github.com/spf13/cobra"
)

// The exit codes, as documented for scripts.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// A usageError says that the command line is wrong.
type usageError struct {
	err     error
	command string // whose help explains it
}

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

// usagef is a usage error of a command.
func usagef(cmd *cobra.Command, format string, args ...any) error {
	return usageError{err: fmt.Errorf(format, args...), command: cmd.CommandPath()}
}

// A hintError is an error that a command to type next may help with.
type hintError struct {
	err  error
	hint string
}

func (e hintError) Error() string { return e.err.Error() + "; " + e.hint }
func (e hintError) Unwrap() error { return e.err }

func withHint(err error, format string, args ...any) error {
	return hintError{err: err, hint: fmt.Sprintf(format, args...)}
}

// An exitError ends the program with a code and without another word: what
// there was to say has been printed.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

func exitCode(err error) int {
	if err == nil {
		return exitOK
	}
	if exit, ok := errors.AsType[exitError](err); ok {
		return int(exit)
	}
	if _, ok := errors.AsType[usageError](err); ok {
		return exitUsage
	}
	return exitFailed
}

var errorStyle = lipgloss.NewStyle().Bold(true).Foreground(lipgloss.Red)

// printError tells a person what went wrong. It never wraps or changes the
// text, so that messages with carets stay readable and greppable.
func printError(w io.Writer, err error) {
	if _, silent := errors.AsType[exitError](err); silent || err == nil {
		return
	}
	lipgloss.Fprintln(w, errorStyle.Render("error:")+" "+err.Error())
	if usage, ok := errors.AsType[usageError](err); ok {
		lipgloss.Fprintln(w, "see: "+usage.command+" --help")
	}
}

// lists says with which command the values of an argument are found.
var lists = map[string]string{
	"MODEL": "visutility models",
	"RUN":   "visutility runs",
}

// needs checks the positional arguments: names in square brackets are optional.
func needs(names ...string) cobra.PositionalArgs {
	required := slices.IndexFunc(names, func(n string) bool { return strings.HasPrefix(n, "[") })
	if required < 0 {
		required = len(names)
	}
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < required:
			missing := names[len(args)]
			err := fmt.Errorf("%s needs %s", cmd.CommandPath(), strings.Join(names[:required], " and "))
			if list, ok := lists[missing]; ok {
				err = withHint(err, "list them with: %s", list)
			}
			return usageError{err: err, command: cmd.CommandPath()}
		case len(args) > len(names):
			return usagef(cmd, "%s does not understand the argument %q", cmd.CommandPath(), args[len(names)])
		}
		return nil
	}
}
