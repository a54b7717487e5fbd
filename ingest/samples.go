package ingest

import (
	"bytes"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/visutility/visutility"
)

var predictionWords = words{
	noun: "prediction", article: "a", example: `a prediction such as {"model": "fraud", "id": "tx-17", "prediction": true, "score": 0.93}`,
	fields: []string{"model", "id", "prediction", "score", "features", "version", "time", "labels"},
	synonyms: map[string]string{
		"model_name": "model", "model_id": "model", "prediction_id": "id", "request_id": "id", "key": "id",
		"class": "prediction", "predicted": "prediction", "output": "prediction", "value": "prediction", "y_pred": "prediction",
		"probability": "score", "proba": "score", "confidence": "score", "inputs": "features", "x": "features",
		"model_version": "version", "ts": "time", "timestamp": "time", "at": "time", "tags": "labels", "segments": "labels",
	},
}

var labelWords = words{
	noun: "label", article: "a", example: `a label such as {"model": "fraud", "id": "tx-17", "label": false}`,
	fields: []string{"model", "id", "label", "time"},
	synonyms: map[string]string{
		"model_name": "model", "model_id": "model", "prediction_id": "id", "request_id": "id", "key": "id",
		"truth": "label", "actual": "label", "target": "label", "value": "label", "y_true": "label", "y": "label",
		"ts": "time", "timestamp": "time", "at": "time",
	},
}

