package visutilitytest

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/visutility/visutility"
)

// NopTrainer succeeds at once with an artifact that does not exist, unless Err is set.
type NopTrainer struct {
	// Metrics and ChampionMetrics are those of every artifact.
	Metrics, ChampionMetrics map[string]float64
	// Err is what Train returns. Defaults to nil.
	Err error
}

var _ visutility.Trainer = NopTrainer{}

// Train returns an artifact with a URI made from the run's id.
func (n NopTrainer) Train(ctx context.Context, job visutility.Job) (visutility.Artifact, error) {
	if err := cmp.Or(n.Err, context.Cause(ctx)); err != nil {
		return visutility.Artifact{}, err
	}
	return visutility.Artifact{URI: "nop://" + job.Run, Metrics: maps.Clone(n.Metrics), ChampionMetrics: maps.Clone(n.ChampionMetrics)}, nil
}

// InMemoryRegistry is a registry that forgets. The zero value is empty and
// ready; it is safe for concurrent use.
type InMemoryRegistry struct {
	mu     sync.Mutex
	models map[string]*memoryModel
}

type memoryModel struct {
	versions []visutility.Version
	aliases  map[string]string
}

var _ visutility.Registry = (*InMemoryRegistry)(nil)

// Register implements [visutility.Registry].
func (r *InMemoryRegistry) Register(_ context.Context, v visutility.Version) (visutility.Version, error) {
	if v.Model == "" {
		return visutility.Version{}, visutility.Invalidf("model", "empty", "is missing or empty")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.models[v.Model]
	if m == nil {
		m = &memoryModel{aliases: make(map[string]string)}
		if r.models == nil {
			r.models = make(map[string]*memoryModel)
		}
		r.models[v.Model] = m
	}
	for _, old := range m.versions {
		if v.Run != "" && old.Run == v.Run {
			return m.show(old), nil
		}
	}
	v.ID, v.Aliases = "v"+strconv.Itoa(len(m.versions)+1), nil
	if v.CreatedAt.IsZero() {
		v.CreatedAt = time.Now().UTC()
	}
	m.versions = append(m.versions, m.show(v))
	return m.show(v), nil
}

// show returns a copy with the aliases of the moment.
func (m *memoryModel) show(v visutility.Version) visutility.Version {
	v.Metrics, v.Aliases = maps.Clone(v.Metrics), nil
	v.Artifact.Metrics, v.Artifact.ChampionMetrics = maps.Clone(v.Artifact.Metrics), maps.Clone(v.Artifact.ChampionMetrics)
	for alias, id := range m.aliases {
		if id == v.ID {
			v.Aliases = append(v.Aliases, alias)
		}
	}
	slices.Sort(v.Aliases)
	return v
}

func (m *memoryModel) find(ref string) (visutility.Version, bool) {
	if m == nil {
		return visutility.Version{}, false
	}
	if id, ok := m.aliases[ref]; ok {
		ref = id
	}
	i := slices.IndexFunc(m.versions, func(v visutility.Version) bool { return v.ID == ref })
	if i < 0 {
		return visutility.Version{}, false
	}
	return m.show(m.versions[i]), true
}

// Resolve implements [visutility.Registry].
func (r *InMemoryRegistry) Resolve(_ context.Context, model, ref string) (visutility.Version, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	v, ok := r.models[model].find(ref)
	if !ok {
		return v, fmt.Errorf("version %q of model %q: %w", ref, model, visutility.ErrNotFound)
	}
	return v, nil
}

// Versions implements [visutility.Registry].
func (r *InMemoryRegistry) Versions(ctx context.Context, model string) iter.Seq2[visutility.Version, error] {
	return func(yield func(visutility.Version, error) bool) {
		r.mu.Lock()
		var list []visutility.Version
		if m := r.models[model]; m != nil {
			for _, v := range slices.Backward(m.versions) {
				list = append(list, m.show(v))
			}
		}
		r.mu.Unlock()
		for _, v := range list {
			if err := ctx.Err(); err != nil {
				yield(visutility.Version{}, err)
				return
			}
			if !yield(v, nil) {
				return
			}
		}
	}
}

// SetAlias implements [visutility.Registry].
func (r *InMemoryRegistry) SetAlias(_ context.Context, model, alias, to, from string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.models[model]
	if _, ok := m.find(to); !ok {
		return fmt.Errorf("version %q of model %q: %w", to, model, visutility.ErrNotFound)
	}
	switch now := m.aliases[alias]; now {
	case to:
		return nil
	case from:
		m.aliases[alias] = to
		return nil
	default:
		return fmt.Errorf("alias %q of model %q is at %q, not at %q: %w", alias, model, now, from, visutility.ErrConflict)
	}
}
