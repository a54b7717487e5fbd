package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/visutility/visutility"
)

const patience = 30 * time.Second

// until tries f until it returns nil.
func until(t *testing.T, what string, f func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
		<-tick.C
	}
}

// follow reads every partition from the beginning until stop, which returns
// how often each number was read in each.
func follow(t *testing.T, l *Log) (stop func() [partitions]map[int]int) {
	ctx, cancel := context.WithCancel(t.Context())
	var out [partitions]map[int]int
	var wg sync.WaitGroup
	for p := range partitions {
		out[p] = map[int]int{}
		wg.Go(func() {
			for b, err := range l.Read(ctx, p, 0) {
				if err != nil {
					if !errors.Is(err, context.Canceled) {
						t.Errorf("read partition %d: %v", p, err)
					}
					return
				}
				for _, e := range b.Events() {
					out[p][int(e.Value)]++
					if e.Value == -1 {
						return // the last
					}
				}
			}
		})
	}
	return func() [partitions]map[int]int {
		timer := time.AfterFunc(patience, cancel)
		wg.Wait()
		timer.Stop()
		cancel()
		return out
	}
}

// big is a call of some 70 KiB that does not compress.
func big(number int) []visutility.Event {
	var out []visutility.Event
	for range 10 {
		for _, ev := range everywhere(number) {
			ev.Labels = map[string]string{}
			for k := range visutility.MaxLabels {
				b := make([]byte, 120)
				for j := range b {
					b[j] = 'a' + byte(rand.IntN(26))
				}
				ev.Labels[fmt.Sprint(k)] = string(b)
			}
			out = append(out, ev)
		}
	}
	return out
}

// TestLowSpace: below MinFree nothing is taken, at once; above it is again.
func TestLowSpace(t *testing.T) {
	var free atomic.Int64
	free.Store(1 << 30)
	l := testLog(t, Options{Dir: filepath.Join(t.TempDir(), "bus"), free: func(string) (int64, error) { return free.Load(), nil }})
	if err := l.Publish(t.Context(), "", everywhere(1)); err != nil {
		t.Fatal(err)
	}
	free.Store(63 << 20)
	until(t, "a refusal", func() error {
		err := l.Publish(t.Context(), "", everywhere(2))
		if err == nil {
			return errors.New("taken")
		}
		if !errors.Is(err, visutility.ErrUnavailable) || !strings.Contains(err.Error(), "63 MiB free") || !errors.Is(l.Ready(), visutility.ErrUnavailable) {
			t.Fatalf("refused with %v, ready %v", err, l.Ready())
		}
		return nil
	})
	free.Store(65 << 20)
	until(t, "publishing", func() error { return l.Publish(t.Context(), "", everywhere(3)) })
	if s := l.Stats(); s.Restarts != 0 || s.Refused == 0 {
		t.Errorf("stats %+v; want refusals and no restart", s)
	}
}

// TestStoreGivenUp takes the store from under the log, again and again, while
// publishers and readers are at work.
func TestStoreGivenUp(t *testing.T) {
	l := testLog(t, Options{Dir: filepath.Join(t.TempDir(), "bus"), attempt: 200 * time.Millisecond, Logger: slog.New(slog.DiscardHandler)})
	read := follow(t, l)
	ctx, cancel := context.WithCancel(t.Context())
	var next atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for ctx.Err() == nil {
				n := int(next.Add(1))
				until(t, "publishing", func() error {
					err := l.Publish(t.Context(), keyOf(2*n), everywhere(n))
					if err != nil && !errors.Is(err, visutility.ErrUnavailable) {
						t.Errorf("publish: %v; want ErrUnavailable", err)
					}
					return err
				})
			}
		})
	}
	for round := range 3 {
		until(t, "some progress", func() error {
			if next.Load() < int64(100*(round+1)) {
				return errors.New("none")
			}
			return nil
		})
		s, err := l.await(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := s.srv.DisableJetStream(); err != nil {
			t.Fatal(err)
		}
		until(t, "a new server", func() error {
			if l.Stats().Restarts < uint64(round+1) {
				return errors.New("not yet")
			}
			return nil
		})
	}
	cancel()
	wg.Wait()
	if err := l.Publish(t.Context(), "", everywhere(-1)); err != nil {
		t.Fatal(err)
	}
	for p, there := range read() {
		for n := 1; n <= int(next.Load()); n++ {
			if there[n] != 1 {
				t.Errorf("partition %d: number %d was read %d times", p, n, there[n])
			}
		}
	}
}

