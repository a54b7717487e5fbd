package ingest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"

	"github.com/visutility/visutility"
)

// MetricType is the type of a CloudEvent of our own: its data is what [JSON] takes.
const MetricType = "visutility.metric.v1"

// CloudEvents takes CloudEvents 1.0 over HTTP, binary, structured or in batches: those of type [MetricType],
// and what KServe's inference logger sends. Source, id and type together are the idempotency key.
var CloudEvents = Protocol{
	Name:   "cloudevents",
	Paths:  []string{"/api/v1/cloudevents"},
	Read:   readCloudEvents,
	Answer: answerParts,
}

func readCloudEvents(s *Source, r Request) (*Batch, error) {
	if err := checkBraces(r.Body); err != nil {
		return nil, err
	}
	events, err := parseCloudEvents(r)
	if err != nil {
		return nil, err
	}
	b := s.begin(r.Now)
	c := cloudReader{s: s, b: b, r: r}
	key := sha256.New()
	for i := range events {
		e := &events[i]
		if len(events) > 1 {
			c.prefix = fmt.Sprintf("[%d].", i)
		}
		if err := e.Validate(); err != nil {
			b.refuse(c.prefix+"event", "syntax", "is no CloudEvent: %s", clipLine(err.Error()))
			continue
		}
		fmt.Fprintf(key, "%s\x00%s\x00%s\x00", e.Source(), e.ID(), e.Type()) // never fails
		c.read(e)
	}
	b.Key = "ce:" + hex.EncodeToString(key.Sum(nil)[:16])
	return b, nil
}

// parseCloudEvents finds out how the events are sent, and decodes them.
func parseCloudEvents(r Request) (events []event.Event, err error) {
	// The decoder is not ours: what makes it panic is a bad body, not a fault of the server.
	defer func() {
		if p := recover(); p != nil {
			events, err = nil, malformed(fmt.Errorf("%v", p))
		}
	}()
	h := r.Header.Clone()
	t := mediaType(r)
	structured := strings.HasPrefix(t, "application/cloudevents")
	if structured {
		h.Set("Content-Type", t) // the library compares all of it
	}
	req := &http.Request{Header: h, Body: io.NopCloser(bytes.NewReader(r.Body))}
	switch {
	case !structured && h.Get("Ce-Specversion") == "":
		return nil, fmt.Errorf("%w: this is no CloudEvent: send Content-Type: application/cloudevents+json, or the attributes as headers, Ce-Specversion: 1.0 among them", ErrUnsupported)
	case t == event.ApplicationCloudEventsBatchJSON:
		events, err = cehttp.NewEventsFromHTTPRequest(req)
	case structured && t != event.ApplicationCloudEventsJSON:
		return nil, fmt.Errorf("%w: content type %q is not understood; send application/cloudevents+json", ErrUnsupported, clip(t))
	default:
		var one *event.Event
		if one, err = cehttp.NewEventFromHTTPRequest(req); err == nil {
			events = []event.Event{*one}
		}
	}
	if err != nil {
		return nil, malformed(err)
	}
	return events, nil
}

// A cloudReader reads the events of a request.
type cloudReader struct {
	s      *Source
	b      *Batch
	r      Request
	prefix string // of fields in messages
}

func (c *cloudReader) read(e *event.Event) {
	switch e.Type() {
	case MetricType:
		c.native(e)
	case kserveResponse:
		c.predictions(e)
	case kserveRequest:
		c.b.ignore(reasonUnsupported) // what was asked says nothing of quality
	default:
		c.b.refuse(c.prefix+"type", "unknown", "is %q; %s, and those of KServe's inference logger are understood", clip(e.Type()), MetricType)
	}
}

// native takes the data for events of our own format, whose names are ours already.
func (c *cloudReader) native(e *event.Event) {
	if t := e.DataMediaType(); t != jsonType && t != "" {
		c.b.refuse(c.prefix+"datacontenttype", "unsupported", "is %q; send application/json", clip(t))
		return
	}
	events, err := JSON(e.Data(), c.r.Now)
	if bad, ok := errors.AsType[*visutility.InvalidError](err); ok {
		for _, f := range bad.Fields {
			c.b.refuse(c.prefix+"data."+f.Field, f.Reason, "%s", f.Message)
		}
		return
	}
	if err != nil {
		c.b.refuse(c.prefix+"data", "syntax", "%s", clipLine(err.Error()))
		return
	}
	c.s.addNative(c.b, c.prefix+"data.", events, e.Time())
}

// clipLine makes a library's error fit for an answer: short and on one line.
func clipLine(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	const most = 200
	if len(s) > most {
		s = s[:most] + "…"
	}
	return strings.ToValidUTF8(s, "?")
}

// answerParts is the answer of the protocols that prescribe none: how much was accepted and refused. Its
// status is 200, exactly, unless nothing was good.
func answerParts(_ Request, b *Batch) Reply {
	n := b.RefusedCount()
	out := Reply{Status: http.StatusOK, ContentType: jsonType}
	if n > 0 && len(b.Events) == 0 {
		out.Status = http.StatusUnprocessableEntity
	}
	type fault struct {
		Location string `json:"location"`
		Message  string `json:"message"`
		Reason   string `json:"reason"`
	}
	answer := struct {
		Accepted int     `json:"accepted"`
		Refused  int     `json:"refused,omitempty"`
		Errors   []fault `json:"errors,omitempty"`
	}{Accepted: len(b.Events), Refused: n}
	for _, f := range b.Faults {
		answer.Errors = append(answer.Errors, fault{f.Field, f.Message, f.Reason})
	}
	body, err := json.Marshal(answer)
	if err != nil {
		return Reply{Status: http.StatusInternalServerError} // numbers and strings always marshal
	}
	out.Body = append(body, '\n')
	return out
}
