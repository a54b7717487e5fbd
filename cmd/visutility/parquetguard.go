package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
)

// A Parquet file says itself how many and how large its parts are, at several levels, and the library makes room for what
// it says: a few bytes can ask for terabytes. So before it decodes anything, what that would take is looked at here.

const (
	maxFooter     = 16 << 20 // bytes
	maxFooterList = 1 << 18  // items of all lists in it: 3,000 row groups of ten columns
	maxNesting    = 32       // of the structures in which the footer and the pages are described
	maxPageHeader = 64 << 10 // bytes
	// maxRowGroup is what a row group may take while it is read, in bytes: of each column a page and the dictionary.
	maxRowGroup = 256 << 20
	// maxRows bounds the rows of a file: a run of equal values takes a few bytes, however long it is.
	maxRows = 250_000_000

	// oldDictionary is PLAIN_DICTIONARY: out of fashion, but still written.
	oldDictionary format.Encoding = 2
)

var errDamaged = errors.New("the file is cut short or damaged")

// checkFooter checks the end of a file, which says what is in it.
func checkFooter(r io.ReaderAt, size int64) error {
	var tail [8]byte
	if size < 12 {
		return errDamaged
	}
	if _, err := r.ReadAt(tail[:], size-8); err != nil {
		return fmt.Errorf("reading its end: %w", err)
	}
	if string(tail[4:]) != parquetMagic {
		return errDamaged
	}
	length := int64(binary.LittleEndian.Uint32(tail[:]))
	switch {
	case length > size-12:
		return errDamaged
	case length > maxFooter:
		return fmt.Errorf("the description at its end has %d bytes; %d are allowed: write fewer columns, or larger row groups", length, maxFooter)
	}
	b := make([]byte, length)
	if _, err := r.ReadAt(b, size-8-length); err != nil {
		return fmt.Errorf("reading its end: %w", err)
	}
	left := maxFooterList
	return walk(thriftReader(b), thrift.STRUCT, false, maxNesting, &left)
}

func thriftReader(b []byte) thrift.Reader { return new(thrift.CompactProtocol).NewReaderFromBytes(b) }

// walk goes through a value without making anything of it. left is how many items lists may still have; item says that the
// value is one of a list, where truth takes a byte.
func walk(r thrift.Reader, t thrift.Type, item bool, depth int, left *int) (err error) {
	if depth == 0 {
		return errDamaged
	}
	switch t {
	case thrift.TRUE, thrift.FALSE:
		if item {
			_, err = r.ReadBool()
		}
	case thrift.I8:
		_, err = r.ReadInt8()
	case thrift.I16:
		_, err = r.ReadInt16()
	case thrift.I32:
		_, err = r.ReadInt32()
	case thrift.I64:
		_, err = r.ReadInt64()
	case thrift.DOUBLE:
		_, err = r.ReadFloat64()
	case thrift.BINARY:
		_, err = r.ReadBytes()
	case thrift.LIST, thrift.SET:
		var list thrift.List
		if list, err = r.ReadList(); err == nil {
			return walkItems(r, int(list.Size), depth, left, list.Type)
		}
	case thrift.STRUCT:
		for {
			f, err := r.ReadField()
			if err != nil {
				return errDamaged
			}
			if f.Type == thrift.STOP {
				return nil
			}
			if err := walk(r, f.Type, false, depth-1, left); err != nil {
				return err
			}
		}
	default: // maps and the like have no place in these descriptions
		return errDamaged
	}
	if err != nil {
		return errDamaged
	}
	return nil
}

func walkItems(r thrift.Reader, n, depth int, left *int, t thrift.Type) error {
	if *left -= n; n < 0 || *left < 0 {
		return fmt.Errorf("the description at its end has more than %d parts: write larger row groups", maxFooterList)
	}
	for range n {
		if err := walk(r, t, true, depth-1, left); err != nil {
			return err
		}
	}
	return nil
}

