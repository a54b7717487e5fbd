// Package store keeps what VisuTility must not forget, in SQL: the state of the
// fold, decisions, runs, policies, versions and their aliases, and what happened.
//
// A [Store] is a SQLite file (the default: one process, nothing to install) or
// a PostgreSQL database. Both are spoken to with the same query texts; only
// migrations and the opening differ. There is one file per noun.
//
// # The commit
//
// The fold over the log is made exactly-once by one method: [Store.Commit] writes the
// position up to which a partition was folded together with everything that the folding brought
// about, in one transaction that is on disk when the method returns. A crash leaves the
// state before or after it, never between; the fold then reads the log again from
// the position it finds. What it brings about a second time has the same
// identities and is not written twice. Each partition has an owner with an
// epoch ([Store.Acquire]); a commit of an earlier epoch gets [ErrFenced] and changes nothing.
//
// # Rules kept by the database
//
// At most one active run per model: a unique index, so that no program error
// can break it. A run moves along the table of [visutility.RunState] only, by compare and
// swap on its state. Versions never change. An alias moves by compare and swap.
//
// # Telling others
//
// Facts that must reach the log after a change (a run has ended) are written to the
// outbox in the same transaction ([Announcement]). Facts for people who look on are
// rows of activity ([Activity]), numbered in the order of commits without gaps, so that a reader that
// asks for what comes after the last one it saw misses nothing; [Store.Watch] says when to ask.
//
// # Errors
//
// Errors wrap [visutility.ErrNotFound], [visutility.ErrConflict], [visutility.ErrInvalid], or
// [visutility.ErrUnavailable] when the disk or the database cannot serve: full,
// locked for too long, read-only, unreachable. Then nothing was changed, except that a lost
// connection can hide the success of a commit; every method may be called again.
//
// All methods are safe for concurrent use. Times are kept in milliseconds.
package store
