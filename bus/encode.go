package bus

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/bus/internal/pb"
)

// A block is cut before it passes either bound, so that no message comes near
// the server's limit and a reader can work in small steps.
const (
	maxBlockEvents = 4096
	maxBlockBytes  = 256 << 10 // an estimate from above of its encoded size
)

// A segment is an encoded message for one partition. Segments of events may be
// appended to each other.
type segment struct {
	partition int
	data      []byte
}

// An encoder turns the events of one request into segments. It is used by one
// goroutine at a time and keeps its maps and columns between requests.
type encoder struct {
	partitions int
	series     map[visutility.Series]place
	parts      []part
	used       []int // the partitions that hold events now
	labels     []byte
	names      []string
	out        []segment
}

// A place is where a series is in the blocks being built.
type place struct {
	partition int
	index     uint32
	block     uint32 // the part's blocks before this one: an older place is no longer true
}

// A part is the block being built for one partition.
type part struct {
	block   pb.Block
	symbols map[string]uint32
	series  []*pb.Series // spare ones, for reuse
	last    int64        // time of the last event
	bytes   int
	blocks  uint32
	counted bool // a count differs from 1
}

func newEncoder(partitions int) *encoder {
	return &encoder{partitions: partitions, series: map[visutility.Series]place{}, parts: make([]part, partitions)}
}

// encoders lends encoders for one number of partitions.
type encoders struct{ pool sync.Pool }

func (p *encoders) get(partitions int) *encoder {
	if e, ok := p.pool.Get().(*encoder); ok {
		return e
	}
	return newEncoder(partitions)
}

func (p *encoders) put(e *encoder) {
	e.out = nil // handed to the request
	p.pool.Put(e)
}

// encode returns the segments of events, in the order of the partitions they
// touch. now stands in for times that are zero.
func (e *encoder) encode(events []visutility.Event, now time.Time) ([]segment, error) {
	defer e.reset()
	ms := now.UnixMilli()
	for i := range events {
		ev := &events[i]
		at, err := e.place(ev)
		if err != nil {
			return nil, err
		}
		t := ms
		if !ev.Time.IsZero() {
			t = ev.Time.UnixMilli()
		}
		count := ev.Count
		if count == 0 {
			count = 1
		} else if count > math.MaxInt64 {
			return nil, visutility.Invalidf(fmt.Sprintf("events[%d].count", i), "range", "is over 2^63-1")
		}
		p := &e.parts[at.partition]
		p.block.EventSeries = append(p.block.EventSeries, at.index)
		p.block.EventTime = append(p.block.EventTime, t-p.last)
		p.block.EventValue = append(p.block.EventValue, ev.Value)
		p.block.EventCount = append(p.block.EventCount, count)
		p.last = t
		p.counted = p.counted || count != 1
		p.bytes += 8 + 5 + binary.MaxVarintLen64 + binary.MaxVarintLen64
		if len(p.block.EventSeries) >= maxBlockEvents || p.bytes >= maxBlockBytes {
			if err := e.cut(at.partition); err != nil {
				return nil, err
			}
		}
	}
	slices.Sort(e.used)
	for _, n := range e.used {
		if err := e.cut(n); err != nil {
			return nil, err
		}
	}
	return e.out, nil
}

// place finds the series of an event among those of the blocks being built, or adds it.
func (e *encoder) place(ev *visutility.Event) (place, error) {
	e.canonical(ev.Labels)
	at, known := e.series[visutility.Series{Model: ev.Model, Metric: ev.Metric, Version: ev.Version, Labels: visutility.Labels(e.labels)}]
	if known && at.block == e.parts[at.partition].blocks {
		return at, nil
	}
	s := visutility.Series{Model: ev.Model, Metric: ev.Metric, Version: ev.Version, Labels: visutility.Labels(e.labels)}
	at.partition = visutility.PartitionOf(s.Model, e.partitions)
	p := &e.parts[at.partition]
	if len(p.block.EventSeries) == 0 && !slices.Contains(e.used, at.partition) {
		e.used = append(e.used, at.partition)
	}
	at.index, at.block = uint32(len(p.block.Series)), p.blocks
	ps := p.spare()
	ps.Model, ps.Metric, ps.Version = p.symbol(s.Model), p.symbol(s.Metric), p.symbol(s.Version)
	ps.Labels = ps.Labels[:0]
	if s.Labels != "" {
		if strings.Count(string(s.Labels), "\xff")%2 == 0 {
			return place{}, visutility.Invalidf("labels", "utf8", "of model %q contain a byte that is not UTF-8", s.Model)
		}
		for l := range strings.SplitSeq(string(s.Labels), "\xff") {
			ps.Labels = append(ps.Labels, p.symbol(l))
		}
	}
	p.block.Series = append(p.block.Series, ps)
	p.bytes += 16 + 5*len(ps.Labels)
	e.series[s] = at
	return at, nil
}

