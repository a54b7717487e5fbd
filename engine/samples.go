package engine

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/bus"
	"github.com/visutility/visutility/dispatch"
	"github.com/visutility/visutility/quality"
)

// samples are predictions and labels: a log of their own, beside that of events, and what joins them.
type samples struct {
	log      *bus.Log
	dispatch *dispatch.Dispatcher
}

func (e *Engine) openSamples(ctx context.Context) error {
	n := e.bus.Partitions()
	log, err := bus.Open(ctx, bus.Options{
		Dir: e.path("predictions", "log"), Partitions: n, MaxAge: e.o.Retention, MaxBytes: e.o.MaxLogBytes, Logger: e.log,
	})
	if err != nil {
		return fmt.Errorf("opening the log of predictions: %w", err)
	}
	e.closers = append(e.closers, log)
	observer, err := quality.NewObserver(quality.Options{
		Dir: e.path("predictions"), Rules: e.o.Predictions, Events: e.bus, Publish: e.Publish, Marks: e.store, Logger: e.log,
	})
	if err != nil {
		return err
	}
	for p := range n {
		if err := e.checkSamples(ctx, log, observer, p); err != nil {
			return err
		}
	}
	e.closers = append(e.closers, observer)
	if err := e.o.Registerer.Register(observer); err != nil {
		return err
	}
	d := dispatch.New(dispatch.Options{Bus: log, Positions: e.store, Logger: e.log, Registerer: beside{e.o.Registerer}})
	e.samples = &samples{log, d}
	return d.Attach("quality", observer, dispatch.AttachOptions{})
}

// checkSamples refuses a log that ends before what was published of it: what is new in it would be passed over.
func (e *Engine) checkSamples(ctx context.Context, log *bus.Log, o *quality.Observer, partition int) error {
	at, err := o.Reached(ctx, partition)
	if err != nil {
		return err
	}
	last, err := log.Last(ctx, partition)
	if err != nil {
		return fmt.Errorf("reading the end of the log of predictions: %w", err)
	}
	if at > last {
		return fmt.Errorf("%w: partition %d of the log of predictions in %s ends at %d, but %d was joined already: the log was lost or replaced. "+
			"Restore it from a backup together with state.db, or move the data directory away to start anew",
			visutility.ErrConflict, partition, e.path("predictions"), last, at)
	}
	return nil
}

// Predictions checks predictions and appends them to their log, under the rules of [Engine.Publish].
func (e *Engine) Predictions(ctx context.Context, key string, predictions []visutility.Prediction) error {
	return e.append(ctx, "p", key, len(predictions), func(bad []visutility.FieldError, i int, now time.Time) []visutility.FieldError {
		return predictions[i].Check(bad, fmt.Sprintf("predictions[%d].", i), now)
	}, predictions, nil)
}

// Labels checks labels and appends them to their log, under the rules of [Engine.Publish].
func (e *Engine) Labels(ctx context.Context, key string, labels []visutility.Truth) error {
	return e.append(ctx, "l", key, len(labels), func(bad []visutility.FieldError, i int, now time.Time) []visutility.FieldError {
		return labels[i].Check(bad, fmt.Sprintf("labels[%d].", i), now)
	}, nil, labels)
}

func (e *Engine) append(ctx context.Context, kind, key string, n int, check func([]visutility.FieldError, int, time.Time) []visutility.FieldError,
	predictions []visutility.Prediction, labels []visutility.Truth) error {
	if n > MaxPublish {
		return visutility.Invalidf("body", "too_many", "has %d samples; send at most %d at once", n, MaxPublish)
	}
	if len(key) > visutility.MaxNameBytes {
		return visutility.Invalidf("Idempotency-Key", "too_long", "has %d bytes; %d are allowed", len(key), visutility.MaxNameBytes)
	}
	now := time.Now()
	var bad []visutility.FieldError
	for i := 0; i < n && len(bad) < maxFieldErrors; i++ {
		bad = check(bad, i, now)
	}
	if len(bad) > 0 {
		return &visutility.InvalidError{Fields: bad}
	}
	payloads, err := quality.Encode(predictions, labels, e.bus.Partitions(), now)
	if err != nil {
		return err
	}
	if key != "" {
		key = kind + key // the same word may be the key of a body of either
	}
	out := make([]bus.Payload, len(payloads))
	for i, p := range payloads {
		out[i] = bus.Payload(p)
	}
	return e.samples.log.Append(ctx, key, out...)
}

// beside registers a second collector of metrics that another one describes: of other observers.
type beside struct{ prometheus.Registerer }

func (b beside) Register(c prometheus.Collector) error { return b.Registerer.Register(undescribed{c}) }

func (b beside) Unregister(c prometheus.Collector) bool {
	return b.Registerer.Unregister(undescribed{c})
}

type undescribed struct{ prometheus.Collector }

// Describe says nothing, which is allowed.
func (undescribed) Describe(chan<- *prometheus.Desc) {}
