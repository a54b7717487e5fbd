package policy

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/visutility/visutility"
)

const everything = `
model: m
metrics: {auc: {goal: higher_is_better, min_samples: 3, baseline: {events: 4}}, x: lower_is_better}
retrain:
  when: >
    avg(auc, "1h") < baseline.auc - 0.02 && max(x, "30m") > 0.1 || quantile(x, 0.9, 7) > 3
    || m_of_n(stddev(auc, "20m") > 0.1 || min(x, 4) < -1, 2, 3) || absent(x, "5m") || age > duration("1d")
    || quorum(2, cusum(x, {baseline: 5, hold: "1h"}), page_hinkley(auc, {threshold: 3, min_instances: 4}), kswin(x, {window: 12, stat: 4}))
    || new_samples(auc) > 40 || excess(x) > 12 || excess(auc, {tolerance: 0.1}) > 15 || cron("*/7 * * * *")
    || worst(auc, "country", {segments: 2}) < -4 || worst(x, "country", "30m", {segments: 2}) > 4 || worst(x, "country", 3) > 4.5
  for: 10m
  unless: quantile(auc, 0.1, "1h") > 0.99
rollback: {when: 'sum(x, "10m") > previous.x && count(x, "10m") > 2'}
train: {run: train}
`

var countries = []visutility.Labels{
	"", visutility.MakeLabels(map[string]string{"country": "DE"}), visutility.MakeLabels(map[string]string{"country": "FR", "a": "b"}),
	visutility.MakeLabels(map[string]string{"country": "a name of more than sixteen bytes"}), visutility.MakeLabels(map[string]string{"city": "DE"}),
}

// A step is anything that can happen to a state.
type step struct {
	kind     int // up to 6: events, 7: tick, 8: promotion, 9: a run is opened, 10: it is rejected, 11: it fails
	late     int64
	v        float64
	n        int64
	pause    int64
	metricIs string
	labels   visutility.Labels
}

func drawSteps(t *rapid.T) []step {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) step {
		return step{
			kind:     rapid.IntRange(0, 11).Draw(t, "kind"),
			late:     rapid.SampledFrom([]int64{0, 0, 0, 60_000, 7_200_000, -60_000}).Draw(t, "late"),
			v:        rapid.Float64Range(-5, 5).Draw(t, "v"),
			n:        rapid.Int64Range(1, 4).Draw(t, "n"),
			pause:    rapid.SampledFrom([]int64{0, 1000, 60_000, 600_000, 100_000_000}).Draw(t, "pause"),
			metricIs: rapid.SampledFrom([]string{"auc", "x"}).Draw(t, "metric"),
			labels:   rapid.SampledFrom(countries).Draw(t, "labels"),
		}
	}), 1, 60).Draw(t, "steps")
}

func (s step) apply(p *Program, state []uint64, now int64, pos visutility.Position) uint64 {
	switch s.kind {
	case 7:
		return p.Tick(state, now, pos)
	case 8:
		p.Promoted(state, now, map[string]float64{"x": s.v})
		return 0
	case 9:
		p.Opened(state, now)
		return 0
	case 10, 11:
		p.Closed(state, s.kind == 10, now, pos)
		return 0
	}
	return p.Observe(state, p.Metric(s.metricIs), now-s.late, now, s.v, s.n, pos, s.labels)
}

// TestSnapshotAtEveryCut copies a state, and migrates another, after every
// step: both go on word by word, or at least verdict by verdict, like the original. On the way it
// holds Observe to what it promises of look, and the methods that only look to leave the state alone.
func TestSnapshotAtEveryCut(t *testing.T) {
	p := mustSet(t, everything, strings.Replace(everything, "for: 10m", "for: 0s", 1)).For("m")
	rapid.Check(t, func(t *rapid.T) {
		steps := drawSteps(t)
		cut := rapid.IntRange(0, len(steps)).Draw(t, "cut")
		state, copied, migrated := fresh(p), make([]uint64, p.Words()), make([]uint64, p.Words())
		now := epoch
		for i, s := range steps {
			if i == cut {
				copy(copied, state)
				if err := p.Migrate(migrated, p.Layout(), slices.Clone(state)); err != nil {
					t.Fatal(err)
				}
			}
			now += s.pause
			pos := visutility.Position(i + 1)
			before, _, _ := p.Verdict(state, 0)
			look := s.apply(p, state, now, pos)
			after, _, _ := p.Verdict(state, 0)
			if before != after && s.kind < 8 && look&1 == 0 {
				t.Fatalf("step %d: %s became %s and nobody was told", i, before, after)
			}
			for _, m := range p.machines {
				if (state[m.at] != 0) != (state[m.active]&m.look != 0) {
					t.Fatalf("step %d: the head does not tell which verdicts hold", i)
				}
			}
			if i < cut {
				continue
			}
			if a, b := s.apply(p, copied, now, pos), s.apply(p, migrated, now, pos); a != look || b != look {
				t.Fatalf("step %d: look is %b, of the copy %b, of the migrated %b", i, look, a, b)
			}
			if diff := cmp.Diff(state, copied); diff != "" {
				t.Fatalf("step %d: the copy differs:\n%s", i, diff)
			}
			before2 := slices.Clone(state)
			if diff := cmp.Diff(p.Explain(state, 0, now), p.Explain(migrated, 0, now)); diff != "" {
				t.Fatalf("step %d: the migrated explains itself otherwise:\n%s", i, diff)
			}
			if u := p.Unless(state, 0, now); u != p.Unless(migrated, 0, now) || !slices.Equal(before2, state) {
				t.Fatalf("step %d: looking changed the state", i)
			}
		}
	})
}

