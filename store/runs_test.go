package store

import (
	"errors"
	"fmt"
	"math"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/visutility/visutility"
)

// open opens a run in a state, by a commit.
func (f fixture) open(t testing.TB, epoch int64, id, model string, st visutility.RunState) visutility.Run {
	t.Helper()
	d, r := fired(id, model, f.clock.Now())
	r.State = st
	must(t, f.Commit(t.Context(), Commit{Epoch: epoch, Position: 1, Decisions: []visutility.Decision{d}, Runs: []visutility.Run{r}}))
	return r
}

func TestMoveRun(t *testing.T) {
	both(t, func(t *testing.T, f fixture) {
		ctx := t.Context()
		r := f.open(t, f.acquire(t, 1), "1", "bike", visutility.Pending)
		f.clock.move(time.Second)
		r.State, r.Attempt, r.StartedAt = visutility.Training, 1, f.clock.Now()
		must(t, f.MoveRun(ctx, r, visutility.Pending, "launched"))
		wantError(t, "the same step again", f.MoveRun(ctx, r, visutility.Pending, ""), visutility.ErrConflict)
		r.Error = "exit status 1" // a save without a step
		must(t, f.MoveRun(ctx, r, visutility.Training, "not noted"))
		r.State = visutility.Watching
		wantError(t, "a step that does not exist", f.MoveRun(ctx, r, visutility.Training, ""), visutility.ErrConflict)
		wantError(t, "an unknown run", f.MoveRun(ctx, visutility.Run{ID: "no", State: visutility.Failed}, visutility.Training, ""), visutility.ErrNotFound)
		f.clock.move(time.Second)
		r.State = visutility.Failed
		ended := visutility.Control{Kind: visutility.ControlEnded, Model: "bike", Run: r.ID, State: visutility.Failed}
		must(t, f.MoveRun(ctx, r, visutility.Training, "gave up", ended))

		got, err := f.Run(ctx, r.ID)
		must(t, err)
		r.EndedAt = f.clock.Now()
		if diff := cmp.Diff(r, got); diff != "" {
			t.Errorf("the run (-want +got):\n%s", diff)
		}
		steps, err := f.Transitions(ctx, r.ID)
		must(t, err)
		want := []visutility.Transition{
			{From: visutility.Pending, To: visutility.Training, Time: epoch.Add(time.Second), Note: "launched"},
			{From: visutility.Training, To: visutility.Failed, Time: epoch.Add(2 * time.Second), Note: "gave up"},
		}
		if diff := cmp.Diff(want, steps); diff != "" {
			t.Errorf("transitions (-want +got):\n%s", diff)
		}
		box, err := f.Outbox(ctx, 10)
		must(t, err)
		if len(box) != 1 || !cmp.Equal(box[0].Control, ended) {
			t.Errorf("the outbox holds %+v", box)
		}
		kinds(t, f, 0, "decision d1", "run r1", "run r1", "run r1")
	})
}

func TestWishSurvivesASave(t *testing.T) {
	both(t, func(t *testing.T, f fixture) {
		ctx := t.Context()
		r := f.open(t, f.acquire(t, 1), "1", "bike", visutility.Training)
		w, err := f.WishRun(ctx, r.ID, visutility.WishCancel, "eve")
		must(t, err)
		if w.Wish != visutility.WishCancel {
			t.Errorf("WishRun returned the wish %q", w.Wish)
		}
		r.Attempt = 2 // the owner read the run before the wish, and saves it
		must(t, f.MoveRun(ctx, r, visutility.Training, ""))
		r.State = visutility.Validating
		must(t, f.MoveRun(ctx, r, visutility.Training, ""))
		if got, err := f.Run(ctx, r.ID); err != nil || got.Wish != visutility.WishCancel || got.Attempt != 2 {
			t.Errorf("the wish is %q, the attempt %d (%v)", got.Wish, got.Attempt, err)
		}
		r.State = visutility.Canceled
		must(t, f.MoveRun(ctx, r, visutility.Validating, "stopped"))
		steps, err := f.Transitions(ctx, r.ID)
		must(t, err)
		if note := steps[len(steps)-1].Note; note != "stopped; asked for by eve" {
			t.Errorf("the transition says %q", note)
		}
		_, err = f.WishRun(ctx, r.ID, visutility.WishCancel, "eve")
		wantError(t, "canceling what has ended", err, visutility.ErrConflict)
	})
}

