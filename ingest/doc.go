// Package ingest turns what arrives on the wire into events: bytes in,
// []visutility.Event out. It knows nothing of HTTP, storage or models.
//
// There are two steps, and both are bounded:
//
//   - [ReadBody] reads a body whole, undoing gzip or zstd, never past a limit
//     that counts decompressed bytes, and never past a [Budget] that all bodies
//     being handled share;
//   - a [Decoder], found by content type with [Lookup], turns the bytes into events.
//
// A decoder is strict and all-or-nothing. What it returns has passed
// [visutility.Event.Check]; otherwise nothing is returned but the faults, up to
// [MaxFaults] of them, each with the path of its field ("events[3].value"), so
// that a sender can mend a body in one go.
//
// A new format is a file with its decoder and a line in the table of formats.go.
package ingest
