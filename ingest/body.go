package ingest

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
)

const (
	firstRead  = 4 << 10 // size of a fresh buffer
	keepBuffer = 1 << 20 // larger buffers are not kept for the next body
	maxWindow  = 8 << 20 // of zstd: what its RFC asks a decoder to support
	// weight is what a byte of body costs in memory until it is published:
	// itself, and at most three for the event decoded from it.
	weight = 4
)

// A Budget bounds the memory of all bodies that are handled at the same time.
// It is safe for concurrent use. The nil Budget has no bound.
type Budget struct {
	limit int64
	used  atomic.Int64
}

// NewBudget returns a budget of so many bytes of memory.
func NewBudget(limit int64) *Budget { return &Budget{limit: limit} }

// Used is how many bytes are taken now.
func (b *Budget) Used() int64 { return b.used.Load() }

// Reserve takes n bytes until release is called, once. It fails with [ErrBusy].
func (b *Budget) Reserve(n int64) (release func(), err error) {
	if !b.take(n) {
		return nil, ErrBusy
	}
	return func() { b.give(n) }, nil
}

// Admit fails with [ErrBusy] when a body of so many bytes could not be read now. It takes nothing: a sender who
// announces much and sends little is to hold little.
func (b *Budget) Admit(body int64) error {
	if b != nil && b.used.Load()+weight*body > b.limit {
		return ErrBusy
	}
	return nil
}

func (b *Budget) take(n int64) bool {
	if b == nil {
		return true
	}
	if b.used.Add(n) > b.limit {
		b.used.Add(-n)
		return false
	}
	return true
}

func (b *Budget) give(n int64) {
	if b != nil {
		b.used.Add(-n)
	}
}

// A Body is a body read whole. Release it when its events have been handed on.
type Body struct {
	Bytes  []byte
	budget *Budget
	taken  int64
}

// Release gives the memory back. Bytes are not to be used afterwards.
func (b *Body) Release() {
	b.budget.give(b.taken)
	if cap(b.Bytes) > 0 && cap(b.Bytes) <= keepBuffer {
		buf := b.Bytes[:0]
		buffers.Put(&buf)
	}
	b.Bytes, b.taken = nil, 0
}

var buffers = sync.Pool{New: func() any { b := make([]byte, 0, firstRead); return &b }}

// ReadBody reads a body to its end and undoes its content encoding: "" and
// "identity", "gzip", "zstd", "snappy" (the block format of remote write); anything else is [ErrUnsupported]. It reads at
// most limit bytes, counted before and after decompression, or fails with
// [ErrTooLarge]; broken compression is [ErrSyntax]; with too many bytes of other
// bodies in the budget it is [ErrBusy]. An error of r is returned wrapped.
// How long r may take is up to the caller, who sets deadlines on it.
func ReadBody(r io.Reader, encoding string, limit int64, budget *Budget) (*Body, error) {
	src := &source{r: r, left: limit}
	if strings.EqualFold(strings.TrimSpace(encoding), "snappy") {
		return readSnappy(src, limit, budget)
	}
	plain, done, err := decompress(src, encoding)
	if err != nil {
		return nil, src.explain(err, encoding)
	}
	defer done()
	b := &Body{budget: budget, Bytes: *buffers.Get().(*[]byte)}
	if err := b.fill(plain, limit); err != nil {
		b.Release()
		return nil, src.explain(err, encoding)
	}
	return b, nil
}

// readSnappy reads a body in snappy's block format, which says first how long it is decompressed and
// has no stream: the compressed body is read whole, then what it says is held against the limit.
func readSnappy(src *source, limit int64, budget *Budget) (*Body, error) {
	packed := &Body{budget: budget, Bytes: *buffers.Get().(*[]byte)}
	defer packed.Release()
	if err := packed.fill(src, limit); err != nil {
		return nil, src.explain(err, "snappy")
	}
	size, err := snappy.DecodedLen(packed.Bytes)
	if err != nil {
		return nil, src.explain(err, "snappy")
	}
	if int64(size) > limit {
		return nil, fmt.Errorf("%w: %d bytes after decompression are over the limit of %d; send smaller batches", ErrTooLarge, size, limit)
	}
	b := &Body{budget: budget}
	if err := b.reserve(size); err != nil {
		return nil, err
	}
	if b.Bytes, err = snappy.Decode(make([]byte, size), packed.Bytes); err != nil {
		b.Release()
		return nil, src.explain(err, "snappy")
	}
	return b, nil
}

