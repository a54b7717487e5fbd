package policy

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/visutility/visutility"
)

// TestTranscripts folds events and shows verdicts as they come about; see
// testdata/*. Commands:
//
//	policy      a policy, without its train section; starts a fresh state
//	change      the same, migrating the state
//	events      a line each: TIME METRIC VALUE [n=COUNT] [stored=TIME] [LABEL=VALUE]
//	            or TIME tick, or TIME promoted [METRIC=VALUE …],
//	            or TIME opened, TIME learned, TIME failed: what a run does
//	explain     TIME: the terms of the first policy
//
// A TIME is since the epoch of the transcript. What is shown after an event: the verdict, since when the breach lasts,
// "look" when somebody is told, the truth of the condition and the values it stands on.
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata/transcripts", func(t *testing.T, path string) {
		var s transcript
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "policy", "change":
				return s.policy(t, d.Input, d.Cmd == "change")
			case "events":
				var b strings.Builder
				for line := range strings.Lines(d.Input) {
					b.WriteString(s.event(t, strings.Fields(line)))
				}
				return b.String()
			case "explain":
				var b strings.Builder
				writeTerms(&b, s.program.Explain(s.state, 0, s.time(t, strings.TrimSpace(d.Input))), "")
				return b.String()
			}
			t.Fatalf("unknown command %q", d.Cmd)
			return ""
		})
	})
}

type transcript struct {
	program  *Program
	state    []uint64
	position visutility.Position
}

const epoch = int64(1_700_000_000_000)

func (s *transcript) time(t *testing.T, text string) int64 {
	t.Helper()
	d, err := ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	return epoch + d.Milliseconds()
}

func (s *transcript) policy(t *testing.T, text string, change bool) string {
	t.Helper()
	p, err := Parse("p.yaml", []byte("model: m\n"+text+"\ntrain: {run: train}\n"))
	if err != nil {
		return err.Error() + "\n"
	}
	set, err := NewSet(p)
	if err != nil {
		t.Fatal(err)
	}
	next := set.For("m")
	state := make([]uint64, next.Words())
	next.Init(state)
	if change {
		if err := next.Migrate(state, s.program.Layout(), s.state); err != nil {
			t.Fatal(err)
		}
	}
	s.program, s.state = next, state
	return fmt.Sprintf("ok, %d words\n", next.Words())
}

func (s *transcript) event(t *testing.T, f []string) string {
	t.Helper()
	at := s.time(t, f[0])
	now := max(at, int64(s.state[headStored]))
	s.position++
	var look uint64
	switch f[1] {
	case "tick":
		look = s.program.Tick(s.state, at, s.position)
	case "promoted":
		previous := make(map[string]float64)
		for _, x := range f[2:] {
			k, v, _ := strings.Cut(x, "=")
			previous[k] = number64(t, v)
		}
		s.program.Promoted(s.state, at, previous)
	case "opened":
		s.program.Opened(s.state, at)
	case "learned", "failed":
		s.program.Closed(s.state, f[1] == "learned", at, s.position)
	default:
		n, labels := int64(1), visutility.Labels("")
		for _, x := range f[3:] {
			switch k, v, _ := strings.Cut(x, "="); k {
			case "n":
				n = int64(number64(t, v))
			case "stored":
				now = s.time(t, v)
			default:
				labels = visutility.MakeLabels(map[string]string{k: v})
			}
		}
		m := s.program.Metric(f[1])
		if m < 0 {
			return strings.Join(f, " ") + ": not read\n"
		}
		look = s.program.Observe(s.state, m, at, now, number64(t, f[2]), n, s.position, labels)
	}
	v, since, sinceTime := s.program.Verdict(s.state, 0)
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s", strings.Join(f, " "), v)
	if v != visutility.Hold {
		fmt.Fprintf(&b, " since %s (#%d)", FormatDuration(time.Duration(sinceTime-epoch)*time.Millisecond), since)
	}
	if bits.OnesCount64(look) > 0 {
		b.WriteString(", look")
	}
	for _, term := range s.program.Explain(s.state, 0, int64(s.state[headStored])) {
		if term.Name == "unless" {
			fmt.Fprintf(&b, " | unless %v", s.program.Unless(s.state, 0, int64(s.state[headStored])))
			continue
		}
		if term.Name == "rollback.when" {
			fmt.Fprintf(&b, " | rollback %v", s.program.Rollback(s.state, 0))
		}
		fmt.Fprintf(&b, " | %s", show(term.Value))
		if leaves := leaves(term); len(leaves) > 0 {
			fmt.Fprintf(&b, ": %s", strings.Join(leaves, ", "))
		}
	}
	return b.String() + "\n"
}

func number64(t *testing.T, s string) float64 {
	t.Helper()
	v, err := strconv.ParseFloat(s, 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func show(v any) string {
	switch v := v.(type) {
	case nil:
		return "unknown"
	case float64:
		return strconv.FormatFloat(v, 'g', 6, 64)
	}
	return fmt.Sprint(v)
}

func leaves(t visutility.Term) []string {
	var all []string
	for _, x := range t.Terms {
		if len(x.Terms) == 0 || x.Note != "" {
			s := x.Expr + " = " + show(x.Value)
			if x.Note != "" {
				s += " (" + x.Note + ")"
			}
			all = append(all, s)
		} else {
			all = append(all, leaves(x)...)
		}
	}
	return all
}

func writeTerms(b *strings.Builder, terms []visutility.Term, indent string) {
	for _, t := range terms {
		name := t.Name
		if name != "" {
			name += ": "
		}
		fmt.Fprintf(b, "%s%s%s = %s", indent, name, t.Expr, show(t.Value))
		if t.Note != "" {
			fmt.Fprintf(b, "   (%s)", t.Note)
		}
		b.WriteString("\n")
		writeTerms(b, t.Terms, indent+"  ")
	}
}
