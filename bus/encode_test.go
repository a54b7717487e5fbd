package bus

import (
	"bytes"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/bus/internal/pb"
)

var noon = time.UnixMilli(1_700_000_000_000)

// names are few, so that series and symbols repeat.
var names = rapid.SampledFrom([]string{"a", "b", "model", "wmape", "ünïcode", "x y", strings.Repeat("long", 64)})

func events() *rapid.Generator[[]visutility.Event] {
	event := rapid.Custom(func(t *rapid.T) visutility.Event {
		ev := visutility.Event{
			Model: names.Draw(t, "model"), Metric: names.Draw(t, "metric"),
			Value: rapid.Float64Range(-math.MaxFloat64, math.MaxFloat64).Draw(t, "value"),
			Count: rapid.Uint64Range(0, math.MaxInt64).Draw(t, "count"),
		}
		if rapid.Bool().Draw(t, "has a version") {
			ev.Version = names.Draw(t, "version")
		}
		if rapid.Bool().Draw(t, "has a time") {
			ev.Time = time.UnixMilli(rapid.Int64Range(1, 1<<42).Draw(t, "time")).UTC()
		}
		if n := rapid.IntRange(0, 4).Draw(t, "labels"); n > 0 {
			ev.Labels = map[string]string{}
			for range n {
				ev.Labels[names.Draw(t, "label")] = rapid.SampledFrom([]string{"", "1", "model"}).Draw(t, "label value")
			}
		}
		return ev
	})
	return rapid.SliceOfN(event, 1, 60)
}

// decoded reads segments back: the events by partition, in order.
func decoded(t interface{ Fatal(...any) }, d *decoder, segments []segment) map[int][]visutility.Event {
	out := map[int][]visutility.Event{}
	var e visutility.Entry
	for _, s := range segments {
		if err := d.decode(s.data, &e); err != nil {
			t.Fatal(err)
		}
		for _, ev := range (visutility.Batch{Entries: []visutility.Entry{e}}).Events() {
			out[s.partition] = append(out[s.partition], ev)
		}
	}
	return out
}

func TestEncodeRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		partitions := rapid.IntRange(1, 5).Draw(t, "partitions")
		enc, dec := newEncoder(partitions), newDecoder()
		for range rapid.IntRange(1, 3).Draw(t, "calls") { // what one leaves must not show in the next
			in := events().Draw(t, "events")
			want := map[int][]visutility.Event{}
			for _, ev := range in {
				if ev.Time.IsZero() {
					ev.Time = noon.UTC()
				}
				ev.Count = max(ev.Count, 1)
				p := visutility.PartitionOf(ev.Model, partitions)
				want[p] = append(want[p], ev)
			}
			enc.out = nil
			segments, err := enc.encode(in, noon)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, decoded(t, dec, segments)); diff != "" {
				t.Fatalf("(-want +got):\n%s", diff)
			}
			for _, s := range segments {
				checkAgainstGenerated(t, s.data)
			}
		}
	})
}

// checkAgainstGenerated compares the decoder with the generated code.
func checkAgainstGenerated(t interface {
	Fatal(...any)
	Fatalf(string, ...any)
}, data []byte) {
	var m pb.Message
	if err := proto.Unmarshal(data, &m); err != nil {
		t.Fatal(err)
	}
	var e visutility.Entry
	if err := newDecoder().decode(data, &e); err != nil {
		t.Fatal(err)
	}
	i := 0
	for _, b := range m.Blocks {
		at := int64(0)
		for k, s := range b.EventSeries {
			at += b.EventTime[k]
			count := int64(1)
			if len(b.EventCount) > 0 {
				count = int64(b.EventCount[k])
			}
			ps, r := b.Series[s], e.Records[i]
			got := e.Series[r.Series]
			if r.Time != at || r.Count != count || math.Float64bits(r.Value) != math.Float64bits(b.EventValue[k]) ||
				got.Model != b.Symbols[ps.Model] || got.Metric != b.Symbols[ps.Metric] || got.Version != b.Symbols[ps.Version] {
				t.Fatalf("event %d: %v of %v; the generated code says %v of %v", i, r, got, b, ps)
			}
			i++
		}
	}
	if i != len(e.Records) {
		t.Fatalf("%d events; the generated code says %d", len(e.Records), i)
	}
}

func TestMergedSegmentsAreBoth(t *testing.T) {
	enc := newEncoder(1)
	first, err := enc.encode([]visutility.Event{{Model: "m", Metric: "a", Value: 1, Time: noon}}, noon)
	if err != nil {
		t.Fatal(err)
	}
	enc.out = nil
	second, err := enc.encode([]visutility.Event{{Model: "n", Metric: "b", Value: 2, Time: noon, Count: 3}, {Model: "m", Metric: "a", Value: 3, Time: noon}}, noon)
	if err != nil {
		t.Fatal(err)
	}
	var values []float64
	for _, ev := range decoded(t, newDecoder(), []segment{{0, slices.Concat(first[0].data, second[0].data)}})[0] {
		values = append(values, ev.Value)
	}
	if !slices.Equal(values, []float64{1, 2, 3}) {
		t.Errorf("values %v; want 1, 2, 3", values)
	}
}

