//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/visutility/visutility"
)

// alone marks a process that has a mount namespace of its own.
const alone = "VISUTILITY_TEST_MOUNTS_ALONE"

// TestFullDisk fills the disk under a server that has just acknowledged more than it has stored
// decisions for. Nothing more is acknowledged until there is room, then it goes on by itself, and in the end
// everything acknowledged is folded and decided, once.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if !mountSmall(t, dir, "size=160m") {
		return // ran in another process
	}
	policies := filepath.Join(dir, "policies")
	mkdir(t, policies)
	write(t, filepath.Join(policies, "flip.yaml"), strings.Replace(flipPolicy, "trainer: none", "run: train-demo", 1))
	d := &diskFull{victim: &victim{t: t, dir: dir}}
	d.start()
	defer d.kill()

	// Every event is a decision, so that many are yet to be stored when the disk is full.
	if status, _ := d.publish(6000); status != http.StatusOK {
		t.Fatalf("with room on the disk: %d", status)
	}
	fill(t, filepath.Join(dir, "ballast"))
	// What still fits into space that others gave back meanwhile may be accepted: it must last, too.
	d.eventually("events to be refused", func() bool {
		for range 20 {
			status, retry := d.publish(1)
			if status == http.StatusOK {
				fill(t, filepath.Join(dir, "ballast"))
				return false
			}
			if status != http.StatusServiceUnavailable || retry == "" {
				t.Fatalf("on a full disk: %d, Retry-After %q; want 503 with a time", status, retry)
			}
		}
		return true
	})
	d.eventually("commits to fail", func() bool { return d.metric("visutility_commit_failures_total") >= 3 })
	if n := d.decisions(); n >= 6000 {
		t.Fatalf("all %d decisions were stored in spite of the full disk", n)
	}

	if err := os.Remove(filepath.Join(dir, "ballast")); err != nil {
		t.Fatal(err)
	}
	d.eventually("events to be accepted again", func() bool {
		status, _ := d.publish(1)
		return status == http.StatusOK
	})
	d.eventually("everything to be folded", func() bool { return d.folded() >= d.acknowledged })
	d.eventually("everything to be decided", func() bool { return d.decisions() >= d.acknowledged })
	d.check("folded", d.folded())
	d.check("decided", d.decisions())
	d.check("visutility_events_folded_total", d.metric("visutility_events_folded_total"))
	t.Logf("%d events acknowledged, %d commits failed", d.acknowledged, d.metric("visutility_commit_failures_total"))

	d.kill()
	d.start()
	d.eventually("everything to be folded after a restart", func() bool { return d.folded() >= d.acknowledged })
	d.check("folded after a restart", d.folded())
	d.check("decided after a restart", d.decisions())
}

// A diskFull is a server whose disk is filled.
type diskFull struct {
	*victim
	acknowledged int
}

// toggles are n events that change the verdict each time, from the first on.
func toggles(first, n int) []visutility.Event {
	var events []visutility.Event
	for i := first; i < first+n; i++ {
		events = append(events, visutility.Event{Model: "flip", Metric: "accuracy", Value: 0.9 * float64(i%2), Time: flipStart.Add(time.Duration(i) * time.Second)})
	}
	return events
}

// publish sends n events that continue what was acknowledged, and counts them when they are, too. What
// was refused comes again under the same key: it may have been stored after all.
func (d *diskFull) publish(n int) (status int, retryAfter string) {
	d.t.Helper()
	body, err := json.Marshal(toggles(d.acknowledged, n))
	if err != nil {
		d.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(d.t.Context(), http.MethodPost, d.base()+"/api/v1/metrics", bytes.NewReader(body))
	if err != nil {
		d.t.Fatal(err)
	}
	req.Header.Set("Idempotency-Key", fmt.Sprintf("%d-%d", d.acknowledged, n))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		d.t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode == http.StatusOK {
		d.acknowledged += n
	}
	return resp.StatusCode, resp.Header.Get("Retry-After")
}

// decisions counts those that are stored.
func (d *diskFull) decisions() (n int) {
	d.t.Helper()
	for cursor := ""; ; {
		page := get[struct {
			Items []json.RawMessage
			Next  string
		}](d.victim, "/api/v1/decisions?model=flip&limit=1000&cursor="+url.QueryEscape(cursor))
		n += len(page.Items)
		if cursor = page.Next; cursor == "" {
			return n
		}
	}
}

// metric reads a metric without labels.
func (d *diskFull) metric(name string) int {
	d.t.Helper()
	resp, err := http.Get(d.base() + "/metrics")
	if err != nil {
		d.t.Fatal(err)
	}
	defer resp.Body.Close()
	var text bytes.Buffer
	if _, err := text.ReadFrom(resp.Body); err != nil {
		d.t.Fatal(err)
	}
	for line := range strings.Lines(text.String()) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			x, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				d.t.Fatal(err)
			}
			return int(x)
		}
	}
	d.t.Fatalf("no metric %s", name)
	return 0
}

func (d *diskFull) check(what string, n int) {
	d.t.Helper()
	if n != d.acknowledged {
		d.t.Errorf("%s: %d; %d were acknowledged", what, n, d.acknowledged)
	}
}

func (d *diskFull) eventually(what string, done func() bool) {
	d.t.Helper()
	for deadline := time.Now().Add(2 * patience); !done(); pause() {
		if time.Now().After(deadline) {
			d.t.Fatalf("waited in vain for %s", what)
		}
	}
}

// fill takes all room that there is, at once.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var st syscall.Statfs_t
	if err := syscall.Fstatfs(int(f.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	at, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		t.Fatal(err)
	}
	for step := int64(st.Bavail) * st.Bsize; step >= st.Bsize; {
		switch err := syscall.Fallocate(int(f.Fd()), 0, at, step); {
		case err == nil:
			at += step
		case errors.Is(err, syscall.ENOSPC): // others write as well
			step /= 2
		case !errors.Is(err, syscall.EINTR):
			t.Fatal(err)
		}
	}
}

// mountSmall mounts a file system on dir. Who may not do that runs the test once more in a process that
// may, in a user and a mount namespace of its own; it then returns false.
func mountSmall(t *testing.T, dir, options string) (here bool) {
	t.Helper()
	err := syscall.Mount("tmpfs", dir, "tmpfs", 0, options)
	if err == nil {
		t.Cleanup(func() {
			if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
				t.Error(err)
			}
		})
		return true
	}
	if !errors.Is(err, syscall.EPERM) || os.Getenv(alone) != "" {
		t.Fatalf("mounting a small file system: %v", err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), alone+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("a small file system can be mounted neither as this user nor in a user namespace (run the test as root, or allow user namespaces): %v\n%s", err, out)
	}
	t.Logf("in a user namespace:\n%s", out)
	return false
}
