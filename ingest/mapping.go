package ingest

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/quality"
)

// maxMapping bounds the file of a mapping, in bytes, and maxRules each list in it.
const (
	maxMapping = 256 << 10
	maxRules   = 1000
)

// A Mapping says what the names of other systems mean here. "Attribute" stands
// for whatever its format calls them: attributes, labels, extensions, tags.
// The zero value is not useful: begin with [DefaultMapping].
type Mapping struct {
	// Model and Version are the attributes that may hold them; the first one present
	// and not empty counts. Where a format has attributes of a measurement and of
	// what sent it, those of the measurement are looked at first.
	Model   []string
	Version []string
	// Metrics give names of our own to those of others; the first line that matches counts.
	Metrics []MetricName
	// OthersIgnored passes over the metrics that no line of Metrics matches. Defaults to keeping them.
	OthersIgnored bool
	// ModelsNeeded refuses measurements that name no model. Otherwise they are passed over.
	ModelsNeeded bool
	// Labels are globs of the attributes of a measurement that become labels, unless one of
	// DropLabels matches. Attributes of what sent it become labels when named here without a wildcard.
	Labels     []string
	DropLabels []string
	// MaxSeries bounds the distinct series that one format may bring.
	MaxSeries int
	// Predictions are the settings of models whose predictions and labels are joined. Defaults to none: all have the defaults.
	Predictions quality.Rules
}

// A MetricName is a line of [Mapping.Metrics].
type MetricName struct {
	Glob string
	Name string // "" passes the metric over
}

// DefaultMapping is what holds when nothing is configured.
func DefaultMapping() Mapping {
	return Mapping{
		Model:        []string{"ml.model.name", "ml_model_name", "model", "model_name", "inferenceservicename", "gen_ai.request.model"},
		Version:      []string{"ml.model.version", "ml_model_version", "model_version", "version"},
		ModelsNeeded: true,
		Labels:       []string{"*"},
		// Where a measurement was taken is not what was measured: each pod would make series of its own.
		DropLabels: []string{"job", "instance", "pod", "pod_name", "container", "namespace", "node", "service", "endpoint", "prometheus", "prometheus_replica", "replica", "exported_job", "exported_instance"},
		MaxSeries:  100_000,
	}
}

// mappingFile is a mapping as it is written in YAML.
type mappingFile struct {
	Model        []string      `yaml:"model"`
	Version      []string      `yaml:"version"`
	Metrics      yaml.MapSlice `yaml:"metrics"`
	Others       string        `yaml:"others"`
	WithoutModel string        `yaml:"without_model"`
	Labels       []string      `yaml:"labels"`
	DropLabels   []string      `yaml:"drop_labels"`
	MaxSeries    int           `yaml:"max_series"`
	Predictions  yaml.MapSlice `yaml:"predictions"`
}

