package engine

import (
	"context"
	"fmt"
	"time"

	"github.com/visutility/visutility"
)

// maxFieldErrors bounds the errors told of one request.
const maxFieldErrors = 20

// MaxPublish is the largest number of events of one call of Publish.
const MaxPublish = 200_000

// Publish checks events and appends them to the log, all or none. It returns when
// they are on disk. key is an idempotency key, "" for none: a second publish with the same key
// within ten minutes appends nothing and succeeds. Errors: an
// [visutility.InvalidError] that names every bad field as "events[i].field",
// [visutility.ErrOverloaded] when ctx ends before there was room, [visutility.ErrUnavailable]
// when the log cannot be written.
func (e *Engine) Publish(ctx context.Context, key string, events []visutility.Event) error {
	if len(events) == 0 {
		return nil
	}
	if len(events) > MaxPublish {
		return visutility.Invalidf("events", "too_many", "has %d events; send at most %d at once", len(events), MaxPublish)
	}
	if len(key) > visutility.MaxNameBytes {
		return visutility.Invalidf("Idempotency-Key", "too_long", "has %d bytes; %d are allowed", len(key), visutility.MaxNameBytes)
	}
	now := time.Now()
	var bad []visutility.FieldError
	for i := range events {
		if n := len(bad); n < maxFieldErrors {
			if bad = events[i].Check(bad, "", now); len(bad) > n {
				name(bad[n:], i)
			}
		}
	}
	if len(bad) > 0 {
		return &visutility.InvalidError{Fields: bad}
	}
	if err := e.series.admit(events); err != nil {
		return err
	}
	return e.bus.Publish(ctx, key, events)
}

// name puts the place of the event before the fields.
func name(bad []visutility.FieldError, i int) {
	for k := range bad {
		bad[k].Field = fmt.Sprintf("events[%d].%s", i, bad[k].Field)
	}
}