// A chunkGuard checks one column of one row group.
type chunkGuard struct {
	r        io.ReaderAt
	codec    format.CompressionCodec
	optional bool
	rows     int64
	budget   int64 // bytes that there are for it
	head     []byte

	values           int64
	dictionary, page int64 // what they take: of pages, the largest
}

// check checks the pages from one place in the file to another.
func (c *chunkGuard) check(at, end int64) error {
	for at < end {
		h, n, err := c.header(at, end)
		if err != nil {
			return err
		}
		at += n
		size := int64(h.CompressedPageSize)
		if size < 0 || size > end-at || h.UncompressedPageSize < 0 {
			return errDamaged
		}
		n, err = c.count(h)
		if err != nil {
			return err
		}
		cost := size + int64(h.UncompressedPageSize) + 8*n
		if h.Type == format.DictionaryPage {
			c.dictionary = max(c.dictionary, cost)
		} else {
			c.page = max(c.page, cost)
			c.values += n
		}
		if c.dictionary+c.page > c.budget {
			return fmt.Errorf("the row group takes more than %d MiB of memory to read: write smaller row groups", maxRowGroup>>20)
		}
		b := make([]byte, size)
		if _, err := c.r.ReadAt(b, at); err != nil {
			return fmt.Errorf("reading a page: %w", err)
		}
		if err := c.body(h, b, n); err != nil {
			return err
		}
		at += size
	}
	if c.values != c.rows {
		return fmt.Errorf("it has %d values where the row group has %d rows: the file is damaged", c.values, c.rows)
	}
	return nil
}

// header reads the header of a page, and how long it is.
func (c *chunkGuard) header(at, end int64) (*format.PageHeader, int64, error) {
	if c.head == nil {
		c.head = make([]byte, maxPageHeader)
	}
	b := c.head[:min(int64(len(c.head)), end-at)]
	if _, err := c.r.ReadAt(b, at); err != nil {
		return nil, 0, fmt.Errorf("reading a page: %w", err)
	}
	left := maxNesting
	if err := walk(thriftReader(b), thrift.STRUCT, false, maxNesting, &left); err != nil {
		return nil, 0, errDamaged
	}
	r, h := thriftReader(b), new(format.PageHeader)
	if err := thrift.NewDecoder(r).Decode(h); err != nil {
		return nil, 0, errDamaged
	}
	return h, int64(r.BytesRead()), nil
}

// count is how many values a page says it has.
func (c *chunkGuard) count(h *format.PageHeader) (int64, error) {
	n := int32(-1)
	switch {
	case h.Type == format.DictionaryPage && h.DictionaryPageHeader.Valid:
		n = h.DictionaryPageHeader.V.NumValues
	case h.Type == format.DataPage && h.DataPageHeader.Valid:
		n = h.DataPageHeader.V.NumValues
	case h.Type == format.DataPageV2 && h.DataPageHeaderV2.Valid:
		n = h.DataPageHeaderV2.V.NumValues
	}
	if n < 0 {
		return 0, errDamaged
	}
	return int64(n), nil
}

// body checks that a page becomes no larger than it says, and has no more values.
func (c *chunkGuard) body(h *format.PageHeader, b []byte, n int64) error {
	size := int(h.UncompressedPageSize)
	switch h.Type {
	case format.DictionaryPage:
		if e := h.DictionaryPageHeader.V.Encoding; e != format.Plain && e != oldDictionary {
			return errDamaged
		}
		_, err := inflate(c.codec, b, size)
		return err
	case format.DataPage:
		p := &h.DataPageHeader.V
		b, err := inflate(c.codec, b, size)
		if err == nil && c.optional {
			if p.DefinitionLevelEncoding != format.RLE {
				return errors.New("its nulls are encoded in a way that is not read here: write it anew with a current program")
			}
			b, err = cutRuns(b, n)
		}
		if err != nil {
			return err
		}
		return checkValues(p.Encoding, b, n)
	default:
		p := &h.DataPageHeaderV2.V
		nulls, rest := int64(p.DefinitionLevelsByteLength), int64(p.DefinitionLevelsByteLength)+int64(p.RepetitionLevelsByteLength)
		if nulls < 0 || rest < nulls || rest > int64(min(len(b), size)) || p.NumNulls < 0 || p.NumNulls > p.NumValues {
			return errDamaged
		}
		if err := checkRuns(b[rest-nulls:rest], 1, n); c.optional && err != nil {
			return err
		}
		b = b[rest:]
		if !p.IsCompressed.Valid || p.IsCompressed.V {
			var err error
			if b, err = inflate(c.codec, b, size-int(rest)); err != nil {
				return err
			}
		}
		return checkValues(p.Encoding, b, n)
	}
}

