package visutility_test

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
)

const module = "github.com/visutility/visutility"

// floors says on which floor of the house a room is: a room may import rooms on
// lower floors only, so that imports run one way. A room that is not here fails the test.
var floors = map[string]int{
	"":               0, // the nouns and the seams
	"drift":          0,
	"calibrate":      0,
	"policy":         1,
	"bus":            1,
	"store":          1,
	"trainer":        1,
	"history":        1,
	"quality":        1,
	"ingest":         2, // its mapping file has the settings of quality
	"registry":       2,
	"dispatch":       2,
	"trigger":        3,
	"retrain":        3,
	"backtest":       4,
	"engine":         5,
	"server":         6,
	"ui":             6,
	"cmd":            7,
	"examples":       7,
	"internal":       0, // what several rooms need and no user sees
	"visutilitytest": 1,
}

// sideways are the few imports of a neighbour on the same floor that have a reason.
var sideways = map[[2]string]string{
	{"cmd", "examples"}: "the demo of the main program plays the bike-demand example",
}

type goPackage struct {
	ImportPath string
	Imports    []string
	Doc        string
}

func packages(t *testing.T) []goPackage {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports,Doc", "./...")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []goPackage
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// room is the first element of a package's path in the module.
func room(path string) (string, bool) {
	rest, ok := strings.CutPrefix(path, module)
	if !ok {
		return "", false
	}
	rest = strings.TrimPrefix(rest, "/")
	first, _, _ := strings.Cut(rest, "/")
	return first, true
}

func TestImportsRunOneWay(t *testing.T) {
	for _, p := range packages(t) {
		from, _ := room(p.ImportPath)
		floor, known := floors[from]
		if !known {
			t.Errorf("room %q has no floor: add it to the table, with a thought", from)
			continue
		}
		for _, imp := range p.Imports {
			to, ours := room(imp)
			if !ours || to == from || to == "internal" {
				continue
			}
			if _, reason := sideways[[2]string{from, to}]; floors[to] >= floor && !reason {
				t.Errorf("%s imports %s: imports run downwards only (%d is not below %d)", p.ImportPath, imp, floors[to], floor)
			}
		}
		if from == "" {
			for _, imp := range p.Imports {
				if strings.Contains(strings.Split(imp, "/")[0], ".") {
					t.Errorf("the root package imports %s: it imports the standard library only", imp)
				}
			}
		}
	}
}

func TestRoomsTeach(t *testing.T) {
	for _, p := range packages(t) {
		if p.Doc == "" {
			t.Errorf("%s has no package comment", p.ImportPath)
		}
	}
}

func TestFilesStaySmall(t *testing.T) {
	out, err := exec.Command("git", "ls-files", "*.go", "*.ts", "*.svelte", "*.py").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range strings.Fields(string(out)) {
		if strings.HasSuffix(f, ".pb.go") || strings.HasSuffix(f, "/schema.d.ts") {
			continue // generated
		}
		b, err := os.ReadFile(f)
		if errors.Is(err, os.ErrNotExist) {
			continue // removed, not yet committed
		} else if err != nil {
			t.Fatal(err)
		}
		limit := 600
		if strings.HasSuffix(f, "_test.go") || strings.HasSuffix(f, ".test.ts") || strings.HasSuffix(f, ".spec.ts") {
			limit = 1000
		}
		if n := strings.Count(string(b), "\n"); n > limit {
			t.Errorf("%s has %d lines; %d are allowed: split it by noun", f, n, limit)
		}
	}
}
