package bus

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/bus/internal/pb"
)

// The fields of batch.proto that the decoder reads by hand: it works in place,
// on lent buffers, which generated code cannot.
const (
	fieldBlocks   protowire.Number = 1
	fieldControls protowire.Number = 2
	fieldPayloads protowire.Number = 3

	fieldSymbols     protowire.Number = 1
	fieldSeries      protowire.Number = 2
	fieldEventSeries protowire.Number = 3
	fieldEventTime   protowire.Number = 4
	fieldEventValue  protowire.Number = 5
	fieldEventCount  protowire.Number = 6

	fieldModel   protowire.Number = 1
	fieldMetric  protowire.Number = 2
	fieldVersion protowire.Number = 3
	fieldLabels  protowire.Number = 4
)

// maxInterned bounds the strings that a decoder remembers; beyond, it starts afresh.
const maxInterned = 1 << 16

// errWire says that the bytes are no protocol buffer at all.
var errWire = errors.New("the bytes do not parse")

// A decoder reads messages into entries. It remembers the strings it has seen
// and reuses the entry's slices, so that a stream of similar messages is read
// without allocating. What it allocates is bounded by a small multiple of the
// message's length, whatever the message claims. It is used by one goroutine at a time.
type decoder struct {
	strings map[string]string
	symbols []string
	refs    []uint32
	labels  []byte
}

func newDecoder() *decoder { return &decoder{strings: map[string]string{}} }

// decode reads a message into e: it replaces Series, Records, Controls and Payloads and
// leaves the rest. After an error e holds nothing. Only payloads refer to data.
func (d *decoder) decode(data []byte, e *visutility.Entry) error {
	e.Series, e.Records, e.Controls, e.Payloads = e.Series[:0], e.Records[:0], nil, nil
	block := 0
	err := fields(data, func(num protowire.Number, typ protowire.Type, val []byte, _ uint64) error {
		switch num {
		case fieldBlocks:
			block++
			if typ != protowire.BytesType {
				return fmt.Errorf("block %d: wrong wire type %d", block, typ)
			}
			if err := d.block(val, e); err != nil {
				return fmt.Errorf("block %d: %w", block, err)
			}
		case fieldControls:
			if typ != protowire.BytesType {
				return fmt.Errorf("control %d: wrong wire type %d", len(e.Controls)+1, typ)
			}
			c, err := decodeControl(val)
			if err != nil {
				return fmt.Errorf("control %d: %w", len(e.Controls)+1, err)
			}
			e.Controls = append(e.Controls, c)
		case fieldPayloads:
			if typ != protowire.BytesType {
				return fmt.Errorf("payload %d: wrong wire type %d", len(e.Payloads)+1, typ)
			}
			e.Payloads = append(e.Payloads, val)
		}
		return nil
	})
	if err != nil {
		e.Series, e.Records, e.Controls, e.Payloads = e.Series[:0], e.Records[:0], nil, nil
		return fmt.Errorf("malformed message of %d bytes: %w", len(data), err)
	}
	return nil
}

// block reads a Block. Columns are found first and walked together at the end.
func (d *decoder) block(data []byte, e *visutility.Entry) error {
	d.symbols = d.symbols[:0]
	firstSeries := len(e.Series)
	var cols [fieldEventCount + 1][]byte
	err := fields(data, func(num protowire.Number, typ protowire.Type, val []byte, _ uint64) error {
		if num < fieldSymbols || num > fieldEventCount {
			return nil
		}
		if typ != protowire.BytesType {
			return fmt.Errorf("field %d: wrong wire type %d", num, typ)
		}
		switch num {
		case fieldSymbols:
			d.symbols = append(d.symbols, d.intern(val))
		case fieldSeries:
			s, err := d.series(val)
			if err != nil {
				return fmt.Errorf("series %d: %w", len(e.Series)-firstSeries, err)
			}
			e.Series = append(e.Series, s)
		default:
			if cols[num] != nil {
				return fmt.Errorf("column %d comes twice", num)
			}
			cols[num] = val
		}
		return nil
	})
	if err != nil {
		return err
	}
	return records(cols[fieldEventSeries], cols[fieldEventTime], cols[fieldEventValue], cols[fieldEventCount], firstSeries, e)
}

