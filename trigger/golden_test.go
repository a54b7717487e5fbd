package trigger

import (
	"encoding/hex"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/store"
)

// release is the newest release whose snapshots are kept. A data directory outlives the program
// that wrote it, so what a release wrote must be read by all later ones.
//
// Add a directory when a release is made in which the snapshots differ from those of the last one in
// testdata/golden: set release to its name and run
//
//	go test ./trigger -run TestGolden -rewrite-golden
//
// Never rewrite the directory of a release that is out. If the test fails for one, the change that made it
// fail forgets the state of everybody who upgrades.
const release = "v0.2"

// A goldenModel is the snapshot of a model, with what its policies thought of it.
type goldenModel struct {
	Layout      string `json:"layout"`
	Description string `json:"description"` // of the layout
	State       string `json:"state"`       // hexadecimal
	Facts       string `json:"facts"`
	// Verdicts are by policy, as a number, with the place and the time of their beginning.
	Verdicts map[string][3]int64 `json:"verdicts"`
	Explain  Explanation         `json:"explain"`
}

// A golden is what a release wrote for one partition.
type golden struct {
	Position visutility.Position    `json:"position"`
	Policies string                 `json:"policies"`
	Now      int64                  `json:"now"` // at which it was explained
	Watch    watch                  `json:"watch"`
	Models   map[string]goldenModel `json:"models"`
}

// TestGolden restores the snapshots of every release.
func TestGolden(t *testing.T) {
	if *rewrite {
		writeGolden(t)
	}
	files, err := filepath.Glob("testdata/golden/*/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	ws := newWorlds(t)
	for _, file := range files {
		t.Run(file, func(t *testing.T) {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var g golden
			if err := json.Unmarshal(b, &g); err != nil {
				t.Fatal(err)
			}
			w := ws.open(t, parseSet(t, g.Policies))
			defer w.close()
			w.put(g)
			if w.tr.parts[0].watch != g.Watch {
				t.Errorf("the clock stands at %+v, want %+v", w.tr.parts[0].watch, g.Watch)
			}
			for _, name := range slices.Sorted(maps.Keys(g.Models)) {
				want := g.Models[name]
				got := w.look(name, g.Now)
				if diff := cmp.Diff(want.Verdicts, got.Verdicts); diff != "" {
					t.Errorf("verdicts about %s (-then +now):\n%s", name, diff)
				}
				if diff := cmp.Diff(stances(want.Explain), stances(got.Explain)); diff != "" {
					t.Errorf("explanation of %s (-then +now):\n%s", name, diff)
				}
				if want.Layout == got.Layout && want.State != got.State {
					t.Errorf("state of %s:\n%s\nwant\n%s", name, got.State, want.State)
				}
			}
		})
	}
}

// A stance is what an explanation says without its wording, which may change.
type stance struct {
	Paused                             bool
	Champion, ActiveRun, Watched, When string
	Events                             int64
	Policies                           []policyStance
}

type policyStance struct {
	Policy  string
	Verdict visutility.Verdict
	Since   time.Time
	Values  []any
	Blocks  map[string]bool
}

func stances(x Explanation) stance {
	s := stance{Paused: x.Paused, Champion: x.Champion, ActiveRun: x.ActiveRun, Watched: x.Watched, When: x.LastEvent.String(), Events: x.Events}
	for _, p := range x.Policies {
		q := policyStance{Policy: p.Policy, Verdict: p.Verdict, Since: p.Since, Blocks: map[string]bool{}}
		q.Values = values(nil, p.Terms)
		for _, g := range p.Guardrails {
			q.Blocks[g.Name] = g.Blocks
		}
		s.Policies = append(s.Policies, q)
	}
	return s
}

func values(vs []any, terms []visutility.Term) []any {
	for _, t := range terms {
		vs = values(append(vs, t.Value), t.Terms)
	}
	return vs
}

// put stores a golden as its release did, and starts from it.
func (w *world) put(g golden) {
	w.t.Helper()
	s, err := g.Watch.snapshot()
	if err != nil {
		w.t.Fatal(err)
	}
	c := store.Commit{
		Epoch: w.tr.o.Epoch, Position: g.Position, SnapshotPosition: g.Position,
		Layouts: map[string][]byte{}, Snapshots: []store.Snapshot{s},
	}
	for name, m := range g.Models {
		state, err := hex.DecodeString(m.State)
		if err != nil {
			w.t.Fatal(err)
		}
		c.Snapshots = append(c.Snapshots, store.Snapshot{Model: name, Layout: m.Layout, State: state, Facts: []byte(m.Facts)})
		if m.Layout != "" {
			c.Layouts[m.Layout] = []byte(m.Description)
		}
	}
	if err := w.st.Commit(w.ctx, c); err != nil {
		w.t.Fatal(err)
	}
	w.start()
}

// look describes a model as it is now.
func (w *world) look(name string, now int64) goldenModel {
	w.t.Helper()
	p := w.tr.parts[0]
	m := p.models[name]
	if m == nil {
		w.t.Errorf("model %s is not there", name)
		return goldenModel{}
	}
	layouts := map[string][]byte{}
	s, err := m.snapshot(&p.series, layouts)
	if err != nil {
		w.t.Fatal(err)
	}
	g := goldenModel{Layout: s.Layout, Description: string(layouts[s.Layout]), State: hex.EncodeToString(s.State), Facts: string(s.Facts), Verdicts: map[string][3]int64{}}
	if m.prog != nil {
		for i, pol := range m.prog.Policies() {
			v, pos, at := m.verdict(i)
			g.Verdicts[pol.Name] = [3]int64{int64(v), int64(pos), at}
		}
	}
	if g.Explain, err = w.tr.Explain(name, time.UnixMilli(now)); err != nil {
		w.t.Fatal(err)
	}
	return g
}

// writeGolden writes snapshots at two places of a tape.
func writeGolden(t *testing.T) {
	dir := filepath.Join("testdata/golden", release)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	ws := newWorlds(t)
	for name, entries := range map[string]int{"early.json": 15, "late.json": 90} {
		w := ws.open(t, parseSet(t, tapePolicies))
		tape := record(w, bySeed(richSeed), entries)
		last := tape[len(tape)-1].entry
		g := golden{
			Position: last.Position, Policies: tapePolicies, Now: last.Stored + 1,
			Watch: w.tr.parts[0].watch, Models: map[string]goldenModel{},
		}
		for name := range w.tr.parts[0].models {
			g.Models[name] = w.look(name, g.Now)
		}
		b, err := json.MarshalIndent(g, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), append(b, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
		w.close()
	}
}
