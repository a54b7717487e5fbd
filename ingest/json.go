package ingest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"sync"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/visutility/visutility"
)

// JSON decodes one event object, an array of them, or objects one after the
// other (NDJSON): the first character tells. It is a [Decoder].
//
// An event is {"model", "metric", "value"} and, optionally, "time", "count",
// "version", "labels". time is an RFC 3339 string or a number of Unix time:
// seconds, or milliseconds from 1e11 on (as seconds that would be the year 5138).
// Unknown and repeated fields are refused; so are nulls: leave the field out.
func JSON(body []byte, now time.Time) ([]visutility.Event, error) {
	return decodeJSON(body, now, false)
}

// NDJSON decodes event objects, one a line. It is a [Decoder]: like [JSON], but an array is refused.
func NDJSON(body []byte, now time.Time) ([]visutility.Event, error) {
	return decodeJSON(body, now, true)
}

func decodeJSON(body []byte, now time.Time, lines bool) ([]visutility.Event, error) {
	d := decoders.Get().(*decoder)
	defer decoders.Put(d)
	d.words = &eventWords
	d.object = d.event
	err := d.decode(body, now, lines)
	events := d.events
	d.events = nil
	if err != nil {
		return nil, err
	}
	return events, nil
}

// decode decodes a body, object by object.
func (d *decoder) decode(body []byte, now time.Time, lines bool) error {
	err := d.attempt(body, now, lines)
	if s, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		// NaN and its like are no JSON, yet what many senders write. Put
		// into quotes they can be named, with everything else that is wrong.
		if quoted, ok := quoteNonFinite(body); ok {
			d.quoted = true
			if again := d.attempt(quoted, now, lines); errors.As(again, new(*visutility.InvalidError)) {
				return again
			}
		}
		return syntaxError(body, s)
	}
	return err
}

// A field is a bit for each field of an event.
type field uint8

const (
	modelField field = 1 << iota
	metricField
	valueField
	timeField
	countField
	versionField
	labelsField
)

// A decoder is the reusable state of decoding. It serves one body at a time.
type decoder struct {
	faults
	words  *words                  // of what the body consists of
	object func(i, size int) error // decodes the i-th of them; at the end of the input it returns io.EOF
	in     bytes.Buffer
	json   jsontext.Decoder
	names  names
	labels labelSets
	now    time.Time
	quoted bool // the body is what quoteNonFinite made
	events []visutility.Event
	// For the features of predictions, which are objects inside.
	innerIn  bytes.Buffer
	inner    jsontext.Decoder
	features []visutility.Feature
	check    []visutility.FieldError
	text     []byte
}

var decoders = sync.Pool{New: func() any { return &decoder{names: newNames()} }}

// Repeated names are found by the decoder itself, which can say of which event.
var jsonOptions = jsontext.AllowDuplicateNames(true)

// attempt decodes a body that is in d.quoted's form.
func (d *decoder) attempt(body []byte, now time.Time, lines bool) error {
	d.in = *bytes.NewBuffer(body)
	d.json.Reset(&d.in, jsonOptions)
	d.faults.list, d.events, d.now = nil, nil, now
	single, err := d.all(len(body), lines)
	bad := d.faults.err(single, d.words.noun)
	d.in = bytes.Buffer{} // lets go of body
	d.json.Reset(&d.in)
	d.innerIn = bytes.Buffer{}
	d.labels.reset()
	d.faults.list, d.quoted = nil, false
	if err != nil && err != errEnough {
		return err
	}
	return bad
}

// all decodes the whole body. single tells whether it was one object, not a list.
func (d *decoder) all(size int, lines bool) (single bool, err error) {
	switch kind := d.json.PeekKind(); {
	case kind == '{':
		return d.sequence(size)
	case kind == '[' && !lines:
		return false, d.array(size)
	case kind == '[':
		return true, visutility.Invalidf(d.words.noun, "type", "is an array; send one object a line, or Content-Type: application/json")
	default:
		raw, err := d.json.ReadValue()
		if err == io.EOF {
			return true, fmt.Errorf("%w: it is empty; send %s", ErrSyntax, d.words.example)
		} else if err != nil {
			return true, err
		}
		return true, visutility.Invalidf(d.words.noun, "type", "is %s; send an object, an array of objects, or one object a line", kindOf(raw))
	}
}

