package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/visutility/visutility"
)

// saveDecisions opens runs and stores decisions, each as what became of it.
func (t *tx) saveDecisions(ctx context.Context, decisions []visutility.Decision, runs []visutility.Run) error {
	decisions = lastOf(decisions, func(d *visutility.Decision) string { return d.ID })
	var opened []visutility.Run
	for _, r := range runs {
		known, err := t.get(ctx, []any{new(int)}, queryDecided, r.Decision)
		if err != nil {
			return err
		}
		if known {
			continue // the run was opened, or refused, when the decision was stored
		}
		refusal, isNew, err := t.openRun(ctx, &r)
		switch {
		case err != nil:
			return err
		case refusal != "":
			decisions = suppress(decisions, &r, refusal)
			t.outbox = append(t.outbox, visutility.Control{Kind: visutility.ControlEnded, Model: r.Model, Policy: r.Policy, Run: r.ID, State: visutility.Canceled, Reason: refusal})
		case isNew:
			opened = append(opened, r)
		}
	}
	if err := t.insertDecisions(ctx, decisions); err != nil {
		return err
	}
	for _, r := range opened {
		if err := t.logRun(r); err != nil {
			return err
		}
	}
	return nil
}

// suppress returns decisions with the one that asked for run r suppressed.
func suppress(decisions []visutility.Decision, r *visutility.Run, why string) []visutility.Decision {
	i := slices.IndexFunc(decisions, func(d visutility.Decision) bool { return d.ID == r.Decision })
	if i < 0 {
		return decisions
	}
	decisions = slices.Clone(decisions) // the caller's stays as it is
	d := &decisions[i]
	d.Outcome, d.SuppressedBy, d.Run = visutility.Suppressed, visutility.ByActiveRun, ""
	d.Reason = fmt.Sprintf("suppressed: %s (%s)", why, d.Reason)
	return decisions
}

func (t *tx) insertDecisions(ctx context.Context, decisions []visutility.Decision) error {
	bodies := make([]string, len(decisions))
	for i := range decisions {
		var err error
		if bodies[i], err = evidenceJSON(decisions[i], func(d visutility.Decision) visutility.Decision {
			d.Evidence = finite(d.Evidence)
			return d
		}); err != nil {
			return fmt.Errorf("decision %q: %w", decisions[i].ID, err)
		}
	}
	fresh := make(map[string]bool)
	if err := t.insert(ctx, insertDecision, len(decisions), func(args []any, i int) []any {
		d := &decisions[i]
		return append(args, d.ID, d.Model, d.Policy, int(d.Outcome), clean(d.Request), millis(d.Time), bodies[i])
	}, func(rows *sql.Rows) error {
		var id string
		err := rows.Scan(&id)
		fresh[id] = true
		return err
	}); err != nil {
		return err
	}
	for i := range decisions {
		if d := &decisions[i]; fresh[d.ID] {
			if err := t.log(ActivityDecision, d.Model, d.ID, json.RawMessage(bodies[i])); err != nil {
				return err
			}
		}
	}
	return nil
}

// evidenceJSON marshals v; a number that JSON has no form for, such as the NaN of an empty
// average, must not keep it from being stored: repair then replaces those.
func evidenceJSON[T any](v T, repair func(T) T) (string, error) {
	text, err := toJSON(v)
	if _, ok := errors.AsType[*json.UnsupportedValueError](err); ok {
		return toJSON(repair(v))
	}
	return text, err
}

// finite returns a copy of terms in which values that are not finite are text.
func finite(terms []visutility.Term) []visutility.Term {
	terms = slices.Clone(terms)
	for i := range terms {
		if f, ok := terms[i].Value.(float64); ok && (math.IsNaN(f) || math.IsInf(f, 0)) {
			terms[i].Value = fmt.Sprint(f)
		}
		terms[i].Terms = finite(terms[i].Terms)
	}
	return terms
}

// Decision returns the decision with that id, or ErrNotFound.
func (s *Store) Decision(ctx context.Context, id string) (visutility.Decision, error) {
	q := newQuery(`SELECT body FROM decision`)
	q.and(`id = ?`, clean(id))
	return readOne[visutility.Decision](ctx, s, "decision", id, q)
}

// A DecisionFilter selects decisions; an empty field selects all.
type DecisionFilter struct {
	Model, Policy string
	Outcome       string // its name, such as "fired"
	Request       string // that of the [visutility.Control] that asked
	// Until selects what was decided at that time or before.
	Until time.Time
	Page
}

// Decisions lists decisions, newest first. next is the cursor of the next page,
// "" at the end.
func (s *Store) Decisions(ctx context.Context, f DecisionFilter) (decisions []visutility.Decision, next string, err error) {
	limit, err := f.limit()
	if err != nil {
		return nil, "", err
	}
	before, ok, err := f.cursor('d')
	if err != nil {
		return nil, "", err
	}
	q := newQuery(`SELECT body FROM decision`)
	if f.Model != "" {
		q.and(`model = ?`, clean(f.Model))
	}
	if f.Policy != "" {
		q.and(`policy = ?`, clean(f.Policy))
	}
	if f.Outcome != "" {
		var o visutility.Outcome
		if err := o.UnmarshalText([]byte(f.Outcome)); err != nil {
			return nil, "", visutility.Invalidf("outcome", "unknown", "%q is none of noted, fired, suppressed, rollback", f.Outcome)
		}
		q.and(`outcome = ?`, int(o))
	}
	if f.Request != "" {
		q.and(`request = ? AND request <> ''`, clean(f.Request)) // as the partial index has it
	}
	if !f.Until.IsZero() {
		q.and(`time <= ?`, millis(f.Until))
	}
	if ok {
		q.and(`(time, id) < (?, ?)`, before.number, before.id)
	}
	q.add(` ORDER BY time DESC, id DESC LIMIT ?`, limit+1)
	decisions, err = readJSON[visutility.Decision](ctx, s, "listing decisions", q)
	if err == nil && len(decisions) > limit {
		decisions = decisions[:limit]
		last := &decisions[limit-1]
		next = cursor{'d', millis(last.Time), last.ID}.String()
	}
	return decisions, next, err
}
