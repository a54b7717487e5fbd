package store

import (
	"encoding/base64"
	"encoding/json"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/visutility/visutility"
)

// Limits on the length of a page.
const (
	DefaultLimit = 100
	MaxLimit     = 1000
)

// A Page says which part of a list is wanted.
type Page struct {
	// Cursor is what the page before returned as next. Defaults to the first page.
	Cursor string
	// Limit is how many items, from 1 to MaxLimit. Defaults to DefaultLimit.
	Limit int
}

func (p Page) limit() (int, error) {
	switch {
	case p.Limit == 0:
		return DefaultLimit, nil
	case p.Limit < 0 || p.Limit > MaxLimit:
		return 0, visutility.Invalidf("limit", "range", "is %d; 1 to %d are allowed", p.Limit, MaxLimit)
	}
	return p.Limit, nil
}

// A cursor is the sort key of the last item of a page. kind tells lists apart,
// so that the cursor of one is not taken for another's.
type cursor struct {
	kind   byte // 'm'odels, 'd'ecisions, 'r'uns, 'v'ersions
	number int64
	id     string
}

func (c cursor) String() string {
	return base64.RawURLEncoding.EncodeToString([]byte(string(c.kind) + strconv.FormatInt(c.number, 10) + "/" + c.id))
}

// cursor decodes p.Cursor; ok is false when there is none.
func (p Page) cursor(kind byte) (c cursor, ok bool, err error) {
	if p.Cursor == "" {
		return cursor{}, false, nil
	}
	bad := visutility.Invalidf("cursor", "syntax", "is not one that this list returned; start again without it")
	b, err := base64.RawURLEncoding.Strict().DecodeString(p.Cursor)
	if err != nil || len(b) == 0 || b[0] != kind || !utf8.Valid(b) {
		return cursor{}, false, bad
	}
	number, id, ok := strings.Cut(string(b[1:]), "/")
	n, err := strconv.ParseInt(number, 10, 64)
	if !ok || err != nil || strings.ContainsRune(id, 0) {
		return cursor{}, false, bad
	}
	return cursor{kind, n, id}, true, nil
}

// A query is built from a fixed text and the conditions that a filter asks for.
type query struct {
	text  strings.Builder
	args  []any
	where bool
}

func newQuery(text string) *query {
	q := &query{}
	q.text.WriteString(text)
	return q
}

// and adds a condition; each ? in it becomes the next placeholder.
func (q *query) and(condition string, args ...any) {
	if q.where {
		q.text.WriteString(" AND ")
	} else {
		q.text.WriteString(" WHERE ")
		q.where = true
	}
	q.add(condition, args...)
}

func (q *query) add(text string, args ...any) {
	for _, a := range args {
		before, after, _ := strings.Cut(text, "?")
		q.args = append(q.args, a)
		q.text.WriteString(before)
		q.text.WriteString("$" + strconv.Itoa(len(q.args)))
		text = after
	}
	q.text.WriteString(text)
}

// millis is the form of a time in the database; 0 is no time.
func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func fromMillis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// clean makes text of unknown origin storable: PostgreSQL refuses zero bytes and
// what is not UTF-8.
func clean(s string) string {
	if utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 {
		return s
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

// blob makes an absent value an empty one: the columns are NOT NULL.
func blob(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

func flag(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

func toJSON(v any) (string, error) {
	b, err := json.Marshal(v)
	return string(b), err
}