// records walks the columns of a block. firstSeries is where the block's series begin in the entry.
func records(series, times, values, counts []byte, firstSeries int, e *visutility.Entry) error {
	n := len(values) / 8
	if len(values)%8 != 0 {
		return fmt.Errorf("the column of values has %d bytes, not a multiple of 8", len(values))
	}
	known := uint64(len(e.Series) - firstSeries)
	counted := len(counts) > 0
	t := int64(0)
	for i := range n {
		s, w := uvarint(series)
		if w <= 0 {
			return fmt.Errorf("the column of series ends or is garbled at event %d of %d", i, n)
		}
		if s >= known {
			return fmt.Errorf("event %d: series %d of %d", i, s, known)
		}
		series = series[w:]
		delta, w := uvarint(times)
		if w <= 0 {
			return fmt.Errorf("the column of times ends or is garbled at event %d of %d", i, n)
		}
		times = times[w:]
		t += protowire.DecodeZigZag(delta)
		count := uint64(1)
		if counted {
			if count, w = uvarint(counts); w <= 0 {
				return fmt.Errorf("the column of counts ends or is garbled at event %d of %d", i, n)
			}
			if count == 0 || count > math.MaxInt64 {
				return fmt.Errorf("event %d: count %d", i, count)
			}
			counts = counts[w:]
		}
		e.Records = append(e.Records, visutility.Record{
			Series: uint32(firstSeries) + uint32(s),
			Time:   t,
			Value:  math.Float64frombits(binary.LittleEndian.Uint64(values[8*i:])),
			Count:  int64(count),
		})
	}
	if len(series)+len(times)+len(counts) > 0 {
		return fmt.Errorf("columns of unequal length: %d events, and %d, %d, %d bytes left of series, times, counts", n, len(series), len(times), len(counts))
	}
	return nil
}

// uvarint is binary.Uvarint with a fast path for one byte.
func uvarint(b []byte) (uint64, int) {
	if len(b) > 0 && b[0] < 0x80 {
		return uint64(b[0]), 1
	}
	return binary.Uvarint(b)
}

func (d *decoder) series(data []byte) (s visutility.Series, err error) {
	d.refs = d.refs[:0]
	err = fields(data, func(num protowire.Number, typ protowire.Type, val []byte, v uint64) error {
		if num == fieldLabels && typ == protowire.BytesType {
			for len(val) > 0 {
				ref, w := uvarint(val)
				if w <= 0 || ref >= uint64(len(d.symbols)) {
					return fmt.Errorf("label %d: symbol %d of %d", len(d.refs), ref, len(d.symbols))
				}
				if len(d.refs) >= 2*visutility.MaxLabels {
					return fmt.Errorf("more than %d labels", visutility.MaxLabels)
				}
				d.refs = append(d.refs, uint32(ref))
				val = val[w:]
			}
			return nil
		}
		if num > fieldLabels {
			return nil
		}
		if typ != protowire.VarintType {
			return fmt.Errorf("field %d: wrong wire type %d", num, typ)
		}
		if v >= uint64(len(d.symbols)) {
			return fmt.Errorf("field %d: symbol %d of %d", num, v, len(d.symbols))
		}
		switch num {
		case fieldModel:
			s.Model = d.symbols[v]
		case fieldMetric:
			s.Metric = d.symbols[v]
		case fieldVersion:
			s.Version = d.symbols[v]
		}
		return nil
	})
	switch {
	case err != nil:
		return s, err
	case s.Model == "" || s.Metric == "":
		return s, fmt.Errorf("model %q, metric %q: neither may be empty", s.Model, s.Metric)
	case len(d.refs)%2 != 0:
		return s, fmt.Errorf("%d label symbols: names and values do not pair", len(d.refs))
	}
	d.labels = d.labels[:0]
	for i, ref := range d.refs {
		if i > 0 {
			d.labels = append(d.labels, 0xff)
		}
		d.labels = append(d.labels, d.symbols[ref]...)
	}
	s.Labels = visutility.Labels(d.intern(d.labels))
	return s, nil
}

func (d *decoder) intern(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	if s, ok := d.strings[string(b)]; ok {
		return s
	}
	if len(d.strings) >= maxInterned {
		clear(d.strings)
	}
	s := string(b)
	d.strings[s] = s
	return s
}

// decodeControl reads a Control. Controls are rare: generated code will do.
func decodeControl(data []byte) (visutility.Control, error) {
	var c pb.Control
	if err := proto.Unmarshal(data, &c); err != nil {
		return visutility.Control{}, err
	}
	return visutility.Control{
		Kind: visutility.ControlKind(c.Kind), Model: c.Model, Policy: c.Policy, Run: c.Run, State: visutility.RunState(c.State),
		Version: c.Version, Previous: c.Previous, PreviousMetrics: c.PreviousMetrics, Watch: c.Watch,
		By: c.By, Reason: c.Reason, Request: c.Request,
	}, nil
}

// fields calls f for every field of a message: val for length-delimited ones, v for varints.
func fields(data []byte, f func(num protowire.Number, typ protowire.Type, val []byte, v uint64) error) error {
	for len(data) > 0 {
		num, typ, n := protowire.ConsumeTag(data)
		if n < 0 {
			return errWire
		}
		data = data[n:]
		var val []byte
		var v uint64
		switch typ {
		case protowire.BytesType:
			val, n = protowire.ConsumeBytes(data)
		case protowire.VarintType:
			v, n = protowire.ConsumeVarint(data)
		default:
			n = protowire.ConsumeFieldValue(num, typ, data)
		}
		if n < 0 {
			return errWire
		}
		data = data[n:]
		if err := f(num, typ, val, v); err != nil {
			return err
		}
	}
	return nil
}
