package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/visutility/visutility"
)

// InsertVersion adds a version to its model and returns it with its ID, v1, v2
// and so on. When v.Run is not empty and has a version already, that one is
// returned, as it was stored. CreatedAt is filled in where it is missing; ID and
// Aliases are not looked at.
func (s *Store) InsertVersion(ctx context.Context, v visutility.Version) (visutility.Version, error) {
	if err := checkVersion(&v); err != nil {
		return visutility.Version{}, err
	}
	if v.CreatedAt.IsZero() {
		v.CreatedAt = s.now().UTC()
	}
	v.Aliases = nil
	var stored visutility.Version
	err := s.write(ctx, "registering a version of "+v.Model, func(t *tx) error {
		// Another process may take the number first: then the next one is tried.
		for range 100 {
			if v.Run != "" {
				found, err := t.version(ctx, &stored, `model = $1 AND run = $2 AND run <> ''`, v.Model, v.Run)
				if err != nil || found {
					return err
				}
			}
			var number int64
			if _, err := t.get(ctx, []any{&number}, `SELECT COALESCE(MAX(number), 0) + 1 FROM version WHERE model = $1`, v.Model); err != nil {
				return err
			}
			stored = v
			stored.ID = versionID(number)
			body, err := toJSON(stored)
			if err != nil {
				return err
			}
			n, err := t.exec(ctx, `INSERT INTO version (model, number, run, body) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING`, v.Model, number, v.Run, body)
			if err != nil || n == 1 {
				return err
			}
		}
		return errors.New("other writers were faster each time")
	})
	if err != nil {
		return visutility.Version{}, err
	}
	return stored, nil
}

func checkVersion(v *visutility.Version) error {
	for field, text := range map[string]string{"model": v.Model, "run": v.Run} {
		if len(text) > visutility.MaxNameBytes || clean(text) != text {
			return visutility.Invalidf(field, "syntax", "is longer than %d bytes, or is not plain UTF-8 text", visutility.MaxNameBytes)
		}
	}
	if v.Model == "" {
		return visutility.Invalidf("model", "empty", "is missing or empty")
	}
	for field, metrics := range map[string]map[string]float64{"metrics": v.Metrics, "artifact.metrics": v.Artifact.Metrics, "artifact.champion_metrics": v.Artifact.ChampionMetrics} {
		for name, value := range metrics {
			if math.IsNaN(value) || math.IsInf(value, 0) {
				return visutility.Invalidf(field+"."+name, "nan", "is %v; a version needs finite numbers", value)
			}
		}
	}
	return nil
}

func versionID(number int64) string { return "v" + strconv.FormatInt(number, 10) }

// versionNumber is the number in a version's id; ok is false for other names.
func versionNumber(id string) (n int64, ok bool) {
	digits, ok := strings.CutPrefix(id, "v")
	n, err := strconv.ParseInt(digits, 10, 64)
	return n, ok && err == nil && n > 0 && versionID(n) == id
}

// version reads one row, without aliases.
func (t *tx) version(ctx context.Context, v *visutility.Version, where string, args ...any) (bool, error) {
	var body []byte
	found, err := t.get(ctx, []any{&body}, `SELECT body FROM version WHERE `+where, args...)
	if err == nil && found {
		*v = visutility.Version{}
		err = json.Unmarshal(body, v)
	}
	return found, err
}

// Version returns the version of a model with that id or alias, or ErrNotFound.
func (s *Store) Version(ctx context.Context, model, ref string) (visutility.Version, error) {
	q := newQuery(selectVersion)
	q.and(`version.model = ?`, clean(model))
	if n, ok := versionNumber(ref); ok {
		q.and(`version.number = ?`, n)
	} else {
		q.and(`version.number = (SELECT number FROM alias WHERE model = ? AND name = ?)`, clean(model), clean(ref))
	}
	q.add(orderVersions)
	list, err := s.readVersions(ctx, model, q)
	switch {
	case err != nil:
		return visutility.Version{}, err
	case len(list) == 0:
		return visutility.Version{}, fmt.Errorf("model %q: %w", model, notFound("version", ref))
	}
	return list[0], nil
}

