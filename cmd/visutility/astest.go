package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"charm.land/lipgloss/v2"
	"github.com/spf13/cobra"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/backtest"
	"github.com/visutility/visutility/store"
)

// asTest is the flags of explain that make a test of a decision.
type asTest struct {
	wanted        bool
	decision, dir string
}

func (t *asTest) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.BoolVar(&t.wanted, "as-test", false, "print a decision as a test of the policy, for visutility test")
	f.StringVar(&t.decision, "decision", "", "which decision becomes the test (default: the last that a policy took)")
	f.StringVar(&t.dir, "policies", "", "write the policies that the test names, as they were, into this directory too")
	completeFlags(cmd, map[string][]string{"decision": nil})
}

func (t *asTest) check(cmd *cobra.Command) error {
	for name, value := range map[string]string{"decision": t.decision, "policies": t.dir} {
		if value != "" && !t.wanted {
			return usagef(cmd, "--%s goes with --as-test only", name)
		}
	}
	return nil
}

// print has the server make the test and prints it.
func (t *asTest) print(cmd *cobra.Command, out *output, c *client, model string) error {
	id, err := t.choose(cmd.Context(), c, model)
	if err != nil {
		return err
	}
	raw, err := c.call(cmd.Context(), request{
		method: http.MethodGet, path: endpoint("decisions", id, "test"), header: http.Header{"Accept": {"application/json"}}, repeatable: true,
	})
	if err != nil {
		return err
	}
	made, err := decode[backtest.DecisionTest](raw)
	if err != nil {
		return err
	}
	if t.dir != "" {
		if err := writePolicies(t.dir, made.Policies); err != nil {
			return err
		}
	}
	for _, w := range made.Warnings {
		lipgloss.Fprintln(cmd.ErrOrStderr(), lipgloss.NewStyle().Bold(true).Foreground(lipgloss.Yellow).Render("warning:")+" "+w)
	}
	if out.json() {
		return out.print(cmd, raw, nil)
	}
	if _, err := fmt.Fprint(cmd.OutOrStdout(), made.Test); err != nil {
		return fmt.Errorf("writing the test: %w", err)
	}
	return nil
}

// choose finds the decision: the one that was asked for, or the last that a policy took by itself.
func (t *asTest) choose(ctx context.Context, c *client, model string) (string, error) {
	if t.decision != "" {
		raw, err := c.get(ctx, endpoint("decisions", t.decision), nil)
		if err != nil {
			return "", decisionHint(err, model)
		}
		d, err := decode[visutility.Decision](raw)
		if err == nil && d.Model != model {
			err = decisionHint(fmt.Errorf("decision %s is about model %q", d.ID, d.Model), model)
		}
		return d.ID, err
	}
	if _, err := c.get(ctx, endpoint("models", model), nil); err != nil {
		return "", modelHint(err)
	}
	for q := (url.Values{"model": {model}, "limit": {strconv.Itoa(store.MaxLimit)}}); ; {
		raw, err := c.get(ctx, "/decisions", q)
		if err != nil {
			return "", err
		}
		list, err := decode[listing[visutility.Decision]](raw)
		if err != nil {
			return "", err
		}
		for _, d := range list.Items {
			if d.Policy != "" && d.Request == "" {
				return d.ID, nil
			}
		}
		if list.Next == "" {
			return "", withHint(fmt.Errorf("no policy has decided anything about model %q yet", model), "see how it stands with: visutility explain %s", model)
		}
		q.Set("cursor", list.Next)
	}
}

// decisionHint adds where the decisions are listed.
func decisionHint(err error, model string) error {
	if e, ok := errors.AsType[*apiError](err); ok && e.Status != http.StatusNotFound {
		return err
	}
	return withHint(err, "list the decisions with: visutility decisions --model %s", model)
}

// writePolicies writes the sources of policies, all or none. A file that says the same is left alone; another is
// not replaced.
func writePolicies(dir string, policies []backtest.PolicyFile) error {
	missing := make(map[string][]byte)
	for _, p := range policies {
		if !filepath.IsLocal(p.File) || strings.ContainsAny(p.File, `/\`) {
			return fmt.Errorf("the server names a policy %q, which is no name of a file", p.File)
		}
		path := filepath.Join(dir, p.File)
		switch have, err := os.ReadFile(path); {
		case errors.Is(err, fs.ErrNotExist):
			missing[path] = []byte(p.Source)
		case err != nil:
			return fmt.Errorf("looking for a policy: %w", err)
		case !bytes.Equal(have, []byte(p.Source)):
			return fmt.Errorf("%s is there and differs from the policy as it was at revision %s; give --policies another directory", path, p.Revision)
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("making a directory for the policies: %w", err)
	}
	for path, source := range missing {
		if err := os.WriteFile(path, source, 0o644); err != nil {
			return fmt.Errorf("writing a policy: %w", err)
		}
	}
	return nil
}