// TestLostAnswer sends units again that are stored already, as after an answer
// that was lost: none is stored twice, and those that were not are stored.
func TestLostAnswer(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "bus")
	l := testLog(t, Options{Dir: dir})
	l.queue.close() // the writer goes home: the test writes itself
	until(t, "the end of the writer", func() error {
		if _, err := l.writable(); err != nil {
			return err
		}
		return nil
	})
	units := make([]*unit, 9)
	for i := range units {
		e := newEncoder(partitions)
		segments, err := e.encode(everywhere(i), noon)
		if err != nil {
			t.Fatal(err)
		}
		units[i] = &unit{id: fmt.Sprint("u", i), keyed: i%2 == 0, messages: segments, requests: []*request{{events: partitions}}}
	}
	l.store(units[2:5])
	l.store(units[6:7])
	l.store(units)
	l.store(units)
	for i, u := range units {
		if u.err != nil {
			t.Errorf("unit %d: %v", i, u.err)
		}
	}
	for p := range partitions {
		there := numbers(t, l, p)
		for i := range units {
			if there[i] != 1 {
				t.Errorf("partition %d: unit %d is stored %d times", p, i, there[i])
			}
		}
	}
}

func TestBackPressure(t *testing.T) {
	l := testLog(t, Options{Dir: filepath.Join(t.TempDir(), "bus"), MaxPending: 8 << 10})
	if err := l.Publish(t.Context(), "", sample(10_000)); !errors.Is(err, visutility.ErrInvalid) {
		t.Errorf("a call larger than the queue: %v; want ErrInvalid", err)
	}
	if err := l.room.Acquire(t.Context(), 8<<10); err != nil { // as if as much were waiting
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := l.Publish(ctx, "", everywhere(1)); !errors.Is(err, visutility.ErrOverloaded) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("with a full queue: %v; want ErrOverloaded and the context's error", err)
	}
	done := make(chan error, 1)
	go func() { done <- l.Publish(t.Context(), "", everywhere(2)) }()
	l.room.Release(8 << 10)
	if err := <-done; err != nil {
		t.Errorf("with room again: %v", err)
	}
	for p := range partitions {
		if there := numbers(t, l, p); there[1] != 0 || there[2] != 1 {
			t.Errorf("partition %d: %v; want number 2 only", p, there)
		}
	}
}

// TestWithdraw: whoever gives up while waiting for the writer is not stored,
// and the room is free again.
func TestWithdraw(t *testing.T) {
	q := newQueue()
	a, b := &request{}, &request{}
	if !q.push(a) || !q.push(b) || !q.withdraw(a) || q.withdraw(a) {
		t.Error("push and withdraw")
	}
	if got := q.take(1, 0); !slices.Equal(got, []*request{b}) {
		t.Errorf("took %v", got)
	}
	if q.withdraw(b) {
		t.Error("the writer had it already")
	}
	q.close()
	if q.push(a) {
		t.Error("pushed into a closed queue")
	}
	if got := q.take(1, 0); len(got) != 0 {
		t.Errorf("took %v from a closed queue", got)
	}
}

func TestFlushIsBounded(t *testing.T) {
	ids := &idCounter{prefix: "t"}
	f := newFlush()
	n := 0
	for f.add(&request{segments: []segment{{0, make([]byte, 10)}, {1, make([]byte, 10)}}}, ids.next) {
		n++
	}
	if f.messages > maxMessages || n < maxMessages/2-1 {
		t.Errorf("%d requests in %d messages", n, f.messages)
	}
	f = newFlush()
	for range 5000 {
		if !f.add(&request{merge: true, bytes: 600, segments: []segment{{0, make([]byte, 300)}}}, ids.next) {
			t.Fatal("no room")
		}
	}
	if f.messages < 2 || f.messages > 4 {
		t.Errorf("1.5 MB in %d messages; want 3", f.messages)
	}
	if !newFlush().add(&request{bytes: 2 * maxFlush, segments: []segment{{0, nil}}}, ids.next) {
		t.Error("a request larger than a flush has a flush of its own")
	}
}

