package trigger

import (
	"fmt"
	"log/slog"
	"slices"
	"sync"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/policy"
	"github.com/visutility/visutility/store"
)

// clockEvery is how often, in milliseconds of the log's own time, conditions that
// depend on the clock and suppressed fires are looked at again.
const clockEvery = 1000

// A partition owns the state of the models whose events one partition of the log
// carries. The dispatcher calls it from one goroutine; the mutex lets the
// committer and explain in between batches.
type partition struct {
	mu       sync.Mutex
	id       int
	t        *Trigger
	set      *policy.Set
	models   map[string]*model
	tables   map[*policy.Program]*table
	folded   visutility.Position // every entry up to here is in the state
	decided  visutility.Position // up to here decisions were stored before the restart
	active   []visutility.Run    // those active when the restart began: see reconcile
	watch    watch
	watched  watch    // as in the last snapshot
	clocked  []*model // models with a clock-driven condition
	waiting  []*model // models with a suppressed fire
	dirty    []*model // changed since the last snapshot
	missed   []cold   // those whose policies were changed before the restart, until Warm
	out      output
	series   seriesTable
	resolved []resolved
	touched  uint64 // keeps what was fetched ahead from being optimised away
	counts   counts
	events   int64 // seen, over the life of the data directory: the sum over the models
}

// counts are taken over into the metrics after each batch.
type counts struct{ folded, superseded, panicked int64 }

// resolved is what a series of the entry at hand leads to.
type resolved struct {
	*series
	at         int32 // its number
	superseded bool
}

func newPartition(t *Trigger, id int, set *policy.Set) *partition {
	return &partition{id: id, t: t, set: set, models: make(map[string]*model), tables: make(map[*policy.Program]*table)}
}

// fold folds the entries of a batch, in order. Entries seen before are passed over.
func (p *partition) fold(b visutility.Batch) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range b.Entries {
		if e := &b.Entries[i]; e.Position > p.folded {
			p.entry(e)
		}
	}
}

// entry folds one entry. A panic (a defect of ours) costs the rest of the entry,
// which is counted, and not the partition.
func (p *partition) entry(e *visutility.Entry) {
	done := 0
	if e.Stored < p.watch.Newest && !p.watch.SetBack {
		p.setBack()
	}
	defer func() {
		p.advance(e.Position)
		if r := recover(); r != nil {
			p.counts.panicked += int64(len(e.Records) - done)
			p.t.log.Error("folding an entry panicked: the rest of the entry is lost to the fold",
				slog.Int("partition", p.id), slog.Uint64("position", uint64(e.Position)), slog.Any("panic", r))
		}
	}()
	if n := len(e.Series); cap(p.resolved) < n {
		p.resolved = make([]resolved, n)
	} else {
		p.resolved = p.resolved[:n]
		clear(p.resolved)
	}
	if len(e.Records) > 0 {
		p.resolve(e)
	}
	for i := range e.Records {
		p.record(e, i)
		done++
	}
	for i := range e.Controls {
		p.control(&e.Controls[i], place{p.id, e.Position, len(e.Records) + i}, e.Stored)
	}
	if e.Stored/clockEvery != p.watch.Looked/clockEvery {
		p.clock(place{p.id, e.Position, len(e.Records) + len(e.Controls)}, e.Stored)
	}
}

// record folds one event. It is the hot path: it keeps to the line of the series and
// to the words of the program, and leaves the model alone.
func (p *partition) record(e *visutility.Entry, i int) {
	r := &e.Records[i]
	x := p.resolved[r.Series]
	p.events++
	x.events++
	x.stored = e.Stored
	x.count += r.Count
	if r.Time >= x.lastTime {
		x.last, x.lastTime = r.Value, r.Time
	}
	if x.flags&seriesDirty == 0 {
		x.flags |= seriesDirty
		p.touch(x.m)
	}
	if x.superseded {
		p.counts.superseded++
		return
	}
	p.counts.folded++
	var look uint64
	if x.program >= 0 {
		look = x.tab.prog.Observe(x.tab.at(x.rec), int(x.program), r.Time, e.Stored, r.Value, r.Count, e.Position, e.Series[r.Series].Labels)
	}
	if x.flags&seriesLadder != 0 {
		look |= x.m.climb(event(&e.Series[r.Series], *r), e.Position)
	}
	if look != 0 {
		p.look(x.m, look, place{p.id, e.Position, i}, e.Stored)
	}
}

// climb hands an event to the strategies of a program's own.
func (m *model) climb(ev visutility.Event, pos visutility.Position) (look uint64) {
	for k := range m.ladder {
		if s := &m.ladder[k]; s.observe(ev, pos) {
			look |= 1 << s.policy
		}
	}
	return look
}

func (p *partition) touch(m *model) {
	if !m.dirty {
		m.dirty = true
		p.dirty = append(p.dirty, m)
	}
}

