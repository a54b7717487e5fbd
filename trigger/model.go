package trigger

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/policy"
	"github.com/visutility/visutility/store"
)

// maxMetrics bounds the metrics listed for one model; more are folded and kept
// in the history, but not listed.
const maxMetrics = 256

// A model is what the fold keeps of one model beside the words of its program.
type model struct {
	name    string
	prog    *policy.Program // nil: no policy matches
	tab     *table          // of prog
	rec     int32
	metrics []metric
	ladder  []strategyState // of policies that use a program's own strategy
	facts   facts
	dirty   bool
	waiting bool // has a fire that a guardrail suppresses
}

// A metric is what is known of one metric of a model.
type metric struct {
	name     string
	program  int32 // index in the program, -1 when no policy reads it
	last     float64
	lastTime int64
	count    int64
	plain    bool                           // seen without labels
	labels   map[visutility.Labels]struct{} // label sets seen
}

// facts are what the fold knows of a model beside its metrics: what people and
// runs did. They are the JSON part of a snapshot.
type facts struct {
	Created      int64             `json:"created"`
	LastEvent    int64             `json:"last_event,omitempty"`
	Events       int64             `json:"events,omitempty"`
	Paused       bool              `json:"paused,omitempty"`
	PausedBy     string            `json:"paused_by,omitempty"`
	PausedReason string            `json:"paused_reason,omitempty"`
	ActiveRun    string            `json:"active_run,omitempty"`
	WatchedRun   string            `json:"watched_run,omitempty"`
	RollingBack  bool              `json:"rolling_back,omitempty"`
	Stale        bool              `json:"stale,omitempty"` // no event since the last run was opened
	LastSuccess  int64             `json:"last_success,omitempty"`
	LastFailure  int64             `json:"last_failure,omitempty"`
	Starts       []int64           `json:"starts,omitempty"` // of automatic and manual runs, oldest first
	Champion     string            `json:"champion,omitempty"`
	Superseded   string            `json:"superseded,omitempty"`
	LastDecision string            `json:"last_decision,omitempty"`
	Said         map[string]said   `json:"said,omitempty"`
	Metrics      []metricFact      `json:"metrics,omitempty"`
	Strategies   map[string][]byte `json:"strategies,omitempty"`
}

// said is the last word recorded for a policy: a decision is recorded when it changes.
type said struct {
	Verdict visutility.Verdict `json:"verdict"`
	Guard   string             `json:"guard,omitempty"`
}

type metricFact struct {
	Name  string  `json:"name"`
	Last  float64 `json:"last"`
	Time  int64   `json:"time"`
	Count int64   `json:"count"`
}

// metricIndex finds or adds a metric; -1 when the model has too many.
func (m *model) metricIndex(name string) int {
	for i := range m.metrics {
		if m.metrics[i].name == name {
			return i
		}
	}
	if len(m.metrics) >= maxMetrics {
		return -1
	}
	m.metrics = append(m.metrics, metric{name: name, program: m.programMetric(name), lastTime: -1})
	return len(m.metrics) - 1
}

func (m *model) programMetric(name string) int32 {
	if m.prog == nil {
		return -1
	}
	return int32(m.prog.Metric(name))
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
func (m *model) marshalFacts() ([]byte, error) {
	f := m.facts
	f.Metrics = make([]metricFact, len(m.metrics))
	for i, x := range m.metrics {
		f.Metrics[i] = metricFact{x.name, x.last, x.lastTime, x.count}
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

// row is the model as the store lists it.
func (m *model) row(partition int) store.Model {
	r := store.Model{
		Name: m.name, Partition: partition, Events: m.facts.Events,
		CreatedAt: time.UnixMilli(m.facts.Created).UTC(),
		Paused:    m.facts.Paused, PausedBy: m.facts.PausedBy, PausedReason: m.facts.PausedReason,
		Champion: m.facts.Champion, LastDecision: m.facts.LastDecision,
	}
	if m.facts.LastEvent > 0 {
		r.LastEventAt = time.UnixMilli(m.facts.LastEvent).UTC()
	}
	for _, x := range m.metrics {
		r.Metrics = append(r.Metrics, store.Metric{Name: x.name, Last: x.last, LastTime: time.UnixMilli(x.lastTime).UTC(), Count: x.count})
	}
	slices.SortFunc(r.Metrics, func(a, b store.Metric) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	if m.prog != nil {
		for i, p := range m.prog.Policies() {
			r.Policies = append(r.Policies, p.Name)
			v, _, _ := m.verdict(i)
			r.Verdict = max(r.Verdict, v)
		}
	}
	return r
}

// meet notes a label set of the metric and reports whether it is new.
func (k *metric) meet(l visutility.Labels) bool {
	if l == "" {
		first := !k.plain
		k.plain = true
		return first
	}
	if _, ok := k.labels[l]; ok {
		return false
	}
	if k.labels == nil {
		k.labels = make(map[visutility.Labels]struct{})
	}
	k.labels[l] = struct{}{}
	return true
}