// Predictions decodes predictions, in the forms in which [JSON] and [NDJSON] take events: objects of "model", "id",
// "prediction" (a text, a boolean or a number), "score" or both and, optionally, "features", "version", "time", "labels". A feature that is null
// is left out.
func Predictions(contentType string, body []byte, now time.Time) ([]visutility.Prediction, error) {
	var out []visutility.Prediction
	err := decodeSamples(contentType, body, now, &predictionWords, func(d *decoder, i int) error {
		p := visutility.Prediction{Score: math.NaN(), Answer: visutility.Answer{Number: math.NaN()}}
		var answered bool
		before := len(d.faults.list)
		err := d.members(i, func(name string, raw jsontext.Value) {
			switch name {
			case "model":
				p.Model = d.string(i, name, raw)
			case "id":
				p.ID = d.id(i, raw)
			case "prediction":
				p.Answer, answered = d.answer(i, "", name, raw), true
			case "score":
				if p.Score = d.number(i, name, raw); math.IsNaN(p.Score) && len(d.faults.list) == before {
					d.add(i, name, "nan", "is NaN; send a probability from 0 to 1 or nothing")
				}
			case "features":
				p.Features = d.featureSet(i, raw)
			case "version":
				p.Version = d.string(i, name, raw)
			case "time":
				p.Time = d.time(i, raw)
			case "labels":
				p.Labels = d.labelSet(i, raw)
			}
		})
		if err != nil {
			return err
		}
		if !answered && math.IsNaN(p.Score) {
			d.add(i, "prediction", "empty", "is missing: a text, a boolean or a number; a score alone would do")
		}
		labels := p.Labels // were checked when they were first seen
		p.Labels = nil
		d.checked(i, before, p.Check(d.check[:0], "", now))
		p.Labels = labels
		out = append(out, p)
		return d.next()
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// Labels decodes what turned out to be true, in the same forms: objects of "model", "id", "label" (a text, a boolean or a number) and,
// optionally, "time".
func Labels(contentType string, body []byte, now time.Time) ([]visutility.Truth, error) {
	var out []visutility.Truth
	err := decodeSamples(contentType, body, now, &labelWords, func(d *decoder, i int) error {
		var t visutility.Truth
		var answered bool
		before := len(d.faults.list)
		err := d.members(i, func(name string, raw jsontext.Value) {
			switch name {
			case "model":
				t.Model = d.string(i, name, raw)
			case "id":
				t.ID = d.id(i, raw)
			case "label":
				t.Answer, answered = d.answer(i, "", name, raw), true
			case "time":
				t.Time = d.time(i, raw)
			}
		})
		if err != nil {
			return err
		}
		if !answered {
			d.add(i, "label", "empty", "is missing: a text, a boolean or a number")
		}
		d.checked(i, before, t.Check(d.check[:0], "", now))
		out = append(out, t)
		return d.next()
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func decodeSamples(contentType string, body []byte, now time.Time, w *words, one func(d *decoder, i int) error) error {
	f, err := lookup(contentType)
	if err != nil {
		return err
	}
	d := decoders.Get().(*decoder)
	defer decoders.Put(d)
	d.words = w
	d.object = func(i, _ int) error {
		if is, err := d.open(i); !is {
			return err
		}
		return one(d, i)
	}
	return d.decode(body, now, f.Lines)
}

// members hands over the names and values of an object that was opened. Those that are unknown or given twice are refused.
func (d *decoder) members(i int, member func(name string, raw jsontext.Value)) error {
	var seen uint
	for d.json.PeekKind() != '}' {
		raw, err := d.json.ReadValue()
		if err != nil {
			return err
		}
		text, err := d.unquote(raw)
		if err != nil {
			return err
		}
		name, bit := d.words.field(text)
		if bit == 0 {
			d.unknown(i, string(text))
		} else if seen&bit != 0 {
			d.add(i, name, "duplicate", "is given twice")
		}
		seen |= bit
		if raw, err = d.json.ReadValue(); err != nil {
			return err
		}
		member(name, raw)
		if err := d.next(); err != nil {
			return err
		}
	}
	_, err := d.json.ReadToken()
	return err
}

// field is the field of a name, and its bit; 0 when there is none.
func (w *words) field(name []byte) (string, uint) {
	for i, f := range w.fields {
		if f == string(name) {
			return f, 1 << i
		}
	}
	return "", 0
}

// checked adds what a check found that is not known yet.
func (d *decoder) checked(i, before int, found []visutility.FieldError) {
	d.check = found
	for _, e := range found {
		if len(d.faults.list) == before || !d.has(i, e.Field) {
			d.addField(i, e)
		}
	}
}

// id is a text, or a whole number as a text: many ids are.
func (d *decoder) id(i int, raw jsontext.Value) string {
	if raw.Kind() == '0' {
		if strings.ContainsAny(string(raw), ".eE") {
			d.add(i, "id", "type", "is %s; send a string, or a whole number", clip(string(raw)))
			return ""
		}
		return string(raw)
	}
	if raw.Kind() != '"' {
		d.add(i, "id", "type", "is %s; send a string", kindOf(raw))
		return ""
	}
	s, err := d.unquote(raw)
	if err != nil {
		d.add(i, "id", "utf8", "is not a valid string: %v", err)
	}
	return string(s) // not interned: it comes twice in all
}

// answer is a class or a number; where it is wrong, the field under that path is.
func (d *decoder) answer(i int, path, name string, raw jsontext.Value) visutility.Answer {
	switch raw.Kind() {
	case 't':
		return visutility.Answer{Class: "true"}
	case 'f':
		return visutility.Answer{Class: "false"}
	case '0':
		if v, err := strconv.ParseFloat(string(raw), 64); err == nil {
			return visutility.Answer{Number: v}
		}
		return visutility.Answer{Number: d.number(i, path+clip(name), raw)} // which says what is wrong with it
	case '"':
		if v, is := d.nonFinite(raw); is && d.quoted {
			return visutility.Answer{Number: v} // the check says what is wrong with it
		}
		class, err := d.unquote(raw)
		if err != nil {
			d.add(i, path+clip(name), "utf8", "is not a valid string: %v", err)
		} else if len(class) == 0 {
			d.add(i, path+clip(name), "empty", "is an empty string; send a text, a boolean or a number")
		}
		return visutility.Answer{Class: d.names.intern(class)}
	}
	d.add(i, path+clip(name), "type", "is %s; send a text, a boolean or a number", kindOf(raw))
	return visutility.Answer{}
}

func (d *decoder) number(i int, field string, raw jsontext.Value) float64 {
	if v, is := d.nonFinite(raw); is {
		return v
	}
	if raw.Kind() != '0' {
		d.add(i, field, "type", "is %s; send a number", kindOf(raw))
		return 0
	}
	v, err := strconv.ParseFloat(string(raw), 64)
	if err != nil {
		d.add(i, field, "range", "is %s, too large for a 64-bit floating-point number", clip(string(raw)))
		return 0
	}
	return v
}

func (d *decoder) featureSet(i int, raw jsontext.Value) []visutility.Feature {
	if raw.Kind() != '{' {
		d.add(i, "features", "type", "is %s; send an object such as {\"amount\": 12.5, \"country\": \"DE\"}", kindOf(raw))
		return nil
	}
	d.innerIn = *bytes.NewBuffer(raw)
	d.inner.Reset(&d.innerIn, jsonOptions)
	_, _ = d.inner.ReadToken() // raw was read as an object before
	out := d.features[:0]
	for d.inner.PeekKind() == '"' && !d.enough() {
		name, err := d.inner.ReadValue()
		if err != nil {
			break
		}
		text, err := d.unquote(name)
		if err != nil {
			d.add(i, "features", "utf8", "has a name that is not a valid string: %v", err)
			break
		}
		f := visutility.Feature{Name: d.names.intern(text)}
		value, err := d.inner.ReadValue()
		if err != nil {
			break
		}
		if value.Kind() == 'n' {
			continue
		}
		f.Value = d.answer(i, "features.", f.Name, value)
		if slices.ContainsFunc(out, func(x visutility.Feature) bool { return x.Name == f.Name }) {
			d.add(i, "features."+clip(f.Name), "duplicate", "is given twice")
		}
		if out = append(out, f); len(out) > visutility.MaxFeatures {
			break // the check says so
		}
	}
	d.features = out
	return slices.Clone(out)
}