func TestApprove(t *testing.T) {
	both(t, func(t *testing.T, f fixture) {
		ctx := t.Context()
		r := f.open(t, f.acquire(t, 1), "1", "bike", visutility.Registering)
		_, err := f.WishRun(ctx, r.ID, visutility.WishApprove, "eve")
		wantError(t, "approving too early", err, visutility.ErrConflict)
		r.State = visutility.AwaitingApproval
		must(t, f.MoveRun(ctx, r, visutility.Registering, ""))
		got, err := f.WishRun(ctx, r.ID, visutility.WishApprove, "eve")
		must(t, err)
		if got.ApprovedBy != "eve" {
			t.Errorf("approved by %q", got.ApprovedBy)
		}
		r.State = visutility.Promoting // the owner's copy does not know who approved
		must(t, f.MoveRun(ctx, r, visutility.AwaitingApproval, ""))
		got, err = f.Run(ctx, r.ID)
		must(t, err)
		if got.ApprovedBy != "eve" || got.Wish != "" {
			t.Errorf("approved by %q, wish %q", got.ApprovedBy, got.Wish)
		}
		_, err = f.WishRun(ctx, r.ID, visutility.WishCancel, "eve")
		wantError(t, "canceling a promotion", err, visutility.ErrConflict)
		_, err = f.WishRun(ctx, r.ID, "explode", "eve")
		wantError(t, "an unknown wish", err, visutility.ErrInvalid)
		_, err = f.WishRun(ctx, "no", visutility.WishCancel, "eve")
		wantError(t, "an unknown run", err, visutility.ErrNotFound)
	})
}

func TestSaveProgress(t *testing.T) {
	both(t, func(t *testing.T, f fixture) {
		ctx := t.Context()
		r := f.open(t, f.acquire(t, 1), "1", "bike", visutility.Pending)
		wantError(t, "progress before training", f.SaveProgress(ctx, r.ID, 1, 0.1, ""), visutility.ErrConflict)
		r.State, r.Attempt = visutility.Training, 2
		must(t, f.MoveRun(ctx, r, visutility.Pending, ""))
		after, err := f.LastActivity(ctx)
		must(t, err)
		for i := range 5 { // twice a second for two seconds
			must(t, f.SaveProgress(ctx, r.ID, 2, float64(i)/4, fmt.Sprintf("step %d", i)))
			f.clock.move(500 * time.Millisecond)
		}
		got, err := f.Run(ctx, r.ID)
		must(t, err)
		if got.Progress != 1 || got.Message != "step 4" {
			t.Errorf("progress %v, %q", got.Progress, got.Message)
		}
		kinds(t, f, after, "progress r1", "progress r1", "progress r1")
		wantError(t, "an attempt that is over", f.SaveProgress(ctx, r.ID, 1, 0.1, ""), visutility.ErrConflict)
		wantError(t, "an unknown run", f.SaveProgress(ctx, "no", 1, 0.1, ""), visutility.ErrNotFound)
		wantError(t, "NaN", f.SaveProgress(ctx, r.ID, 2, math.NaN(), ""), visutility.ErrInvalid)
		must(t, f.SaveProgress(ctx, r.ID, 2, 17, ""))
		if got, err = f.Run(ctx, r.ID); err != nil || got.Progress != 1 {
			t.Errorf("progress %v (%v), want it bounded", got.Progress, err)
		}
	})
}

// A runModel is what the store should know of a run.
type runModel struct {
	run  visutility.Run
	wish string
	by   string
}

