package trigger

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/policy"
	"github.com/visutility/visutility/store"
)

// The tests of this file hold a fold that crashes against one that does not. A tape is a log with
// what the runner does to the rows of runs in between; it is recorded once, by a fold that is
// left in peace, since what may happen (the end of a run, say) depends on what was decided. Then it is
// played to other folds, which are cut off at all kinds of moments.

// tapePolicies have between them every kind of condition and guardrail.
const tapePolicies = `
name: lasting
models: [a, b]
metrics: {auc: higher_is_better}
retrain:
  when: accuracy < 0.8
  for: 2m
  cooldown: {after_success: 10m, after_failure: 3m}
  budget: {runs: 2, per: 1h}
  unless: absent(auc, "30m")
train: {trainer: x}
---
name: windows
models: [a, c]
metrics: {auc: {goal: higher_is_better, baseline: {events: 3}}}
retrain:
  when: m_of_n(accuracy < 0.6, 2, 3) || avg(auc, "1h") < baseline.auc - 0.1
  cooldown: 0s
train: {trainer: x}
rollback: {when: 'avg(accuracy, 3) < previous.accuracy - 0.05', within: 7d}
---
name: silence
models: [b, c, d]
retrain: {when: 'absent(psi, "5m")', for: 1m}
train: {trainer: x}
metrics: {psi: lower_is_better}
---
name: old-age
models: [d]
metrics: {auc: higher_is_better}
retrain:
  when: age > duration("20m") && quantile(accuracy, 0.5, "2h") < 0.9 || stddev(auc, 5) > 0.3
  cooldown: {after_success: 1m, after_failure: 0s}
train: {trainer: x}
rollback: {when: 'age < duration("10m") && accuracy < 0.2', within: 1d}
---
name: alarms
models: [b, c]
metrics: {auc: higher_is_better}
retrain:
  when: >
    quorum(2, cusum(accuracy, {baseline: 3, h: 1}), kswin(auc, {window: 6, stat: 3, alpha: 0.2, hold: "8m"}), page_hinkley(accuracy, {threshold: 0.2, min_instances: 2}))
    || worst(accuracy, "country", 2, {segments: 2}) < 0.3
  cooldown: {after_success: 2m, after_failure: 1m}
train: {trainer: x}
---
name: spent
models: [a, e]
metrics: {auc: {goal: higher_is_better, baseline: 0.8}}
retrain: {when: 'new_samples(accuracy) >= 30 || excess(auc, {tolerance: 0.1}) > 4 || cron("*/25 * * * *")', cooldown: 1m}
train: {trainer: x}
---
name: own
models: [a, d]
retrain: {strategy: streak, cooldown: 30s}
train: {trainer: x}
`

// A streak fires at the third bad event in a row. One value is too much for it.
type streak struct{ bad uint64 }

func (s *streak) Observe(e visutility.Event) visutility.Verdict {
	switch {
	case e.Value == poison:
		panic("cannot bear this")
	case e.Value >= 0.6:
		s.bad = 0
	default:
		s.bad++
	}
	return visutility.Verdict(min(s.bad, 3) / 3 * uint64(visutility.Fire))
}

func (s *streak) AppendBinary(b []byte) ([]byte, error) {
	return binary.LittleEndian.AppendUint64(b, s.bad), nil
}

func (s *streak) UnmarshalBinary(b []byte) error {
	s.bad = binary.LittleEndian.Uint64(b)
	return nil
}

const poison = 0.13

var tapeStrategies = map[string]func(string) visutility.Strategy{"streak": func(string) visutility.Strategy { return new(streak) }}

// A scene is an entry of the log, and the moves of runs that it tells of.
type scene struct {
	entry visutility.Entry
	moves []move
}

type move struct {
	run string
	to  visutility.RunState
}

// checker is what *testing.T and *rapid.T have in common.
type checker interface {
	Helper()
	Errorf(format string, args ...any)
	Fatal(args ...any)
}

// A world is a trigger with one partition, its database, and a runner played by hand.
type world struct {
	t     checker
	ctx   context.Context
	st    *store.Store
	set   *policy.Set
	tr    *Trigger
	moved int // scenes whose moves are made

	afresh bool // the names in every entry are at new addresses
}

