package main

import (
	"context"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/visutility/visutility"
)

const (
	completionTime = 2 * time.Second // that a shell may be kept waiting
	maxCompletions = "100"
)

// complete asks the server for the values of the next argument, by its name in
// the command's usage. Where there are none to ask for, or nobody answers, it
// offers nothing: files, which a shell offers otherwise, are never meant.
func (r *remote) complete(cmd *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
	names := strings.Fields(cmd.Use)[1:]
	if len(args) >= len(names) {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	path, q := "", url.Values{"limit": {maxCompletions}}
	switch strings.Trim(names[len(args)], "[]") {
	case "MODEL":
		path = "/models"
		set(q, "q", begun)
	case "RUN":
		path = "/runs"
	case "DECISION":
		path = "/decisions"
	case "VERSION":
		path = endpoint("models", args[0], "versions")
	default:
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return r.values(cmd, path, q, begun), cobra.ShellCompDirectiveNoFileComp
}

// values lists the names, or else the ids, of what is at a path, as far as they go on from what was begun.
func (r *remote) values(cmd *cobra.Command, path string, q url.Values, begun string) []cobra.Completion {
	c, err := r.client(cmd)
	if err != nil {
		return nil // a shell has no place for it
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completionTime)
	defer cancel()
	raw, err := c.get(ctx, path, q)
	if err != nil {
		return nil
	}
	list, err := decode[listing[struct{ Name, ID string }]](raw)
	if err != nil {
		return nil
	}
	var found []cobra.Completion
	for _, x := range list.Items {
		if value := x.Name + x.ID; strings.HasPrefix(value, begun) { // it has one of them
			found = append(found, value)
		}
	}
	return found
}

// completeFlags offers the values of the flags that have few. The others have
// none to offer, but for those that name files.
func completeFlags(cmd *cobra.Command, choices map[string][]string) {
	for name, values := range choices {
		// It fails for a flag that does not exist or has values already, which leaves the command as good as it was.
		_ = cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
	}
}

// runStates are the states of runs as --state takes them.
func runStates() []string {
	var names []string
	for _, s := range visutility.RunStates() {
		names = append(names, s.String())
	}
	return names
}
