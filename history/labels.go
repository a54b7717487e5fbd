package history

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb"

	"github.com/visutility/visutility"
)

// The names of the database's series.
const (
	nameMetric = "visutility_metric"

	labelModel   = "model"
	labelMetric  = "metric"
	labelVersion = "version"
	labelStat    = "stat"

	plainPrefix   = "label_"
	escapedPrefix = "labelx_"
)

// The parts of a roll-up.
const (
	statLast  = "last"
	statMin   = "min"
	statMax   = "max"
	statCount = "count"
)

var stats = [...]string{statLast, statMin, statMax, statCount}

// errUnknownSeries is what the database says to a reference it does not know, when no labels are given with it.
var errUnknownSeries = tsdb.ErrInvalidSample

// encode gives a series its labels in the database.
func encode(key visutility.Series, stat string) labels.Labels {
	b := labels.NewBuilder(labels.EmptyLabels())
	b.Set(model.MetricNameLabel, nameMetric)
	b.Set(labelModel, key.Model)
	b.Set(labelMetric, key.Metric)
	b.Set(labelVersion, key.Version) // an empty value is no label
	b.Set(labelStat, stat)
	for name, value := range key.Labels.Map() {
		b.Set(escape(name), value)
	}
	return b.Labels()
}

// decode is the inverse of encode.
func decode(l labels.Labels) (key visutility.Series, stat string) {
	user := make(map[string]string)
	l.Range(func(l labels.Label) {
		switch l.Name {
		case labelModel:
			key.Model = l.Value
		case labelMetric:
			key.Metric = l.Value
		case labelVersion:
			key.Version = l.Value
		case labelStat:
			stat = l.Value
		default:
			if name, ok := unescape(l.Name); ok {
				user[name] = l.Value
			}
		}
	})
	key.Labels = visutility.MakeLabels(user)
	return key, stat
}

// withoutEmpty leaves labels without a value out: the database knows none, and takes them for absent.
func withoutEmpty(l visutility.Labels) visutility.Labels {
	m := l.Map()
	n := len(m)
	for name, value := range m {
		if value == "" {
			delete(m, name)
		}
	}
	if len(m) == n {
		return l
	}
	return visutility.MakeLabels(m)
}

// escape turns any label name into one of the database, no two into the same.
func escape(name string) string {
	plain := func(r rune) bool {
		return '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
	}
	if strings.IndexFunc(name, func(r rune) bool { return r != '_' && !plain(r) }) < 0 {
		return plainPrefix + name
	}
	var b strings.Builder
	b.WriteString(escapedPrefix)
	for _, r := range name {
		if plain(r) {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, "_%x_", r)
		}
	}
	return b.String()
}

// unescape is the inverse of escape; false for what escape does not give.
func unescape(label string) (string, bool) {
	if name, ok := strings.CutPrefix(label, plainPrefix); ok {
		return name, true
	}
	rest, ok := strings.CutPrefix(label, escapedPrefix)
	if !ok {
		return "", false
	}
	// Outside and inside of underscores take turns.
	var b strings.Builder
	for i, part := range strings.Split(rest, "_") {
		if i%2 == 0 {
			b.WriteString(part)
			continue
		}
		r, err := strconv.ParseInt(part, 16, 32)
		if err != nil {
			return "", false
		}
		b.WriteRune(rune(r))
	}
	return b.String(), true
}
