package visutilitytest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/visutility/visutility"
)

const busDeadline = 30 * time.Second // for what should take milliseconds

// Bus runs the conformance suite of [visutility.Bus]. open opens the bus of the
// test it is given: a new and empty one the first time, and the same one, with
// what was published, when called again in that test after the bus was closed
// (a bus that is an io.Closer is closed for that, and at the end). It needs at
// least two partitions and must remember keys across a reopening.
func Bus(t *testing.T, open func(t *testing.T) visutility.Bus) {
	for _, c := range []struct {
		name string
		test func(*busTest)
	}{
		{"an empty bus", (*busTest).empty},
		{"events come back as they were", (*busTest).roundTrip},
		{"order within a partition", (*busTest).order},
		{"a model has one partition", (*busTest).partitions},
		{"a large call", (*busTest).large},
		{"a key counts once", (*busTest).keys},
		{"a key counts once among concurrent calls", (*busTest).concurrentKeys},
		{"keys of controls are apart", (*busTest).separateKeys},
		{"controls come back as they were", (*busTest).controls},
		{"ticks reach every partition", (*busTest).ticks},
		{"reading from any position", (*busTest).anyPosition},
		{"a waiting reader is woken", (*busTest).waiting},
		{"a reader ends with its context", (*busTest).ends},
		{"a context that has ended", (*busTest).canceled},
		{"many publishers, every event once", (*busTest).concurrent},
		{"reopening", (*busTest).reopen},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := &busTest{T: t, open: func() visutility.Bus { return open(t) }}
			b.bus = b.open()
			t.Cleanup(b.close)
			c.test(b)
		})
	}
}

type busTest struct {
	*testing.T
	open func() visutility.Bus
	bus  visutility.Bus
}

func (b *busTest) close() {
	if c, ok := b.bus.(io.Closer); ok {
		if err := c.Close(); err != nil {
			b.Errorf("close: %v", err)
		}
	}
}

func (b *busTest) ctx() context.Context {
	ctx, cancel := context.WithTimeout(b.Context(), busDeadline)
	b.Cleanup(cancel)
	return ctx
}

func (b *busTest) publish(key string, events ...visutility.Event) {
	b.Helper()
	if err := b.bus.Publish(b.ctx(), key, events); err != nil {
		b.Fatalf("publish: %v", err)
	}
}

// models returns n names in each partition.
func (b *busTest) models(n int) [][]string {
	out := make([][]string, b.bus.Partitions())
	for i, left := 0, n*len(out); left > 0; i++ {
		name := "model-" + strconv.Itoa(i)
		if p := visutility.PartitionOf(name, len(out)); len(out[p]) < n {
			out[p] = append(out[p], name)
			left--
		}
	}
	return out
}

// spread returns an event for a model of every partition.
func (b *busTest) spread(value float64) []visutility.Event {
	var out []visutility.Event
	for _, m := range b.models(1) {
		out = append(out, visutility.Event{Model: m[0], Metric: "accuracy", Value: value})
	}
	return out
}

// entries reads what a partition holds after a position, and checks that positions grow.
func (b *busTest) entries(partition int, after visutility.Position) []visutility.Entry {
	b.Helper()
	ctx := b.ctx()
	last, err := b.bus.Last(ctx, partition)
	if err != nil {
		b.Fatalf("last: %v", err)
	}
	var out []visutility.Entry
	if last <= after {
		return nil
	}
	for batch, err := range b.bus.Read(ctx, partition, after) {
		if err != nil {
			b.Fatalf("read partition %d after %d: %v", partition, after, err)
		}
		if batch.Partition != partition || len(batch.Entries) == 0 {
			b.Fatalf("read partition %d: batch of partition %d with %d entries", partition, batch.Partition, len(batch.Entries))
		}
		for _, e := range batch.Entries {
			if e.Position <= after {
				b.Fatalf("read partition %d: position %d after %d", partition, e.Position, after)
			}
			after = e.Position
			out = append(out, cloneEntry(e))
		}
		if after >= last {
			break
		}
	}
	return out
}

// cloneEntry makes a copy that outlives the batch.
func cloneEntry(e visutility.Entry) visutility.Entry {
	e.Series, e.Records, e.Controls = slices.Clone(e.Series), slices.Clone(e.Records), slices.Clone(e.Controls)
	return e
}

