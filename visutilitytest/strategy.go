package visutilitytest

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/visutility/visutility"
)

// TestStrategy is the conformance suite of [visutility.Strategy]. open returns
// a fresh strategy, each time of the same kind; events are folded in their order
// and should bring about every verdict that the strategy knows.
//
// It checks that the same events give the same verdicts, that a snapshot taken after any of them
// restores a strategy that goes on as if nothing had happened, and that what is not a snapshot is refused.
func TestStrategy(t *testing.T, open func() visutility.Strategy, events []visutility.Event) {
	want := make([]visutility.Verdict, len(events))
	s := open()
	for i, e := range events {
		want[i] = s.Observe(e)
	}

	t.Run("deterministic", func(t *testing.T) {
		s := open()
		for i, e := range events {
			if got := s.Observe(e); got != want[i] {
				t.Fatalf("event %d: %s the first time, %s the second", i, want[i], got)
			}
		}
	})

	t.Run("snapshot at every cut", func(t *testing.T) {
		s := open()
		for cut := 0; cut <= len(events); cut++ {
			restored := open()
			restore(t, restored, snapshot(t, s))
			for i, e := range events[cut:] {
				if got := restored.Observe(e); got != want[cut+i] {
					t.Fatalf("restored after %d events, event %d: %s, not %s", cut, cut+i, got, want[cut+i])
				}
			}
			if cut < len(events) {
				s.Observe(events[cut])
			}
		}
	})

	t.Run("restoring replaces what was there", func(t *testing.T) {
		fresh := snapshot(t, open())
		s := open()
		for _, e := range events {
			s.Observe(e)
		}
		restore(t, s, fresh)
		for i, e := range events {
			if got := s.Observe(e); got != want[i] {
				t.Fatalf("restored to the start, event %d: %s, not %s", i, got, want[i])
			}
		}
	})

	t.Run("a snapshot is the reader's", func(t *testing.T) {
		s := open()
		b := snapshot(t, s)
		before := slices.Clone(b)
		for _, e := range events {
			s.Observe(e)
		}
		if !bytes.Equal(b, before) {
			t.Error("observing changed a snapshot taken before")
		}
		restored := open()
		restore(t, restored, b)
		clear(b)
		for i, e := range events {
			if got := restored.Observe(e); got != want[i] {
				t.Fatalf("after the snapshot was overwritten, event %d: %s, not %s", i, got, want[i])
			}
		}
	})

	t.Run("appends", func(t *testing.T) {
		prefix := []byte("prefix")
		b, err := s.AppendBinary(slices.Clone(prefix))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(b, append(prefix, snapshot(t, s)...)) {
			t.Error("AppendBinary does not append")
		}
	})

	t.Run("refuses what is no snapshot", func(t *testing.T) {
		whole := snapshot(t, s)
		for _, b := range [][]byte{[]byte("nonsense"), append(slices.Clone(whole), 0)} {
			if err := open().UnmarshalBinary(b); err == nil {
				t.Errorf("%d bytes that are no snapshot were accepted", len(b))
			} else if !errors.Is(err, visutility.ErrInvalid) {
				t.Errorf("the refusal is not ErrInvalid: %v", err)
			}
		}
	})
}

func snapshot(t *testing.T, s visutility.Strategy) []byte {
	t.Helper()
	b, err := s.AppendBinary(nil)
	if err != nil {
		t.Fatalf("AppendBinary: %v", err)
	}
	return b
}

func restore(t *testing.T, s visutility.Strategy, b []byte) {
	t.Helper()
	if err := s.UnmarshalBinary(b); err != nil {
		t.Fatalf("UnmarshalBinary: %v", err)
	}
}
