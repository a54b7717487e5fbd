package ingest

import (
	"encoding/json"
	"time"

	"github.com/visutility/visutility"
)

// NATSFormat is the name under which messages of NATS are counted.
const NATSFormat = "nats"

// The headers of a message that mean something, all optional.
const (
	natsContentType = "Content-Type" // JSON unless it says otherwise
	natsMessageID   = "Nats-Msg-Id"  // the idempotency key
)

// A NATSMessage is a message as a client published it.
type NATSMessage struct {
	Header map[string][]string
	Data   []byte
	At     time.Time // when it came
}

// ReadNATS turns a message into events, all or none, and the idempotency key, "" for none. Its data is what
// [Lookup] knows. Events without a time have that of the message, so that they keep their order.
func ReadNATS(m NATSMessage) (key string, events []visutility.Event, err error) {
	decode, err := Lookup(first(m.Header[natsContentType]))
	if err != nil {
		return "", nil, err
	}
	if key = first(m.Header[natsMessageID]); len(key) > visutility.MaxNameBytes-len(NATSFormat)-1 {
		return "", nil, visutility.Invalidf("header."+natsMessageID, "too_long", "has %d bytes; %d are allowed", len(key), visutility.MaxNameBytes-len(NATSFormat)-1)
	}
	if key != "" {
		key = NATSFormat + ":" + key
	}
	events, err = decode(m.Data, m.At)
	for i := range events {
		if events[i].Time.IsZero() {
			events[i].Time = time.UnixMilli(m.At.UnixMilli()).UTC()
		}
	}
	return key, events, err
}

func first(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[0]
}

// A natsAnswer is the answer to a message, in the form of JetStream's acknowledgement, so that a client may
// publish as to any stream and knows that what it sent is on disk.
type natsAnswer struct {
	Stream   string     `json:"stream,omitempty"`
	Accepted int        `json:"accepted"`
	Seq      uint64     `json:"seq"`
	Error    *natsError `json:"error,omitempty"`
}

type natsError struct {
	Code        int    `json:"code"`
	Description string `json:"description"`
}

// NATSAccepted is the answer to a message whose events are on disk.
func NATSAccepted(events int) []byte {
	return marshalNATS(natsAnswer{Stream: "visutility", Accepted: events})
}

// NATSRefused is the answer to a message that was not taken in; the code is a status of HTTP.
func NATSRefused(code int, text string) []byte {
	return marshalNATS(natsAnswer{Error: &natsError{code, text}})
}

func marshalNATS(a natsAnswer) []byte {
	b, err := json.Marshal(a)
	if err != nil {
		return nil // numbers and strings always marshal
	}
	return b
}
