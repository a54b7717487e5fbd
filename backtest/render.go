package backtest

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/policy"
)

// lineWidth is where lines of values are broken.
const lineWidth = 100

// yaml writes a file of tests. model is the one that goes without saying.
func (f *testFile) yaml(model string) string {
	w := yamlWriter{model: model}
	names := make([]string, len(f.Policies))
	for i, name := range f.Policies {
		names[i] = scalar(name)
	}
	w.line("policies: [%s]", strings.Join(names, ", "))
	w.line("interval: %s", f.Interval)
	if f.Tick != 0 {
		w.line("tick: %s", f.Tick)
	}
	w.line("tests:")
	for i := range f.Tests {
		w.test(&f.Tests[i])
	}
	return w.String()
}

type yamlWriter struct {
	strings.Builder
	model string
}

func (w *yamlWriter) line(format string, args ...any) {
	fmt.Fprintf(w, format, args...)
	w.WriteByte('\n')
}

func (w *yamlWriter) test(c *testCase) {
	w.line("  - name: %s", scalar(c.Name))
	if t := time.Time(c.Start); !t.IsZero() {
		w.line("    start: %s", t.UTC().Format(time.RFC3339))
	}
	if c.Champion != nil {
		var m mapping
		m.model(w.model, c.Champion.Model)
		m.add("version", scalar(c.Champion.Version))
		m.metrics(c.Champion.Metrics)
		w.line("    champion: %s", m)
	}
	w.line("    series:")
	for i := range c.Series {
		w.series(&c.Series[i])
	}
	if len(c.Runs) > 0 {
		w.line("    runs:")
	}
	for _, r := range c.Runs {
		var m mapping
		if r.Outcome != 0 {
			m.add("outcome", visutility.RunState(r.Outcome).String())
		}
		m.add("after", r.After.String())
		if r.Version != "" {
			m.add("version", scalar(r.Version))
		}
		m.metrics(r.Metrics)
		w.line("      - %s", m)
	}
	w.line("    expect:")
	for _, x := range c.Expect {
		w.line("      - %s", x.mapping())
	}
}

func (w *yamlWriter) series(s *seriesSpec) {
	w.line("      - metric: %s", scalar(s.Metric))
	if s.Model != w.model {
		w.line("        model: %s", scalar(s.Model))
	}
	if s.Version != "" {
		w.line("        version: %s", scalar(s.Version))
	}
	if len(s.Labels) > 0 {
		var m mapping
		for _, name := range slices.Sorted(maps.Keys(s.Labels)) {
			m.add(scalar(name), scalar(s.Labels[name]))
		}
		w.line("        labels: %s", m)
	}
	if s.Count > 0 {
		w.line("        count: %d", s.Count)
	}
	if len(s.Counts) > 0 {
		numbers := make([]sample, len(s.Counts))
		for i, n := range s.Counts {
			numbers[i].value = float64(n)
		}
		w.words("counts", formatValues(numbers))
	}
	w.words("values", formatValues(s.Values))
}

// words writes the words of a notation, on lines that can be read.
func (w *yamlWriter) words(key string, words []string) {
	if text := strings.Join(words, " "); len(text) <= lineWidth {
		w.line("        %s: '%s'", key, text)
		return
	}
	w.line("        %s: >-", key)
	line := ""
	for _, word := range words {
		if line != "" && len(line)+len(word) >= lineWidth {
			w.line("          %s", line)
			line = ""
		}
		line = strings.TrimPrefix(line+" "+word, " ")
	}
	w.line("          %s", line)
}

func (x *expectation) mapping() mapping {
	var m mapping
	if x.At != nil {
		m.add("at", x.At.String())
	} else {
		m.add("nothing_between", "["+x.NothingBetween[0].String()+", "+x.NothingBetween[1].String()+"]")
	}
	if x.Policy != "" {
		m.add("policy", scalar(x.Policy))
	}
	if x.Outcome != nil {
		m.add("outcome", visutility.Outcome(*x.Outcome).String())
	}
	if x.SuppressedBy != "" {
		m.add("suppressed_by", x.SuppressedBy)
	}
	if x.Verdict != nil {
		m.add("verdict", visutility.Verdict(*x.Verdict).String())
	}
	return m
}

func (d duration) String() string { return policy.FormatDuration(time.Duration(d)) }

// A mapping is a map on one line, as far as it is written.
type mapping []string

func (m *mapping) add(key, value string) { *m = append(*m, key+": "+value) }

func (m *mapping) model(known, name string) {
	if name != known {
		m.add("model", scalar(name))
	}
}

func (m *mapping) metrics(scores map[string]float64) {
	if len(scores) == 0 {
		return
	}
	var all mapping
	for _, name := range slices.Sorted(maps.Keys(scores)) {
		all.add(scalar(name), strconv.FormatFloat(scores[name], 'g', -1, 64))
	}
	m.add("metrics", all.String())
}

func (m mapping) String() string { return "{" + strings.Join(m, ", ") + "}" }

// plainScalar are the texts that are themselves in YAML without quotes, but for the words that mean something.
var (
	plainScalar = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_./-]*$`)
	wordScalar  = regexp.MustCompile(`^(?i:null|true|false|yes|no|on|off|y|n)$`)
)

// scalar writes a text as a value or a key.
func scalar(s string) string {
	if plainScalar.MatchString(s) && !wordScalar.MatchString(s) {
		return s
	}
	var b strings.Builder
	enc := json.NewEncoder(&b) // YAML reads the strings of JSON
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil { // a string is always encoded
		return strconv.Quote(s)
	}
	return strings.TrimSuffix(b.String(), "\n")
}