// all reads the events of every partition.
func (b *busTest) all() []visutility.Event {
	b.Helper()
	var out []visutility.Event
	for p := range b.bus.Partitions() {
		for _, e := range (visutility.Batch{Entries: b.entries(p, 0)}).Events() {
			if got := visutility.PartitionOf(e.Model, b.bus.Partitions()); got != p {
				b.Errorf("an event of %q (partition %d) is in partition %d", e.Model, got, p)
			}
			out = append(out, e)
		}
	}
	return out
}

// values counts the events by value.
func (b *busTest) values() map[float64]int {
	b.Helper()
	out := map[float64]int{}
	for _, e := range b.all() {
		out[e.Value]++
	}
	return out
}

func (b *busTest) empty() {
	if n := b.bus.Partitions(); n < 2 {
		b.Fatalf("%d partitions; the suite needs two", n)
	}
	for p := range b.bus.Partitions() {
		last, err := b.bus.Last(b.ctx(), p)
		first, err2 := b.bus.First(b.ctx(), p)
		if last != 0 || first != 0 || err != nil || err2 != nil {
			b.Errorf("partition %d: last %d (%v), first %d (%v); want 0, 0", p, last, err, first, err2)
		}
	}
	if err := b.bus.Publish(b.ctx(), "", nil); err != nil {
		b.Errorf("publish of nothing: %v", err)
	}
	if _, err := b.bus.Last(b.ctx(), b.bus.Partitions()); !errors.Is(err, visutility.ErrInvalid) {
		b.Errorf("last of a partition that does not exist: %v; want ErrInvalid", err)
	}
	for _, err := range b.bus.Read(b.ctx(), -1, 0) {
		if !errors.Is(err, visutility.ErrInvalid) {
			b.Errorf("read of a partition that does not exist: %v; want ErrInvalid", err)
		}
	}
}

func (b *busTest) roundTrip() {
	at := time.Date(2026, 3, 1, 12, 0, 0, int(123*time.Millisecond), time.UTC)
	model := b.models(1)[0][0]
	want := []visutility.Event{
		{Model: model, Metric: "accuracy", Value: 0.5, Time: at, Count: 1},
		{Model: model, Metric: "wmape", Value: -1e300, Time: at.Add(-time.Hour), Count: 1 << 40, Version: "v1", Labels: map[string]string{"country": "DE", "empty": "", "café": "naïve"}},
		{Model: model, Metric: "wmape", Value: 0, Time: time.Unix(0, 0).UTC(), Count: 7, Labels: map[string]string{"a": "1"}},
	}
	b.publish("", want...)
	if diff := cmp.Diff(want, b.all()); diff != "" {
		b.Errorf("events (-published +read):\n%s", diff)
	}
	before := time.Now().Add(-time.Minute)
	b.publish("", visutility.Event{Model: model, Metric: "accuracy", Value: 2})
	got := b.all()[3]
	if got.Count != 1 || got.Time.Before(before) || got.Time.After(time.Now().Add(time.Minute)) {
		b.Errorf("an event without time and count came back with %v and %d; want the time of receipt and 1", got.Time, got.Count)
	}
}

func (b *busTest) order() {
	const n = 300
	model := b.models(1)[1][0]
	for i := range n {
		b.publish("", visutility.Event{Model: model, Metric: "accuracy", Value: float64(i)})
	}
	next := 0.0
	for _, e := range b.all() {
		if e.Value != next {
			b.Fatalf("event %v where %v was due", e.Value, next)
		}
		next++
	}
	if next != n {
		b.Fatalf("%v events of %d", next, n)
	}
	stored := int64(0)
	for _, e := range b.entries(1, 0) {
		if e.Stored < stored {
			b.Fatalf("entry %d was stored at %d, one before it at %d", e.Position, e.Stored, stored)
		}
		stored = e.Stored
	}
	if age := time.Since(time.UnixMilli(stored)); age < -time.Minute || age > time.Hour {
		b.Errorf("the newest entry was stored %v ago", age)
	}
}

func (b *busTest) partitions() {
	b.publish("", b.spread(1)...)
	for p := range b.bus.Partitions() {
		if n := len(b.entries(p, 0)); n != 1 {
			b.Errorf("partition %d has %d entries; want 1", p, n)
		}
	}
	b.all() // checks that each is where it belongs
}

