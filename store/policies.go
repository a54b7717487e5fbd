package store

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/visutility/visutility"
)

// SavePolicy keeps a revision of a policy, so that a run is carried through
// under the policy that decided it, whatever the file says by then. dir is the
// directory of the file. A known revision keeps its source and gets the new dir.
func (s *Store) SavePolicy(ctx context.Context, name, revision, dir string, source []byte) error {
	return s.write(ctx, "saving policy "+name, func(t *tx) error {
		_, err := t.exec(ctx, `INSERT INTO policy (name, revision, dir, source, created_at) VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT (name, revision) DO UPDATE SET dir = excluded.dir`, name, revision, clean(dir), blob(source), millis(s.now()))
		return err
	})
}

// Policy returns a revision of a policy, or ErrNotFound.
func (s *Store) Policy(ctx context.Context, name, revision string) (dir string, source []byte, err error) {
	found := false
	err = s.read(ctx, "reading policy "+name, func(rows *sql.Rows) error {
		found = true
		return rows.Scan(&dir, &source)
	}, `SELECT dir, source FROM policy WHERE name = $1 AND revision = $2`, clean(name), clean(revision))
	if err == nil && !found {
		err = fmt.Errorf("revision %s of policy %q: %w", revision, name, visutility.ErrNotFound)
	}
	return dir, source, err
}
