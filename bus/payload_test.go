package bus_test

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/bus"
)

// TestPayloads are as durable as events, stored once by key, and come back in order and whole.
func TestPayloads(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "bus")
	l := openIn(t, bus.Options{Dir: dir, Partitions: 2})
	var want []string
	for i := range 5 {
		text := fmt.Sprintf("payload %d", i)
		want = append(want, text, text+" too")
		for range 2 { // the second has no effect
			if err := l.Append(t.Context(), fmt.Sprint("key ", i), bus.Payload{Partition: 1, Data: []byte(text)}, bus.Payload{Partition: 1, Data: []byte(text + " too")}); err != nil {
				t.Fatal(err)
			}
		}
	}
	large := bytes.Repeat([]byte{7}, bus.MaxPayload)
	want = append(want, string(large), "without a key")
	for _, data := range [][]byte{large, []byte("without a key")} {
		if err := l.Append(t.Context(), "", bus.Payload{Partition: 1, Data: data}); err != nil {
			t.Fatal(err)
		}
	}
	for _, bad := range []bus.Payload{{Partition: 2, Data: []byte("x")}, {Partition: 1}, {Partition: 0, Data: append(large, 7)}} {
		if err := l.Append(t.Context(), "", bus.Payload{Partition: 0, Data: []byte("good")}, bad); !errors.Is(err, visutility.ErrInvalid) {
			t.Errorf("a payload of %d bytes in partition %d: %v, want ErrInvalid", len(bad.Data), bad.Partition, err)
		}
	}
	if s := l.Stats(); s.Payloads != 12 || s.Duplicates != 5 {
		t.Errorf("%+v, want 12 payloads and 5 repetitions", s)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}

	l = openIn(t, bus.Options{Dir: dir})
	defer l.Close()
	if last, err := l.Last(t.Context(), 0); err != nil || last > 0 {
		t.Errorf("of what was refused there is something: %d, %v", last, err)
	}
	var got []string
	for b, err := range l.Read(t.Context(), 1, 0) {
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range b.Entries {
			for _, p := range e.Payloads {
				got = append(got, string(p))
			}
		}
		if len(got) >= len(want) {
			break
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("read %d payloads back, want %d in order", len(got), len(want))
	}
}