// parseSet parses policies separated by lines of "---".
func parseSet(t checker, text string) *policy.Set {
	t.Helper()
	var ps []*policy.Policy
	for _, src := range strings.Split(text, "\n---\n") {
		p, err := policy.Parse("p.yaml", []byte(src))
		if err != nil {
			t.Fatal(err)
		}
		ps = append(ps, p)
	}
	set, err := policy.NewSet(ps...)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// worlds makes worlds whose databases go when the test ends.
type worlds struct {
	ctx context.Context
	dir string
	n   int
}

func newWorlds(t *testing.T) *worlds { return &worlds{ctx: t.Context(), dir: t.TempDir()} }

func (ws *worlds) open(t checker, set *policy.Set) *world {
	t.Helper()
	ws.n++
	st, err := store.Open(ws.ctx, store.Options{
		Path: filepath.Join(ws.dir, strconv.Itoa(ws.n)+".db"),
		Now:  func() time.Time { return time.UnixMilli(epoch0) },
	})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, ctx: ws.ctx, st: st, set: set}
	w.start()
	return w
}

// start begins anew with what is stored, as after a crash.
func (w *world) start() {
	w.t.Helper()
	epoch, err := w.st.Acquire(w.ctx, 1, "test")
	if err != nil {
		w.t.Fatal(err)
	}
	w.tr, err = New(w.ctx, Options{Store: w.st, Partitions: 1, Epoch: epoch, Policies: w.set, Strategies: tapeStrategies})
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) close() {
	if err := w.st.Close(); err != nil {
		w.t.Errorf("closing the store: %v", err)
	}
}

func (w *world) commit(snapshot bool) {
	w.t.Helper()
	if err := w.tr.commit(w.ctx, snapshot); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) model(name string) *model { return w.tr.parts[0].models[name] }

// feed hands over scenes in one batch. A run moves only after it was stored: what was
// decided is committed before, where it must be.
func (w *world) feed(tape []scene, from, to int) {
	w.t.Helper()
	var b visutility.Batch
	flush := func() {
		if len(b.Entries) > 0 {
			if err := w.tr.Observe(w.ctx, b); err != nil {
				w.t.Fatal(err)
			}
			clear(b.Entries) // it was only lent
			b.Entries = nil
		}
	}
	for i := from; i < to; i++ {
		if i >= w.moved {
			for _, m := range tape[i].moves {
				if _, err := w.st.Run(w.ctx, m.run); err != nil {
					flush()
					w.commit(false)
				}
				w.move(m)
			}
			w.moved = i + 1
		}
		b.Entries = append(b.Entries, w.decode(tape[i].entry))
	}
	flush()
}

// decode is the entry as a reader that remembers no names gets it: at addresses of its own.
func (w *world) decode(e visutility.Entry) visutility.Entry {
	if w.afresh {
		e.Series = slices.Clone(e.Series)
		for i := range e.Series {
			s := &e.Series[i]
			s.Model, s.Metric = strings.Clone(s.Model), strings.Clone(s.Metric)
		}
	}
	return e
}

// move takes the row of a run along, as the runner does before it tells the log.
func (w *world) move(m move) {
	w.t.Helper()
	path := map[visutility.RunState][]visutility.RunState{
		visutility.Rejected:  {visutility.Training, visutility.Validating},
		visutility.Watching:  {visutility.Training, visutility.Validating, visutility.Registering, visutility.Promoting},
		visutility.Succeeded: {visutility.Training, visutility.Validating, visutility.Registering, visutility.Promoting},
	}[m.to]
	for _, to := range append(slices.Clone(path), m.to) {
		r, err := w.st.Run(w.ctx, m.run)
		if err != nil {
			w.t.Fatal(err)
		}
		if r.State == visutility.Watching && to != m.to {
			continue
		}
		from := r.State
		r.State = to
		if err := w.st.MoveRun(w.ctx, r, from, ""); err != nil {
			w.t.Fatal(err)
		}
	}
}

