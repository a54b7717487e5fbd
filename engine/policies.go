package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/visutility/visutility/policy"
	"github.com/visutility/visutility/store"
)

// policies keeps the policies in force: those given by the program and those of the
// directory, the last good form of each.
type policies struct {
	o   *Options
	st  *store.Store
	log *slog.Logger

	mu       sync.RWMutex
	dir      *policy.Set // of the directory alone
	now      *policy.Set // all
	problems []error
}

func openPolicies(ctx context.Context, o *Options, st *store.Store) (*policies, error) {
	p := &policies{o: o, st: st, log: o.Logger}
	if _, err := p.load(ctx); err != nil {
		return nil, err
	}
	return p, nil
}

// load reads the directory again and reports whether anything changed.
func (p *policies) load(ctx context.Context) (changed bool, err error) {
	p.mu.RLock()
	was, wasDir := p.now, p.dir
	p.mu.RUnlock()
	dir, problems := wasDir, []error(nil)
	if p.o.PolicyDir != "" {
		dir, problems = policy.LoadDir(p.o.PolicyDir, wasDir)
	}
	all := append([]*policy.Policy(nil), p.o.Policies...)
	if dir != nil {
		all = append(all, dir.Policies()...)
	}
	set, err := policy.NewSet(all...)
	if err != nil {
		if was == nil {
			return false, fmt.Errorf("policies: %w", err)
		}
		problems, set = append(problems, err), was
	}
	for _, err := range problems {
		p.log.Error("policy refused; the last good form stays in force", slog.String("error", err.Error()))
	}
	changed = was == nil || !sameRevisions(was, set)
	if changed {
		if set, err = p.save(ctx, was, set); err != nil {
			return false, err
		}
	} else {
		set = was // the same programs: nothing to carry over
	}
	p.mu.Lock()
	p.dir, p.now, p.problems = dir, set, problems
	p.mu.Unlock()
	return changed, nil
}

// save stores every new revision, so that runs are carried through under the policy that decided.
func (p *policies) save(ctx context.Context, was, set *policy.Set) (*policy.Set, error) {
	if was != nil {
		for _, old := range was.Policies() {
			if _, ok := set.Policy(old.Name); !ok {
				p.log.Info("policy no longer in force", slog.String("policy", old.Name))
				if err := p.st.AddActivity(ctx, store.Activity{Time: time.Now(), Kind: "policy", ID: old.Name, Data: json.RawMessage(`{"removed":true}`)}); err != nil {
					return nil, err
				}
			}
		}
	}
	for _, pol := range set.Policies() {
		if was != nil {
			if old, ok := was.Policy(pol.Name); ok && old.Revision == pol.Revision {
				continue
			}
		}
		if err := p.st.SavePolicy(ctx, pol.Name, pol.Revision, pol.Dir, pol.Source); err != nil {
			return nil, fmt.Errorf("storing policy %q: %w", pol.Name, err)
		}
		if was == nil {
			continue
		}
		data, err := json.Marshal(map[string]string{"revision": pol.Revision})
		if err != nil {
			return nil, err
		}
		p.log.Info("policy in force", slog.String("policy", pol.Name), slog.String("revision", pol.Revision))
		if err := p.st.AddActivity(ctx, store.Activity{Time: time.Now(), Kind: "policy", ID: pol.Name, Data: data}); err != nil {
			return nil, err
		}
	}
	return set, nil
}

func sameRevisions(a, b *policy.Set) bool {
	if len(a.Policies()) != len(b.Policies()) {
		return false
	}
	for _, p := range a.Policies() {
		if q, ok := b.Policy(p.Name); !ok || q.Revision != p.Revision || q.File != p.File {
			return false
		}
	}
	return true
}

// set is what is in force now.
func (p *policies) set() *policy.Set {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.now
}

func (p *policies) errs() []error {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.problems
}

// at finds the policy that a run was opened under, in force or not any more.
func (p *policies) at(ctx context.Context, name, revision string) (*policy.Policy, error) {
	if pol, ok := p.set().Policy(name); ok && pol.Revision == revision {
		return pol, nil
	}
	dir, source, err := p.st.Policy(ctx, name, revision)
	if err != nil {
		return nil, err
	}
	pol, err := policy.Parse(name+".yaml", source)
	if err != nil {
		return nil, fmt.Errorf("policy %q at revision %s: %w", name, revision, err)
	}
	pol.Name, pol.Dir = name, dir
	return pol, nil
}

// watch loads the directory again whenever it changes, and tells changed.
func (p *policies) watch(ctx context.Context, changed func(*policy.Set)) error {
	if p.o.PolicyDir == "" {
		<-ctx.Done()
		return nil
	}
	return policy.Watch(ctx, p.o.PolicyDir, func() {
		did, err := p.load(ctx)
		switch {
		case err != nil:
			p.log.Error("policies could not be loaded; those in force stay", slog.String("error", err.Error()))
		case did:
			changed(p.set())
		}
	})
}
