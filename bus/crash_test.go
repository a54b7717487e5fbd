package bus

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/visutility/visutility"
)

const childEnv = "VISUTILITY_BUS_TEST_CHILD"

// TestMain lets the test binary be the process that is killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		if err := publishForEver(dir, os.Getenv(childEnv+"_FROM")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

const partitions = 3

// modelOf is a model in each partition.
var modelOf = func() (out [partitions]string) {
	for i, left := 0, partitions; left > 0; i++ {
		name := "m" + strconv.Itoa(i)
		if p := visutility.PartitionOf(name, partitions); out[p] == "" {
			out[p] = name
			left--
		}
	}
	return out
}()

// everywhere is an event for every partition, with the same value.
func everywhere(value int) []visutility.Event {
	out := make([]visutility.Event, partitions)
	for p, m := range modelOf {
		out[p] = visutility.Event{Model: m, Metric: "accuracy", Value: float64(value)}
	}
	return out
}

// publishForEver publishes numbers from from on, each in every partition, the
// even ones with a key, and prints what was acknowledged.
func publishForEver(dir, from string) error {
	next, err := strconv.Atoi(from)
	if err != nil {
		return err
	}
	l, err := Open(context.Background(), Options{Dir: dir, Partitions: partitions})
	if err != nil {
		return err
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	errs := make(chan error, 1)
	for range 16 {
		wg.Go(func() {
			for {
				mu.Lock()
				n := next
				next++
				mu.Unlock()
				if err := l.Publish(context.Background(), keyOf(n), everywhere(n)); err != nil {
					errs <- err
					return
				}
				mu.Lock()
				fmt.Println(n) // one write: whole lines only
				mu.Unlock()
			}
		})
	}
	return <-errs
}

func keyOf(n int) string {
	if n%2 == 0 {
		return "key-" + strconv.Itoa(n)
	}
	return ""
}

// limited is a context for reading what must be there.
func limited(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// numbers reads a partition: how often each number is there.
func numbers(t *testing.T, l *Log, partition int) map[int]int {
	t.Helper()
	out := map[int]int{}
	last, err := l.Last(t.Context(), partition)
	if err != nil {
		t.Fatal(err)
	}
	first, err := l.First(t.Context(), partition)
	if err != nil {
		t.Fatal(err)
	}
	if last == first {
		return out
	}
	for b, err := range l.Read(limited(t), partition, first) {
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range b.Events() {
			out[int(e.Value)]++
		}
		if b.Last() >= last {
			break
		}
	}
	return out
}

func testLog(t *testing.T, o Options) *Log {
	t.Helper()
	o.Partitions = partitions
	if o.Logger == nil {
		o.Logger = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	}
	l, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// TestKill kills a publishing process with SIGKILL, several times over the same
// directory. What was acknowledged is there; repeating everything with its key
// makes every keyed number be there once; and no call was stored in part.
func TestKill(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "bus")
	next := 0
	acked := map[int]bool{}
	for round := range 4 {
		highest := killed(t, dir, next, 300+100*round, acked)
		next = highest + 100 // more than were under way
	}
	l := testLog(t, Options{Dir: dir})
	if l.Stats().Corrupt != 0 {
		t.Errorf("%d entries are reported missing", l.Stats().Corrupt)
	}
	before := [partitions]map[int]int{}
	for p := range partitions {
		before[p] = numbers(t, l, p)
	}
	for n := range next {
		in := 0
		for p := range partitions {
			if c := before[p][n]; c > 1 {
				t.Errorf("number %d is %d times in partition %d", n, c, p)
			}
			in += before[p][n]
		}
		if in != 0 && in != partitions || acked[n] && in == 0 {
			t.Errorf("number %d (acknowledged: %t) is in %d of %d partitions", n, acked[n], in, partitions)
		}
	}
	for n := 0; n < next; n += 2 {
		if err := l.Publish(t.Context(), keyOf(n), everywhere(n)); err != nil {
			t.Fatal(err)
		}
	}
	for p := range partitions {
		after := numbers(t, l, p)
		for n := 0; n < next; n += 2 {
			if after[n] != 1 {
				t.Errorf("number %d is %d times in partition %d after it was repeated", n, after[n], p)
			}
		}
	}
}

// killed runs a publishing process until n numbers are acknowledged, kills it,
// notes what was acknowledged and returns the highest.
func killed(t *testing.T, dir string, from, n int, acked map[int]bool) (highest int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+dir, childEnv+"_FROM="+strconv.Itoa(from))
	cmd.Stderr = t.Output()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	highest = from
	seen := 0
	for lines := bufio.NewScanner(out); lines.Scan(); {
		number, err := strconv.Atoi(lines.Text())
		if err != nil {
			t.Fatalf("the process said %q", lines.Text())
		}
		acked[number] = true
		highest = max(highest, number)
		if seen++; seen == n {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := cmd.Wait(); err == nil || seen < n {
		t.Fatalf("the process ended by itself after %d numbers: %v", seen, err)
	}
	return highest
}

// copyDir copies a directory that is being written to. What vanishes meanwhile is left out.
func copyDir(t *testing.T, from, to string) {
	t.Helper()
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o700)
		}
		data, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), data, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// published runs publishers over l until stop, and returns the numbers acknowledged so far.
func published(t *testing.T, l *Log, base int) (acked func() []int, stop func()) {
	var mu sync.Mutex
	set := map[int]bool{}
	next := base
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	for range 8 {
		wg.Go(func() {
			for ctx.Err() == nil {
				mu.Lock()
				n := next
				next++
				mu.Unlock()
				if err := l.Publish(context.WithoutCancel(ctx), keyOf(n), everywhere(n)); err != nil {
					t.Errorf("publish: %v", err)
					return
				}
				mu.Lock()
				set[n] = true
				mu.Unlock()
			}
		})
	}
	return func() []int {
			mu.Lock()
			defer mu.Unlock()
			return slices.Collect(maps.Keys(set))
		}, func() {
			cancel()
			wg.Wait()
		}
}

// TestPowerCut opens copies of the directory that were taken while the log was
// being written: what had been acknowledged before must be in them.
func TestPowerCut(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "bus")
	l := testLog(t, Options{Dir: dir})
	acked, stop := published(t, l, 0)
	var copies []string
	var before [][]int
	for i := range 4 {
		for len(acked()) < 200*(i+1) {
			if err := l.Tick(t.Context()); err != nil { // takes as long as a write
				t.Fatal(err)
			}
		}
		copies = append(copies, filepath.Join(t.TempDir(), "copy"))
		before = append(before, acked())
		copyDir(t, dir, copies[i])
	}
	stop()
	for i, c := range copies {
		// The copy is no snapshot: the file of the last position may be newer
		// than the stream in it, which no power cut can bring about.
		if err := os.Remove(filepath.Join(c, highFile)); err != nil {
			t.Fatal(err)
		}
		cut := testLog(t, Options{Dir: c})
		for p := range partitions {
			there := numbers(t, cut, p)
			for _, n := range before[i] {
				if there[n] != 1 {
					t.Errorf("copy %d, partition %d: number %d, acknowledged before, is there %d times", i, p, n, there[n])
				}
			}
		}
		if err := cut.Publish(t.Context(), "", everywhere(-1)); err != nil {
			t.Errorf("copy %d does not take events: %v", i, err)
		}
	}
}

