package trigger

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/policy"
	"github.com/visutility/visutility/store"
)

// TestTranscripts plays the stories in testdata/stories: policies, entries of the log at given
// times, and what the fold makes of them. Every story is played twice: as it is, and with a
// restart from the stored snapshots after every command, which must change nothing.
func TestTranscripts(t *testing.T) {
	for _, restarts := range []bool{false, true} {
		t.Run(fmt.Sprintf("restarts=%v", restarts), func(t *testing.T) {
			datadriven.Walk(t, "testdata/stories", func(t *testing.T, path string) {
				s := newStory(t)
				datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
					out := s.command(t, d)
					if restarts && s.tr != nil {
						s.restart(t)
					}
					return out
				})
			})
		})
	}
}

// epoch0 is the time "0s" of a story.
const epoch0 = 1_700_000_000_000

// A story drives a trigger with one partition by hand.
type story struct {
	st    *store.Store
	set   *policy.Set
	tr    *Trigger
	epoch int64
	pos   visutility.Position
	runs  map[string]string // id → name in the story
	names map[string]string // name in the story → id
	seen  map[string]bool   // decisions that were said

	past     string             // what there is of it: "", "whole", "newest" or "broken"
	measured []visutility.Event // all events, in the order of time
}

func newStory(t *testing.T) *story {
	st, err := store.Open(t.Context(), store.Options{Path: filepath.Join(t.TempDir(), "state.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	return &story{st: st, runs: map[string]string{}, names: map[string]string{}, seen: map[string]bool{}}
}

func (s *story) command(t *testing.T, d *datadriven.TestData) string {
	switch d.Cmd {
	case "policy":
		return s.policy(t, d)
	case "entry":
		return s.entry(t, d)
	case "explain":
		return s.explain(t, d)
	case "past":
		s.past = d.CmdArgs[0].Key
		return ""
	}
	t.Fatalf("unknown command %q", d.Cmd)
	return ""
}

// policy: puts the policies of the input, separated by lines of "---", in force.
func (s *story) policy(t *testing.T, d *datadriven.TestData) string {
	var ps []*policy.Policy
	for i, src := range strings.Split(d.Input, "\n---\n") {
		p, err := policy.Parse(fmt.Sprintf("p%d.yaml", i+1), []byte(src))
		if err != nil {
			return err.Error()
		}
		ps = append(ps, p)
	}
	set, err := policy.NewSet(ps...)
	if err != nil {
		return err.Error()
	}
	s.set = set
	if s.tr == nil {
		s.open(t)
	} else {
		s.tr.SetPolicies(set)
	}
	return s.commit(t)
}

func (s *story) open(t *testing.T) {
	epoch, err := s.st.Acquire(t.Context(), 1, "story")
	if err != nil {
		t.Fatal(err)
	}
	s.epoch = epoch
	s.tr, err = New(t.Context(), Options{Store: s.st, Partitions: 1, Epoch: epoch, Policies: s.set, Past: s.before})
	if err != nil {
		t.Fatal(err)
	}
}

// restart throws the trigger away after a snapshot and restores another.
func (s *story) restart(t *testing.T) {
	if err := s.tr.commit(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	s.open(t)
}

// entry at=10s: one entry of the log. Lines are events, "accuracy=0.9 [t=5s] [n=100] [version=v1]
// [model=x]", or controls, "pause|resume|trigger|ended|promoted key=value…". None: a tick.
func (s *story) entry(t *testing.T, d *datadriven.TestData) string {
	var at string
	d.ScanArgs(t, "at", &at)
	s.pos++
	e := visutility.Entry{Position: s.pos, Stored: epoch0 + ms(t, at)}
	for line := range strings.Lines(d.Input) {
		s.line(t, &e, strings.Fields(line))
	}
	if err := s.tr.Observe(t.Context(), visutility.Batch{Entries: []visutility.Entry{e}}); err != nil {
		t.Fatal(err)
	}
	return s.commit(t)
}

func (s *story) line(t *testing.T, e *visutility.Entry, words []string) {
	args := map[string]string{"model": "m"}
	for _, w := range words {
		k, v, _ := strings.Cut(w, "=")
		args[k] = v
	}
	kinds := map[string]visutility.ControlKind{
		"trigger": visutility.ControlTrigger, "pause": visutility.ControlPause, "resume": visutility.ControlResume,
		"ended": visutility.ControlEnded, "promoted": visutility.ControlPromoted,
	}
	if kind, ok := kinds[words[0]]; ok {
		c := visutility.Control{Kind: kind, Model: args["model"], Run: s.names[args["run"]], Policy: args["policy"],
			Version: args["version"], Previous: args["previous"], By: args["by"], Reason: args["reason"], Watch: args["watch"] != ""}
		if st := args["state"]; st != "" {
			if err := c.State.UnmarshalText([]byte(st)); err != nil {
				t.Fatal(err)
			}
		}
		if p := args["prev"]; p != "" { // prev=metric:value
			name, v, _ := strings.Cut(p, ":")
			c.PreviousMetrics = map[string]float64{name: number(t, v)}
		}
		if c.Kind == visutility.ControlEnded {
			s.move(t, c.Run, c.State)
		}
		e.Controls = append(e.Controls, c)
		return
	}
	metric, value, _ := strings.Cut(words[0], "=")
	r := visutility.Record{Series: uint32(len(e.Series)), Time: e.Stored, Value: number(t, value), Count: 1}
	if v := args["t"]; v != "" {
		r.Time = epoch0 + ms(t, v)
	}
	if v := args["n"]; v != "" {
		r.Count = int64(number(t, v))
	}
	e.Series = append(e.Series, visutility.Series{Model: args["model"], Metric: metric, Version: args["version"]})
	e.Records = append(e.Records, r)
	s.measured = append(s.measured, visutility.Event{
		Model: args["model"], Metric: metric, Version: args["version"], Value: r.Value, Count: uint64(r.Count), Time: time.UnixMilli(r.Time),
	})
	slices.SortStableFunc(s.measured, func(a, b visutility.Event) int { return a.Time.Compare(b.Time) })
}

// before is the past of a story: see the command past.
func (s *story) before(_ context.Context, model string, metrics []string, from, to time.Time) (events []visutility.Event, whole bool, err error) {
	if s.past == "" || s.past == "broken" {
		return nil, false, visutility.ErrUnavailable
	}
	for _, e := range s.measured {
		if e.Model == model && slices.Contains(metrics, e.Metric) && !e.Time.Before(from) && !e.Time.After(to) {
			events = append(events, e)
		}
	}
	if s.past == "newest" {
		return events[max(0, len(events)-3):], false, nil
	}
	return events, true, nil
}

// move takes the run's row along, as the runner would have before it told the log.
func (s *story) move(t *testing.T, id string, to visutility.RunState) {
	path := []visutility.RunState{to}
	if to == visutility.Succeeded || to == visutility.Watching {
		path = []visutility.RunState{visutility.Training, visutility.Validating, visutility.Registering, visutility.Promoting, to}
	}
	for _, st := range path {
		r, err := s.st.Run(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		from := r.State
		r.State = st
		if err := s.st.MoveRun(t.Context(), r, from, ""); err != nil {
			t.Fatal(err)
		}
	}
}

// commit stores what was decided and says it.
func (s *story) commit(t *testing.T) string {
	if err := s.tr.commit(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	ds, _, err := s.st.Decisions(t.Context(), store.DecisionFilter{Page: store.Page{Limit: 1000}})
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, d := range slices.Backward(ds) {
		if !s.seen[d.ID] {
			s.seen[d.ID] = true
			s.say(&b, d)
		}
	}
	if b.Len() == 0 {
		return "nothing"
	}
	return b.String()
}

func (s *story) say(b *strings.Builder, d visutility.Decision) {
	if d.Run != "" && s.runs[d.Run] == "" {
		name := "run" + strconv.Itoa(len(s.runs)+1)
		s.runs[d.Run], s.names[name] = name, d.Run
	}
	fmt.Fprintf(b, "%s %s/%s: %s→%s %s", clock(d.Time), d.Model, d.Policy, d.Previous, d.Verdict, d.Outcome)
	if d.Run != "" {
		fmt.Fprintf(b, " %s", s.runs[d.Run])
	}
	if d.SuppressedBy != "" {
		fmt.Fprintf(b, " by %s", d.SuppressedBy)
	}
	if !d.Until.IsZero() {
		fmt.Fprintf(b, " until %s", clock(d.Until))
	}
	fmt.Fprintf(b, " (%s)\n", s.named(d.Reason))
}

// named replaces the ids of runs by their names in the story.
func (s *story) named(text string) string {
	for id, name := range s.runs {
		text = strings.ReplaceAll(text, id, name)
	}
	return text
}

// explain model=m at=10s: why it is, or is not, retraining.
func (s *story) explain(t *testing.T, d *datadriven.TestData) string {
	at, model := "0s", "m"
	d.MaybeScanArgs(t, "at", &at)
	d.MaybeScanArgs(t, "model", &model)
	x, err := s.tr.Explain(model, time.UnixMilli(epoch0+ms(t, at)))
	if err != nil {
		return err.Error()
	}
	var b strings.Builder
	for _, p := range x.Policies {
		fmt.Fprintf(&b, "%s: %s\n", p.Policy, s.named(p.Why))
		terms(&b, p.Terms, "  ")
	}
	return b.String()
}

func terms(b *strings.Builder, ts []visutility.Term, indent string) {
	for _, x := range ts {
		name := ""
		if x.Name != "" {
			name = x.Name + ": "
		}
		fmt.Fprintf(b, "%s%s%s = %v\n", indent, name, x.Expr, x.Value)
		terms(b, x.Terms, indent+"  ")
	}
}

func ms(t *testing.T, s string) int64 {
	d, err := time.ParseDuration(s)
	if err != nil {
		t.Fatal(err)
	}
	return d.Milliseconds()
}

func number(t *testing.T, s string) float64 {
	v, err := strconv.ParseFloat(s, 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func clock(t time.Time) string {
	return (time.Duration(t.UnixMilli()-epoch0) * time.Millisecond).String()
}