func (d *decoder) sequence(size int) (single bool, err error) {
	for i := 0; ; i++ {
		if err := d.object(i, size); err == io.EOF {
			return i == 1, nil
		} else if err != nil {
			return i == 0, err
		}
	}
}

func (d *decoder) array(size int) error {
	if _, err := d.json.ReadToken(); err != nil {
		return err
	}
	for i := 0; d.json.PeekKind() != ']'; i++ {
		if err := d.object(i, size); err != nil {
			return err
		}
	}
	if _, err := d.json.ReadToken(); err != nil {
		return err
	}
	at := d.json.InputOffset()
	if _, err := d.json.ReadToken(); err == nil {
		return fmt.Errorf("%w: there is something after the array, at byte %d", ErrSyntax, at+1)
	} else if err != io.EOF {
		return err
	}
	return nil
}

// open begins the i-th object; false when it is none.
func (d *decoder) open(i int) (bool, error) {
	if kind := d.json.PeekKind(); kind != '{' {
		raw, err := d.json.ReadValue()
		if err != nil {
			return false, err
		}
		d.add(i, "", "type", "is %s; send an object", kindOf(raw))
		return false, d.next()
	}
	_, err := d.json.ReadToken()
	return err == nil, err
}

// event decodes the i-th event.
func (d *decoder) event(i, size int) error {
	if is, err := d.open(i); !is {
		return err
	}
	var ev visutility.Event
	var seen field
	before := len(d.faults.list)
	for d.json.PeekKind() != '}' {
		if err := d.member(i, &ev, &seen); err != nil {
			return err
		}
	}
	if _, err := d.json.ReadToken(); err != nil {
		return err
	}
	if seen&valueField == 0 {
		d.add(i, "value", "empty", "is missing")
	}
	d.checkEvent(i, &ev, before)
	if len(d.faults.list) > 0 {
		return d.next()
	}
	if i == 0 {
		// The first event says how many there may be, about.
		used := max(int(d.json.InputOffset()), 32)
		d.events = make([]visutility.Event, 0, min((size-used)/used+1, 1<<14))
	}
	d.events = append(d.events, ev)
	return nil
}

func (d *decoder) next() error {
	if d.enough() {
		return errEnough
	}
	return nil
}

// checkEvent holds the event against the rules of all events, whatever their
// format. Labels were checked when they were first seen. What is already known
// to be wrong is not said twice.
func (d *decoder) checkEvent(i int, ev *visutility.Event, before int) {
	labels := ev.Labels
	ev.Labels = nil
	d.check = ev.Check(d.check[:0], "", d.now)
	ev.Labels = labels
	for _, e := range d.check {
		if len(d.faults.list) == before || !d.has(i, e.Field) {
			d.addField(i, e)
		}
	}
}

// member decodes one name and its value.
func (d *decoder) member(i int, ev *visutility.Event, seen *field) error {
	raw, err := d.json.ReadValue()
	if err != nil {
		return err
	}
	name, err := d.unquote(raw)
	if err != nil {
		return err
	}
	f := fieldOf(name)
	if f == 0 {
		d.unknown(i, string(name))
	} else if *seen&f != 0 {
		d.add(i, string(name), "duplicate", "is given twice")
	}
	*seen |= f
	if raw, err = d.json.ReadValue(); err != nil {
		return err
	}
	switch f {
	case modelField:
		ev.Model = d.string(i, "model", raw)
	case metricField:
		ev.Metric = d.string(i, "metric", raw)
	case versionField:
		ev.Version = d.string(i, "version", raw)
	case valueField:
		ev.Value = d.number(i, "value", raw)
	case timeField:
		ev.Time = d.time(i, raw)
	case countField:
		ev.Count = d.count(i, raw)
	case labelsField:
		ev.Labels = d.labelSet(i, raw)
	}
	return d.next()
}

