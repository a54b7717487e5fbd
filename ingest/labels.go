package ingest

import (
	"bytes"
	"hash/maphash"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/visutility/visutility"
)

// names remembers strings that came by lately, so that the same name in every
// event of every body is one string. It is bounded, and forgets by overwriting.
type names struct {
	seed maphash.Seed
	slot []string
}

const nameSlots = 1024 // a power of two

func newNames() names { return names{maphash.MakeSeed(), make([]string, nameSlots)} }

// intern returns b as a string.
func (n *names) intern(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	if len(b) > visutility.MaxNameBytes {
		return string(b) // refused later, not worth remembering
	}
	// Two places for each hash: the newer first, the older is overwritten.
	at := maphash.Bytes(n.seed, b) & (nameSlots - 2)
	newer, older := &n.slot[at], &n.slot[at+1]
	if *newer == string(b) {
		return *newer
	}
	if *older != string(b) {
		*older = string(b)
	}
	*newer, *older = *older, *newer
	return *newer
}

// labelSets remembers the label objects of one body by their raw text: the
// events with the same labels share one map, which was checked once.
type labelSets struct {
	slot [labelSlots]labelSlot
	used bool
}

type labelSlot struct {
	raw []byte // "" for an empty slot
	set map[string]string
}

const (
	labelSlots = 128  // a power of two
	labelText  = 1024 // longer texts are decoded afresh each time
)

// reset forgets the sets, which belong to the events now, and keeps the memory of the texts.
func (l *labelSets) reset() {
	if !l.used {
		return
	}
	for i := range l.slot {
		l.slot[i].raw, l.slot[i].set = l.slot[i].raw[:0], nil
	}
	l.used = false
}

// labelSet decodes the labels of event i.
func (d *decoder) labelSet(i int, raw jsontext.Value) map[string]string {
	// Two places for each hash, as for names.
	at := maphash.Bytes(d.names.seed, raw) & (labelSlots - 2)
	newer, older := &d.labels.slot[at], &d.labels.slot[at+1]
	if bytes.Equal(newer.raw, raw) {
		return newer.set
	}
	if !bytes.Equal(older.raw, raw) {
		set, ok := d.decodeLabels(i, raw)
		if !ok || len(raw) > labelText {
			return set
		}
		older.raw, older.set = append(older.raw[:0], raw...), set
		d.labels.used = true
	}
	*newer, *older = *older, *newer
	return newer.set
}

// decodeLabels decodes and checks a labels object; ok tells that it is good.
func (d *decoder) decodeLabels(i int, raw jsontext.Value) (set map[string]string, ok bool) {
	if raw.Kind() != '{' {
		d.add(i, "labels", "type", "is %s; send an object of strings, such as {\"country\": \"DE\"}", kindOf(raw))
		return nil, false
	}
	before := len(d.faults.list)
	in := jsontext.NewDecoder(bytes.NewBuffer(raw), jsonOptions)
	// raw is a complete, valid value: reading it again cannot fail.
	if _, err := in.ReadToken(); err != nil {
		return nil, false
	}
	total := 0
	for ; in.PeekKind() == '"'; total++ {
		name, value, err := d.label(in)
		if err != nil {
			d.add(i, "labels", "utf8", "is not valid: %v", err)
			return nil, false
		}
		path := "labels." + clip(name)
		if value.Kind() != '"' {
			d.add(i, path, "type", "is %s; send a string", kindOf(value))
			continue
		}
		if _, twice := set[name]; twice {
			d.add(i, path, "duplicate", "is given twice")
		}
		if set == nil {
			set = map[string]string{}
		}
		// One more than allowed is enough to refuse them all.
		if len(set) <= visutility.MaxLabels {
			set[name] = d.string(i, path, value)
		}
		if d.enough() {
			return nil, false
		}
	}
	if total > visutility.MaxLabels {
		d.add(i, "labels", "too_many", "has %d labels; %d are allowed", total, visutility.MaxLabels)
	}
	d.checkLabels(i, set)
	return set, len(d.faults.list) == before
}

func (d *decoder) label(in *jsontext.Decoder) (name string, value jsontext.Value, err error) {
	raw, err := in.ReadValue()
	if err != nil {
		return "", nil, err
	}
	text, err := d.unquote(raw)
	if err != nil {
		return "", nil, err
	}
	name = d.names.intern(text)
	value, err = in.ReadValue()
	return name, value, err
}

// checkLabels holds labels against the rules of all events, in an event that is good otherwise.
func (d *decoder) checkLabels(i int, set map[string]string) {
	ev := visutility.Event{Model: "-", Metric: "-", Labels: set}
	errs := ev.Check(nil, "", d.now)
	// Check walks a map: the same body gets the same answer all the same.
	sortFields(errs)
	for _, e := range errs {
		if e.Reason != "too_many" { // said already, with the true number
			e.Field = clip(e.Field)
			d.addField(i, e)
		}
	}
}
