package engine

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"time"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/store"
)

// pumpOutbox publishes the controls that were stored together with SQL changes. The
// outbox's id is the idempotency key, so a crash between publishing and deleting repeats nothing.
func (e *Engine) pumpOutbox(ctx context.Context) error {
	changed, stop := e.store.Watch()
	defer stop()
	idle := time.NewTicker(time.Second)
	defer idle.Stop()
	for {
		if err := e.emptyOutbox(ctx); err != nil && ctx.Err() == nil {
			e.log.Error("facts about runs wait to be published", slog.String("error", err.Error()))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-idle.C:
		}
	}
}

func (e *Engine) emptyOutbox(ctx context.Context) error {
	const some = 100
	for {
		waiting, err := e.store.Outbox(ctx, some)
		if err != nil || len(waiting) == 0 {
			return err
		}
		for _, a := range waiting {
			if err := e.bus.Control(ctx, "outbox-"+strconv.FormatInt(a.ID, 10), a.Control); err != nil {
				return err
			}
			if err := e.store.Announced(ctx, a.ID); err != nil {
				return err
			}
		}
	}
}

// tick tells the log the time, so that silence can be seen in it.
func (e *Engine) tick(ctx context.Context) error {
	t := time.NewTicker(e.o.Tick)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			if err := errors.Join(e.bus.Tick(ctx), e.samples.log.Tick(ctx)); err != nil && ctx.Err() == nil {
				e.log.Warn("the log could not be told the time", slog.String("error", err.Error()))
			}
		}
	}
}

// prune removes what is older than its retention, once an hour.
func (e *Engine) prune(ctx context.Context) error {
	t := time.NewTicker(time.Hour)
	defer t.Stop()
	for {
		n, err := e.store.Prune(ctx, store.Retention{Decisions: e.o.DecisionRetention, Runs: e.o.DecisionRetention, Activities: 7 * 24 * time.Hour})
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			e.log.Warn("old records could not be removed", slog.String("error", err.Error()))
		case n > 0:
			e.log.Info("removed old records", slog.Int64("rows", n))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

// reconcile tells the fold about champions that moved without its knowledge: by
// a crash between the registry and the log, or in a registry that others write to.
func (e *Engine) reconcile(ctx context.Context) error {
	if !e.caughtUp(ctx) {
		return nil
	}
	for page := (store.Page{Limit: 1000}); ; {
		models, next, err := e.store.Models(ctx, page, store.ModelFilter{})
		if err != nil {
			e.log.Warn("champions could not be compared", slog.String("error", err.Error()))
			return nil
		}
		for _, m := range models {
			if err := e.reconcileModel(ctx, m.Name); err != nil {
				if ctx.Err() == nil {
					e.log.Warn("champion could not be compared", slog.String("model", m.Name), slog.String("error", err.Error()))
				}
			}
		}
		if next == "" || ctx.Err() != nil {
			return nil
		}
		page.Cursor = next
	}
}

// caughtUp waits until the fold has seen what the log and the outbox held at the
// start; false when ctx ended before.
func (e *Engine) caughtUp(ctx context.Context) bool {
	t := time.NewTicker(200 * time.Millisecond)
	defer t.Stop()
	for {
		waiting, err := e.store.Outbox(ctx, 1)
		behind := err != nil || len(waiting) > 0
		for p := 0; p < e.bus.Partitions() && !behind; p++ {
			last, err := e.bus.Last(ctx, p)
			behind = err != nil || e.trigger.Folded(p) < last
		}
		if !behind {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-t.C:
		}
	}
}

func (e *Engine) reconcileModel(ctx context.Context, model string) error {
	v, err := e.registry.Resolve(ctx, model, visutility.Champion)
	if errors.Is(err, visutility.ErrNotFound) {
		return nil
	} else if err != nil {
		return err
	}
	believed, settled := e.trigger.Champion(model)
	if !settled || believed == v.ID {
		return nil
	}
	var previous visutility.Version
	if believed != "" {
		if previous, err = e.registry.Resolve(ctx, model, believed); err != nil && !errors.Is(err, visutility.ErrNotFound) {
			return err
		}
	}
	return e.store.Announce(ctx, visutility.Control{
		Kind: visutility.ControlPromoted, Model: model, Version: v.ID, Previous: believed,
		PreviousMetrics: previous.Metrics, Reason: "found at the start",
	})
}
