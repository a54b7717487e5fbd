// Package registry holds implementations of [visutility.Registry]: where trained
// versions are kept, and the aliases that say which of them serves.
//
// [Builtin] is the one that needs nothing installed: rows in the store, bytes in
// a directory. Others are adapters to registries that run elsewhere, one file each.
//
// # How artifacts are kept
//
// An artifact that a training left in its run's directory becomes
//
//	<dir>/<first two digits of the SHA-256>/<SHA-256>/<base name>
//
// so its place says what is in it, the same bytes twice are one file, and a
// second attempt after a crash finds what the first one put there. Files appear there complete and
// on disk, or not at all; they are read-only.
package registry
