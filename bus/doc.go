// Package bus is the durable log of events: a [visutility.Bus] on NATS
// JetStream, with the server inside the process.
//
// # What is promised
//
// Publish returns after the events are synced to the disk, never before, and
// appends all events of a call or none. A killed process or a power cut loses
// nothing that was acknowledged. A call with a key is stored once inside the
// window, however often it is repeated, also across restarts. When the disk is
// full or fails, calls are refused with ErrUnavailable; the server is started
// anew in the process as soon as it can be.
//
// # How it is stored
//
// There is one stream, EVENTS. An entry is a message on the subject
// events.<partition>; its [visutility.Position] is its sequence number in the
// stream, its Stored time the message's timestamp. batch.proto says what is in
// it. Beside the server's own files the directory holds bus.json, the mark of
// what made it (see mark.go), and last, the highest position acknowledged.
//
// # Group commit
//
// JetStream syncs after every message (with SyncAlways; any laxer setting loses
// acknowledged events at a power cut), except that an atomic batch is synced
// once. So there is one writer. It starts at once when idle; what arrives while
// it writes gathers and goes out together as one atomic batch. Events without a
// key are merged into a few messages. A call with a key is a message of its own
// (one for each partition), since the server finds repetitions by the message's id.
//
// If the server does not answer, the same batch is sent again. Every unit of it
// that must stand or fall together carries one id, so what was stored the first
// time is recognised, and no answer is ever guessed.
//
// # Reading
//
// Every Read is an ordered consumer of its own, in memory: the server keeps no
// place for readers, who bring their position. Batches are decoded into buffers
// that the next batch reuses.
package bus

//go:generate protoc --go_out=. --go_opt=module=github.com/visutility/visutility/bus batch.proto
