package retrain

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/policy"
)

// promote moves the champion alias to the run's version, from the version that the challenger
// was held against; if another serves by now, the comparison says nothing about it.
func (r *Runner) promote(ctx context.Context, run *visutility.Run) error {
	p, reason, err := r.policy(ctx, *run)
	if err != nil {
		return err
	}
	champion, err := r.champion(ctx, run.Model)
	switch {
	case err != nil:
		return fmt.Errorf("resolving the champion: %w", err)
	case champion.ID == run.Version: // moved before a crash
	case reason != "":
		return r.end(ctx, run, visutility.Failed, reason)
	case champion.ID != run.Champion:
		return r.end(ctx, run, visutility.Failed, fmt.Sprintf(
			"the champion changed meanwhile: %s was held against %s, and %s serves now; promote %[1]s by hand if it is better",
			run.Version, named(run.Champion), named(champion.ID)))
	default:
		if err := r.o.Registry.SetAlias(ctx, run.Model, visutility.Champion, run.Version, run.Champion); err != nil {
			return fmt.Errorf("promoting %s: %w", run.Version, err)
		}
	}
	previous, err := r.previousMetrics(ctx, *run)
	if err != nil {
		return err
	}
	run.PromotedAt = r.now()
	promoted := visutility.Control{
		Kind: visutility.ControlPromoted, Model: run.Model, Policy: run.Policy, Run: run.ID,
		Version: run.Version, Previous: run.Champion, PreviousMetrics: previous,
	}
	if p == nil || p.Rollback == nil || run.Champion == "" {
		return r.end(ctx, run, visutility.Succeeded, "promoted "+run.Version, promoted)
	}
	promoted.Watch = true
	run.WatchUntil = run.PromotedAt.Add(p.Rollback.Within)
	note := fmt.Sprintf("promoted %s, watched for %s", run.Version, policy.FormatDuration(p.Rollback.Within))
	if err := r.move(ctx, run, visutility.Watching, note, promoted, ended(*run, visutility.Watching, note)); err != nil {
		return err
	}
	return errRest
}

func named(version string) string {
	if version == "" {
		return "no version"
	}
	return version
}

// previousMetrics is what the replaced champion scored: on the hold-out of this training
// where the trainer could tell, else on that of its own.
func (r *Runner) previousMetrics(ctx context.Context, run visutility.Run) (map[string]float64, error) {
	if run.Champion == "" {
		return nil, nil
	}
	v, err := r.o.Registry.Resolve(ctx, run.Model, run.Champion)
	if err != nil && !errors.Is(err, visutility.ErrNotFound) {
		return nil, fmt.Errorf("resolving the replaced champion: %w", err)
	}
	metrics := make(map[string]float64)
	maps.Copy(metrics, v.Metrics)
	if run.Artifact != nil {
		maps.Copy(metrics, run.Artifact.ChampionMetrics)
	}
	return metrics, nil
}

// watch ends the watch when its time is over, when another version is the champion, or with a rollback.
func (r *Runner) watch(ctx context.Context, run *visutility.Run) error {
	champion, err := r.champion(ctx, run.Model)
	if err != nil {
		return fmt.Errorf("resolving the champion: %w", err)
	}
	rollback := run.Wish == visutility.WishRollback
	switch {
	case champion.ID == run.Version && rollback:
		// From ours only: a promotion that happens in this moment stands.
		err := r.o.Registry.SetAlias(ctx, run.Model, visutility.Champion, run.Champion, run.Version)
		if err != nil {
			return fmt.Errorf("rolling back to %s: %w", run.Champion, err)
		}
		return r.rolledBack(ctx, run)
	case champion.ID == run.Version && r.o.Now().Before(run.WatchUntil):
		return errRest
	case champion.ID == run.Version:
		return r.end(ctx, run, visutility.Succeeded, "the watch is over: "+run.Version+" stays")
	case champion.ID == run.Champion && rollback: // moved before a crash
		return r.rolledBack(ctx, run)
	case champion.ID == run.Champion: // who moved it has announced it
		return r.end(ctx, run, visutility.RolledBack, "taken back by hand")
	}
	return r.end(ctx, run, visutility.Succeeded, "the watch is over: "+named(champion.ID)+" was promoted since")
}

// rolledBack stores that the previous version serves again.
func (r *Runner) rolledBack(ctx context.Context, run *visutility.Run) error {
	var scored map[string]float64
	if run.Artifact != nil {
		scored = run.Artifact.Metrics
	}
	return r.end(ctx, run, visutility.RolledBack, "back to "+run.Champion, visutility.Control{
		Kind: visutility.ControlPromoted, Model: run.Model, Policy: run.Policy, Run: run.ID,
		Version: run.Champion, Previous: run.Version, PreviousMetrics: scored,
	})
}