// next is the first scene that the fold has not seen.
func (w *world) next(tape []scene) int {
	at, err := w.tr.Start(w.ctx, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	return max(0, 1+slices.IndexFunc(tape, func(s scene) bool { return s.entry.Position == at }))
}

// A portrait is all that must not depend on crashes.
type portrait struct {
	Folded    visutility.Position
	Events    int64
	Watch     watch
	Models    map[string]likeness
	Rows      []store.Model
	Decisions []visutility.Decision
	Runs      []visutility.Run
	Series    []store.Series
}

type likeness struct {
	Layout string
	State  []uint64
	Facts  string
}

func (w *world) portrait() portrait {
	w.t.Helper()
	p := w.tr.parts[0]
	out := portrait{Folded: p.folded, Events: p.events, Watch: p.watch, Models: map[string]likeness{}}
	for name, m := range p.models {
		facts, err := m.marshalFacts(&p.series)
		if err != nil {
			w.t.Fatal(err)
		}
		l := likeness{Facts: string(facts)}
		if m.prog != nil {
			l.Layout, l.State = m.prog.Digest(), slices.Clone(m.state())
		}
		out.Models[name] = l
	}
	page := store.Page{Limit: 1000}
	var err error
	if out.Rows, _, err = w.st.Models(w.ctx, page, store.ModelFilter{}); err != nil {
		w.t.Fatal(err)
	}
	if out.Decisions, _, err = w.st.Decisions(w.ctx, store.DecisionFilter{Page: page}); err != nil {
		w.t.Fatal(err)
	}
	if out.Runs, _, err = w.st.Runs(w.ctx, store.RunFilter{Page: page}); err != nil {
		w.t.Fatal(err)
	}
	for i := range out.Runs {
		out.Runs[i].Wish = "" // of a run that moved before the wish was stored there is none
	}
	for s, err := range w.st.SeriesKeys(w.ctx) {
		if err != nil {
			w.t.Fatal(err)
		}
		out.Series = append(out.Series, s)
	}
	// Lists are in the order of storing, which a commit of several entries may mix.
	slices.SortFunc(out.Decisions, func(a, b visutility.Decision) int { return strings.Compare(a.ID, b.ID) })
	slices.SortFunc(out.Runs, func(a, b visutility.Run) int { return strings.Compare(a.ID, b.ID) })
	slices.SortFunc(out.Series, func(a, b store.Series) int {
		return strings.Compare(fmt.Sprint(a), fmt.Sprint(b))
	})
	return out
}

// A pick chooses one of n, by chance.
type pick func(n int) int

func bySeed(seed uint64) pick { return rand.New(rand.NewPCG(seed, 0)).IntN }

func oneOf[T any](p pick, of ...T) T { return of[p(len(of))] }

// record composes a tape of n entries, and folds it undisturbed.
func record(w *world, p pick, n int) []scene {
	w.t.Helper()
	var tape []scene
	now, pos := int64(epoch0), visutility.Position(0)
	for i := range n + 1 {
		step := oneOf(p, 0, 300*time.Millisecond, 300*time.Millisecond, time.Second, 10*time.Second, time.Minute, 3*time.Minute, 20*time.Minute, -30*time.Second)
		now += step.Milliseconds()
		if i == n {
			now += 2 * clockEvery // the last entry is a tick that is heard by all
		}
		pos += visutility.Position(1 + p(2))
		s := scene{entry: visutility.Entry{Position: pos, Stored: now}}
		switch kind := p(10); {
		case i == n || kind < 2: // a tick
		case kind < 7:
			w.measure(p, &s)
		default:
			w.happen(p, &s)
		}
		tape = append(tape, s)
		w.feed(tape, i, i+1)
	}
	return tape
}

var tapeModels = []string{"a", "b", "c", "d", "unwatched"}

// measure makes an entry of events: early, late, of versions that serve no more.
func (w *world) measure(p pick, s *scene) {
	for range 1 + p(5) {
		x := visutility.Series{Model: oneOf(p, tapeModels...), Metric: oneOf(p, "accuracy", "accuracy", "auc", "psi", "other")}
		x.Version = oneOf(p, "", "", "v1", "v2", "v3")
		if p(4) == 0 {
			x.Labels = visutility.MakeLabels(map[string]string{"country": oneOf(p, "DE", "FR")})
		}
		at := slices.Index(s.entry.Series, x)
		if at < 0 {
			at = len(s.entry.Series)
			s.entry.Series = append(s.entry.Series, x)
		}
		ago := oneOf(p, 0, 0, 0, time.Minute, 40*time.Minute, 3*time.Hour, -5*time.Minute)
		value := oneOf(p, 0.1, 0.5, 0.55, 0.79, 0.81, 0.92, 0.99)
		if p(60) == 0 {
			value = poison
		}
		s.entry.Records = append(s.entry.Records, visutility.Record{
			Series: uint32(at), Time: s.entry.Stored - ago.Milliseconds(), Value: value, Count: oneOf[int64](p, 1, 1, 20),
		})
	}
}

// happen makes an entry of controls: what people ask for and what becomes of runs.
func (w *world) happen(p pick, s *scene) {
	name := oneOf(p, "a", "b", "c", "d")
	m := w.model(name)
	tell := func(c visutility.Control) {
		c.Model = name
		s.entry.Controls = append(s.entry.Controls, c)
	}
	version := func() string { return "v" + strconv.Itoa(1+p(4)) }
	champion := ""
	if m != nil {
		champion = m.facts.Champion
	}
	promoted := func(run string, watch bool) {
		tell(visutility.Control{Kind: visutility.ControlPromoted, Run: run, Version: version(), Previous: champion, Watch: watch,
			PreviousMetrics: map[string]float64{"accuracy": 0.85}})
	}
	end := func(run string, to visutility.RunState) {
		s.moves = append(s.moves, move{run, to})
		tell(visutility.Control{Kind: visutility.ControlEnded, Run: run, State: to})
	}
	switch kind := p(10); {
	case kind == 0:
		tell(visutility.Control{Kind: visutility.ControlPause, By: "ada", Reason: "holidays"})
	case kind < 3:
		tell(visutility.Control{Kind: visutility.ControlResume})
	case kind == 3:
		tell(visutility.Control{Kind: visutility.ControlTrigger, Policy: oneOf(p, "", "windows", "nobody"), By: "ada", Request: strconv.Itoa(int(s.entry.Position))})
	case kind == 4:
		promoted("", false)
	case m != nil && m.facts.ActiveRun != "":
		switch to := oneOf(p, visutility.Failed, visutility.Rejected, visutility.Canceled, visutility.Succeeded, visutility.Watching, visutility.Watching); to {
		case visutility.Succeeded, visutility.Watching:
			run := m.facts.ActiveRun
			if was := m.facts.WatchedRun; was != "" {
				end(was, visutility.Succeeded) // a later promotion ends the watch
			}
			promoted(run, to == visutility.Watching)
			end(run, to)
		default:
			end(m.facts.ActiveRun, to)
		}
	case m != nil && m.facts.WatchedRun != "":
		if p(2) == 0 {
			end(m.facts.WatchedRun, visutility.Succeeded)
			return
		}
		run := m.facts.WatchedRun
		promoted(run, false)
		end(run, visutility.RolledBack)
	}
}

// TestCrashesChangeNothing cuts folds off at moments chosen by chance.
func TestCrashesChangeNothing(t *testing.T) {
	ws := newWorlds(t)
	set := parseSet(t, tapePolicies)
	outcomes := map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		w := ws.open(t, set)
		defer w.close()
		// A shorter tape of a seed is the beginning of a longer one, so that failures shrink.
		tape := record(w, bySeed(rapid.Uint64().Draw(t, "seed")), rapid.IntRange(1, 100).Draw(t, "entries"))
		w.commit(true)
		want := w.portrait()
		for _, d := range want.Decisions {
			outcomes[d.Policy+" "+d.Outcome.String()+" "+d.SuppressedBy]++
		}

		v := ws.open(t, set)
		defer v.close()
		v.afresh = rapid.Bool().Draw(t, "afresh")
		for at := 0; at < len(tape); {
			to := min(len(tape), at+rapid.SampledFrom([]int{1, 1, 2, 5, 20}).Draw(t, "batch"))
			v.feed(tape, at, to)
			at = to
			switch rapid.SampledFrom([]string{"", "commit", "snapshot", "crash", "commit, crash", "snapshot, crash"}).Draw(t, "then") {
			case "commit":
				v.commit(false)
			case "snapshot":
				v.commit(true)
			case "commit, crash":
				v.commit(false)
				v.start()
			case "snapshot, crash":
				v.commit(true)
				v.start()
			case "crash":
				v.start()
			}
			at = v.next(tape)
		}
		v.commit(true)
		if diff := cmp.Diff(want, v.portrait()); diff != "" {
			t.Fatalf("with crashes another result (-undisturbed +crashed):\n%s", diff)
		}
	})
	for _, k := range slices.Sorted(maps.Keys(outcomes)) {
		t.Logf("%5d %s", outcomes[k], k)
	}
}

