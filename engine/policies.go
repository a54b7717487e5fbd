package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/policy"
	"github.com/visutility/visutility/store"
)

// policies keeps the policies in force: those given by the program and those of the
// directory, the last good form of each.
type policies struct {
	o   *Options
	st  *store.Store
	log *slog.Logger

	loading sync.Mutex // one at a time reads or writes the directory

	mu       sync.RWMutex
	dir      *policy.Set // of the directory alone
	now      *policy.Set // all
	problems []error
}

func openPolicies(ctx context.Context, o *Options, st *store.Store) (*policies, error) {
	p := &policies{o: o, st: st, log: o.Logger}
	if _, err := p.load(ctx, ""); err != nil {
		return nil, err
	}
	return p, nil
}

// load reads the directory again and reports whether anything changed; by is who changed it, "" if that is not known.
func (p *policies) load(ctx context.Context, by string) (changed bool, err error) {
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
		if set, err = p.save(ctx, was, set, by); err != nil {
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
func (p *policies) save(ctx context.Context, was, set *policy.Set, by string) (*policy.Set, error) {
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
		data, err := json.Marshal(struct {
			Revision string `json:"revision"`
			By       string `json:"by,omitempty"`
		}{pol.Revision, by})
		if err != nil {
			return nil, err
		}
		log := p.log.With(slog.String("policy", pol.Name), slog.String("revision", pol.Revision))
		if by != "" {
			log = log.With(slog.String("by", by))
		}
		log.Info("policy in force")
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
		p.loading.Lock()
		defer p.loading.Unlock()
		if err := p.reload(ctx, "", changed); err != nil {
			p.log.Error("policies could not be loaded; those in force stay", slog.String("error", err.Error()))
		}
	})
}

// reload loads the directory again and tells changed, if there is anything to tell. Call it with loading held.
func (p *policies) reload(ctx context.Context, by string, changed func(*policy.Set)) error {
	did, err := p.load(ctx, by)
	if did {
		changed(p.set())
	}
	return err
}

// apply writes a policy into the directory and puts it in force; see [Engine.ApplyPolicy].
func (p *policies) apply(ctx context.Context, name, revision string, source []byte, by string, changed func(*policy.Set)) (*policy.Policy, error) {
	if p.o.PolicyDir == "" {
		return nil, fmt.Errorf("%w: the server has no directory of policies; start it with --policies", visutility.ErrConflict)
	}
	p.loading.Lock()
	defer p.loading.Unlock()
	p.mu.RLock()
	dir := p.dir
	p.mu.RUnlock()
	old, known := dir.Policy(name)
	now := ""
	if known {
		now = old.Revision
	}
	if now != revision {
		return nil, fmt.Errorf("%w: policy %q is at revision %q by now, not %q; begin with that one", visutility.ErrConflict, name, now, revision)
	}
	next, err := dir.Amend(p.o.PolicyDir, name, source)
	if err != nil {
		return nil, err
	}
	if err := next.Write(old); err != nil {
		return nil, err
	}
	if err := p.reload(ctx, by, changed); err != nil {
		return nil, err
	}
	if now, ok := p.set().Policy(name); !ok || now.Revision != next.Revision {
		return nil, fmt.Errorf("%w: policy %q was written and is not in force; see the errors of the policies", visutility.ErrConflict, name)
	}
	return next, nil
}
