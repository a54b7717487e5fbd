// Package ingest turns what arrives on the wire into events: bytes in,
// []visutility.Event out. It knows nothing of storage or models, and of HTTP only
// what a format itself prescribes: headers and statuses.
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
// # Formats of other systems
//
// A [Protocol] is the format of another system: what is posted where, how it is read and what
// its senders expect to be told. Such senders cannot be told to mend a body, so a body is
// taken in as far as it is good ([Batch]), and the rest is refused, counted and told in the answer.
// A [Source] has the [Mapping] of their names to ours and what must be remembered from one
// body to the next, within bounds: which series there are, and where running totals stood.
//
// A new format is a file with its decoder and a line in the table of formats.go or protocol.go.
package ingest
