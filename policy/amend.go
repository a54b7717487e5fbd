package policy

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"syscall"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/internal/durable"
)

// Amend makes a policy of source that may take the place of the one named name in dir, or be a new one there, on the word of
// somebody who has no access to the directory. The set is what LoadDir made of dir. Nothing is written; see [Policy.Write].
//
// Such a policy may decide otherwise, but reach no further: it trains by what a policy of the set trains by already, asks only
// the Prometheus servers that are asked already, and keeps its name. Commands, webhooks and addresses are written in the directory itself.
// Faults of source are [Errors]; any other refusal is [visutility.ErrInvalid] and names the field.
func (s *Set) Amend(dir, name string, source []byte) (*Policy, error) {
	if !nameForm.MatchString(name) {
		return nil, visutility.Invalidf("path.policy", "syntax", "%q cannot name a policy (letters, digits, '.', '_' and '-', at most 128)", name)
	}
	file := filepath.Join(dir, name+".yaml")
	if !IsFile(filepath.Base(file)) {
		return nil, visutility.Invalidf("path.policy", "syntax", "%q would be a file of tests; choose a name that does not end in _test", name)
	}
	old, known := s.Policy(name)
	if known {
		file = old.File
	}
	p, err := Parse(file, source)
	if err != nil {
		return nil, err
	}
	if p.Name != name {
		return nil, visutility.Invalidf("body.source", "name", "names the policy %q, not %q; leave name: as it is", p.Name, name)
	}
	if err := s.withinReach(p); err != nil {
		return nil, err
	}
	all := []*Policy{p}
	for _, q := range s.policies {
		if q != old {
			all = append(all, q)
		}
	}
	if _, err := NewSet(all...); err != nil {
		return nil, err
	}
	return p, nil
}

// withinReach refuses what would make the server run or call something that no policy of the set does.
func (s *Set) withinReach(p *Policy) error {
	trains := false
	asks := map[Query]bool{{}: true} // the server's own Prometheus
	for _, q := range s.policies {
		trains = trains || reflect.DeepEqual(q.Train, p.Train)
		for _, m := range q.Metrics {
			if m.Source != nil {
				asks[m.Source.whom()] = true
			}
		}
	}
	if !trains {
		return visutility.Invalidf("body.source", "train", "trains as no policy in force does; write train: in the directory of policies, where the commands are")
	}
	for name, m := range p.Metrics {
		if m.Source != nil && !asks[m.Source.whom()] {
			return visutility.Invalidf("body.source", "source", "asks another Prometheus for %s than the policies in force do; write its url and token_env in the directory of policies", name)
		}
	}
	return nil
}

// whom is the query without what is asked and when.
func (q *Query) whom() Query { return Query{URL: q.URL, TokenEnv: q.TokenEnv} }

// Write puts the policy where its File says, whole or not at all, in the place of old (nil: there must be no file).
// What is in the file must still be old's source, and it must be a file, not a link: one that was changed or put there
// by others meanwhile is theirs. That, and a place that cannot be written, is [visutility.ErrConflict].
func (p *Policy) Write(old *Policy) error {
	mode := fs.FileMode(0o644)
	info, err := os.Lstat(p.File)
	switch {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("write policy: %w", err)
	case err != nil && old != nil:
		return fmt.Errorf("%w: %s is gone; put it back first, or save the policy under another name", visutility.ErrConflict, p.File)
	case err == nil && old == nil:
		return fmt.Errorf("%w: there is a file %s already; mend or remove it, or choose another name", visutility.ErrConflict, p.File)
	case err == nil && !info.Mode().IsRegular():
		return fmt.Errorf("%w: %s is a link to a place that is kept elsewhere; change it there", visutility.ErrConflict, p.File)
	case err == nil:
		now, err := loadFile(p.File)
		if err != nil || now.Revision != old.Revision {
			return fmt.Errorf("%w: %s was changed and is not what is in force; mend it there", visutility.ErrConflict, p.File)
		}
		mode = info.Mode().Perm()
	}
	err = durable.WriteFile(p.File, p.Source, mode)
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) {
		return fmt.Errorf("%w: the directory of policies is read-only for the server; change %s where it is kept", visutility.ErrConflict, filepath.Base(p.File))
	}
	if err != nil {
		return fmt.Errorf("%w: write policy: %w", visutility.ErrUnavailable, err)
	}
	return nil
}
