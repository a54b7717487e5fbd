package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"charm.land/lipgloss/v2"
	"github.com/spf13/cobra"

	"github.com/visutility/visutility/policy"
)

// A linted file is what `lint -o json` says of one.
type linted struct {
	File     string   `json:"file"`
	Name     string   `json:"name,omitempty"`
	Revision string   `json:"revision,omitempty"`
	Models   []string `json:"models,omitempty"`
	Errors   []fault  `json:"errors"`
	Warnings []fault  `json:"warnings"`

	policy *policy.Policy
}

type fault struct {
	Line       int    `json:"line,omitempty"`
	Column     int    `json:"column,omitempty"`
	Message    string `json:"message"`
	Suggestion string `json:"suggestion,omitempty"`
	Excerpt    string `json:"excerpt,omitempty"`

	text string // all of it, for people
}

func lintCommand() *cobra.Command {
	var out output
	cmd := &cobra.Command{
		Use:     "lint FILE|DIR…",
		Short:   "Check policy files, without a server",
		Long:    "Check policy files, without a server. Of a directory, every *.yaml and *.yml file\nbut the tests, *_test.yaml, is checked, and that they go together. The exit code is 1 when there is an error.",
		Example: "visutility lint policies/\nvisutility lint -o json fraud.yaml",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef(cmd, "lint needs a policy file or a directory of them")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			files, err := policyFiles(args)
			if err != nil {
				return err
			}
			results := make([]linted, len(files))
			for i, f := range files {
				if results[i], err = lintFile(f); err != nil {
					return err
				}
			}
			lintTogether(results)
			if err := out.print(cmd, listing[linted]{Items: results}, func(p *page) { drawLint(p, results) }); err != nil {
				return err
			}
			if slices.ContainsFunc(results, func(l linted) bool { return len(l.Errors) > 0 }) {
				return exitError(exitFailed)
			}
			return nil
		},
	}
	out.flag(cmd)
	return cmd
}

// policyFiles replaces directories by the policy files in them.
func policyFiles(args []string) ([]string, error) {
	var files []string
	for _, arg := range args {
		info, err := os.Stat(arg)
		if err != nil {
			return nil, fmt.Errorf("looking for policies: %w", err)
		}
		if !info.IsDir() {
			files = append(files, arg)
			continue
		}
		entries, err := os.ReadDir(arg)
		if err != nil {
			return nil, fmt.Errorf("looking for policies: %w", err)
		}
		for _, e := range entries {
			if !e.IsDir() && policy.IsFile(e.Name()) {
				files = append(files, filepath.Join(arg, e.Name()))
			}
		}
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("there is no *.yaml or *.yml file in %s", strings.Join(args, ", "))
	}
	return files, nil
}

func lintFile(file string) (linted, error) {
	src, err := os.ReadFile(file)
	if err != nil {
		return linted{}, fmt.Errorf("reading a policy: %w", err)
	}
	l := linted{File: file, Errors: []fault{}, Warnings: []fault{}}
	p, err := policy.Parse(file, src)
	if err != nil {
		l.Errors = faults(err)
		return l, nil
	}
	l.policy, l.Name, l.Revision, l.Models = p, p.Name, p.Revision, p.Models
	l.Warnings = append(l.Warnings, faults(p.Warnings)...)
	return l, nil
}

func faults(err error) []fault {
	all, ok := errors.AsType[policy.Errors](err)
	if !ok {
		return []fault{{Message: err.Error(), text: err.Error()}}
	}
	fs := make([]fault, len(all))
	for i, e := range all {
		fs[i] = fault{e.Line, e.Column, e.Message, e.Suggestion, e.Excerpt, e.Error()}
	}
	return fs
}

// lintTogether adds to the first good file what keeps the good ones from being in force together.
func lintTogether(results []linted) {
	var good []*policy.Policy
	first := -1
	for i := range results {
		if results[i].policy != nil {
			good = append(good, results[i].policy)
			if first < 0 {
				first = i
			}
		}
	}
	if _, err := policy.NewSet(good...); err != nil && first >= 0 {
		results[first].Errors = append(results[first].Errors, faults(err)...)
	}
}

func drawLint(p *page, results []linted) {
	red, yellow := lipgloss.NewStyle().Foreground(lipgloss.Red), lipgloss.NewStyle().Foreground(lipgloss.Yellow)
	bad := 0
	for _, l := range results {
		for _, e := range l.Errors {
			p.line("%s %s", red.Render("error:"), e.text)
		}
		for _, w := range l.Warnings {
			p.line("%s %s", yellow.Render("warning:"), w.text)
		}
		if len(l.Errors) > 0 {
			bad++
			continue
		}
		p.line("%s: good, policy %s for %s", l.File, l.Name, strings.Join(l.Models, ", "))
	}
	if bad > 0 {
		p.line("%d of %s with errors", bad, plural(len(results), "file"))
	}
}