// resolve finds, or makes, the series of an entry. It goes over them once for each thing it
// fetches: memory then answers many questions at a time, where event by event it would answer
// one after the other. That more than halves the time of an event when the state exceeds the caches.
func (p *partition) resolve(e *visutility.Entry) {
	for i := range e.Series {
		s := &e.Series[i]
		k := p.series.find(s)
		if k < 0 {
			k = p.seriesOf(p.model(s.Model, e.Stored), s.Metric)
			p.series.remember(s, k)
		}
		p.resolved[i].series = p.series.at(k)
		p.resolved[i].at = k
	}
	for i := range e.Series {
		s, x := &e.Series[i], &p.resolved[i]
		if (s.Labels != "" || x.flags&seriesPlain == 0) && p.series.meet(x.at, s.Labels) {
			p.out.series = append(p.out.series, store.Series{Model: x.m.name, Metric: p.series.metric(x.at), Labels: s.Labels})
		}
		x.superseded = s.Version != "" && s.Version == x.m.facts.Superseded
	}
	var sum uint64
	for i := range p.resolved {
		if x := &p.resolved[i]; x.program >= 0 {
			sum += x.tab.prog.Touch(x.tab.at(x.rec), int(x.program))
		}
	}
	p.touched = sum
}

// knownSeries finds the series of a model's metric, -1 when there is none.
func (p *partition) knownSeries(m *model, metric string) int32 {
	for _, i := range m.series {
		if p.series.metric(i) == metric {
			return i
		}
	}
	return -1
}

// seriesOf finds or makes the series of a model's metric.
func (p *partition) seriesOf(m *model, metric string) int32 {
	if i := p.knownSeries(m, metric); i >= 0 {
		return i
	}
	i := p.series.add(metric)
	m.series = append(m.series, i)
	x := p.series.at(i)
	x.m, x.lastTime = m, -1
	p.lead(m, i)
	return i
}

// lead points a series to its model's program.
func (p *partition) lead(m *model, i int32) {
	x := p.series.at(i)
	x.tab, x.rec, x.program = m.tab, m.rec, m.programMetric(p.series.metric(i))
	x.flags &^= seriesLadder
	if len(m.ladder) > 0 {
		x.flags |= seriesLadder
	}
}

// model finds or makes a model.
func (p *partition) model(name string, now int64) *model {
	if m := p.models[name]; m != nil {
		return m
	}
	m := &model{name: name, facts: facts{Created: now}}
	p.models[name] = m
	p.attach(m, p.set.For(name))
	m.hear(now)
	p.out.touched(m)
	return m
}

// attach gives a model a fresh record of a program (nil for none).
func (p *partition) attach(m *model, prog *policy.Program) {
	m.prog, m.tab, m.rec, m.ladder = prog, nil, 0, nil
	if prog != nil {
		m.tab = p.tables[prog]
		if m.tab == nil {
			m.tab = newTable(prog)
			p.tables[prog] = m.tab
		}
		m.rec = m.tab.alloc()
		for i, pol := range prog.Policies() {
			if make := p.t.o.Strategies[pol.Retrain.Strategy]; make != nil {
				m.ladder = append(m.ladder, strategyState{policy: i, strategy: make(m.name)})
			}
		}
		if prog.Clocked() {
			p.clocked = append(p.clocked, m)
		}
	}
	for _, i := range m.series {
		p.lead(m, i)
	}
}

// adopt puts new policies in force: what is the same operator keeps its state, what is not begins with the past.
func (p *partition) adopt(set *policy.Set, past map[string]warmed) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.set = set
	p.clocked = p.clocked[:0]
	for _, m := range p.models {
		was, words, tab, rec, ladder := m.prog, []uint64(nil), m.tab, m.rec, m.ladder
		next := set.For(m.name)
		if was != nil {
			words = slices.Clone(m.state())
		}
		if next == was {
			if was != nil && was.Clocked() {
				p.clocked = append(p.clocked, m)
			}
			continue
		}
		p.attach(m, next)
		if was != nil {
			tab.release(rec)
			if next != nil {
				p.carry(m, was.Layout(), words)
				m.carryStrategies(was, ladder)
			}
		} else {
			m.seed()
		}
		m.warm(past[m.name])
		m.recall()
		m.hear(p.watch.Newest)
		p.touch(m)
		p.out.touched(m)
	}
	for prog, tab := range p.tables {
		if tab.used == len(tab.free) {
			delete(p.tables, prog)
		}
	}
}

// carry takes over the state of another layout, as far as operators are the same.
func (p *partition) carry(m *model, layout []byte, words []uint64) {
	if err := m.prog.Migrate(m.state(), layout, words); err != nil {
		p.t.log.Warn("state of a model could not be carried over to the new policy: it starts afresh",
			slog.String("model", m.name), slog.String("error", err.Error()))
		m.prog.Init(m.state())
	}
}