// TestCrashAnywhere cuts the fold of one tape off after every single entry: with a snapshot each time;
// with decisions alone, so that every restart begins at the beginning; with a snapshot now and
// then; with nothing stored but what the runner asks for.
func TestCrashAnywhere(t *testing.T) {
	ws := newWorlds(t)
	set := parseSet(t, tapePolicies)
	w := ws.open(t, set)
	defer w.close()
	tape := record(w, bySeed(richSeed), 60)
	w.commit(true)
	want := w.portrait()
	if len(want.Decisions) < 20 || len(want.Runs) < 4 {
		t.Fatalf("the tape is dull: %d decisions, %d runs", len(want.Decisions), len(want.Runs))
	}
	for name, store := range map[string]func(v *world, i int){
		"snapshot":        func(v *world, _ int) { v.commit(true) },
		"decisions":       func(v *world, _ int) { v.commit(false) },
		"snapshot of ten": func(v *world, i int) { v.commit(i%10 == 0) },
		"nothing":         func(*world, int) {},
	} {
		t.Run(name, func(t *testing.T) {
			v := ws.open(t, set)
			defer v.close()
			for i := range tape {
				v.feed(tape, v.next(tape), i+1)
				store(v, i)
				v.start()
			}
			v.feed(tape, v.next(tape), len(tape))
			v.commit(true)
			if diff := cmp.Diff(want, v.portrait()); diff != "" {
				t.Errorf("another result (-undisturbed +crashed):\n%s", diff)
			}
		})
	}
	t.Logf("%d decisions, %d runs, %d crashes", len(want.Decisions), len(want.Runs), 4*len(tape))
}