func TestDirectoryOfAnotherKind(t *testing.T) {
	for _, c := range []struct{ name, mark, want string }{
		{"another number", `{"mode":"standalone","partitions":4,"format":1}`, "has 4 partitions, not 3"},
		{"another mode", `{"mode":"cluster","partitions":3,"format":1}`, `mode "cluster"`},
		{"another format", `{"mode":"standalone","partitions":3,"format":2}`, "format 2"},
		{"nonsense", `{"mode":`, "not readable"},
		{"no mark", "", "no bus.json"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "bus")
			if err := os.MkdirAll(filepath.Join(dir, serverDir), 0o700); err != nil {
				t.Fatal(err)
			}
			if c.mark != "" {
				if err := os.WriteFile(filepath.Join(dir, markFile), []byte(c.mark), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			l, err := Open(t.Context(), Options{Dir: dir, Partitions: 3})
			if err == nil {
				t.Error(l.Close())
			}
			if !errors.Is(err, visutility.ErrInvalid) || !strings.Contains(fmt.Sprint(err), c.want) {
				t.Errorf("error %v; want ErrInvalid with %q", err, c.want)
			}
		})
	}
}

func TestPartitionsDefaultToTheDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "bus")
	for _, c := range []struct{ ask, get int }{{5, 5}, {0, 5}, {5, 5}} {
		l, err := Open(t.Context(), Options{Dir: dir, Partitions: c.ask})
		if err != nil {
			t.Fatal(err)
		}
		if l.Partitions() != c.get {
			t.Errorf("%d partitions; want %d", l.Partitions(), c.get)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if err := l.Publish(t.Context(), "", everywhere(1)); !errors.Is(err, visutility.ErrUnavailable) {
			t.Errorf("publish after close: %v", err)
		}
	}
}

// TestGap: what retention took away is not skipped in silence.
func TestGap(t *testing.T) {
	l := testLog(t, Options{Dir: filepath.Join(t.TempDir(), "bus"), MaxBytes: 256 << 10, MinFree: -1})
	for n := range 30 {
		if err := l.Publish(t.Context(), "", big(n)); err != nil {
			t.Fatal(err)
		}
	}
	first, err := l.First(t.Context(), 0)
	if err != nil || first == 0 {
		t.Fatalf("first %d, %v", first, err)
	}
	for _, err := range l.Read(limited(t), 0, first-1) {
		var gap *GapError
		if !errors.As(err, &gap) || *gap != (GapError{0, first - 1, first}) {
			t.Errorf("error %v; want a gap up to %d", err, first)
		}
	}
	for b, err := range l.Read(limited(t), 0, first) {
		if err != nil || b.Entries[0].Position <= first {
			t.Errorf("after the gap: %v, %v", b.Entries, err)
		}
		break
	}
}