// inflate decompresses what becomes so many bytes.
func inflate(codec format.CompressionCodec, b []byte, size int) ([]byte, error) {
	var out []byte
	var err error
	switch codec {
	case format.Uncompressed:
		out = b
	case format.Snappy:
		var n int
		if n, err = snappy.DecodedLen(b); err == nil && n == size {
			out, err = snappy.Decode(nil, b)
		}
	case format.Gzip:
		var z *gzip.Reader
		if z, err = gzip.NewReader(bytes.NewReader(b)); err == nil {
			out, err = io.ReadAll(io.LimitReader(z, int64(size)+1))
		}
	case format.Zstd:
		var z *zstd.Decoder
		if z, err = zstdDecoder(); err == nil {
			out, err = z.DecodeAll(b, make([]byte, 0, size))
		}
	default: // LZ4_RAW: the library takes what is decompressed from the wrong place, now and then
		return nil, fmt.Errorf("it is compressed by %s, which is not read here: write it with snappy, zstd or gzip", codec)
	}
	if err != nil || len(out) != size {
		return nil, errDamaged
	}
	return out, nil
}

var zstdDecoder = sync.OnceValues(func() (*zstd.Decoder, error) {
	return zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxRowGroup), zstd.WithDecodeAllCapLimit(true))
})

// checkValues checks that values are in an encoding that cannot become more than n of them.
func checkValues(e format.Encoding, b []byte, n int64) error {
	switch e {
	case format.Plain, format.ByteStreamSplit:
		return nil
	case oldDictionary, format.RLEDictionary:
		if len(b) == 0 {
			return nil // all null
		}
		if b[0] > 32 {
			return errDamaged
		}
		return checkRuns(b[1:], int64(b[0]), n)
	case format.RLE:
		_, err := cutRuns(b, n)
		return err
	case format.DeltaBinaryPacked, format.DeltaLengthByteArray:
		return checkDelta(b, n)
	}
	return fmt.Errorf("its values are encoded as %s, which is not read here: write them plain or by a dictionary", e)
}

// cutRuns checks runs of truth that have their length before them, and returns what follows.
func cutRuns(b []byte, n int64) ([]byte, error) {
	if len(b) < 4 {
		return nil, errDamaged
	}
	length := int64(binary.LittleEndian.Uint32(b))
	if b = b[4:]; length > int64(len(b)) {
		return nil, errDamaged
	}
	return b[length:], checkRuns(b[:length], 1, n)
}

// runFill is how many values more than a page has its runs may make up: writers fill the last group, some to 256.
const runFill = 512

// checkRuns checks runs of values, each of so many bits: they must not make up more than a page of n values can use.
func checkRuns(b []byte, bits, n int64) error {
	var all int64
	for len(b) > 0 {
		head, k := binary.Uvarint(b)
		if k <= 0 {
			return errDamaged
		}
		b = b[k:]
		count, length := int64(head>>1), (bits+7)/8
		if head&1 == 1 {
			length = count * bits
			count *= 8
		}
		if head > 1<<32 || length > int64(len(b)) || all+count > n+runFill {
			return errDamaged
		}
		all += count
		b = b[length:]
	}
	return nil
}

// checkDelta checks how many values differences say they make.
func checkDelta(b []byte, n int64) error {
	for i := range 3 { // the size of blocks, their parts, the values
		v, k := binary.Uvarint(b)
		if k <= 0 || i == 2 && v > uint64(n) {
			return errDamaged
		}
		b = b[k:]
	}
	return nil
}
