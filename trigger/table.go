package trigger

import "github.com/visutility/visutility/policy"

// A table holds the state of all models that one program folds: records of
// prog.Words() words in chunks, so that it grows without copying and without slack,
// and holds no pointers for the garbage collector to follow.
type table struct {
	prog   *policy.Program
	words  int
	chunks [][]uint64
	used   int
	free   []int32
}

const (
	chunkShift = 6
	chunkSize  = 1 << chunkShift
)

func newTable(p *policy.Program) *table { return &table{prog: p, words: p.Words()} }

// alloc returns the index of a fresh record, initialised by the program.
func (t *table) alloc() int32 {
	var i int32
	if n := len(t.free); n > 0 {
		i, t.free = t.free[n-1], t.free[:n-1]
		clear(t.at(i))
	} else {
		i = int32(t.used)
		t.used++
		if int(i)>>chunkShift == len(t.chunks) {
			// The first chunk grows with need: most programs belong to one model.
			t.chunks = append(t.chunks, make([]uint64, t.words*min(chunkSize, max(1, int(i)))))
		}
		if c := int(i) >> chunkShift; (int(i)&(chunkSize-1)+1)*t.words > len(t.chunks[c]) {
			grown := make([]uint64, min(2*len(t.chunks[c]), chunkSize*t.words))
			copy(grown, t.chunks[c])
			t.chunks[c] = grown
		}
	}
	t.prog.Init(t.at(i))
	return i
}

func (t *table) release(i int32) { t.free = append(t.free, i) }

// at is the state of record i. The slice is valid until the next alloc.
func (t *table) at(i int32) []uint64 {
	o := (int(i) & (chunkSize - 1)) * t.words
	return t.chunks[i>>chunkShift][o : o+t.words : o+t.words]
}

// bytes is the memory held for records.
func (t *table) bytes() int {
	n := 0
	for _, c := range t.chunks {
		n += 8 * cap(c)
	}
	return n
}