func fieldOf(name []byte) field {
	switch string(name) {
	case "model":
		return modelField
	case "metric":
		return metricField
	case "value":
		return valueField
	case "time":
		return timeField
	case "count":
		return countField
	case "version":
		return versionField
	case "labels":
		return labelsField
	}
	return 0
}

func (d *decoder) string(i int, name string, raw jsontext.Value) string {
	if raw.Kind() != '"' {
		d.add(i, name, "type", "is %s; send a string", kindOf(raw))
		return ""
	}
	s, err := d.unquote(raw)
	if err != nil {
		d.add(i, name, "utf8", "is not a valid string: %v", err)
		return ""
	}
	return d.names.intern(s)
}

// nonFinite reads the words for NaN and infinity, sent in quotes or put there by quoteNonFinite.
func (d *decoder) nonFinite(raw jsontext.Value) (float64, bool) {
	if raw.Kind() != '"' {
		return 0, false
	}
	word := raw[1 : len(raw)-1]
	sign := 1
	if len(word) > 0 && (word[0] == '-' || word[0] == '+') {
		if word[0] == '-' {
			sign = -1
		}
		word = word[1:]
	}
	switch {
	case equalFold(word, "nan"), d.quoted && equalFold(word, "n"):
		return math.NaN(), true
	case equalFold(word, "infinity"), equalFold(word, "inf"), d.quoted && (equalFold(word, "infini") || equalFold(word, "i")):
		return math.Inf(sign), true
	}
	return 0, false
}

// millisFrom is the number from which a Unix time is in milliseconds.
const millisFrom = 1e11

func (d *decoder) time(i int, raw jsontext.Value) time.Time {
	if _, ok := d.nonFinite(raw); ok {
		d.add(i, "time", "type", "is not a finite number; send an RFC 3339 string, or Unix seconds or milliseconds, or nothing")
		return time.Time{}
	}
	var t time.Time
	switch raw.Kind() {
	case '"':
		s, err := d.unquote(raw)
		if err != nil || t.UnmarshalText(s) != nil {
			d.add(i, "time", "type", "is %q; send an RFC 3339 time such as \"2026-01-31T23:59:59Z\", or Unix seconds or milliseconds as a number", clip(string(s)))
			return time.Time{}
		}
	case '0':
		v, err := strconv.ParseFloat(string(raw), 64)
		if math.Abs(v) < millisFrom {
			v *= 1000
		}
		if err != nil || math.Abs(v) > 1e16 {
			d.add(i, "time", "range", "is %s, far out of range; send Unix seconds or milliseconds", clip(string(raw)))
			return time.Time{}
		}
		t = time.UnixMilli(int64(math.Round(v)))
	default:
		d.add(i, "time", "type", "is %s; send an RFC 3339 string, or Unix seconds or milliseconds as a number", kindOf(raw))
		return time.Time{}
	}
	if t.IsZero() {
		// To Event.Check the zero time means that there is none.
		d.add(i, "time", "past", "is before 1970; check the unit")
	}
	return time.UnixMilli(t.UnixMilli()).UTC()
}

func (d *decoder) count(i int, raw jsontext.Value) uint64 {
	if _, ok := d.nonFinite(raw); ok {
		d.add(i, "count", "type", "is not a finite number; send the number of samples, a whole number, or nothing")
		return 0
	}
	if raw.Kind() != '0' {
		d.add(i, "count", "type", "is %s; send the number of samples, a whole number", kindOf(raw))
		return 0
	}
	n, err := strconv.ParseUint(string(raw), 10, 64)
	switch {
	case errors.Is(err, strconv.ErrRange):
		d.add(i, "count", "range", "is %s, over 2^63-1", clip(string(raw)))
		return 0
	case err != nil:
		d.add(i, "count", "range", "is %s; send the number of samples, a whole number of 0 or more", clip(string(raw)))
		return 0
	}
	return max(n, 1)
}

// unquote returns the text of a JSON string, which is only good until the next call.
func (d *decoder) unquote(raw jsontext.Value) ([]byte, error) {
	if bytes.IndexByte(raw, '\\') < 0 {
		return raw[1 : len(raw)-1], nil
	}
	var err error
	d.text, err = jsontext.AppendUnquote(d.text[:0], raw)
	return d.text, err
}