func (b *busTest) large() {
	const n = 30_000
	var events []visutility.Event
	models := b.models(3)
	for i := range n {
		events = append(events, visutility.Event{
			Model: models[i%len(models)][i%3], Metric: "metric-" + strconv.Itoa(i%7), Value: float64(i),
			Labels: map[string]string{"segment": strconv.Itoa(i % 1000)},
		})
	}
	b.publish("", events...)
	b.publish("key", events[:9000]...)
	b.publish("key", events[:9000]...)
	values := b.values()
	for i := range n {
		want := 1
		if i < 9000 {
			want = 2
		}
		if values[float64(i)] != want {
			b.Fatalf("event %d is there %d times; want %d", i, values[float64(i)], want)
		}
	}
}

func (b *busTest) keys() {
	b.publish("a", b.spread(1)...)
	b.publish("a", b.spread(1)...)
	b.publish("b", b.spread(2)...)
	b.publish("", b.spread(3)...)
	b.publish("", b.spread(3)...)
	b.publish("a", b.spread(4)[:1]...) // another content: the key decides
	b.publish("a", b.spread(5)[1:]...)
	b.publish("key with\r\nline break: and \x00 more", b.spread(6)...)
	b.publish("key with\r\nline break: and \x00 more", b.spread(6)...)
	n := b.bus.Partitions()
	if diff := cmp.Diff(map[float64]int{1: n, 2: n, 3: 2 * n, 6: n}, b.values()); diff != "" {
		b.Errorf("events by value (-want +got):\n%s", diff)
	}
}

func (b *busTest) concurrentKeys() {
	const keys, repetitions = 20, 10
	var wg sync.WaitGroup
	ctx := b.ctx()
	for i := range keys * repetitions {
		wg.Go(func() {
			key := i % keys
			if err := b.bus.Publish(ctx, fmt.Sprint("key-", key), b.spread(float64(key))); err != nil {
				b.Errorf("publish: %v", err)
			}
		})
	}
	wg.Wait()
	for value, n := range b.values() {
		if n != b.bus.Partitions() {
			b.Errorf("the events of key %v are there %d times; want %d", value, n, b.bus.Partitions())
		}
	}
}

func (b *busTest) separateKeys() {
	model := b.models(1)[0][0]
	b.publish("same", visutility.Event{Model: model, Metric: "accuracy", Value: 1})
	for range 2 {
		if err := b.bus.Control(b.ctx(), "same", visutility.Control{Kind: visutility.ControlPause, Model: model}); err != nil {
			b.Fatalf("control: %v", err)
		}
	}
	if n := len(b.entries(0, 0)); n != 2 {
		b.Errorf("%d entries; want one of the event and one of the control", n)
	}
}

func (b *busTest) controls() {
	models := b.models(1)
	want := []visutility.Control{
		{Kind: visutility.ControlTrigger, Model: models[0][0], Policy: "p", By: "ana", Reason: "new data", Request: "r1"},
		{Kind: visutility.ControlPromoted, Model: models[0][0], Run: "run", Version: "v2", Previous: "v1", PreviousMetrics: map[string]float64{"auc": 0.5, "f1_score": 0}, Watch: true},
		{Kind: visutility.ControlEnded, Model: models[0][0], Run: "run", State: visutility.RolledBack},
	}
	other := visutility.Control{Kind: visutility.ControlResume, Model: models[1][0], By: "ben"}
	if err := b.bus.Control(b.ctx(), "", append(slices.Clone(want), other)...); err != nil {
		b.Fatalf("control: %v", err)
	}
	var got []visutility.Control
	for _, e := range b.entries(0, 0) {
		got = append(got, e.Controls...)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		b.Errorf("controls (-sent +read):\n%s", diff)
	}
	if diff := cmp.Diff([]visutility.Control{other}, b.entries(1, 0)[0].Controls); diff != "" {
		b.Errorf("controls of the other partition (-sent +read):\n%s", diff)
	}
}

func (b *busTest) ticks() {
	for range 2 {
		if err := b.bus.Tick(b.ctx()); err != nil {
			b.Fatalf("tick: %v", err)
		}
	}
	for p := range b.bus.Partitions() {
		entries := b.entries(p, 0)
		if len(entries) != 2 {
			b.Errorf("partition %d has %d entries after two ticks", p, len(entries))
		}
		for _, e := range entries {
			if len(e.Records)+len(e.Controls)+len(e.Series) != 0 {
				b.Errorf("partition %d: a tick holds %v", p, e)
			}
		}
	}
}

