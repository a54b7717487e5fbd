package visutility

import (
	"context"
	"iter"
)

// A Registry keeps versions and the aliases that name them. Implementations
// are safe for concurrent use and pass the conformance suite in package visutilitytest.
type Registry interface {
	// Register adds a version and returns it with its ID and the final place of its
	// artifact. v.Run makes it idempotent: the same run gets the same version.
	Register(ctx context.Context, v Version) (Version, error)
	// Resolve returns the version with that id or alias, or ErrNotFound.
	Resolve(ctx context.Context, model, ref string) (Version, error)
	// Versions yields the versions of a model, newest first.
	Versions(ctx context.Context, model string) iter.Seq2[Version, error]
	// SetAlias moves an alias from one version ("" = does not exist) to
	// another, in one compare-and-swap: ErrConflict when it points elsewhere.
	// Moving it to where it is succeeds.
	SetAlias(ctx context.Context, model, alias, to, from string) error
}
