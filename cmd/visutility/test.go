package main

import (
	"bytes"
	"fmt"
	"os"
	"slices"

	"charm.land/lipgloss/v2"
	"github.com/spf13/cobra"

	"github.com/visutility/visutility/backtest"
)

func testCommand() *cobra.Command {
	var (
		out           output
		junit, filter string
	)
	cmd := &cobra.Command{
		Use:   "test FILE…",
		Short: "Test policies: play a story and check what is decided, without a server",
		Long: `Play the stories of test files and check what the policies decide, without a
server. A story has the values of metrics over time, what becomes of the runs,
and what is expected; the fold that plays it is the one of production. The exit
code is 1 when a test fails. See docs/policies.md for what a file may say.`,
		Example: "visutility test policies/tests/*.yaml\nvisutility test --run cooldown --junit report.xml churn_test.yaml",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef(cmd, "test needs a file of tests")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			results := []backtest.Result{}
			for _, file := range args {
				suite, err := backtest.ReadTests(file)
				if err != nil {
					return err
				}
				results = append(results, suite.Run(filter)...)
			}
			if len(results) == 0 {
				return fmt.Errorf("no test has %q in its name", filter)
			}
			if junit != "" {
				if err := writeJUnit(junit, results); err != nil {
					return err
				}
			}
			if err := out.print(cmd, listing[backtest.Result]{Items: results}, func(p *page) { drawResults(p, results) }); err != nil {
				return err
			}
			if slices.ContainsFunc(results, func(r backtest.Result) bool { return !r.Passed }) {
				return exitError(exitFailed)
			}
			return nil
		},
	}
	out.flag(cmd)
	f := cmd.Flags()
	f.StringVar(&junit, "junit", "", "write the results to this file too, as JUnit's XML")
	f.StringVar(&filter, "run", "", "only the tests with this in their name")
	return cmd
}

func writeJUnit(file string, results []backtest.Result) error {
	var b bytes.Buffer
	if err := backtest.WriteJUnit(&b, results); err != nil {
		return err
	}
	if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
		return fmt.Errorf("writing the JUnit report: %w", err)
	}
	return nil
}

func drawResults(p *page, results []backtest.Result) {
	red, green := lipgloss.NewStyle().Foreground(lipgloss.Red), lipgloss.NewStyle().Foreground(lipgloss.Green)
	failed := 0
	for _, r := range results {
		if r.Passed {
			p.line("%s %s: %s", green.Render("ok  "), r.File, r.Name)
			continue
		}
		failed++
		p.line("%s %s: %s", red.Render("FAIL"), r.File, r.Name)
		for _, l := range r.Diff {
			switch l[0] {
			case '-':
				l = red.Render(l)
			case '+':
				l = green.Render(l)
			}
			p.line("    %s", l)
		}
	}
	if failed > 0 {
		p.line("%d of %s failed; - is expected and missing, + is not expected", failed, plural(len(results), "test"))
	}
}
