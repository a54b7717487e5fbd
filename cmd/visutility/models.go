package main

import (
	"cmp"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/visutility/visutility/server"
	"github.com/visutility/visutility/store"
)

func modelsCommand() *cobra.Command {
	var (
		r     remote
		pages paging
		query string
	)
	cmd := &cobra.Command{
		Use:     "models [MODEL]",
		Short:   "List the models, or show one with its metrics",
		Example: "visutility models\nvisutility models bike-demand -o json",
		Args:    needs("[MODEL]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := r.client(cmd)
			if err != nil {
				return err
			}
			if len(args) == 1 {
				raw, err := c.get(cmd.Context(), endpoint("models", args[0]), nil)
				if err != nil {
					return modelHint(err)
				}
				return show(cmd, &r.output, raw, drawModel)
			}
			q := pages.query()
			set(q, "q", query)
			raw, err := c.get(cmd.Context(), "/models", q)
			if err != nil {
				return err
			}
			return show(cmd, &r.output, raw, drawModels)
		},
	}
	r.printing(cmd)
	pages.flags(cmd)
	cmd.Flags().StringVarP(&query, "query", "q", "", "only models whose name contains this")
	return cmd
}

// modelHint adds to "not found" where the models are listed.
func modelHint(err error) error {
	if notFound(err) {
		return withHint(err, "list the models with: visutility models")
	}
	return err
}

func drawModels(p *page, l listing[server.Model]) {
	if len(l.Items) == 0 {
		p.line("no models yet: a model appears with its first event")
		p.next("visutility publish MODEL METRIC VALUE")
		return
	}
	rows := make([][]string, len(l.Items))
	for i, m := range l.Items {
		rows[i] = []string{m.Name, modelState(m), orDash(m.Champion), lastValues(m.Metrics), strconv.FormatInt(m.Events, 10),
			p.ago(m.LastEventAt), orDash(m.ActiveRun), orDash(strings.Join(m.Policies, ","))}
	}
	p.table([]string{"MODEL", "VERDICT", "CHAMPION", "LAST VALUES", "EVENTS", "LAST EVENT", "RUN", "POLICIES"}, rows)
	p.more(l.Next)
}

// modelState is the verdict, or that the model is paused, or that nothing judges it.
func modelState(m server.Model) string {
	switch {
	case m.Paused:
		return "paused"
	case len(m.Policies) == 0:
		return "no policy"
	}
	return m.Verdict.String()
}

// lastValues shows the newest value of the first few metrics.
func lastValues(metrics []store.Metric) string {
	const most = 3
	var parts []string
	for _, m := range metrics[:min(len(metrics), most)] {
		parts = append(parts, m.Name+" "+number(m.Last))
	}
	if len(metrics) > most {
		parts = append(parts, "…")
	}
	return orDash(strings.Join(parts, ", "))
}

func drawModel(p *page, m server.Model) {
	p.fact("model", m.Name)
	p.fact("verdict", paint(modelState(m)))
	if m.Paused {
		p.fact("paused by", m.PausedBy)
		p.fact("because", m.PausedReason)
	}
	p.fact("champion", m.Champion)
	p.fact("active run", m.ActiveRun)
	p.fact("policies", strings.Join(m.Policies, ", "))
	p.fact("events", strconv.FormatInt(m.Events, 10))
	p.fact("last event", p.at(m.LastEventAt))
	p.fact("last decision", m.LastDecision)
	if len(m.Metrics) > 0 {
		rows := make([][]string, len(m.Metrics))
		for i, x := range m.Metrics {
			rows[i] = []string{x.Name, number(x.Last), p.ago(x.LastTime), strconv.FormatInt(x.Count, 10)}
		}
		p.line("")
		p.table([]string{"METRIC", "LAST", "AT", "EVENTS"}, rows)
	}
	p.next("visutility explain %s", cmp.Or(m.Name, "MODEL"))
}
