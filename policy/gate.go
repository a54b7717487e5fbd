package policy

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/visutility/visutility"
)

// Validator is the policy's gate: promote.when over what the challenger and the
// champion scored. candidate.x is the challenger's measurement; champion.x what the champion scored
// on the same data where the trainer could tell, else what it scored when it was trained itself.
//
// Where there is no champion, what speaks of it is unknown, and unknown passes: there
// is nothing to beat. Where there is one, unknown does not pass.
func (p *Policy) Validator() visutility.Validator { return gate{p.Promote.gate} }

type gate struct{ *condition }

// Validate implements [visutility.Validator]. It never fails.
func (g gate) Validate(_ context.Context, challenger, champion visutility.Version) (visutility.Report, error) {
	if g.condition == nil {
		return visutility.Report{Passed: true, Reason: "the policy has no promote.when: what a successful run made is promoted"}, nil
	}
	values := make([]float64, len(g.slots))
	for i, s := range g.slots {
		values[i] = measured(s, challenger, champion)
	}
	result, term := evaluate(g.root, func(i int) (float64, string, []visutility.Term) {
		note := ""
		if math.IsNaN(values[i]) {
			note = "not measured"
			if g.slots[i].fn == fnChampion && champion.ID == "" {
				note = "no champion"
			}
		}
		return values[i], note, nil
	})
	term.Name = "promote.when"
	r := visutility.Report{Evidence: []visutility.Term{term}}
	switch floatTri(result) {
	case yes:
		r.Passed, r.Reason = true, tell(g.root, values, yes)
	case no:
		r.Reason = "not better: " + tell(g.root, values, no) + " does not hold"
	default:
		missing := g.missing(values, champion.ID == "")
		r.Passed = champion.ID == "" && len(missing) == 0
		if r.Passed {
			r.Reason = "no champion yet: nothing to beat"
			break
		}
		switch len(missing) {
		case 0:
			r.Reason = "cannot tell: the result is not a number"
		case 1:
			r.Reason = "cannot tell: " + missing[0] + " was not measured"
		default:
			r.Reason = "cannot tell: " + strings.Join(missing, " and ") + " were not measured"
		}
	}
	return r, nil
}

// measured is the value of a gate's slot, NaN for none.
func measured(s *slot, challenger, champion visutility.Version) float64 {
	sources := []map[string]float64{challenger.Artifact.Metrics, challenger.Metrics}
	if s.fn == fnChampion {
		if champion.ID == "" {
			return math.NaN()
		}
		sources = []map[string]float64{challenger.Artifact.ChampionMetrics, champion.Metrics}
	}
	for _, m := range sources {
		if v, ok := m[s.metric]; ok {
			return v
		}
	}
	return math.NaN()
}

// missing names what the gate reads and nobody measured. A champion that does not exist is not missed.
func (g gate) missing(values []float64, noChampion bool) []string {
	var names []string
	for i, s := range g.slots {
		if math.IsNaN(values[i]) && !(noChampion && s.fn == fnChampion) {
			names = append(names, s.text)
		}
	}
	slices.Sort(names)
	return names
}

// tell says the part of a condition that made it true or false, with numbers:
// "candidate.wmape 0.21 < champion.wmape 0.36".
func tell(e *expr, values []float64, result tri) string {
	value := func(e *expr) float64 {
		v, _ := evaluate(e, func(i int) (float64, string, []visutility.Term) { return values[i], "", nil })
		return v
	}
	switch {
	case e.op == opAnd || e.op == opOr:
		// All parts that agree with the result brought it about.
		var told []string
		for _, a := range e.args {
			if floatTri(value(a)) == result {
				told = append(told, tell(a, values, result))
			}
		}
		return strings.Join(told, " and ")
	case e.op >= opLess && e.op <= opNotEq && e.args[0].kind == number:
		sign := [...]string{"<", "<=", ">", ">=", "==", "!="}[e.op-opLess]
		return tellSide(e.args[0], value(e.args[0])) + " " + sign + " " + tellSide(e.args[1], value(e.args[1]))
	}
	return e.text
}

func tellSide(e *expr, v float64) string {
	n := strconv.FormatFloat(v, 'g', 6, 64)
	switch e.op {
	case opLiteral:
		return n
	case opSlot:
		return e.text + " " + n
	}
	return fmt.Sprintf("%s (%s)", e.text, n)
}