func TestBlocksAreBounded(t *testing.T) {
	in := sample(3 * maxBlockEvents)
	for i := range in {
		in[i].Labels = map[string]string{"id": strings.Repeat("x", i%200)}
	}
	segments, err := newEncoder(1).encode(in, noon)
	if err != nil {
		t.Fatal(err)
	}
	if len(segments) < 3 {
		t.Errorf("%d segments; want at least 3", len(segments))
	}
	for _, s := range segments {
		if len(s.data) > maxBlockBytes+32<<10 {
			t.Errorf("a segment of %d bytes", len(s.data))
		}
	}
	if n := len(decoded(t, newDecoder(), segments)[0]); n != len(in) {
		t.Errorf("%d events; want %d", n, len(in))
	}
}

func TestDecodeDoesNotAllocate(t *testing.T) {
	segments, err := newEncoder(1).encode(sample(1000), noon)
	if err != nil {
		t.Fatal(err)
	}
	d := newDecoder()
	var e visutility.Entry
	if n := testing.AllocsPerRun(100, func() {
		if err := d.decode(segments[0].data, &e); err != nil {
			t.Fatal(err)
		}
	}); n > 1 {
		t.Errorf("%v allocations for a message of 1000 events", n)
	}
}

func TestDecodeNamesWhatIsWrong(t *testing.T) {
	symbols := []string{"", "m", "a"}
	series := []*pb.Series{{Model: 1, Metric: 2}}
	for name, c := range map[string]struct {
		block *pb.Block
		want  string
	}{
		"series out of range":  {&pb.Block{Symbols: symbols, Series: series, EventSeries: []uint32{1}, EventTime: []int64{0}, EventValue: []float64{1}}, "block 1: event 0: series 1 of 1"},
		"symbol out of range":  {&pb.Block{Symbols: symbols, Series: []*pb.Series{{Model: 1, Metric: 9}}}, "block 1: series 0: field 2: symbol 9 of 3"},
		"label out of range":   {&pb.Block{Symbols: symbols, Series: []*pb.Series{{Model: 1, Metric: 2, Labels: []uint32{1, 3}}}}, "label 1: symbol 3 of 3"},
		"odd labels":           {&pb.Block{Symbols: symbols, Series: []*pb.Series{{Model: 1, Metric: 2, Labels: []uint32{1}}}}, "do not pair"},
		"no metric":            {&pb.Block{Symbols: symbols, Series: []*pb.Series{{Model: 1}}}, "neither may be empty"},
		"short column":         {&pb.Block{Symbols: symbols, Series: series, EventSeries: []uint32{0, 0}, EventTime: []int64{0}, EventValue: []float64{1, 2}}, "times ends or is garbled at event 1 of 2"},
		"long column":          {&pb.Block{Symbols: symbols, Series: series, EventSeries: []uint32{0, 0}, EventTime: []int64{0}, EventValue: []float64{1}}, "unequal length"},
		"count of 0":           {&pb.Block{Symbols: symbols, Series: series, EventSeries: []uint32{0}, EventTime: []int64{0}, EventValue: []float64{1}, EventCount: []uint64{0}}, "event 0: count 0"},
		"too many labels":      {&pb.Block{Symbols: symbols, Series: []*pb.Series{{Model: 1, Metric: 2, Labels: make([]uint32, 40)}}}, "more than 16 labels"},
		"count of 2^63":        {&pb.Block{Symbols: symbols, Series: series, EventSeries: []uint32{0}, EventTime: []int64{0}, EventValue: []float64{1}, EventCount: []uint64{1 << 63}}, "event 0: count"},
		"values without a row": {&pb.Block{Symbols: symbols, Series: series, EventValue: []float64{1}}, "series ends or is garbled at event 0 of 1"},
	} {
		t.Run(name, func(t *testing.T) {
			data, err := proto.Marshal(&pb.Message{Blocks: []*pb.Block{c.block}})
			if err != nil {
				t.Fatal(err)
			}
			var e visutility.Entry
			if err := newDecoder().decode(data, &e); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v; want %q in it", err, c.want)
			}
			if len(e.Records)+len(e.Series) > 0 {
				t.Errorf("the entry holds %v after an error", e)
			}
		})
	}
}

func FuzzDecode(f *testing.F) {
	segments, err := newEncoder(2).encode(sample(20), noon)
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range segments {
		f.Add(s.data)
	}
	controls, err := encodeControls([]visutility.Control{{Kind: visutility.ControlPromoted, Model: "m", PreviousMetrics: map[string]float64{"a": 1}}}, 1)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(controls[0].data)
	f.Add([]byte{})
	f.Add(bytes.Repeat([]byte{0x0a}, 50))
	f.Fuzz(func(t *testing.T, data []byte) {
		var e visutility.Entry
		if err := newDecoder().decode(data, &e); err != nil {
			return
		}
		if len(e.Records) > len(data)/10 || len(e.Series) > len(data)/2 {
			t.Fatalf("%d events of %d series out of %d bytes", len(e.Records), len(e.Series), len(data))
		}
		for _, r := range e.Records {
			if int(r.Series) >= len(e.Series) || r.Count < 1 {
				t.Fatalf("record %v with %d series", r, len(e.Series))
			}
			if s := e.Series[r.Series]; s.Model == "" || s.Metric == "" {
				t.Fatalf("series %v", s)
			}
		}
	})
}
