package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"slices"
	"strings"

	"github.com/visutility/visutility"
)

// The states of a model, as people tell them apart, in the order in which they want to be looked at. A
// model is in the first that fits.
const (
	StateAwaitingApproval = "awaiting_approval" // a run waits for a yes
	StateFiring           = "firing"            // the condition holds, and a guardrail stands against a run
	StateBreach           = "breach"            // the condition holds, not yet for long enough
	StateRetraining       = "retraining"        // a run is under way
	StatePaused           = "paused"
	StateHolding          = "holding"   // a policy watches, and nothing is wrong
	StateUnwatched        = "unwatched" // no policy
)

// ModelStates lists the states, in their order.
func ModelStates() []string { return slices.Clone(modelStates) }

var modelStates = []string{
	StateAwaitingApproval, StateFiring, StateBreach, StateRetraining, StatePaused, StateHolding, StateUnwatched,
}

// fleetState is the number of a model's state in modelStates.
const fleetState = `CASE
	WHEN r.state = 4 THEN 0
	WHEN r.id IS NOT NULL THEN 3
	WHEN m.paused = 1 THEN 4
	WHEN m.watched = 0 THEN 6
	WHEN m.verdict = 2 THEN 1
	WHEN m.verdict = 1 THEN 2
	ELSE 5 END`

// fleetFrom joins every model with its active run: there is one at most.
const fleetFrom = ` FROM model m LEFT JOIN run r ON r.model = m.name AND r.active = 1`

// A FleetQuery selects models for an overview.
type FleetQuery struct {
	// Query is a part of the name, as in [ModelFilter]. Defaults to all.
	Query string
	// State is one of [ModelStates]. Defaults to all.
	State string
	// Sort is "name", "state" (what wants to be looked at first) or "event" (the newest first). Defaults to "name".
	Sort string
	// Offset and Limit say which part: an overview is jumped about in. Limit is from 1 to MaxLimit and defaults to DefaultLimit.
	Offset, Limit int
}

var fleetOrders = map[string]string{
	"":      `m.name`,
	"name":  `m.name`,
	"state": fleetState + `, m.name`,
	"event": `m.last_event_at DESC, m.name`,
}

// A FleetModel is a model of an overview.
type FleetModel struct {
	Model
	State string
	Run   string // the active run, "" for none
}

// Fleet lists models for an overview. It reads all models that fit, to sort them.
func (s *Store) Fleet(ctx context.Context, f FleetQuery) (models []FleetModel, err error) {
	limit, err := Page{Limit: f.Limit}.limit()
	if err != nil {
		return nil, err
	}
	order, ok := fleetOrders[f.Sort]
	if !ok {
		return nil, visutility.Invalidf("sort", "unknown", "%q is none of name, state, event", f.Sort)
	}
	if f.Offset < 0 {
		return nil, visutility.Invalidf("offset", "range", "is negative")
	}
	q := newQuery(`SELECT m.body, ` + fleetState + `, COALESCE(r.id, '')` + fleetFrom)
	if f.Query != "" {
		q.and(`lower(m.name) LIKE ? ESCAPE '\'`, "%"+likeEscape(clean(f.Query))+"%")
	}
	if f.State != "" {
		state := slices.Index(modelStates, f.State)
		if state < 0 {
			return nil, visutility.Invalidf("state", "unknown", "%q is none of %s", f.State, strings.Join(modelStates, ", "))
		}
		q.and(fleetState+` = ?`, state)
	}
	q.add(` ORDER BY `+order+` LIMIT ? OFFSET ?`, limit, f.Offset)
	err = s.read(ctx, "listing the fleet", func(rows *sql.Rows) error {
		var m FleetModel
		var body sql.RawBytes
		var state int
		if err := rows.Scan(&body, &state, &m.Run); err != nil {
			return err
		}
		m.State = modelStates[state]
		err := json.Unmarshal(body, &m.Model)
		models = append(models, m)
		return err
	}, q.text.String(), q.args...)
	return models, err
}

// CountFleet counts the models in each state, of those whose name contains query.
func (s *Store) CountFleet(ctx context.Context, query string) (counts map[string]int, err error) {
	counts = make(map[string]int, len(modelStates))
	for _, state := range modelStates {
		counts[state] = 0
	}
	q := newQuery(`SELECT ` + fleetState + ` AS state, COUNT(*)` + fleetFrom)
	if query != "" {
		q.and(`lower(m.name) LIKE ? ESCAPE '\'`, "%"+likeEscape(clean(query))+"%")
	}
	q.add(` GROUP BY 1`)
	err = s.read(ctx, "counting the fleet", func(rows *sql.Rows) error {
		var state, n int
		err := rows.Scan(&state, &n)
		counts[modelStates[state]] = n
		return err
	}, q.text.String(), q.args...)
	return counts, err
}

// DecisionsOf returns the decisions with these ids, by id; those that are not there are left out.
func (s *Store) DecisionsOf(ctx context.Context, ids []string) (map[string]visutility.Decision, error) {
	found := make(map[string]visutility.Decision, len(ids))
	if len(ids) == 0 {
		return found, nil
	}
	q := newQuery(`SELECT body FROM decision`)
	args := make([]any, len(ids))
	for i, id := range ids {
		args[i] = clean(id)
	}
	q.and(`id IN (?`+strings.Repeat(`, ?`, len(ids)-1)+`)`, args...)
	list, err := readJSON[visutility.Decision](ctx, s, "reading decisions", q)
	for _, d := range list {
		found[d.ID] = d
	}
	return found, err
}