// carryStrategies keeps the strategies of policies that are still there.
func (m *model) carryStrategies(was *policy.Program, ladder []strategyState) {
	for i := range m.ladder {
		s := &m.ladder[i]
		pol := m.prog.Policies()[s.policy]
		for _, old := range ladder {
			if q := was.Policies()[old.policy]; q.Name == pol.Name && q.Retrain.Strategy == pol.Retrain.Strategy {
				at := s.policy
				*s = old
				s.policy = at
			}
		}
	}
}

// clock looks at what time alone can change: conditions on silence and age, and
// fires that a guardrail suppressed.
func (p *partition) clock(at place, now int64) {
	p.watch.Looked = now
	if now >= p.watch.Newest {
		p.watch.Newest, p.watch.SetBack = now, false
	}
	for _, m := range p.clocked {
		if p.watch.SetBack {
			p.touch(m)
		}
		if look := m.prog.Tick(m.state(), now, at.position); look != 0 {
			p.touch(m)
			p.look(m, look, at, now)
		}
	}
	waiting := p.waiting
	p.waiting = nil // look puts back those that still wait
	for _, m := range waiting {
		m.waiting = false
		p.look(m, m.held(), at, now)
	}
}

// held is the set of policies whose fire a guardrail suppresses.
func (m *model) held() (mask uint64) {
	if m.prog == nil {
		return 0
	}
	for i, pol := range m.prog.Policies() {
		if s := m.facts.Said[pol.Name]; s.Verdict == visutility.Fire && s.Guard != "" {
			mask |= 1 << i
		}
	}
	return mask
}

func (p *partition) lookAll(m *model, at place, now int64) {
	if m.prog != nil {
		p.look(m, 1<<len(m.prog.Policies())-1, at, now)
	}
}

// control folds one control.
func (p *partition) control(c *visutility.Control, at place, now int64) {
	m := p.model(c.Model, now)
	p.touch(m)
	p.out.touched(m)
	f := &m.facts
	switch c.Kind {
	case visutility.ControlTrigger:
		p.manual(m, c, at, now)
		return
	case visutility.ControlPause:
		f.Paused, f.PausedBy, f.PausedReason = true, c.By, c.Reason
	case visutility.ControlResume:
		f.Paused, f.PausedBy, f.PausedReason = false, "", ""
	case visutility.ControlEnded:
		m.ended(c, now, at.position)
	case visutility.ControlPromoted:
		p.promotedByHand(m, c, at, now)
		m.promoted(c, now)
	default:
		p.t.log.Warn("unknown control in the log: written by a newer version?", slog.String("kind", fmt.Sprint(int(c.Kind))))
	}
	p.out.answer(c.Request, nil)
	p.lookAll(m, at, now)
}

// ended notes that a run is over, or (State Watching) that it only watches now.
func (m *model) ended(c *visutility.Control, now int64, pos visutility.Position) {
	f := &m.facts
	switch c.Run {
	case f.ActiveRun:
		f.ActiveRun = ""
		if m.prog != nil {
			m.prog.Closed(m.state(), c.State != visutility.Failed && c.State != visutility.Canceled, now, pos)
		}
	case f.WatchedRun:
		f.WatchedRun, f.RollingBack = "", false
		if c.State == visutility.Succeeded {
			return // its success was noted at its promotion
		}
	default:
		return // the store had refused it, or it was told before
	}
	switch c.State {
	case visutility.Watching:
		f.WatchedRun, f.RollingBack = c.Run, false
		f.LastSuccess, f.Failures = now, 0
	case visutility.Succeeded:
		f.LastSuccess, f.Failures = now, 0
	case visutility.Failed:
		f.LastFailure, f.Opened = now, 0 // the data was not at fault: it may be tried with again
		f.Failures++
	default:
		f.LastFailure = now
	}
}

// promoted notes a new champion: what was measured of the old one no longer counts.
func (m *model) promoted(c *visutility.Control, now int64) {
	f := &m.facts
	f.Champion, f.Superseded = c.Version, c.Previous
	if c.Run != f.WatchedRun {
		f.WatchedRun = ""
	}
	f.RollingBack, f.Opened = false, 0
	f.Said = nil
	f.PromotedAt, f.Previous = now, c.PreviousMetrics
	m.seed()
	for i := range m.ladder {
		m.ladder[i].verdict = visutility.Hold
	}
}

// seed tells the model's program of the champion: at its promotion, and when policies come
// to a model that has one.
func (m *model) seed() {
	if m.prog != nil && m.facts.PromotedAt > 0 {
		m.prog.Promoted(m.state(), m.facts.PromotedAt, m.facts.Previous)
	}
}

// recall forgets what was said for policies that are gone, or that changed their mind by
// starting afresh: when they fire again, that is news.
func (m *model) recall() {
	if m.prog == nil {
		m.facts.Said = nil
		return
	}
	for name := range m.facts.Said {
		i := m.policyIndex(name)
		if i < 0 {
			delete(m.facts.Said, name)
		} else if v, _, _ := m.verdict(i); v != m.facts.Said[name].Verdict {
			m.facts.Said[name] = said{Verdict: v}
		}
	}
}