// TestTornTail cuts bytes off the end of the newest block. Either nothing that
// was acknowledged is lost, or the loss is counted and the positions are not used again.
func TestTornTail(t *testing.T) {
	for _, clean := range []bool{true, false} {
		for _, bytes := range []int64{1, 20, 500, 20_000} {
			t.Run(fmt.Sprintf("clean=%t/bytes=%d", clean, bytes), func(t *testing.T) {
				dir := filepath.Join(t.TempDir(), "bus")
				l := testLog(t, Options{Dir: dir})
				acked, stop := published(t, l, 0)
				for len(acked()) < 200 {
					if err := l.Tick(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				stop()
				var last visutility.Position
				for p := range partitions {
					at, err := l.Last(t.Context(), p)
					if err != nil {
						t.Fatal(err)
					}
					last = max(last, at)
				}
				torn := filepath.Join(t.TempDir(), "torn")
				if !clean {
					copyDir(t, dir, torn) // as if killed: the server could tidy up nothing
				}
				if err := l.Close(); err != nil {
					t.Fatal(err)
				}
				if clean {
					copyDir(t, dir, torn)
				}
				tear(t, torn, bytes)
				checkTorn(t, torn, acked(), last)
			})
		}
	}
}

func checkTorn(t *testing.T, dir string, acked []int, last visutility.Position) {
	t.Helper()
	var said strings.Builder
	l := testLog(t, Options{Dir: dir, Logger: slog.New(slog.NewTextHandler(&said, nil))})
	lost := 0
	for p := range partitions {
		there := numbers(t, l, p)
		for _, n := range acked {
			if there[n] == 0 {
				lost++
			}
		}
	}
	if lost > 0 && (l.Stats().Corrupt == 0 || !strings.Contains(said.String(), "the log is damaged")) {
		t.Errorf("%d events are lost; corrupt is %d and the log says:\n%s", lost, l.Stats().Corrupt, said.String())
	}
	if err := l.Publish(t.Context(), "", everywhere(-1)); err != nil {
		t.Fatal(err)
	}
	for p := range partitions {
		at, err := l.Last(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		if at <= last {
			t.Errorf("a new event of partition %d has position %d; positions up to %d had been given out", p, at, last)
		}
		n := 0
		for b, err := range l.Read(limited(t), p, last) {
			if err != nil {
				t.Fatalf("a reader of partition %d that stood at %d: %v", p, last, err)
			}
			n += len(b.Entries)
			if b.Last() >= at {
				break
			}
		}
		if n != 1 {
			t.Errorf("a reader of partition %d that stood at %d gets %d entries; want the new one", p, last, n)
		}
	}
	t.Logf("lost %d, alarm for %d", lost, l.Stats().Corrupt)
}

// tear cuts bytes off the newest block of the stream.
func tear(t *testing.T, dir string, bytes int64) {
	t.Helper()
	blocks, err := filepath.Glob(filepath.Join(dir, serverDir, "*", "streams", streamName, "msgs", "*.blk"))
	if err != nil || len(blocks) == 0 {
		t.Fatalf("no blocks in %s: %v", dir, err)
	}
	newest := slices.MaxFunc(blocks, func(a, b string) int { return blockNumber(a) - blockNumber(b) })
	st, err := os.Stat(newest)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(newest, max(0, st.Size()-bytes)); err != nil {
		t.Fatal(err)
	}
}

func blockNumber(file string) int {
	n, _ := strconv.Atoi(strings.TrimSuffix(filepath.Base(file), ".blk")) // 0 for a stranger
	return n
}