// VersionOfRun returns the version of a model that a run registered, or ErrNotFound.
func (s *Store) VersionOfRun(ctx context.Context, model, run string) (visutility.Version, error) {
	q := newQuery(selectVersion)
	q.and(`version.model = ?`, clean(model))
	q.and(`version.run = ? AND version.run <> ''`, clean(run)) // as the partial index has it
	q.add(orderVersions)
	list, err := s.readVersions(ctx, model, q)
	switch {
	case err != nil:
		return visutility.Version{}, err
	case len(list) == 0:
		return visutility.Version{}, fmt.Errorf("model %q: %w", model, notFound("version of run", run))
	}
	return list[0], nil
}

const (
	// One row for each alias of a version, at least one.
	selectVersion = `SELECT version.number, version.body, COALESCE(alias.name, '') FROM version
		LEFT JOIN alias ON alias.model = version.model AND alias.number = version.number`
	orderVersions = ` ORDER BY version.number DESC, alias.name`
)

func (s *Store) readVersions(ctx context.Context, model string, q *query) (list []visutility.Version, err error) {
	last := int64(0)
	err = s.read(ctx, "reading the versions of "+model, func(rows *sql.Rows) error {
		var number int64
		var body sql.RawBytes
		var alias string
		if err := rows.Scan(&number, &body, &alias); err != nil {
			return err
		}
		if number != last {
			var v visutility.Version
			if err := json.Unmarshal(body, &v); err != nil {
				return err
			}
			list, last = append(list, v), number
		}
		if alias != "" {
			v := &list[len(list)-1]
			v.Aliases = append(v.Aliases, alias)
		}
		return nil
	}, q.text.String(), q.args...)
	return list, err
}

// Versions lists the versions of a model, newest first. next is the cursor of the next
// page, "" at the end.
func (s *Store) Versions(ctx context.Context, model string, p Page) (versions []visutility.Version, next string, err error) {
	limit, err := p.limit()
	if err != nil {
		return nil, "", err
	}
	before, ok, err := p.cursor('v')
	if err != nil {
		return nil, "", err
	}
	// Numbers have no gaps, so that a page is a range of them.
	from := int64(math.MaxInt64)
	if ok {
		from = before.number - 1
	} else if err := s.read(ctx, "counting the versions of "+model, func(rows *sql.Rows) error { return rows.Scan(&from) },
		`SELECT COALESCE(MAX(number), 0) FROM version WHERE model = $1`, clean(model)); err != nil {
		return nil, "", err
	}
	q := newQuery(selectVersion)
	q.and(`version.model = ?`, clean(model))
	q.and(`version.number BETWEEN ? AND ?`, from-int64(limit)+1, from)
	q.add(orderVersions)
	if versions, err = s.readVersions(ctx, model, q); err != nil {
		return nil, "", err
	}
	if oldest := from - int64(limit) + 1; oldest > 1 && len(versions) > 0 {
		next = cursor{kind: 'v', number: oldest}.String()
	}
	return versions, next, nil
}

// SetAlias moves an alias of a model from one version to another, in one compare and swap:
// ErrConflict when it does not point at from. An empty from means that the alias does not
// exist, an empty to takes it away. Moving it to where it is succeeds and records
// nothing. ErrNotFound when there is no version to.
func (s *Store) SetAlias(ctx context.Context, model, alias, to, from string) error {
	if err := checkAlias(alias); err != nil {
		return err
	}
	return s.write(ctx, fmt.Sprintf("moving the alias %s of %s", alias, model), func(t *tx) error {
		toNumber, err := t.versionNumber(ctx, model, to)
		if err != nil {
			return err
		}
		fromNumber, _ := versionNumber(from) // 0, which no version has, for what is no id
		var current int64
		if _, err := t.get(ctx, []any{&current}, `SELECT number FROM alias WHERE model = $1 AND name = $2`, model, alias); err != nil {
			return err
		}
		if current == toNumber {
			return nil
		}
		moved, err := t.swap(ctx, model, alias, toNumber, fromNumber, from == "")
		if err != nil {
			return err
		}
		if !moved {
			return fmt.Errorf("alias %q of model %q points at %s, not at %s: %w", alias, model, pointee(current), orNothing(from), visutility.ErrConflict)
		}
		return t.logMove(ctx, AliasMove{Model: model, Alias: alias, From: from, To: to, Time: s.now()})
	})
}

