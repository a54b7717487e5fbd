package main

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/visutility/visutility/drift"
)

// TestDetectorTable holds the table of detectors in docs/policies.md against the table in the code. With -rewrite it is
// written anew.
func TestDetectorTable(t *testing.T) {
	const page = "../../docs/policies.md"
	b, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	const head = "| detector | for | parameters and their defaults | promise |\n|---|---|---|---|\n"
	before, rest, ok := strings.Cut(string(b), head)
	if !ok {
		t.Fatal("docs/policies.md has no table of detectors")
	}
	_, after, _ := strings.Cut(rest, "\n\n")
	var table strings.Builder
	for _, name := range slices.Sorted(maps.Keys(drift.Detectors)) {
		kind := drift.Detectors[name]
		var parameters []string
		for _, p := range kind.Parameters {
			text := "`" + p.Name + "`"
			if p.Default != 0 {
				text += " " + strconv.FormatFloat(p.Default, 'f', -1, 64)
			}
			parameters = append(parameters, text)
		}
		sides := ""
		if kind.TwoSided {
			sides = ", two-sided"
		}
		fmt.Fprintf(&table, "| `%s` | %s | %s | %s%s |\n", name, kind.Summary, strings.Join(parameters, ", "), kind.Promise, sides)
	}
	want := before + head + table.String() + "\n" + after
	if *rewrite {
		if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if want != string(b) {
		t.Error("the table of detectors is not that of the code; run this test with -rewrite")
	}
}