// richSeed gives a tape on which much happens.
const richSeed = 5

// TestGroupingChangesNothing hands a tape over entry by entry, at once, and in pieces.
func TestGroupingChangesNothing(t *testing.T) {
	ws := newWorlds(t)
	set := parseSet(t, tapePolicies)
	for seed := range uint64(3) {
		w := ws.open(t, set)
		tape := record(w, bySeed(seed), 80)
		w.commit(true)
		want := w.portrait()
		w.close()
		for _, largest := range []int{1, len(tape), 2, 7, 30} {
			v := ws.open(t, set)
			p := bySeed(seed)
			for at := 0; at < len(tape); {
				to := len(tape)
				if largest < to {
					to = min(to, at+1+p(largest))
				}
				v.feed(tape, at, to)
				at = to
			}
			v.commit(true)
			if diff := cmp.Diff(want, v.portrait()); diff != "" {
				t.Errorf("tape %d in batches of at most %d entries: another result (-one by one +in batches):\n%s", seed, largest, diff)
			}
			v.close()
		}
	}
}

// TestExplainChangesNothing asks why, by a clock that is far behind that of the log.
func TestExplainChangesNothing(t *testing.T) {
	ws := newWorlds(t)
	w := ws.open(t, parseSet(t, tapePolicies))
	defer w.close()
	record(w, bySeed(richSeed), 90)
	w.commit(true)
	want := w.portrait()
	for name := range w.tr.parts[0].models {
		if _, err := w.tr.Explain(name, time.UnixMilli(epoch0).Add(-time.Hour)); err != nil {
			t.Error(err)
		}
	}
	if diff := cmp.Diff(want, w.portrait()); diff != "" {
		t.Errorf("explaining changed the state (-before +after):\n%s", diff)
	}
}
