package trigger

import (
	"unsafe"

	"github.com/visutility/visutility"
)

// A series is what the fold keeps of one metric of one model: all that an event
// touches besides the words of the program.
type series struct {
	m        *model
	tab      *table // of the model's program, nil without one
	last     float64
	lastTime int64
	count    int64
	events   int64
	stored   int64  // when the newest event was stored
	rec      int32  // of the model in tab
	metric   uint32 // number of the metric's name
	program  int16  // index of the metric in the program, -1 when no policy reads it
	flags    uint16
}

const (
	seriesDirty  = 1 << iota // changed since the last snapshot
	seriesPlain              // seen without labels
	seriesLadder             // the model has strategies of its own
)

const seriesChunk = 1024

// A seriesTable holds the series of a partition in chunks, so that it grows without copying and
// pointers into it stay good, and finds them by the names that events carry.
//
// The decoder of the log hands out the same string for the same name as long as it
// remembers it. So most look-ups compare two addresses; names at new addresses go the long way
// through the model, once. The index holds the addresses as pointers, which keeps what they
// point to from being used for another name.
type seriesTable struct {
	chunks  [][]series
	n       int
	metrics []string                                 // the names of metrics, each once
	ids     map[string]uint32                        // the reverse
	labels  map[int32]map[visutility.Labels]struct{} // label sets seen, of series that have any
	index   []address                                // open addressing, a power of two, at most three quarters full
	used    int
}

type address struct {
	model, metric       *byte
	at                  int32
	modelLen, metricLen uint16 // equal addresses mean equal bytes, not equal lengths
}

// maxAddresses bounds the index; beyond, it starts afresh: the decoder forgets names too.
const maxAddresses = 1 << 22

func (t *seriesTable) at(i int32) *series { return &t.chunks[i/seriesChunk][i%seriesChunk] }

// metric is the name of the metric of series i.
func (t *seriesTable) metric(i int32) string { return t.metrics[t.at(i).metric] }

// add makes a series and returns its number.
func (t *seriesTable) add(metric string) int32 {
	i := t.n
	if i%seriesChunk == 0 {
		t.chunks = append(t.chunks, make([]series, seriesChunk))
	}
	t.n++
	id, ok := t.ids[metric]
	if !ok {
		if t.ids == nil {
			t.ids = make(map[string]uint32)
		}
		id = uint32(len(t.metrics))
		t.metrics = append(t.metrics, metric)
		t.ids[metric] = id
	}
	t.at(int32(i)).metric = id
	return int32(i)
}

func slot(model, metric *byte) uint64 {
	h := uint64(uintptr(unsafe.Pointer(model)))*0x9e3779b97f4a7c15 ^ uint64(uintptr(unsafe.Pointer(metric)))*0xc2b2ae3d27d4eb4f
	return h ^ h>>29
}

// find looks for names at known addresses; -1 when they are new.
func (t *seriesTable) find(s *visutility.Series) int32 {
	if len(t.index) == 0 {
		return -1
	}
	model, metric := unsafe.StringData(s.Model), unsafe.StringData(s.Metric)
	mask := uint64(len(t.index) - 1)
	for k := slot(model, metric) & mask; ; k = (k + 1) & mask {
		a := &t.index[k]
		if a.model == nil {
			return -1
		}
		if a.model == model && a.metric == metric && int(a.modelLen) == len(s.Model) && int(a.metricLen) == len(s.Metric) {
			return a.at
		}
	}
}

// remember notes that names at these addresses mean series i.
func (t *seriesTable) remember(s *visutility.Series, i int32) {
	if t.used >= maxAddresses {
		t.index, t.used = nil, 0
	}
	if 4*(t.used+1) > 3*len(t.index) {
		old := t.index
		t.index, t.used = make([]address, max(64, 2*len(old))), 0
		for _, a := range old {
			if a.model != nil {
				t.put(a)
			}
		}
	}
	t.put(address{unsafe.StringData(s.Model), unsafe.StringData(s.Metric), i, uint16(len(s.Model)), uint16(len(s.Metric))})
}

func (t *seriesTable) put(a address) {
	mask := uint64(len(t.index) - 1)
	k := slot(a.model, a.metric) & mask
	for t.index[k].model != nil {
		k = (k + 1) & mask
	}
	t.index[k] = a
	t.used++
}

// meet notes a label set of series i and reports whether it is new.
func (t *seriesTable) meet(i int32, l visutility.Labels) bool {
	if l == "" {
		x := t.at(i)
		first := x.flags&seriesPlain == 0
		x.flags |= seriesPlain
		return first
	}
	seen := t.labels[i]
	if _, ok := seen[l]; ok {
		return false
	}
	if seen == nil {
		if t.labels == nil {
			t.labels = make(map[int32]map[visutility.Labels]struct{})
		}
		seen = make(map[visutility.Labels]struct{})
		t.labels[i] = seen
	}
	seen[l] = struct{}{}
	return true
}

// bytes is the memory held for series and their index.
func (t *seriesTable) bytes() int {
	return len(t.chunks)*seriesChunk*int(unsafe.Sizeof(series{})) + cap(t.index)*int(unsafe.Sizeof(address{}))
}
