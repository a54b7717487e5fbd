package trigger

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/store"
)

// lastChance is how long a commit may go on trying after the end was asked for.
const lastChance = 10 * time.Second

// snapshotShare bounds the time that snapshots take: after one, the next waits at
// least this many times as long as it took.
const snapshotShare = 16

// Run commits what is decided until ctx ends, then once more with a snapshot of
// everything. It returns an error only when it may not go on: another process took over the
// partitions. A database that cannot write now is tried again, later and later.
func (t *Trigger) Run(ctx context.Context) error {
	next := time.Now().Add(t.o.SnapshotEvery)
	timer := time.NewTimer(t.o.SnapshotEvery)
	defer timer.Stop()
	for {
		snapshot := false
		select {
		case <-ctx.Done():
			return t.commit(ctx, true)
		case <-t.wake:
			snapshot = !time.Now().Before(next)
		case <-timer.C:
			snapshot = true
		}
		start := time.Now()
		if err := t.commit(ctx, snapshot); err != nil {
			return err
		}
		if snapshot {
			took := time.Since(start)
			wait := max(t.o.SnapshotEvery, snapshotShare*took)
			next = time.Now().Add(wait)
			timer.Reset(wait)
		}
	}
}

// commit stores what the partitions have put out, in one transaction, and tells those who wait.
func (t *Trigger) commit(ctx context.Context, snapshot bool) error {
	var commits []store.Commit
	var outs []output
	for _, p := range t.parts {
		c, out, err := p.take(t.o.Epoch, snapshot)
		if err != nil {
			return err
		}
		if len(c.Snapshots) > 0 || len(c.Decisions) > 0 || len(c.Models) > 0 || len(c.Series) > 0 || len(c.Rollbacks) > 0 || snapshot {
			commits = append(commits, c)
		}
		outs = append(outs, out)
	}
	if len(commits) > 0 {
		if err := t.store(ctx, commits); err != nil {
			return err
		}
	}
	t.tell(context.WithoutCancel(ctx), outs)
	return nil
}

// store retries until the commit is stored or the epoch is lost. What was taken from the
// partitions is nowhere else, so the end of ctx does not interrupt it but only bounds the
// time it may still take: when it gives up, nothing later may be stored either.
func (t *Trigger) store(ctx context.Context, commits []store.Commit) error {
	const most = 5 * time.Second
	start := time.Now()
	patience, giveUp := context.WithCancel(context.WithoutCancel(ctx))
	defer giveUp()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(lastChance, giveUp) })()
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, most) {
		err := t.o.Store.Commit(patience, commits...)
		if err == nil {
			t.met.commits.Observe(time.Since(start).Seconds())
			return nil
		}
		if errors.Is(err, store.ErrFenced) {
			return fmt.Errorf("another process has taken over this data directory: %w", err)
		}
		t.met.failures.Inc()
		t.log.Error("decisions could not be stored; trying again", slog.String("error", err.Error()), slog.Duration("in", wait))
		select {
		case <-time.After(wait):
		case <-patience.Done():
			return fmt.Errorf("stopping with decisions unstored; the log has what it takes to make them again: %w", err)
		}
	}
}

// tell wakes everybody who waits for what was stored.
func (t *Trigger) tell(ctx context.Context, outs []output) {
	for _, out := range outs {
		for i := range out.runs {
			t.verify(ctx, &out.runs[i])
			t.o.Opened(out.runs[i].ID)
		}
		for i := range out.decisions {
			t.met.decided(&out.decisions[i])
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, out := range outs {
		for _, a := range out.answers {
			if c := t.waiters[a.request]; c != nil {
				select {
				case c <- a.decision:
				default: // answered before: a replay
				}
			}
		}
	}
	close(t.done)
	t.done = make(chan struct{})
}

// verify checks that a run was really opened. The store refuses it when the model has
// another run under way that the fold does not know of; the fold then believes the store.
func (t *Trigger) verify(ctx context.Context, r *visutility.Run) {
	if _, err := t.o.Store.Run(ctx, r.ID); !errors.Is(err, visutility.ErrNotFound) {
		return
	}
	active := ""
	runs, _, err := t.o.Store.Runs(ctx, store.RunFilter{Model: r.Model, Page: store.Page{Limit: 10}})
	if err != nil {
		t.log.Error("looking for the active run of a model", slog.String("model", r.Model), slog.String("error", err.Error()))
		return
	}
	for _, other := range runs {
		if other.State.Active() {
			active = other.ID
		}
	}
	p := t.partition(r.Model)
	p.mu.Lock()
	defer p.mu.Unlock()
	if m := p.models[r.Model]; m != nil && m.facts.ActiveRun == r.ID {
		m.facts.ActiveRun = active
		p.touch(m)
	}
}

// committed is closed at the next commit.
func (t *Trigger) committed() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.done
}
