package policy

import (
	"encoding/binary"
	"fmt"

	"github.com/visutility/visutility"
)

// NewStrategy is a policy's trigger as a [visutility.Strategy]: retrain.when with
// for, and nothing else of the policy. It has no log to take the time from, so the stored
// time of an event is the model's clock: conditions on absence and age see events only.
func NewStrategy(p *Policy) visutility.Strategy {
	s := &strategy{program: newProgram([]*Policy{p})}
	s.state = make([]uint64, s.program.Words())
	s.program.Init(s.state)
	return s
}

type strategy struct {
	program  *Program
	state    []uint64
	position visutility.Position
}

// Observe implements [visutility.Strategy].
func (s *strategy) Observe(e visutility.Event) visutility.Verdict {
	s.position++
	if m := s.program.Metric(e.Metric); m >= 0 {
		t, n := e.Time.UnixMilli(), int64(max(1, e.Count))
		s.program.Observe(s.state, m, t, max(t, int64(s.state[headClock])), e.Value, n, s.position, visutility.MakeLabels(e.Labels))
	}
	v, _, _ := s.program.Verdict(s.state, 0)
	return v
}

// AppendBinary implements [encoding.BinaryAppender]: the layout's digest, the position, the words.
func (s *strategy) AppendBinary(b []byte) ([]byte, error) {
	b = append(b, s.program.Digest()...)
	b = binary.LittleEndian.AppendUint64(b, uint64(s.position))
	for _, w := range s.state {
		b = binary.LittleEndian.AppendUint64(b, w)
	}
	return b, nil
}

// UnmarshalBinary implements [encoding.BinaryUnmarshaler]. What another policy wrote is refused with [visutility.ErrInvalid].
func (s *strategy) UnmarshalBinary(b []byte) error {
	digest := s.program.Digest()
	if len(b) != len(digest)+8*(1+len(s.state)) || string(b[:len(digest)]) != digest {
		return fmt.Errorf("%w: snapshot of another policy", visutility.ErrInvalid)
	}
	b = b[len(digest):]
	s.position = visutility.Position(binary.LittleEndian.Uint64(b))
	for i := range s.state {
		s.state[i] = binary.LittleEndian.Uint64(b[8+8*i:])
	}
	return nil
}
