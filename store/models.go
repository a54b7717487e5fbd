package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/json"
	"iter"
	"strings"
	"time"

	"github.com/visutility/visutility"
)

// A Model is a model as lists show it: the fold writes it with its commits.
type Model struct {
	Name      string   `json:"name"`
	Partition int      `json:"partition"`
	Metrics   []Metric `json:"metrics"`
	Events    int64    `json:"events"` // folded
	// Times of the first event's receipt and of the newest event.
	CreatedAt    time.Time          `json:"created_at,omitzero"`
	LastEventAt  time.Time          `json:"last_event_at,omitzero"`
	Paused       bool               `json:"paused"`
	PausedBy     string             `json:"paused_by,omitempty"`
	PausedReason string             `json:"paused_reason,omitempty"`
	Champion     string             `json:"champion"`
	Policies     []string           `json:"policies"`
	Verdict      visutility.Verdict `json:"verdict"` // the gravest of its policies
	LastDecision string             `json:"last_decision,omitempty"`
}

// A Metric is what is known of one metric of a model.
type Metric struct {
	Name     string    `json:"name"`
	Last     float64   `json:"last"`
	LastTime time.Time `json:"last_time"`
	Count    int64     `json:"count"` // events
}

// A Series is a metric of a model with certain labels.
type Series struct {
	Model, Metric string
	Labels        visutility.Labels
}

// digest is the key of the series: the labels alone may be too long for an index.
func (k Series) digest() string {
	h := sha256.New()
	for _, part := range []string{k.Model, k.Metric, string(k.Labels)} {
		h.Write([]byte(part)) // never fails
		h.Write([]byte{0})
	}
	return digestHex(h.Sum(nil)[:16])
}

func (t *tx) saveModels(ctx context.Context, models []Model) error {
	if len(models) == 0 {
		return nil
	}
	paused := make(map[string]bool)
	if err := t.each(ctx, func(rows *sql.Rows) error {
		var name string
		err := rows.Scan(&name)
		paused[name] = true
		return err
	}, queryPaused); err != nil {
		return err
	}
	models = lastOf(models, func(m *Model) string { return m.Name })
	bodies := make([]string, len(models))
	for i := range models {
		m := &models[i]
		var err error
		if bodies[i], err = toJSON(m); err != nil {
			return err
		}
		if m.Paused != paused[m.Name] {
			change := struct {
				Paused bool   `json:"paused"`
				By     string `json:"by,omitempty"`
				Reason string `json:"reason,omitempty"`
			}{m.Paused, m.PausedBy, m.PausedReason}
			if err := t.log(ActivityModel, m.Name, m.Name, change); err != nil {
				return err
			}
		}
	}
	return t.insert(ctx, insertModel, len(models), func(args []any, i int) []any {
		m := &models[i]
		return append(args, m.Name, flag(m.Paused), int(m.Verdict), flag(len(m.Policies) > 0), millis(m.LastEventAt), m.LastDecision, bodies[i])
	}, nil)
}

func (t *tx) saveSeries(ctx context.Context, series []Series) error {
	labels := make([]string, len(series))
	for i, k := range series {
		var err error
		// As JSON: the canonical form holds bytes that PostgreSQL refuses in text.
		if labels[i], err = toJSON(k.Labels.Map()); err != nil {
			return err
		}
	}
	return t.insert(ctx, insertSeries, len(series), func(args []any, i int) []any {
		k := &series[i]
		return append(args, k.digest(), k.Model, k.Metric, labels[i])
	}, nil)
}

// A ModelFilter selects models.
type ModelFilter struct {
	// Query is a part of the name; upper and lower case of ASCII letters are the same. Defaults to all.
	Query string
}

// Models lists models by name. next is the cursor of the next page, "" at the end.
// A Query reads along the names until the page is full.
func (s *Store) Models(ctx context.Context, p Page, f ModelFilter) (models []Model, next string, err error) {
	limit, err := p.limit()
	if err != nil {
		return nil, "", err
	}
	after, ok, err := p.cursor('m')
	if err != nil {
		return nil, "", err
	}
	q := newQuery(`SELECT body FROM model`)
	if ok {
		q.and(`name > ?`, after.id)
	}
	if f.Query != "" {
		q.and(`lower(name) LIKE ? ESCAPE '\'`, "%"+likeEscape(clean(f.Query))+"%")
	}
	q.add(` ORDER BY name LIMIT ?`, limit+1)
	models, err = readJSON[Model](ctx, s, "listing models", q)
	if err == nil && len(models) > limit {
		models = models[:limit]
		next = cursor{kind: 'm', id: models[limit-1].Name}.String()
	}
	return models, next, err
}

// likeEscape is s for LIKE: taken literally, ASCII letters in lower case (the
// databases agree on no others).
func likeEscape(s string) string {
	lower := strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r
	}, s)
	return strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(lower)
}

// Model returns the model with that name, or ErrNotFound.
func (s *Store) Model(ctx context.Context, name string) (Model, error) {
	q := newQuery(`SELECT body FROM model`)
	q.and(`name = ?`, clean(name))
	return readOne[Model](ctx, s, "model", name, q)
}

// SeriesKeys yields every series ever seen, in no order that means anything.
func (s *Store) SeriesKeys(ctx context.Context) iter.Seq2[Series, error] {
	return func(yield func(Series, error) bool) {
		const size = 5000
		page, last := make([]Series, 0, size), ""
		for {
			page = page[:0]
			err := s.read(ctx, "reading the series", func(rows *sql.Rows) error {
				var k Series
				var labels []byte
				if err := rows.Scan(&last, &k.Model, &k.Metric, &labels); err != nil {
					return err
				}
				var m map[string]string
				err := json.Unmarshal(labels, &m)
				k.Labels = visutility.MakeLabels(m)
				page = append(page, k)
				return err
			}, `SELECT digest, model, metric, labels FROM series WHERE digest > $1 ORDER BY digest LIMIT $2`, last, size)
			if err != nil {
				yield(Series{}, err)
				return
			}
			for _, k := range page {
				if !yield(k, nil) {
					return
				}
			}
			if len(page) < size {
				return
			}
		}
	}
}

// readJSON runs a query for one column of JSON.
func readJSON[T any](ctx context.Context, s *Store, what string, q *query) (list []T, err error) {
	err = s.read(ctx, what, func(rows *sql.Rows) error {
		var b sql.RawBytes
		if err := rows.Scan(&b); err != nil {
			return err
		}
		var v T
		err := json.Unmarshal(b, &v)
		list = append(list, v)
		return err
	}, q.text.String(), q.args...)
	return list, err
}

// readOne runs a query for one column of JSON in at most one row.
func readOne[T any](ctx context.Context, s *Store, kind, id string, q *query) (v T, err error) {
	list, err := readJSON[T](ctx, s, "reading "+kind+" "+id, q)
	switch {
	case err != nil:
		return v, err
	case len(list) == 0:
		return v, notFound(kind, id)
	}
	return list[0], nil
}