func (b *busTest) anyPosition() {
	for i := range 40 {
		b.publish("", b.spread(float64(i))...)
	}
	all := b.entries(1, 0)
	for i, e := range all {
		rest := b.entries(1, e.Position)
		if diff := cmp.Diff(all[i+1:], rest, cmp.Transformer("nil", func(in []visutility.Entry) []visutility.Entry { return in[:len(in):len(in)] })); len(all[i+1:])+len(rest) > 0 && diff != "" {
			b.Fatalf("after %d (-want +got):\n%s", e.Position, diff)
		}
	}
	if last, err := b.bus.Last(b.ctx(), 1); err != nil || last != all[len(all)-1].Position {
		b.Errorf("last: %d, %v; want %d", last, err, all[len(all)-1].Position)
	}
}

func (b *busTest) waiting() {
	ctx := b.ctx()
	model := b.models(1)[0][0]
	got := make(chan float64)
	ended := make(chan error, 1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		for batch, err := range b.bus.Read(ctx, 0, 0) {
			if err != nil {
				ended <- err
				return
			}
			for _, e := range batch.Events() {
				got <- e.Value
			}
		}
	}()
	for i := range 20 {
		b.publish("", visutility.Event{Model: model, Metric: "accuracy", Value: float64(i)})
		select {
		case v := <-got:
			if v != float64(i) {
				b.Fatalf("read %v; want %d", v, i)
			}
		case err := <-ended:
			b.Fatalf("the reader ended: %v", err)
		case <-ctx.Done():
			b.Fatal("the reader was not woken")
		}
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		b.Errorf("the reader ended with %v; want context.Canceled", err)
	}
}

func (b *busTest) ends() {
	b.publish("", b.spread(1)...)
	ctx, cancel := context.WithCancel(b.ctx())
	defer cancel()
	var last error
	batches := 0
	for _, err := range b.bus.Read(ctx, 0, 0) {
		last = err
		batches++
		cancel()
	}
	if batches != 2 || !errors.Is(last, context.Canceled) {
		b.Errorf("%d yields, the last with %v; want a batch, then context.Canceled", batches, last)
	}
}

func (b *busTest) canceled() {
	ctx, cancel := context.WithCancel(b.ctx())
	cancel()
	// Either it was stored or it was refused; when refused, as overload and with the context's error.
	if err := b.bus.Publish(ctx, "", b.spread(1)); err != nil && !(errors.Is(err, visutility.ErrOverloaded) && errors.Is(err, context.Canceled)) {
		b.Errorf("publish with an ended context: %v", err)
	}
}

func (b *busTest) concurrent() {
	const callers, calls = 50, 20
	ctx := b.ctx()
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			for i := range calls {
				key := ""
				if c%3 == 0 {
					key = fmt.Sprint(c, "-", i)
				}
				var err error
				if c%10 == 9 && i%5 == 0 {
					err = b.bus.Tick(ctx)
				}
				if err == nil {
					err = b.bus.Publish(ctx, key, b.spread(float64(c*calls+i)))
				}
				if err != nil {
					b.Errorf("publish: %v", err)
				}
			}
		})
	}
	wg.Wait()
	// A caller's own calls came one after the other: so they are in the log.
	for p := range b.bus.Partitions() {
		seen := map[int]int{}
		for _, e := range (visutility.Batch{Entries: b.entries(p, 0)}).Events() {
			c, i := int(e.Value)/calls, int(e.Value)%calls
			if seen[c] != i {
				b.Fatalf("partition %d: call %d of caller %d where call %d was due", p, i, c, seen[c])
			}
			seen[c]++
		}
		if len(seen) != callers {
			b.Errorf("partition %d has events of %d callers; want %d", p, len(seen), callers)
		}
		for c, n := range seen {
			if n != calls {
				b.Errorf("partition %d has %d events of caller %d; want %d", p, n, c, calls)
			}
		}
	}
}

func (b *busTest) reopen() {
	for i := range 30 {
		b.publish(fmt.Sprint("key-", i), b.spread(float64(i))...)
	}
	want := b.entries(0, 0)
	for range 2 {
		b.close()
		b.bus = b.open()
		if diff := cmp.Diff(want, b.entries(0, 0)); diff != "" {
			b.Fatalf("entries (-before +after reopening):\n%s", diff)
		}
		for i := range 30 {
			b.publish(fmt.Sprint("key-", i), b.spread(-1)...)
		}
	}
	b.publish("", b.spread(100)...)
	got := b.entries(0, want[len(want)-1].Position)
	if len(got) != 1 || got[0].Records[0].Value != 100 {
		b.Errorf("after reopening, a new event and repeated keys gave %v", got)
	}
}