// canonical leaves the canonical form of m (see [visutility.Labels]) in e.labels,
// without allocating.
func (e *encoder) canonical(m map[string]string) {
	e.labels = e.labels[:0]
	if len(m) == 0 {
		return
	}
	e.names = e.names[:0]
	for k := range m {
		e.names = append(e.names, k)
	}
	slices.Sort(e.names)
	for i, k := range e.names {
		if i > 0 {
			e.labels = append(e.labels, 0xff)
		}
		e.labels = append(e.labels, k...)
		e.labels = append(e.labels, 0xff)
		e.labels = append(e.labels, m[k]...)
	}
}

// cut ends the block of a partition and adds it to the output.
func (e *encoder) cut(partition int) error {
	p := &e.parts[partition]
	if len(p.block.EventSeries) == 0 {
		return nil
	}
	counts := p.block.EventCount
	if !p.counted {
		p.block.EventCount = nil
	}
	size := proto.Size(&p.block)
	data := make([]byte, 0, size+1+binary.MaxVarintLen32)
	data = protowire.AppendTag(data, fieldBlocks, protowire.BytesType)
	data = protowire.AppendVarint(data, uint64(size))
	data, err := proto.MarshalOptions{UseCachedSize: true}.MarshalAppend(data, &p.block)
	p.block.EventCount = counts
	if err != nil {
		return fmt.Errorf("%w: events cannot be encoded: %w", visutility.ErrInvalid, err)
	}
	e.out = append(e.out, segment{partition, data})
	p.clear()
	return nil
}

func (e *encoder) reset() {
	for _, n := range e.used {
		e.parts[n].clear()
	}
	e.used = e.used[:0]
	clear(e.series)
}

func (p *part) clear() {
	p.series = append(p.series, p.block.Series...)
	b := &p.block
	b.Symbols, b.Series = b.Symbols[:0], b.Series[:0]
	b.EventSeries, b.EventTime, b.EventValue, b.EventCount = b.EventSeries[:0], b.EventTime[:0], b.EventValue[:0], b.EventCount[:0]
	clear(p.symbols)
	p.last, p.bytes, p.counted = 0, 0, false
	p.blocks++
}

func (p *part) spare() *pb.Series {
	if n := len(p.series); n > 0 {
		s := p.series[n-1]
		p.series = p.series[:n-1]
		return s
	}
	return &pb.Series{}
}

// symbol returns the index of s in the block's symbols. Symbol 0 is always the
// empty string, since a number that is 0 is not written.
func (p *part) symbol(s string) uint32 {
	if len(p.block.Symbols) == 0 {
		p.block.Symbols = append(p.block.Symbols, "")
	}
	if s == "" {
		return 0
	}
	i, ok := p.symbols[s]
	if !ok {
		if p.symbols == nil {
			p.symbols = map[string]uint32{}
		}
		i = uint32(len(p.block.Symbols))
		p.block.Symbols = append(p.block.Symbols, s)
		p.symbols[s] = i
		p.bytes += len(s) + 3
	}
	return i
}

// encodeControls returns the segments of controls, one for each partition they touch.
func encodeControls(controls []visutility.Control, partitions int) ([]segment, error) {
	byPartition := make([]pb.Message, partitions)
	for i := range controls {
		c := &controls[i]
		if c.Kind < 1 || c.Model == "" {
			return nil, visutility.Invalidf(fmt.Sprintf("controls[%d]", i), "empty", "has kind %d and model %q; both are required", c.Kind, c.Model)
		}
		m := &byPartition[visutility.PartitionOf(c.Model, partitions)]
		m.Controls = append(m.Controls, &pb.Control{
			Kind: uint32(c.Kind), Model: c.Model, Policy: c.Policy, Run: c.Run, State: uint32(c.State),
			Version: c.Version, Previous: c.Previous, PreviousMetrics: c.PreviousMetrics, Watch: c.Watch,
			By: c.By, Reason: c.Reason, Request: c.Request,
		})
	}
	var out []segment
	for n := range byPartition {
		if len(byPartition[n].Controls) == 0 {
			continue
		}
		data, err := proto.Marshal(&byPartition[n])
		if err != nil {
			return nil, fmt.Errorf("%w: controls cannot be encoded: %w", visutility.ErrInvalid, err)
		}
		if len(data) > maxControlBytes {
			return nil, visutility.Invalidf("controls", "too_long", "take %d bytes for one partition; %d are allowed", len(data), maxControlBytes)
		}
		out = append(out, segment{n, data})
	}
	return out, nil
}

// maxControlBytes bounds the controls of one call for one partition: they are one entry.
const maxControlBytes = 1 << 20
