package engine

import (
	"errors"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/backtest"
	"github.com/visutility/visutility/history"
	"github.com/visutility/visutility/policy"
	"github.com/visutility/visutility/store"
)

const source = "model: m\nretrain: {when: accuracy < 0.8}\ntrain: {trainer: x}\n"

// engineWith is an engine of which there is no more than a store and the policies in force.
func engineWith(t *testing.T, policies ...*policy.Policy) *Engine {
	t.Helper()
	st, err := store.Open(t.Context(), store.Options{Path: filepath.Join(t.TempDir(), "state.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	o := Options{Policies: policies, Logger: slog.New(slog.DiscardHandler)}
	ps, err := openPolicies(t.Context(), &o, st)
	if err != nil {
		t.Fatal(err)
	}
	return &Engine{o: o, store: st, policies: ps}
}

func parse(t *testing.T, file, src string) *policy.Policy {
	t.Helper()
	p, err := policy.Parse(file, []byte(src))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestPolicyThen finds a policy as it was, or says that it is another.
func TestPolicyThen(t *testing.T) {
	now, old := parse(t, "p.yaml", source), parse(t, "p.yaml", source+"# as it was\n")
	e := engineWith(t, now)
	if err := e.store.SavePolicy(t.Context(), old.Name, old.Revision, old.Dir, old.Source); err != nil {
		t.Fatal(err)
	}
	if p, warning, err := e.policyThen(t.Context(), "p", old.Revision); err != nil || warning != "" || p.Revision != old.Revision {
		t.Errorf("%v, %q, %v", p, warning, err)
	}
	p, warning, err := e.policyThen(t.Context(), "p", "lost")
	if err != nil || p.Revision != now.Revision || p == now || !strings.Contains(warning, "is tested as it is now, at revision "+now.Revision+": at revision lost") {
		t.Errorf("%v, %q, %v", p, warning, err)
	}
	if _, _, err := e.policyThen(t.Context(), "q", "lost"); !errors.Is(err, visutility.ErrNotFound) {
		t.Errorf("%v", err)
	}
}

// TestPolicyFile names the file by which a test finds a policy: its own where that gives it its name.
func TestPolicyFile(t *testing.T) {
	plain, renamed := parse(t, "dir/plain.yml", source), parse(t, "dir/p.yaml", "name: other\n"+source)
	e := engineWith(t, plain, renamed)
	for want, p := range map[string]*policy.Policy{
		"plain.yml": plain,
		"p.yaml":    renamed,
		"old.yaml":  parse(t, "old.yaml", source),
	} {
		if got := e.policyFile(p, nil); got != want {
			t.Errorf("policy %q: %s, want %s", p.Name, got, want)
		}
	}
	taken := []*policy.Policy{{File: "plain.yml"}}
	if got := e.policyFile(plain, taken); got != "plain.yaml" {
		t.Errorf("beside another of the same file: %s", got)
	}
	taken = append(taken, &policy.Policy{File: "plain.yaml"})
	if got := e.policyFile(parse(t, "x.yaml", "name: plain\n"+source), taken); !strings.HasPrefix(got, "policy-") {
		t.Errorf("beside two others: %s", got)
	}
}

// TestRowsOfALongEpisode reads the newest and the first of what was measured, and says what is missing.
func TestRowsOfALongEpisode(t *testing.T) {
	h, err := history.Open(history.Options{Dir: t.TempDir(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	begin := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	var b visutility.Batch
	for i := range 5000 {
		at := begin.Add(time.Duration(i) * time.Second).UnixMilli()
		b.Entries = append(b.Entries, visutility.Entry{
			Position: visutility.Position(i + 1), Stored: at,
			Series:  []visutility.Series{{Model: "m", Metric: "accuracy"}, {Model: "m", Metric: "other"}},
			Records: []visutility.Record{{Series: 0, Time: at, Value: float64(i), Count: 1}, {Series: 1, Time: at, Value: 1, Count: 1}},
		})
	}
	if err := h.Observe(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	p := parse(t, "p.yaml", source)
	for _, c := range []struct {
		name                  string
		promoted, most, first int // seconds after the beginning, -1: never
		from, to              int // what is missing: about, in seconds; -1: the beginning
		oldest, rows          int
	}{
		{"all of it", -1, 0, 10, 0, 0, 0, 4001},
		{"the newest and the first", -1, 1000, 50, 50, 3001, 0, 1050},
		{"since a promotion", 1000, 1000, 50, 1050, 3001, 1000, 1050},
		{"a promotion not long ago", 3500, 1000, 50, -1, 3001, 3001, 1000},
		{"all since a promotion", 2990, 1000, 50, -1, 2990, 2990, 1011},
	} {
		x := backtest.Episode{
			Decision: visutility.Decision{Model: "m", Policy: "p", Time: begin.Add(4500 * time.Second), EventTime: begin.Add(4000 * time.Second)},
			Policies: []*policy.Policy{p},
		}
		if c.promoted >= 0 {
			x.Promotions = []backtest.Promotion{{Version: "v1", Time: begin.Add(time.Duration(c.promoted) * time.Second)}}
		}
		if err := gatherRows(t.Context(), h, &x, c.most, c.first); err != nil {
			t.Fatal(err)
		}
		points := x.Series[0].Points
		near := func(what string, got time.Time, want int) {
			if want < 0 && !got.IsZero() || want >= 0 && got.Sub(begin.Add(time.Duration(want)*time.Second)).Abs() > 20*time.Second {
				t.Errorf("%s: %s %s, want %d s after the beginning", c.name, what, got, want)
			}
		}
		if near("the oldest is of", points[0].Time, c.oldest); max(len(points)-c.rows, c.rows-len(points)) > 20 {
			t.Errorf("%s: %d rows, want about %d", c.name, len(points), c.rows)
		}
		if newest := points[len(points)-1].Time; !newest.Equal(x.Decision.EventTime) {
			t.Errorf("%s: the newest is of %s", c.name, newest)
		}
		if c.to == 0 != x.Missing.To.IsZero() {
			t.Errorf("%s: missing is %v", c.name, x.Missing)
		} else if c.to > 0 {
			near("missing from", x.Missing.From, c.from)
			near("missing to", x.Missing.To, c.to)
		}
		if other := x.Series[len(x.Series)-1]; other.Metric != "other" || len(other.Points) < 990 {
			t.Errorf("%s: of other metrics there is %s, %d rows", c.name, other.Metric, len(other.Points))
		}
	}
}

// TestMovesOfRuns has promotions from what runs did, where the registry is another's.
func TestMovesOfRuns(t *testing.T) {
	at := func(h int) time.Time { return time.Date(2026, 3, 1, h, 0, 0, 0, time.UTC) }
	got := movesOf([]visutility.Run{
		{Version: "v2", Champion: "v1", State: visutility.RolledBack, PromotedAt: at(1), EndedAt: at(3)},
		{State: visutility.Failed, EndedAt: at(2)},
		{Version: "v3", Champion: "v1", State: visutility.Watching, PromotedAt: at(4)},
	})
	want := []store.AliasMove{{From: "v1", To: "v3", Time: at(4)}, {From: "v2", To: "v1", Time: at(3)}, {From: "v1", To: "v2", Time: at(1)}}
	if !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
