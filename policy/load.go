package policy

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/visutility/visutility"
)

// LoadDir reads the policies of a directory: the files that [IsFile] knows, not those of its subdirectories. A
// bad file is a problem and changes nothing: the policy that old has of that file, if
// any, stays. So does everything when the directory cannot be read. old may be nil; set never is.
func LoadDir(dir string, old *Set) (set *Set, problems []error) {
	if old == nil {
		old, _ = NewSet() // nothing to refuse
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return old, []error{fmt.Errorf("policies: %w", err)}
	}
	set, _ = NewSet()
	for _, e := range entries {
		if !IsFile(e.Name()) || e.IsDir() {
			continue
		}
		file := filepath.Join(dir, e.Name())
		p, err := loadFile(file)
		if err != nil {
			problems = append(problems, err)
			p = old.ofFile(file)
		}
		next, err := set.with(p)
		if err != nil {
			problems = append(problems, &Error{File: file, Message: strings.TrimPrefix(err.Error(), visutility.ErrInvalid.Error()+": ")})
			if next, err = set.with(old.ofFile(file)); err != nil {
				continue
			}
		}
		set = next
	}
	return set, problems
}

// IsFile reports whether a file of that name in a directory of policies is one: *.yaml or *.yml. Those that end in _test are
// tests, which lie beside what they test; those that begin with a dot are nobody's.
func IsFile(name string) bool {
	ext := filepath.Ext(name)
	return (ext == ".yaml" || ext == ".yml") && !strings.HasPrefix(name, ".") && !strings.HasSuffix(strings.TrimSuffix(name, ext), "_test")
}

func loadFile(file string) (*Policy, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, fmt.Errorf("policies: %w", err)
	}
	if info.Size() > maxSource {
		return nil, fmt.Errorf("%w: %s has %d bytes; %d are allowed", visutility.ErrInvalid, file, info.Size(), maxSource)
	}
	src, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("policies: %w", err)
	}
	return Parse(file, src)
}

func (s *Set) ofFile(file string) *Policy {
	for _, p := range s.policies {
		if p.File == file {
			return p
		}
	}
	return nil
}

// with is the set and one more policy; nil adds nothing.
func (s *Set) with(p *Policy) (*Set, error) {
	if p == nil {
		return s, nil
	}
	return NewSet(append(s.Policies(), p)...)
}

// The pace of Watch: it waits until a flurry of changes is over, and looks by
// itself now and then, since file systems over a network send no notice.
const (
	watchQuiet = 200 * time.Millisecond
	watchPoll  = 30 * time.Second
)

// Watch calls changed after the policy files of a directory have changed, until ctx ends; it then returns
// nil. One call may stand for several changes. changed is called on the caller's goroutine.
func Watch(ctx context.Context, dir string, changed func()) error {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch policies: %w", err)
	}
	defer w.Close()
	if err := w.Add(dir); err != nil {
		return fmt.Errorf("watch policies: %w", err)
	}
	watch(ctx, dir, w.Events, w.Errors, changed)
	return nil
}

func watch(ctx context.Context, dir string, events <-chan fsnotify.Event, errs <-chan error, changed func()) {
	poll := time.NewTicker(watchPoll)
	defer poll.Stop()
	quiet := time.NewTimer(watchPoll)
	quiet.Stop() // set by the first change
	last := fingerprint(dir)
	for {
		select {
		case <-ctx.Done():
			return
		case _, ok := <-events:
			if !ok {
				events = nil // the poll goes on
				continue
			}
			quiet.Reset(watchQuiet)
		case _, ok := <-errs:
			if !ok {
				errs = nil
				continue
			}
			quiet.Reset(watchQuiet) // notices were lost: look for oneself
		case <-poll.C:
			quiet.Reset(0)
		case <-quiet.C:
			if now := fingerprint(dir); now != last {
				last = now
				changed()
			}
		}
	}
}

// fingerprint tells whether the policy files of a directory changed: by name, size, time and identity.
func fingerprint(dir string) string {
	var b strings.Builder
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err.Error()
	}
	for _, e := range entries {
		if !IsFile(e.Name()) {
			continue
		}
		var info fs.FileInfo
		if info, err = os.Stat(filepath.Join(dir, e.Name())); err != nil { // following links: a mounted directory swaps them
			fmt.Fprintf(&b, "%q %v\n", e.Name(), err)
			continue
		}
		fmt.Fprintf(&b, "%q %d %d\n", e.Name(), info.Size(), info.ModTime().UnixNano())
	}
	return b.String()
}