// Unfold takes memory from the budget for what a body in the format of another system becomes when it
// is decoded, until it is released. It fails with [ErrBusy].
func (b *Body) Unfold() error {
	return b.reserve(cap(b.Bytes) + int(DecodedBytes(len(b.Bytes))/weight))
}

// DecodedBytes is what a body of another system's format of so many bytes becomes in memory, about.
func DecodedBytes(n int) int64 { return 12 * int64(n) }

// fill reads r to its end, taking from the budget what it is about to use.
func (b *Body) fill(r io.Reader, limit int64) error {
	if err := b.reserve(cap(b.Bytes)); err != nil {
		return err
	}
	for {
		if len(b.Bytes) == cap(b.Bytes) {
			size := min(2*cap(b.Bytes), int(limit)+1)
			if err := b.reserve(size); err != nil {
				return err
			}
			grown := make([]byte, len(b.Bytes), size)
			copy(grown, b.Bytes)
			b.Bytes = grown
		}
		n, err := r.Read(b.Bytes[len(b.Bytes):cap(b.Bytes)])
		b.Bytes = b.Bytes[:len(b.Bytes)+n]
		if int64(len(b.Bytes)) > limit {
			return fmt.Errorf("%w: over %d bytes after decompression; send smaller batches", ErrTooLarge, limit)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// reserve raises what the body has taken from the budget to that of a buffer of size bytes.
func (b *Body) reserve(size int) error {
	more := weight*int64(size) - b.taken
	if !b.budget.take(more) {
		return ErrBusy
	}
	b.taken += more
	return nil
}

// A source is the raw body. It remembers its own error, so that a broken
// connection is not taken for broken compression, and ends after so many bytes:
// compressed input that yields nothing would otherwise never end.
type source struct {
	r    io.Reader
	left int64
	err  error
}

func (s *source) Read(p []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	if int64(len(p)) > s.left+1 {
		p = p[:s.left+1]
	}
	n, err := s.r.Read(p)
	if s.left -= int64(n); s.left < 0 {
		s.err = fmt.Errorf("%w: send smaller batches", ErrTooLarge)
		return 0, s.err
	}
	if err != nil {
		s.err = err
	}
	return n, err
}

// explain tells the errors of reading apart.
func (s *source) explain(err error, encoding string) error {
	switch {
	case s.err != nil && s.err != io.EOF:
		return fmt.Errorf("reading the body: %w", s.err)
	case errors.Is(err, ErrTooLarge), errors.Is(err, ErrUnsupported), errors.Is(err, ErrBusy):
		return err
	case errors.Is(err, zstd.ErrDecoderSizeExceeded), errors.Is(err, zstd.ErrWindowSizeExceeded):
		return fmt.Errorf("%w: it asks for more memory than is allowed to decompress (%w)", ErrTooLarge, err)
	default:
		return fmt.Errorf("%w: it is not valid %s: %w", ErrSyntax, encoding, err)
	}
}

var (
	gzipReaders = sync.Pool{New: func() any { return new(gzip.Reader) }}
	zstdReaders sync.Pool
)

// decompress returns the plain side of src, and what to call when it was read.
func decompress(src io.Reader, encoding string) (plain io.Reader, done func(), err error) {
	switch strings.ToLower(strings.TrimSpace(encoding)) {
	case "", "identity":
		return src, func() {}, nil
	case "gzip", "x-gzip":
		z := gzipReaders.Get().(*gzip.Reader)
		if err := z.Reset(src); err != nil {
			gzipReaders.Put(z)
			return nil, nil, err
		}
		return z, func() { gzipReaders.Put(z) }, nil
	case "zstd":
		z, err := zstdReader(src)
		if err != nil {
			return nil, nil, err
		}
		return z, func() {
			// Resetting to nil lets go of src; it cannot fail.
			if z.Reset(nil) == nil {
				zstdReaders.Put(z)
			}
		}, nil
	default:
		return nil, nil, fmt.Errorf("%w: content encoding %q is not understood; send gzip, zstd or identity", ErrUnsupported, clip(encoding))
	}
}

func zstdReader(src io.Reader) (*zstd.Decoder, error) {
	if z, ok := zstdReaders.Get().(*zstd.Decoder); ok {
		return z, z.Reset(src)
	}
	// Concurrency 1 decodes on the caller's goroutine and starts none.
	return zstd.NewReader(src, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderMaxMemory(64<<20))
}
