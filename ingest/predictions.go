package ingest

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/prometheus/common/model"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/quality"
)

// predictionSettings are those of some models, as they are written in YAML.
type predictionSettings struct {
	Window      string `yaml:"window"`
	MatureAfter string `yaml:"mature_after"`
	Positive    any    `yaml:"positive"`
	Task        string `yaml:"task"`
	Drift       string `yaml:"drift"`
	MinSamples  int    `yaml:"min_samples"`
	MaxPending  int    `yaml:"max_pending"`
	Reference   string `yaml:"reference"`
}

// readPredictions reads the settings of models by glob. The first that matches counts, so the order is kept.
func readPredictions(name string, items yaml.MapSlice, files fs.FS, bad []visutility.FieldError) (quality.Rules, []visutility.FieldError) {
	var rules quality.Rules
	if len(items) > maxRules {
		return nil, append(bad, visutility.FieldError{Field: name + ": predictions", Reason: "too_many", Message: fmt.Sprintf("has %d entries; %d are allowed", len(items), maxRules)})
	}
	for _, item := range items {
		glob := fmt.Sprint(item.Key)
		say := func(field, reason, format string, args ...any) {
			bad = append(bad, visutility.FieldError{Field: name + ": predictions." + clip(glob) + field, Reason: reason, Message: fmt.Sprintf(format, args...)})
		}
		if _, err := path.Match(glob, ""); err != nil || glob == "" {
			say("", "syntax", "is not a pattern; write the name of a model, or a glob such as \"fraud-*\"")
		}
		var s predictionSettings
		text, err := yaml.Marshal(item.Value)
		if err == nil {
			err = yaml.UnmarshalWithOptions(text, &s, yaml.Strict())
		}
		if err != nil {
			say("", "syntax", "%s", yaml.FormatError(err, false, false))
			continue
		}
		r := quality.Rule{Models: glob}
		span := func(field, text string, to *time.Duration, least, most time.Duration) {
			if text == "" {
				return
			}
			d, err := model.ParseDuration(text)
			if err != nil || time.Duration(d) < least || time.Duration(d) > most {
				say(field, "range", "is %q; write a duration from %s to %s, such as 1h or 2d", clip(text), model.Duration(least), model.Duration(most))
				return
			}
			*to = time.Duration(d)
		}
		span(".window", s.Window, &r.Window, quality.MinWindow, quality.MaxWindow)
		if s.MatureAfter != "learned" {
			span(".mature_after", s.MatureAfter, &r.MatureAfter, time.Second, quality.MaxMature)
		}
		switch v := s.Positive.(type) {
		case nil:
		case string, bool, uint64, int64, float64:
			r.Positive = fmt.Sprint(v)
		default:
			say(".positive", "type", "is %v; write the name of a class", v)
		}
		switch r.Task = quality.Task(s.Task); r.Task {
		case "", quality.Classification, quality.Regression:
		default:
			say(".task", "unknown", "is %q; write classification or regression, or nothing to go by the answers", clip(s.Task))
		}
		switch r.Distance = quality.Distance(s.Drift); r.Distance {
		case "", quality.PSI, quality.JensenShannon, quality.ChiSquare:
		default:
			say(".drift", "unknown", "is %q; write psi, jensen_shannon or chi_square", clip(s.Drift))
		}
		if r.MinSamples = s.MinSamples; s.MinSamples < 0 {
			say(".min_samples", "range", "is %d; write how many samples drift needs", s.MinSamples)
		}
		if r.MaxPending = s.MaxPending; s.MaxPending < 0 {
			say(".max_pending", "range", "is %d; write how many predictions may wait for their labels", s.MaxPending)
		}
		if s.Reference != "" {
			var faults []visutility.FieldError
			r.Reference, faults = readReference(files, s.Reference, s.MinSamples)
			for _, f := range faults {
				say(".reference", f.Reason, "%s", f.Message)
			}
		}
		rules = append(rules, r)
	}
	return rules, bad
}

// readReference reads a file of data that models are held against.
func readReference(files fs.FS, name string, minSamples int) (quality.Reference, []visutility.FieldError) {
	fault := func(reason, format string, args ...any) []visutility.FieldError {
		return []visutility.FieldError{{Reason: reason, Message: fmt.Sprintf(format, args...)}}
	}
	if !fs.ValidPath(name) {
		return "", fault("syntax", "is %q; write the name of a CSV file that lies beside this file or below, such as data/train.csv", clip(name))
	}
	f, err := files.Open(name)
	if err != nil {
		return "", fault("unreadable", "%v", err)
	}
	defer f.Close()
	r, err := quality.ReadReference(f, minSamples)
	if bad, ok := errors.AsType[*visutility.InvalidError](err); ok {
		var faults []visutility.FieldError
		for _, x := range bad.Fields {
			faults = append(faults, fault(x.Reason, "%s: %s: %s", name, x.Field, x.Message)...)
		}
		return "", faults
	}
	if err != nil {
		return "", fault("unreadable", "%s: %v", name, err)
	}
	return r, nil
}
