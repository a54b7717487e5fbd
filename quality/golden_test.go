package quality

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/visutility/visutility"
)

// release is the newest release whose state is kept. A data directory outlives the program that wrote it: what a release
// wrote, in its snapshots and in its log, must be read by all later ones, and come to the same.
//
// Add a directory when a release is made in which either differs from the last one in testdata/golden: set
// release to its name and run
//
//	go test ./quality -run TestGolden -rewrite-golden
//
// Never rewrite the directory of a release that is out. If the test fails for one, the change that made it fail forgets
// the predictions of everybody who upgrades.
const release = "v0.2"

var rewriteGolden = flag.Bool("rewrite-golden", false, "write the golden state of this release")

// A golden is the state of a joiner, the entries of the log that came next, and what was made of them.
type golden struct {
	State   []byte        `json:"state"`
	Entries []goldenEntry `json:"entries"`
	Judged  []Judged      `json:"judged"`
	Pending int           `json:"pending"` // in the end
}

type goldenEntry struct {
	Stored   int64    `json:"stored"`
	Payloads [][]byte `json:"payloads"`
}

// TestGolden goes on from the state of every release.
func TestGolden(t *testing.T) {
	if *rewriteGolden {
		writeGolden(t)
	}
	files, err := filepath.Glob("testdata/golden/*/joined.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, file := range files {
		t.Run(file, func(t *testing.T) {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var want golden
			if err := json.Unmarshal(b, &want); err != nil {
				t.Fatal(err)
			}
			j := NewJoiner(nil, Limits{})
			if err := j.UnmarshalBinary(want.State); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want.Judged, foldGolden(j, want.Entries)); diff != "" {
				t.Errorf("(-then +now):\n%s", diff)
			}
			if j.Pending() != want.Pending {
				t.Errorf("%d are pending, were %d", j.Pending(), want.Pending)
			}
		})
	}
}

func foldGolden(j *Joiner, entries []goldenEntry) []Judged {
	var out []Judged
	for _, e := range entries {
		out = append(out, j.Fold(e.Stored, e.Payloads)...)
	}
	return out
}

// writeGolden stops in the middle of a story that has all that a state can hold.
func writeGolden(t *testing.T) {
	j := NewJoiner(Rules{
		{"price", Settings{Window: 30 * time.Minute, MatureAfter: time.Hour, MinSamples: 20, Distance: JensenShannon}},
		{"*", Settings{MatureAfter: 2 * time.Hour, MinSamples: 20, Positive: "fraud"}},
	}, Limits{})
	entries := goldenStory(t)
	cut := len(entries)/2 + 7
	foldGolden(j, entries[:cut])
	g := golden{Entries: entries[cut:]}
	var err error
	if g.State, err = j.AppendBinary(nil); err != nil {
		t.Fatal(err)
	}
	g.Judged = foldGolden(j, g.Entries)
	g.Pending = j.Pending()
	if g.Pending == 0 || len(g.Judged) < 10 {
		t.Fatalf("%d pending, %d windows judged: this tells too little", g.Pending, len(g.Judged))
	}
	b, err := json.MarshalIndent(g, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join("testdata/golden", release)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "joined.json"), append(b, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}

// goldenStory is ten hours of two models: classes with scores in two segments, and numbers. Most labels come an hour late, some before their
// prediction, some too late, some never.
func goldenStory(t *testing.T) []goldenEntry {
	var entries []goldenEntry
	for minute := range 600 {
		at := epoch.Add(time.Duration(minute) * time.Minute)
		l := logged{stored: at}
		for k := range 2 {
			i := 2*minute + k
			p := predicted(fmt.Sprint("f", i), at, class([]string{"fraud", "honest"}[i%3%2]))
			p.Score, p.Version, p.Labels = float64(i%97)/97, []string{"7", "8"}[minute/300], map[string]string{"country": []string{"DE", "FR"}[i%2]}
			p.Features = []visutility.Feature{{Name: "amount", Value: number(float64(i%50 + minute/60))}, {Name: "channel", Value: class([]string{"web", "shop", "app"}[i%(2+minute/400)])}}
			l.predictions = append(l.predictions, p)
			q := predicted(fmt.Sprint("p", i), at, number(float64(i%40)))
			q.Model = "price"
			l.predictions = append(l.predictions, q)
			late := 60 + i%70
			if i%11 == 0 {
				late = -5
			}
			if of := i - 2*late; of >= 0 && of%13 != 0 {
				l.truths = append(l.truths, truth(fmt.Sprint("f", of), at, class([]string{"fraud", "honest"}[of%5%2])))
				price := truth(fmt.Sprint("p", of), at, number(float64(of%40+of%3)))
				price.Model = "price"
				l.truths = append(l.truths, price)
			}
		}
		entries = append(entries, goldenEntry{at.UnixMilli(), l.payloads(t)})
	}
	return append(entries, goldenEntry{epoch.Add(20 * time.Hour).UnixMilli(), nil})
}
