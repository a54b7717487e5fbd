package backtest

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"strings"
	"time"

	"github.com/visutility/visutility/policy"
)

//go:embed report.html
var reportPage string

// maxListed bounds the runs that the page lists.
const maxListed = 500

// page is what the template draws.
type page struct {
	*Report
	Charts []chart
	Listed []Played
	More   int
	Priced bool
	Means  []string // the metrics that a simulation has means of
}

// WriteHTML writes the report as a page that needs nothing else: charts are inline SVG, and
// there is no script in it. data is what the report was made of.
func (r *Report) WriteHTML(w io.Writer, data *Data) error {
	t, err := template.New("report").Funcs(template.FuncMap{
		"minute":  minute,
		"span":    func(s float64) string { return policy.FormatDuration(time.Duration(s) * time.Second) },
		"percent": func(f float64) string { return fmt.Sprintf("%.1f %%", 100*f) },
		"mean": func(means map[string]float64, metric string) string {
			if m, ok := means[metric]; ok {
				return fmt.Sprintf("%.4g", m)
			}
			return "–"
		},
		"round": func(f float64) string { return fmt.Sprintf("%.1f", f) },
		"join":  func(s []string) string { return strings.Join(s, ", ") },
	}).Parse(reportPage)
	if err != nil {
		return fmt.Errorf("the page of the report: %w", err)
	}
	p := page{Report: r, Charts: r.charts(data, r.policies), Listed: r.Plans[0].Runs, Priced: r.priced, Means: r.Means()}
	if p.More = len(p.Listed) - maxListed; p.More > 0 {
		p.Listed = p.Listed[:maxListed]
	}
	if err := t.Execute(w, p); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	return nil
}
