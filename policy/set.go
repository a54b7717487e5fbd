package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/visutility/visutility"
)

// MaxPolicies is how many policies may match one model.
const MaxPolicies = 64

// A Set is the policies in force. It is immutable and safe for concurrent use.
type Set struct {
	policies []*Policy // by name
	byName   map[string]*Policy

	mu       sync.Mutex
	programs map[string]*Program // by the policies that match
}

// NewSet makes a set. Names must differ, and no model may be matched by more than
// [MaxPolicies]: the error is [visutility.ErrInvalid] and names the policies.
func NewSet(policies ...*Policy) (*Set, error) {
	s := &Set{policies: slices.Clone(policies), byName: make(map[string]*Policy), programs: make(map[string]*Program)}
	slices.SortFunc(s.policies, func(a, b *Policy) int { return cmp.Compare(a.Name, b.Name) })
	for _, p := range s.policies {
		if other := s.byName[p.Name]; other != nil {
			return nil, fmt.Errorf("%w: two policies are named %q: %s and %s", visutility.ErrInvalid, p.Name, other.File, p.File)
		}
		s.byName[p.Name] = p
	}
	if prefix, n := s.crowd(); n > MaxPolicies {
		return nil, fmt.Errorf("%w: models that begin with %q could be matched by %d policies; %d are allowed", visutility.ErrInvalid, prefix, n, MaxPolicies)
	}
	return s, nil
}

// crowd finds the greatest number of policies that could match one model. All
// that match it have globs whose literal beginnings are beginnings of its name, hence of the longest of them.
func (s *Set) crowd() (prefix string, most int) {
	if len(s.policies) <= MaxPolicies {
		return "", 0
	}
	prefixes := make([][]string, len(s.policies))
	for i, p := range s.policies {
		for _, glob := range p.Models {
			if k := strings.IndexAny(glob, `*?[\`); k >= 0 && !p.exact {
				glob = glob[:k]
			}
			prefixes[i] = append(prefixes[i], glob)
		}
	}
	for _, longest := range slices.Concat(prefixes...) {
		n := 0
		for _, mine := range prefixes {
			if slices.ContainsFunc(mine, func(x string) bool { return strings.HasPrefix(longest, x) }) {
				n++
			}
		}
		if n > most {
			prefix, most = longest, n
		}
	}
	return prefix, most
}

// Policies are the policies of the set, by name. The slice is the caller's.
func (s *Set) Policies() []*Policy { return slices.Clone(s.policies) }

// Policy finds a policy by name.
func (s *Set) Policy(name string) (*Policy, bool) {
	p, ok := s.byName[name]
	return p, ok
}

// For is the program of the policies that match a model, in the order of their
// names, nil when there are none. Models with the same policies share a program.
func (s *Set) For(model string) *Program {
	var matching []*Policy
	var key strings.Builder
	for i, p := range s.policies {
		if p.Matches(model) {
			matching = append(matching, p)
			fmt.Fprintf(&key, "%d ", i)
		}
	}
	if len(matching) == 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.programs[key.String()]; p != nil {
		return p
	}
	p := newProgram(matching)
	s.programs[key.String()] = p
	return p
}