// ReadMapping reads a mapping from YAML. What the file does not say stays as in
// [DefaultMapping]. It is strict: an unknown key, a bad glob or word is [visutility.ErrInvalid],
// with line and source where there are any. files are those that the mapping may name: what lies beside it.
func ReadMapping(name string, src []byte, files fs.FS) (m Mapping, err error) {
	if len(src) > maxMapping {
		return Mapping{}, visutility.Invalidf(name, "too_long", "has %d bytes; %d are allowed", len(src), maxMapping)
	}
	// The parser is not ours: what makes it panic is a bad file, not a crash.
	defer func() {
		if p := recover(); p != nil {
			m, err = Mapping{}, visutility.Invalidf(name, "syntax", "is not YAML that can be read: %v", p)
		}
	}()
	var f mappingFile
	dec := yaml.NewDecoder(bytes.NewReader(src), yaml.Strict())
	if err := dec.Decode(&f); err != nil && err != io.EOF {
		return Mapping{}, visutility.Invalidf(name, "syntax", "%s", yaml.FormatError(err, false, true))
	}
	if err := dec.Decode(new(mappingFile)); err != io.EOF {
		return Mapping{}, visutility.Invalidf(name, "syntax", "begins a second document; a file holds one mapping")
	}
	m = DefaultMapping()
	var bad []visutility.FieldError
	say := func(field, reason, format string, args ...any) {
		bad = append(bad, visutility.FieldError{Field: name + ": " + field, Reason: reason, Message: fmt.Sprintf(format, args...)})
	}
	for _, list := range []struct {
		key  string
		from []string
		to   *[]string
		glob bool
	}{{"model", f.Model, &m.Model, false}, {"version", f.Version, &m.Version, false}, {"labels", f.Labels, &m.Labels, true}, {"drop_labels", f.DropLabels, &m.DropLabels, true}} {
		if list.from == nil {
			continue
		}
		if len(list.from) > maxRules {
			say(list.key, "too_many", "has %d names; %d are allowed", len(list.from), maxRules)
		}
		for i, s := range list.from {
			if _, err := path.Match(s, ""); err != nil && list.glob || s == "" {
				say(fmt.Sprintf("%s[%d]", list.key, i), "syntax", "%q is not a pattern; write a name, or a glob such as \"team_*\"", s)
			}
		}
		*list.to = list.from
	}
	if len(m.Model) == 0 {
		say("model", "empty", "names no attribute; without one nothing could be taken in")
	}
	m.Metrics, bad = readMetricNames(name, f.Metrics, bad)
	m.Predictions, bad = readPredictions(name, f.Predictions, files, bad)
	switch f.Others {
	case "", "keep":
	case "ignore":
		m.OthersIgnored = true
	default:
		say("others", "unknown", "is %q; write keep or ignore", clip(f.Others))
	}
	switch f.WithoutModel {
	case "", "refuse":
	case "ignore":
		m.ModelsNeeded = false
	default:
		say("without_model", "unknown", "is %q; write refuse or ignore", clip(f.WithoutModel))
	}
	switch {
	case f.MaxSeries < 0:
		say("max_series", "range", "is %d; write how many series one format may bring", f.MaxSeries)
	case f.MaxSeries > 0:
		m.MaxSeries = f.MaxSeries
	}
	if len(bad) > 0 {
		return Mapping{}, &visutility.InvalidError{Fields: bad}
	}
	return m, nil
}

func readMetricNames(name string, items yaml.MapSlice, bad []visutility.FieldError) ([]MetricName, []visutility.FieldError) {
	var names []MetricName
	if len(items) > maxRules {
		return nil, append(bad, visutility.FieldError{Field: name + ": metrics", Reason: "too_many", Message: fmt.Sprintf("has %d lines; %d are allowed", len(items), maxRules)})
	}
	for _, item := range items {
		glob, to := fmt.Sprint(item.Key), ""
		say := func(reason, format string, args ...any) {
			bad = append(bad, visutility.FieldError{Field: name + ": metrics." + clip(glob), Reason: reason, Message: fmt.Sprintf(format, args...)})
		}
		switch v := item.Value.(type) {
		case string:
			to = v
		case nil:
			say("empty", "has no name; write one, or \"\" to pass the metric over")
		default:
			say("type", "is %v; write the name that the metric has here, or \"\" to pass it over", v)
		}
		if _, err := path.Match(glob, ""); err != nil || glob == "" {
			say("syntax", "is not a pattern; write a name, or a glob such as \"ml_*\"")
		}
		if to != "" {
			for _, e := range (&visutility.Event{Model: "-", Metric: to}).Check(nil, "", minClock) {
				say(e.Reason, "%s", e.Message)
			}
		}
		names = append(names, MetricName{glob, to})
	}
	return names, bad
}

// metric returns the name that a metric has here; keep tells that it is not passed over.
func (m *Mapping) metric(name string) (_ string, keep bool) {
	for i := range m.Metrics {
		if r := &m.Metrics[i]; matches(r.Glob, name) {
			return r.Name, r.Name != ""
		}
	}
	return name, !m.OthersIgnored
}

// label reports whether an attribute becomes a label; own tells that it is the measurement's own.
func (m *Mapping) label(name string, own bool) bool {
	if !own {
		return slices.Contains(m.Labels, name)
	}
	return matchesAny(m.Labels, name) && !matchesAny(m.DropLabels, name)
}

func matchesAny(globs []string, name string) bool {
	return slices.ContainsFunc(globs, func(g string) bool { return matches(g, name) })
}

// matches is path.Match on names, in which a slash is a letter like any other.
func matches(glob, name string) bool {
	if glob == "*" || glob == name {
		return true
	}
	if !strings.ContainsAny(glob, `*?[\`) {
		return false
	}
	const stand = "\x00" // occurs in no name that is accepted
	ok, err := path.Match(strings.ReplaceAll(glob, "/", stand), strings.ReplaceAll(name, "/", stand))
	return ok && err == nil
}
