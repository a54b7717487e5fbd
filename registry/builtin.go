package registry

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/store"
)

// Options say where a [Builtin] keeps and finds artifacts.
type Options struct {
	// Dir is where artifacts are kept; it is made when needed. Required.
	Dir string
	// RunsDir is the directory in which run r1 has its own directory r1. Only from
	// there are artifacts taken, each from the directory of its run. Defaults to taking none.
	RunsDir string
}

// Builtin is a registry of rows in a store and files in a directory.
// It is safe for concurrent use, also by several processes that share both.
type Builtin struct {
	store *store.Store
	o     Options

	copying sync.Mutex // one fallback copy at a time, see keep
}

var _ visutility.Registry = (*Builtin)(nil)

// NewBuiltin returns a registry over st. It does no I/O.
func NewBuiltin(st *store.Store, o Options) *Builtin { return &Builtin{store: st, o: o} }

// Register adds a version. An artifact whose URI is a path (or a file URI) in the
// directory of v.Run is moved into the registry's own, with its digest and size
// computed on the way; it must be a regular file, reached without leaving that
// directory. Any other URI is kept as it is and never opened.
//
// The file is linked to its new place, the version stored, and only then the
// file removed from the old one: a crash in between leaves both, and the next attempt goes on.
func (b *Builtin) Register(ctx context.Context, v visutility.Version) (visutility.Version, error) {
	if v.Run != "" {
		stored, err := b.store.VersionOfRun(ctx, v.Model, v.Run)
		if !errors.Is(err, visutility.ErrNotFound) {
			return stored, err
		}
	}
	src, err := b.source(&v)
	if err != nil {
		return visutility.Version{}, err
	}
	if src != nil {
		if err := b.keep(ctx, src, &v.Artifact); err != nil {
			return visutility.Version{}, err
		}
	}
	stored, err := b.store.InsertVersion(ctx, v)
	if err != nil {
		return visutility.Version{}, err
	}
	// Another process may have been faster, with another file: then this one stays.
	if src != nil && stored.Artifact.URI == v.Artifact.URI {
		src.discard()
	}
	return stored, nil
}

// Resolve returns the version with that id or alias, or ErrNotFound.
func (b *Builtin) Resolve(ctx context.Context, model, ref string) (visutility.Version, error) {
	return b.store.Version(ctx, model, ref)
}

// Versions yields the versions of a model, newest first, reading page by page.
func (b *Builtin) Versions(ctx context.Context, model string) iter.Seq2[visutility.Version, error] {
	return func(yield func(visutility.Version, error) bool) {
		for p := (store.Page{}); ; {
			page, next, err := b.store.Versions(ctx, model, p)
			if err != nil {
				yield(visutility.Version{}, err)
				return
			}
			for _, v := range page {
				if !yield(v, nil) {
					return
				}
			}
			if next == "" {
				return
			}
			p.Cursor = next
		}
	}
}

// SetAlias moves an alias in one compare and swap. An empty to takes it away.
func (b *Builtin) SetAlias(ctx context.Context, model, alias, to, from string) error {
	return b.store.SetAlias(ctx, model, alias, to, from)
}

func unavailable(what string, err error) error {
	return fmt.Errorf("registry: %s: %w: %w", what, visutility.ErrUnavailable, err)
}