// TestOvertaken: nor is what retention takes away before a slow reader's eyes.
func TestOvertaken(t *testing.T) {
	l := testLog(t, Options{Dir: filepath.Join(t.TempDir(), "bus"), MaxBytes: 4 << 20, MinFree: -1})
	const calls = 1200
	publish := func(from int) {
		var wg sync.WaitGroup
		for c := range 20 {
			wg.Go(func() {
				for n := from + c; n < from+calls; n += 20 {
					if err := l.Publish(t.Context(), fmt.Sprint("k", n), everywhere(n)); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
	}
	publish(0)
	read := 0
	for _, err := range l.Read(limited(t), 0, 0) {
		var gap *GapError
		if errors.As(err, &gap) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if read++; read == 1 {
			for n := range 60 {
				if err := l.Publish(t.Context(), "", slices.Concat(big(n), big(n), big(n), big(n))); err != nil {
					t.Fatal(err)
				}
			}
			if first, err := l.First(t.Context(), 0); err != nil || first < calls {
				t.Fatalf("retention has not come along: first %d, %v", first, err)
			}
		}
		if last, err := l.Last(t.Context(), 0); err != nil || read > calls {
			t.Fatalf("no gap was told before %d (%v)", last, err)
		}
	}
}

// TestConsumerLost deletes the reader's consumer on the server.
func TestConsumerLost(t *testing.T) {
	l := testLog(t, Options{Dir: filepath.Join(t.TempDir(), "bus")})
	read := follow(t, l)
	for n := range 3 {
		if err := l.Publish(t.Context(), "", everywhere(n)); err != nil {
			t.Fatal(err)
		}
		deleted := 0
		until(t, "deleting the consumers", func() error {
			names := l.session.stream.ConsumerNames(t.Context())
			for name := range names.Name() {
				if err := l.session.js.DeleteConsumer(t.Context(), streamName, name); err == nil {
					deleted++
				}
			}
			if deleted == 0 {
				return errors.New("none yet")
			}
			return names.Err()
		})
	}
	if err := l.Publish(t.Context(), "", everywhere(-1)); err != nil {
		t.Fatal(err)
	}
	for p, there := range read() {
		for n := range 3 {
			if there[n] != 1 {
				t.Errorf("partition %d: number %d was read %d times", p, n, there[n])
			}
		}
	}
}

// TestForeignMessage: bytes of a stranger are reported and do not stop the readers.
func TestForeignMessage(t *testing.T) {
	var said strings.Builder
	l := testLog(t, Options{Dir: filepath.Join(t.TempDir(), "bus"), Logger: slog.New(slog.NewTextHandler(&said, nil))})
	if _, err := l.session.js.PublishMsg(t.Context(), &nats.Msg{Subject: subject(0), Data: []byte("not ours")}, jetstream.WithRetryAttempts(0)); err != nil {
		t.Fatal(err)
	}
	if err := l.Publish(t.Context(), "", everywhere(7)); err != nil {
		t.Fatal(err)
	}
	if there := numbers(t, l, 0); there[7] != 1 {
		t.Errorf("read %v; want 7", there)
	}
	if l.Stats().Corrupt != 1 || !strings.Contains(said.String(), "malformed message") {
		t.Errorf("corrupt is %d; the log says %s", l.Stats().Corrupt, said.String())
	}
}

// TestDamagedMiddle flips a byte in the middle of a block.
func TestDamagedMiddle(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "bus")
	l := testLog(t, Options{Dir: dir})
	for n := range 20 {
		if err := l.Publish(t.Context(), "", everywhere(n)); err != nil {
			t.Fatal(err)
		}
	}
	torn := filepath.Join(t.TempDir(), "torn")
	copyDir(t, dir, torn)
	blocks, err := filepath.Glob(filepath.Join(torn, serverDir, "*", "streams", streamName, "msgs", "*.blk"))
	if err != nil || len(blocks) != 1 {
		t.Fatal(blocks, err)
	}
	data, err := os.ReadFile(blocks[0])
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	if err := os.WriteFile(blocks[0], data, 0o600); err != nil {
		t.Fatal(err)
	}
	damaged := testLog(t, Options{Dir: torn, Logger: slog.New(slog.DiscardHandler)})
	if damaged.Stats().Corrupt == 0 {
		t.Error("the damage is not reported")
	}
}

func TestNothingIsLeftBehind(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	l, err := Open(t.Context(), Options{Dir: filepath.Join(t.TempDir(), "bus"), Partitions: partitions})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		for _, err := range l.Read(context.Background(), 0, 0) {
			if err != nil {
				ended <- err
			}
		}
	}()
	if err := l.Publish(t.Context(), "", everywhere(1)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(l.Close(), l.Close()); err != nil {
		t.Error(err)
	}
	if err := <-ended; !errors.Is(err, visutility.ErrUnavailable) {
		t.Errorf("the reader ended with %v; want ErrUnavailable", err)
	}
}
