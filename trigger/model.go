package trigger

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/policy"
	"github.com/visutility/visutility/store"
)

// maxMetrics bounds the metrics listed for one model; more are folded and kept
// in the history, but not listed.
const maxMetrics = 256

// A model is what the fold keeps of one model beside its series and the words of its program.
type model struct {
	name    string
	prog    *policy.Program // nil: no policy matches
	tab     *table          // of prog
	rec     int32
	series  []int32         // in the partition's table
	ladder  []strategyState // of policies that use a program's own strategy
	facts   facts
	dirty   bool
	waiting bool // has a fire that a guardrail suppresses
}

// facts are what the fold knows of a model beside its metrics: what people and
// runs did. They are the JSON part of a snapshot.
type facts struct {
	Created      int64              `json:"created"`
	Paused       bool               `json:"paused,omitempty"`
	PausedBy     string             `json:"paused_by,omitempty"`
	PausedReason string             `json:"paused_reason,omitempty"`
	ActiveRun    string             `json:"active_run,omitempty"`
	WatchedRun   string             `json:"watched_run,omitempty"`
	RollingBack  bool               `json:"rolling_back,omitempty"`
	Opened       int64              `json:"opened,omitempty"`   // how many events were there when the last run was opened
	Failures     int                `json:"failures,omitempty"` // failed runs in a row
	LastSuccess  int64              `json:"last_success,omitempty"`
	LastFailure  int64              `json:"last_failure,omitempty"`
	Starts       []int64            `json:"starts,omitempty"` // of automatic and manual runs, oldest first
	Champion     string             `json:"champion,omitempty"`
	PromotedAt   int64              `json:"promoted_at,omitempty"`
	Previous     map[string]float64 `json:"previous,omitempty"` // what the champion before scored
	Superseded   string             `json:"superseded,omitempty"`
	LastDecision string             `json:"last_decision,omitempty"`
	Said         map[string]said    `json:"said,omitempty"`
	Metrics      []metricFact       `json:"metrics,omitempty"`
	Strategies   map[string][]byte  `json:"strategies,omitempty"`
}

// said is the last word recorded for a policy: a decision is recorded when it changes.
type said struct {
	Verdict visutility.Verdict `json:"verdict"`
	Guard   string             `json:"guard,omitempty"`
	Until   int64              `json:"until,omitempty"` // when the guardrail opens, where that is known
}

type metricFact struct {
	Name   string  `json:"name"`
	Last   float64 `json:"last"`
	Time   int64   `json:"time"`
	Count  int64   `json:"count"`
	Events int64   `json:"events"`
	Stored int64   `json:"stored"`
}

func (m *model) programMetric(name string) int16 {
	if m.prog == nil {
		return -1
	}
	return int16(m.prog.Metric(name))
}

// state is the words of the model's program.
func (m *model) state() []uint64 { return m.tab.at(m.rec) }

// verdict is what policy i thinks, since when (place in the log, time).
func (m *model) verdict(i int) (visutility.Verdict, visutility.Position, int64) {
	for k := range m.ladder {
		if s := &m.ladder[k]; s.policy == i {
			return s.verdict, s.since, s.sinceTime
		}
	}
	return m.prog.Verdict(m.state(), i)
}

func (m *model) said(policy string) said { return m.facts.Said[policy] }

func (m *model) say(policy string, s said) {
	if m.facts.Said == nil {
		m.facts.Said = make(map[string]said)
	}
	m.facts.Said[policy] = s
}

// marshalFacts renders the facts for a snapshot.
func (m *model) marshalFacts(t *seriesTable) ([]byte, error) {
	f := m.facts
	f.Metrics = make([]metricFact, len(m.series))
	for i, k := range m.series {
		x := t.at(k)
		f.Metrics[i] = metricFact{t.metric(k), x.last, x.lastTime, x.count, x.events, x.stored}
	}
	if len(m.ladder) > 0 {
		f.Strategies = make(map[string][]byte, len(m.ladder))
		for i := range m.ladder {
			b, err := m.ladder[i].marshal()
			if err != nil {
				return nil, err
			}
			f.Strategies[m.prog.Policies()[m.ladder[i].policy].Name] = b
		}
	}
	return json.Marshal(f)
}

// events is the number of events of all metrics; stored is when the newest was stored.
func (m *model) events(t *seriesTable) (n, stored int64) {
	for _, k := range m.series {
		x := t.at(k)
		n += x.events
		stored = max(stored, x.stored)
	}
	return n, stored
}

// row is the model as the store lists it.
func (m *model) row(p *partition) store.Model {
	r := store.Model{
		Name: m.name, Partition: p.id,
		CreatedAt: time.UnixMilli(m.facts.Created).UTC(),
		Paused:    m.facts.Paused, PausedBy: m.facts.PausedBy, PausedReason: m.facts.PausedReason,
		Champion: m.facts.Champion, LastDecision: m.facts.LastDecision,
	}
	var stored int64
	if r.Events, stored = m.events(&p.series); stored > 0 {
		r.LastEventAt = time.UnixMilli(stored).UTC()
	}
	for _, k := range m.series[:min(len(m.series), maxMetrics)] {
		x := p.series.at(k)
		r.Metrics = append(r.Metrics, store.Metric{
			Name: p.series.metric(k), Last: x.last, LastTime: time.UnixMilli(x.lastTime).UTC(), Count: x.count,
		})
	}
	slices.SortFunc(r.Metrics, func(a, b store.Metric) int { return strings.Compare(a.Name, b.Name) })
	if m.prog != nil {
		for i, pol := range m.prog.Policies() {
			r.Policies = append(r.Policies, pol.Name)
			v, _, _ := m.verdict(i)
			r.Verdict = max(r.Verdict, v)
		}
	}
	return r
}