// checkAlias keeps aliases apart from the ids of versions.
func checkAlias(alias string) error {
	switch {
	case alias == "" || len(alias) > visutility.MaxNameBytes || clean(alias) != alias:
		return visutility.Invalidf("alias", "syntax", "is empty, longer than %d bytes, or not plain UTF-8 text", visutility.MaxNameBytes)
	case len(alias) > 1 && alias[0] == 'v' && strings.Trim(alias[1:], "0123456789") == "":
		return visutility.Invalidf("alias", "reserved", "%q looks like the id of a version", alias)
	}
	return nil
}

// versionNumber is the number of an existing version; 0 for "".
func (t *tx) versionNumber(ctx context.Context, model, id string) (int64, error) {
	if id == "" {
		return 0, nil
	}
	n, ok := versionNumber(id)
	if ok {
		var err error
		if ok, err = t.get(ctx, []any{new(int)}, `SELECT 1 FROM version WHERE model = $1 AND number = $2`, clean(model), n); err != nil {
			return 0, err
		}
	}
	if !ok {
		return 0, fmt.Errorf("model %q: %w", model, notFound("version", id))
	}
	return n, nil
}

// swap is the compare and swap: the statement that finds the row as expected wins.
func (t *tx) swap(ctx context.Context, model, alias string, to, from int64, fromNothing bool) (bool, error) {
	var n int64
	var err error
	switch {
	case fromNothing && to == 0:
		return false, nil // from nothing to nothing, and it is something
	case fromNothing:
		n, err = t.exec(ctx, `INSERT INTO alias (model, name, number) VALUES ($1, $2, $3) ON CONFLICT (model, name) DO NOTHING`, model, alias, to)
	case to == 0:
		n, err = t.exec(ctx, `DELETE FROM alias WHERE model = $1 AND name = $2 AND number = $3`, model, alias, from)
	default:
		n, err = t.exec(ctx, `UPDATE alias SET number = $1 WHERE model = $2 AND name = $3 AND number = $4`, to, model, alias, from)
	}
	return n == 1, err
}

func pointee(number int64) string {
	if number == 0 {
		return "nothing"
	}
	return versionID(number)
}

func orNothing(id string) string {
	if id == "" {
		return "nothing"
	}
	return id
}

// An AliasMove is one move of an alias, as recorded.
type AliasMove struct {
	Model string    `json:"model"`
	Alias string    `json:"alias"`
	From  string    `json:"from"` // "" when it did not exist
	To    string    `json:"to"`   // "" when it was taken away
	Time  time.Time `json:"time"`
}

func (t *tx) logMove(ctx context.Context, m AliasMove) error {
	var seq int64
	if _, err := t.get(ctx, []any{&seq}, `SELECT COALESCE(MAX(seq), 0) + 1 FROM alias_history WHERE model = $1 AND name = $2`, m.Model, m.Alias); err != nil {
		return err
	}
	if _, err := t.exec(ctx, `INSERT INTO alias_history (model, name, seq, was, became, time) VALUES ($1, $2, $3, $4, $5, $6)`,
		m.Model, m.Alias, seq, m.From, m.To, millis(m.Time)); err != nil {
		return err
	}
	return t.log(ActivityAlias, m.Model, m.Alias, m)
}

// AliasMoves returns the newest moves of an alias, newest first, at most limit.
func (s *Store) AliasMoves(ctx context.Context, model, alias string, limit int) (moves []AliasMove, err error) {
	err = s.read(ctx, "reading the moves of alias "+alias, func(rows *sql.Rows) error {
		m := AliasMove{Model: model, Alias: alias}
		var at int64
		err := rows.Scan(&m.From, &m.To, &at)
		m.Time = fromMillis(at)
		moves = append(moves, m)
		return err
	}, `SELECT was, became, time FROM alias_history WHERE model = $1 AND name = $2 ORDER BY seq DESC LIMIT $3`, clean(model), clean(alias), limit)
	return moves, err
}