// TestExplainAgrees: when the verdict machines run, the root of the explanation is what they were given.
func TestExplainAgrees(t *testing.T) {
	p := mustSet(t, everything).For("m")
	rapid.Check(t, func(t *rapid.T) {
		state := fresh(p)
		now := epoch
		for i, s := range drawSteps(t) {
			now += s.pause
			s.apply(p, state, now, visutility.Position(i+1))
			if s.kind >= 8 {
				continue
			}
			root := p.Explain(state, 0, now)[0].Value
			v, _, _ := p.Verdict(state, 0)
			if s.kind < 7 && root == true && v == visutility.Hold || root == false && v != visutility.Hold {
				t.Fatalf("step %d: the condition is %v and the verdict %s", i, root, v)
			}
		}
	})
}

func mustSet(t testing.TB, texts ...string) *Set {
	t.Helper()
	var all []*Policy
	for i, text := range texts {
		all = append(all, mustParse(t, fmt.Sprintf("p%d.yaml", i), text))
	}
	set, err := NewSet(all...)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func TestObserveDoesNotAllocate(t *testing.T) {
	p := mustSet(t, everything).For("m")
	state := fresh(p)
	now, m := epoch, []int{p.Metric("auc"), p.Metric("x")}
	i := 0
	allocs := testing.AllocsPerRun(2000, func() {
		i++
		now += 61_000
		p.Observe(state, m[i%2], now-int64(i%3)*600_000, now, float64(i%17)/3-2, 2, 1, "")
		p.Tick(state, now, 1)
	})
	if allocs != 0 {
		t.Errorf("%v allocations per event", allocs)
	}
}

func TestOperatorsAreShared(t *testing.T) {
	one := mustSet(t, policyText(`avg(accuracy, "24h") < 0.8`)).For("m")
	many := mustSet(t,
		policyText(`avg(accuracy, "24h") < 0.8`), policyText(`sum(accuracy, "24h") < 3`),
		policyText(`count(accuracy, "1d") > 10 && avg(accuracy, "24h") < 0.9`)).For("m")
	if len(one.operators) != 1 || len(many.operators) != 1 {
		t.Errorf("%d and %d operators, want one each", len(one.operators), len(many.operators))
	}
	if one.Words() != 40 {
		t.Errorf("the state of one window mean is %d words", one.Words())
	}
}

func TestMigrateRefuses(t *testing.T) {
	p := mustSet(t, everything).For("m")
	state := fresh(p)
	for name, layout := range map[string]string{
		"no JSON": "x", "version": `{"version":2,"words":3}`, "words": `{"version":1,"words":4}`,
		"range": `{"version":1,"words":3,"operators":[{"key":"head","at":2,"len":9}]}`, "negative": `{"version":1,"words":3,"operators":[{"key":"head","at":-1,"len":2}]}`,
	} {
		state[0] = 7
		if err := p.Migrate(state, []byte(layout), make([]uint64, 3)); !errors.Is(err, visutility.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
		if !slices.Equal(state, fresh(p)) {
			t.Errorf("%s: the state is not fresh", name)
		}
	}
}

// TestGoldenLayout keeps states of earlier versions readable: a change here needs a new layout version.
func TestGoldenLayout(t *testing.T) {
	p := mustSet(t, policyText(`avg(accuracy, "24h") < baseline.accuracy - 0.1`)).For("m")
	want := `{"version":1,"words":48,"operators":[{"key":"head","at":0,"len":8},` +
		`{"key":"when(\"p0\" avg(accuracy, \"24h\") \u003c baseline.accuracy - 0.1 | ` +
		`avg(\"accuracy\" moments(\"accuracy\" 1d) q=0 m=0 after=0 min=0) baseline(\"accuracy\" baseline(\"accuracy\" 10 events 0 samples) q=0 m=0 after=0 min=0))","at":40,"len":3},` +
		`{"key":"moments(\"accuracy\" 1d)","at":8,"len":27},{"key":"baseline(\"accuracy\" 10 events 0 samples)","at":35,"len":3}]}`
	if diff := cmp.Diff(want, string(p.Layout())); diff != "" {
		t.Error(diff)
	}
}

func TestTime(t *testing.T) {
	p := mustSet(t, policyText("accuracy < 0.5")).For("m")
	state := fresh(p)
	if first, last := p.Time(state); first != 0 || last != 0 {
		t.Errorf("before the first event: %d to %d", first, last)
	}
	for _, at := range []int64{5000, 3000, 9000, 7000} {
		p.Observe(state, 0, at, math.MaxInt64, 1, 1, 1, "")
	}
	if first, last := p.Time(state); first != 3000 || last != 9000 {
		t.Errorf("%d to %d", first, last)
	}
	p.Promoted(state, 10_000, nil)
	p.Observe(state, 0, 8000, math.MaxInt64, 1, 1, 1, "")
	if first, last := p.Time(state); first != 8000 || last != 8000 {
		t.Errorf("after the promotion: %d to %d", first, last)
	}
}
