package quality

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/quality/internal/pb"
)

// A Payload is samples of one partition, as the log keeps them.
type Payload struct {
	Partition int
	Data      []byte
}

// cutBytes is from what size on a payload is closed. A single sample has less than a quarter of that.
const cutBytes = 512 << 10

// Encode makes payloads of predictions and truths that have passed their Check. now is the time of those that have none.
func Encode(predictions []visutility.Prediction, truths []visutility.Truth, partitions int, now time.Time) ([]Payload, error) {
	e := encoder{parts: make([]part, partitions)}
	for i := range predictions {
		p := &predictions[i]
		m := &pb.Prediction{Model: p.Model, Id: p.ID, Class: p.Answer.Class, Number: p.Answer.Number, Version: p.Version, Time: millis(p.Time, now)}
		if !math.IsNaN(p.Score) {
			m.Score = &p.Score
		}
		for _, k := range slices.Sorted(maps.Keys(p.Labels)) {
			m.Labels = append(m.Labels, k, p.Labels[k])
		}
		for _, f := range p.Features {
			m.Features = append(m.Features, &pb.Feature{Name: f.Name, Category: f.Value.Class, Number: f.Value.Number})
		}
		part := e.part(p.Model, proto.Size(m))
		part.samples.Predictions = append(part.samples.Predictions, m)
	}
	for i := range truths {
		t := &truths[i]
		m := &pb.Truth{Model: t.Model, Id: t.ID, Class: t.Answer.Class, Number: t.Answer.Number, Time: millis(t.Time, now)}
		part := e.part(t.Model, proto.Size(m))
		part.samples.Truths = append(part.samples.Truths, m)
	}
	for i := range e.parts {
		e.cut(i)
	}
	return e.out, e.err
}

type part struct {
	samples pb.Samples
	bytes   int
}

// An encoder gathers samples by partition.
type encoder struct {
	parts []part
	out   []Payload
	err   error
}

// part is where a sample of that size belongs.
func (e *encoder) part(model string, size int) *part {
	n := visutility.PartitionOf(model, len(e.parts))
	p := &e.parts[n]
	if p.bytes += size; p.bytes > cutBytes {
		e.cut(n)
		p.bytes = size
	}
	return p
}

func (e *encoder) cut(partition int) {
	p := &e.parts[partition]
	if len(p.samples.Predictions)+len(p.samples.Truths) == 0 {
		return
	}
	data, err := proto.Marshal(&p.samples)
	if err != nil && e.err == nil {
		e.err = fmt.Errorf("%w: predictions cannot be encoded: %w", visutility.ErrInvalid, err)
	}
	e.out = append(e.out, Payload{partition, data})
	p.samples.Predictions, p.samples.Truths, p.bytes = nil, nil, 0
}

func millis(t, now time.Time) int64 {
	if t.IsZero() {
		t = now
	}
	return t.UnixMilli()
}