// TestRunsLive plays lives of runs against the table of transitions.
func TestRunsLive(t *testing.T) {
	both(t, func(t *testing.T, f fixture) {
		e := f.acquire(t, 1)
		lives := 0
		rapid.Check(t, func(rt *rapid.T) {
			lives++
			tried, ids, runs := 0, []string{}, map[string]*runModel{}
			model := fmt.Sprintf("model-%d", lives)
			any := func() *runModel {
				if len(ids) == 0 {
					return nil
				}
				return runs[rapid.SampledFrom(ids).Draw(rt, "run")]
			}
			state := rapid.SampledFrom(visutility.RunStates())
			rt.Repeat(map[string]func(*rapid.T){
				"open": func(*rapid.T) {
					active := false
					for _, m := range runs {
						active = active || m.run.State.Active()
					}
					d, r := fired(fmt.Sprintf("%d-%d", lives, tried), model, f.clock.Now())
					tried++
					must(t, f.Commit(t.Context(), Commit{Epoch: e, Position: 1, Decisions: []visutility.Decision{d}, Runs: []visutility.Run{r}}))
					_, err := f.Run(t.Context(), r.ID)
					if active != errors.Is(err, visutility.ErrNotFound) {
						rt.Fatalf("opening %s while active = %t: %v", r.ID, active, err)
					}
					if !active {
						runs[r.ID] = &runModel{run: r}
						ids = append(ids, r.ID)
					}
				},
				"move": func(*rapid.T) {
					m := any()
					if m == nil {
						return
					}
					from, to := state.Draw(rt, "from"), state.Draw(rt, "to")
					if rapid.Bool().Draw(rt, "well informed") {
						from = m.run.State
						if next := from.Next(); len(next) > 0 {
							to = rapid.SampledFrom(next).Draw(rt, "next")
						}
					}
					r := m.run
					r.State, r.Attempt = to, rapid.IntRange(0, 3).Draw(rt, "attempt")
					err := f.MoveRun(t.Context(), r, from, "")
					allowed := from == m.run.State && (to == from || from.CanBecome(to))
					if allowed != (err == nil) || err != nil && !errors.Is(err, visutility.ErrConflict) {
						rt.Fatalf("moving from %s to %s in %s: %v", from, to, m.run.State, err)
					}
					if !allowed {
						return
					}
					if to == visutility.Promoting && m.wish == visutility.WishApprove {
						r.ApprovedBy = m.by
					}
					if to.Ended() && from != to {
						r.EndedAt = f.clock.Now()
					}
					m.run = r
					if !mayWish(m.wish, to) {
						m.wish = ""
					}
				},
				"wish": func(*rapid.T) {
					m := any()
					if m == nil {
						return
					}
					wish := rapid.SampledFrom([]string{visutility.WishCancel, visutility.WishApprove, visutility.WishRollback}).Draw(rt, "wish")
					by := rapid.SampledFrom([]string{"eve", "bob"}).Draw(rt, "by")
					_, err := f.WishRun(t.Context(), m.run.ID, wish, by)
					allowed := map[string]bool{
						visutility.WishCancel:   m.run.State.Active() && m.run.State != visutility.Promoting,
						visutility.WishApprove:  m.run.State == visutility.AwaitingApproval && m.wish != visutility.WishCancel,
						visutility.WishRollback: m.run.State == visutility.Watching,
					}[wish]
					if allowed != (err == nil) || err != nil && !errors.Is(err, visutility.ErrConflict) {
						rt.Fatalf("wish %s in %s with wish %q: %v", wish, m.run.State, m.wish, err)
					}
					if allowed && m.wish != wish {
						m.wish, m.by = wish, by
					}
				},
				"": func(*rapid.T) {
					open := 0
					for id, m := range runs {
						want := m.run
						if want.Wish = m.wish; m.wish == visutility.WishApprove {
							want.ApprovedBy = m.by
						}
						got, err := f.Run(t.Context(), id)
						if diff := cmp.Diff(want, got); err != nil || diff != "" {
							rt.Fatalf("%s (%v) (-want +got):\n%s", id, err, diff)
						}
						if !want.State.Ended() {
							open++
						}
					}
					list, err := f.OpenRuns(t.Context())
					must(t, err)
					mine := 0
					for _, r := range list {
						if r.Model == model {
							mine++
						}
					}
					if mine != open {
						rt.Fatalf("%d runs are open, want %d", mine, open)
					}
				},
			})
		})
	})
}

// TestMoveRunOnce lets many owners try the same step: one makes it.
func TestMoveRunOnce(t *testing.T) {
	both(t, func(t *testing.T, f fixture) {
		r := f.open(t, f.acquire(t, 1), "1", "bike", visutility.Pending)
		r.State = visutility.Training
		var mu sync.Mutex
		made := 0
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				err := f.MoveRun(t.Context(), r, visutility.Pending, "")
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					made++
				} else if !errors.Is(err, visutility.ErrConflict) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if steps, err := f.Transitions(t.Context(), r.ID); err != nil || made != 1 || len(steps) != 1 {
			t.Errorf("%d made the step, %d are recorded (%v)", made, len(steps), err)
		}
	})
}

// TestWishAndSaveTogether: a wish that arrives while the owner saves is never lost.
func TestWishAndSaveTogether(t *testing.T) {
	both(t, func(t *testing.T, f fixture) {
		r := f.open(t, f.acquire(t, 1), "1", "bike", visutility.Training)
		for i := range 20 {
			var wg sync.WaitGroup
			wg.Go(func() {
				if err := f.MoveRun(t.Context(), r, visutility.Training, ""); err != nil {
					t.Error(err)
				}
			})
			wg.Go(func() {
				if _, err := f.WishRun(t.Context(), r.ID, visutility.WishCancel, "eve"); err != nil {
					t.Error(err)
				}
			})
			wg.Wait()
			if got, err := f.Run(t.Context(), r.ID); err != nil || got.Wish != visutility.WishCancel {
				t.Fatalf("round %d: the wish is %q (%v)", i, got.Wish, err)
			}
			must(t, f.DropWish(t.Context(), r.ID, visutility.WishApprove)) // another one: nothing happens
			must(t, f.DropWish(t.Context(), r.ID, visutility.WishCancel))
			if got, err := f.Run(t.Context(), r.ID); err != nil || got.Wish != "" {
				t.Fatalf("round %d: the wish %q stayed (%v)", i, got.Wish, err)
			}
		}
	})
}
