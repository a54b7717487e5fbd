package main

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/visutility/visutility"
)

func versionsCommand() *cobra.Command {
	var (
		r     remote
		pages paging
	)
	cmd := &cobra.Command{
		Use:     "versions MODEL [VERSION]",
		Short:   "List a model's versions, or show one (by id or alias) with where it came from",
		Example: "visutility versions bike-demand\nvisutility versions bike-demand champion -o json",
		Args:    needs("MODEL", "[VERSION]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := r.client(cmd)
			if err != nil {
				return err
			}
			if len(args) == 2 {
				raw, err := c.get(cmd.Context(), endpoint("models", args[0], "versions", args[1]), nil)
				if err != nil {
					return versionHint(cmd.Context(), c, args[0], err)
				}
				return show(cmd, &r.output, raw, drawVersion)
			}
			raw, err := c.get(cmd.Context(), endpoint("models", args[0], "versions"), pages.query())
			if err != nil {
				return modelHint(err)
			}
			return show(cmd, &r.output, raw, func(p *page, l listing[visutility.Version]) { drawVersions(p, args[0], l) })
		},
	}
	r.printing(cmd)
	pages.flags(cmd)
	return cmd
}

// versionHint adds to "not found" where the versions are listed, or the models if it is the model that is not known.
func versionHint(ctx context.Context, c *client, model string, err error) error {
	if !notFound(err) {
		return err
	}
	if _, missing := c.get(ctx, endpoint("models", model), nil); notFound(missing) {
		return modelHint(err)
	}
	return withHint(err, "list the versions with: visutility versions %s", model)
}

func drawVersions(p *page, model string, l listing[visutility.Version]) {
	if len(l.Items) == 0 {
		p.line("%s has no versions: the first successful run registers one", model)
		p.next("visutility trigger %s", model)
		return
	}
	rows := make([][]string, len(l.Items))
	for i, v := range l.Items {
		rows[i] = []string{v.ID, orDash(strings.Join(v.Aliases, ",")), orDash(metrics(v.Metrics)), orDash(v.Parent), orDash(v.Run), p.ago(v.CreatedAt)}
	}
	p.table([]string{"VERSION", "ALIASES", "SCORED", "PARENT", "RUN", "MADE"}, rows)
	p.more(l.Next)
}

func drawVersion(p *page, v visutility.Version) {
	p.fact("version", v.ID)
	p.fact("model", v.Model)
	p.fact("aliases", strings.Join(v.Aliases, ", "))
	p.fact("scored", metrics(v.Metrics))
	p.fact("artifact", v.Artifact.URI)
	p.fact("sha256", v.Artifact.SHA256)
	p.fact("size", formatBytes(v.Artifact.Size))
	p.fact("parent", v.Parent)
	p.fact("run", v.Run)
	p.fact("decision", v.Decision)
	p.fact("events from", p.at(v.Window.From))
	p.fact("to", p.at(v.Window.To))
	p.fact("made", p.at(v.CreatedAt))
	if !slices.Contains(v.Aliases, visutility.Champion) {
		p.next("visutility promote %s %s", v.Model, v.ID)
	}
}

func promoteCommand() *cobra.Command {
	return championCommand(&cobra.Command{
		Use:     "promote MODEL VERSION",
		Short:   "Make a version the champion by hand",
		Example: "visutility promote bike-demand v3",
		Args:    needs("MODEL", "VERSION"),
	})
}

func rollbackCommand() *cobra.Command {
	return championCommand(&cobra.Command{
		Use:     "rollback MODEL",
		Short:   "Make the version that the champion replaced the champion again",
		Example: "visutility rollback bike-demand",
		Args:    needs("MODEL"),
	})
}

// championCommand completes a command that moves the champion alias: to the
// version of its second argument, or back when it has only one.
func championCommand(cmd *cobra.Command) *cobra.Command {
	var (
		r  remote
		by string
	)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := r.client(cmd)
		if err != nil {
			return err
		}
		body := map[string]string{"by": by}
		if len(args) == 2 {
			body["version"] = args[1]
		}
		raw, err := c.post(cmd.Context(), endpoint("models", args[0], cmd.Name()), body)
		if err != nil {
			return versionHint(cmd.Context(), c, args[0], err)
		}
		return show(cmd, &r.output, raw, func(p *page, v visutility.Version) {
			p.line("%s of %s is the %s now", v.ID, v.Model, paint(visutility.Champion))
			p.next("visutility versions %s", v.Model)
		})
	}
	r.printing(cmd)
	byFlag(cmd, &by)
	return cmd
}
