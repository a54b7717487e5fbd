package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"runtime/debug"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"

	"github.com/visutility/visutility"
)

const (
	parquetMagic = "PAR1"
	// parquetRows is how many rows are decoded at a time.
	parquetRows = 256
	// maxParquetColumns bounds the columns: those of an event, and more labels than one may have.
	maxParquetColumns = 100
)

// readParquet yields the rows of a Parquet file, which have the columns of a CSV file. A null is an empty cell.
func readParquet(r io.Reader, marks []string) iter.Seq2[record, error] {
	return func(yield func(record, error) bool) {
		p := &parquetReader{marks: marks}
		err := safely(func() error { return p.open(r) })
		defer p.close()
		for err == nil {
			var rows []record
			if err = safely(func() (err error) { rows, err = p.next(); return err }); len(rows) == 0 && err == nil {
				return
			}
			for _, rec := range rows { // an error comes after the rows before it
				if !yield(rec, nil) {
					return
				}
			}
		}
		yield(record{}, err)
	}
}

// safely calls into the library, which panics on some files that are damaged.
func safely(do func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true)) // parts of it are written in assembly
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", errDamaged, p)
		}
	}()
	return do()
}

// A parquetReader reads a file row by row, a page of each column at a time.
type parquetReader struct {
	marks   []string
	file    *parquet.File
	source  io.ReaderAt
	seen    func(offset int64) // how far it is read
	head    []string
	columns []*parquetColumn
	cells   []string // of a row
	rows    []record // reused

	group     int   // the next row group
	left, row int64 // rows of the one at hand; of all, read
}

// open reads what the file says of itself.
func (p *parquetReader) open(r io.Reader) error {
	size, err := p.sized(r)
	if err != nil {
		return err
	}
	if err := checkFooter(p.source, size); err != nil {
		return err
	}
	if p.file, err = parquet.OpenFile(p.source, size, parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true)); err != nil {
		return fmt.Errorf("%w: %w", errDamaged, err)
	}
	fields := p.file.Root().Columns()
	if len(fields) > maxParquetColumns {
		return fmt.Errorf("it has %d columns; %d are allowed", len(fields), maxParquetColumns)
	}
	for _, f := range fields {
		p.head = append(p.head, f.Name())
	}
	if err := checkHeader(p.head, p.marks); err != nil {
		return err
	}
	for _, f := range fields {
		text, err := cellOf(f)
		if err != nil {
			return fmt.Errorf("column %q %w", f.Name(), err)
		}
		p.columns = append(p.columns, &parquetColumn{text: text, kind: f.Type().Kind(), optional: f.Optional()})
	}
	var rows int64
	for _, g := range p.file.Metadata().RowGroups {
		if rows += g.NumRows; g.NumRows < 0 || rows < 0 || rows > maxRows {
			return fmt.Errorf("it has more than %d rows: split it", maxRows)
		}
	}
	p.cells = make([]string, len(fields))
	return nil
}

// sized finds out how large the file is: it is read from its end, so it must be one.
func (p *parquetReader) sized(r io.Reader) (size int64, err error) {
	p.seen = func(int64) {}
	if w, ok := r.(interface{ reached(offset int64) }); ok {
		p.seen = w.reached
	}
	source, ok := r.(io.ReaderAt)
	if ok {
		p.source = source
		switch x := r.(type) {
		case interface{ Size() int64 }:
			return x.Size(), nil
		case interface{ Stat() (fs.FileInfo, error) }:
			if info, err := x.Stat(); err == nil && info.Mode().IsRegular() {
				return info.Size(), nil
			}
		}
	}
	return 0, errors.New("a Parquet file is read from its end, which a pipe does not have: give the name of the file")
}

func (p *parquetReader) close() {
	for _, c := range p.columns {
		_ = safely(c.close)
	}
}

// next decodes the next few rows; none at the end. What it returns is good until it is called again.
func (p *parquetReader) next() ([]record, error) {
	p.rows = p.rows[:0]
	for p.left == 0 {
		if p.group == len(p.file.RowGroups()) {
			p.seen(p.file.Size())
			return nil, nil
		}
		if err := p.nextGroup(); err != nil {
			return nil, err
		}
	}
	for len(p.rows) < parquetRows && p.left > 0 {
		at := place{"row", int(p.row + 1)}
		for i, c := range p.columns {
			var err error
			if p.cells[i], err = c.next(); err == nil && p.cells[i] == "" && p.head[i] == "value" {
				err = errors.New("is null; leave the row out")
			}
			if err != nil {
				return p.rows, placeError{at, fmt.Errorf("%s: %w", p.head[i], err)}
			}
		}
		rec, err := csvRecord(p.head, p.cells, p.marks)
		if err != nil {
			return p.rows, placeError{at, err}
		}
		rec.at = at
		p.rows = append(p.rows, rec)
		p.left--
		p.row++
	}
	return p.rows, nil
}

// nextGroup begins a row group, once it was found to be no larger than it may be.
func (p *parquetReader) nextGroup() error {
	meta := &p.file.Metadata().RowGroups[p.group]
	chunks := p.file.RowGroups()[p.group].ColumnChunks()
	first := p.file.Metadata().RowGroups[0].Columns
	budget := int64(maxRowGroup)
	for i, c := range p.columns {
		of := &meta.Columns[i]
		m := &of.MetaData
		from := m.DataPageOffset
		if m.DictionaryPageOffset != 0 {
			from = m.DictionaryPageOffset
		}
		fault := func(err error) error { return fmt.Errorf("row group %d, column %q: %w", p.group+1, p.head[i], err) }
		switch {
		case of.FilePath != "" || of.CryptoMetadata.Value != nil:
			return fault(errors.New("it is encrypted, or in another file, which is not read here"))
		case m.Codec != first[i].MetaData.Codec:
			return fault(errors.New("it is compressed in another way than in the first row group, which is not read here"))
		case m.Type != format.Type(c.kind), from < int64(len(parquetMagic)) || m.TotalCompressedSize < 0 || from > p.file.Size()-m.TotalCompressedSize:
			return fault(errDamaged)
		}
		g := &chunkGuard{r: p.source, codec: m.Codec, optional: c.optional, rows: meta.NumRows, budget: budget}
		if err := g.check(from, from+m.TotalCompressedSize); err != nil {
			return fault(err)
		}
		budget -= g.dictionary + g.page
		if err := c.close(); err != nil {
			return fault(err)
		}
		c.pages = chunks[i].Pages()
		p.seen(from)
	}
	p.left = meta.NumRows
	p.group++
	return nil
}

// A parquetColumn gives the values of a column, one after the other, as cells of a CSV file.
type parquetColumn struct {
	text     func(parquet.Value) (string, error)
	kind     parquet.Kind
	optional bool
	pages    parquet.Pages
	page     parquet.Page
	values   parquet.ValueReader
	buf      [parquetRows]parquet.Value // what is of the page
	at, n    int
}

func (c *parquetColumn) next() (string, error) {
	for c.at == c.n {
		if err := c.fill(); err != nil {
			return "", err
		}
	}
	v := c.buf[c.at]
	c.at++
	if v.IsNull() {
		return "", nil
	}
	return c.text(v)
}

// fill reads more values, of the next page when that at hand has no more.
func (c *parquetColumn) fill() (err error) {
	if c.page == nil {
		if c.page, err = c.pages.ReadPage(); err != nil {
			c.page = nil
			return fmt.Errorf("%w: %w", errDamaged, err)
		}
		c.values = c.page.Values()
	}
	c.at = 0
	if c.n, err = c.values.ReadValues(c.buf[:]); errors.Is(err, io.EOF) {
		err = nil
	}
	if c.n == 0 {
		parquet.Release(c.page)
		c.page = nil
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errDamaged, err)
	}
	return nil
}

func (c *parquetColumn) close() error {
	if c.page != nil {
		parquet.Release(c.page)
	}
	var err error
	if c.pages != nil {
		err = c.pages.Close()
	}
	c.page, c.pages, c.at, c.n = nil, nil, 0, 0
	return err
}

// cellOf says how a column's values are written into a cell.
func cellOf(c *parquet.Column) (func(parquet.Value) (string, error), error) {
	if !c.Leaf() || c.Repeated() {
		return nil, errors.New("is nested; the columns must be flat, with a label in each label_<name>")
	}
	var logical format.LogicalTypeValue
	if l := c.Type().LogicalType(); l != nil {
		logical = l.Value
	}
	switch kind := c.Type().Kind(); l := logical.(type) {
	case *format.TimestampType:
		return timestampCell(l)
	case *format.DateType:
		return timeCell(func(v parquet.Value) time.Time { return time.Unix(86400*int64(v.Int32()), 0) }), nil
	case *format.StringType, *format.EnumType:
		return textCell, nil
	case *format.IntType:
		if !l.IsSigned {
			return unsignedCell(kind)
		}
		return plainCell(kind)
	case nil:
		return plainCell(kind)
	}
	return nil, notRead(c.Type())
}

func notRead(t fmt.Stringer) error {
	return fmt.Errorf("is of type %s, which is not read here; make it a timestamp, a number, text or truth", t)
}

// plainCell is for types that are no more than what they are stored as.
func plainCell(kind parquet.Kind) (func(parquet.Value) (string, error), error) {
	switch kind {
	case parquet.Boolean:
		return func(v parquet.Value) (string, error) { return strconv.FormatBool(v.Boolean()), nil }, nil
	case parquet.Int32:
		return func(v parquet.Value) (string, error) { return strconv.FormatInt(int64(v.Int32()), 10), nil }, nil
	case parquet.Int64:
		return func(v parquet.Value) (string, error) { return strconv.FormatInt(v.Int64(), 10), nil }, nil
	case parquet.Float: // in the shortest form, as programs write it into CSV
		return func(v parquet.Value) (string, error) {
			return strconv.FormatFloat(float64(v.Float()), 'g', -1, 32), nil
		}, nil
	case parquet.Double:
		return func(v parquet.Value) (string, error) { return strconv.FormatFloat(v.Double(), 'g', -1, 64), nil }, nil
	case parquet.ByteArray:
		return textCell, nil
	case parquet.Int96: // a time, of old: nanoseconds of a day, and the day
		return timeCell(func(v parquet.Value) time.Time {
			x := v.Int96()
			return time.Unix(86400*(int64(x[2])-2_440_588), int64(uint64(x[1])<<32|uint64(x[0])))
		}), nil
	}
	return nil, notRead(kind)
}

func unsignedCell(kind parquet.Kind) (func(parquet.Value) (string, error), error) {
	switch kind {
	case parquet.Int32:
		return func(v parquet.Value) (string, error) { return strconv.FormatUint(uint64(v.Uint32()), 10), nil }, nil
	case parquet.Int64:
		return func(v parquet.Value) (string, error) { return strconv.FormatUint(v.Uint64(), 10), nil }, nil
	}
	return nil, notRead(kind)
}

// textCell refuses what cannot be a name, a time or a number before it is copied.
func textCell(v parquet.Value) (string, error) {
	switch b := v.ByteArray(); {
	case len(b) > visutility.MaxNameBytes:
		return "", fmt.Errorf("has %d bytes; %d are allowed", len(b), visutility.MaxNameBytes)
	case !utf8.Valid(b):
		return "", errors.New("is not valid UTF-8")
	default:
		return string(b), nil
	}
}

// timestampCell is for times of any unit. Those without a time zone are taken for UTC, as in CSV.
func timestampCell(t *format.TimestampType) (func(parquet.Value) (string, error), error) {
	switch t.Unit.Value.(type) {
	case *format.MilliSeconds:
		return timeCell(func(v parquet.Value) time.Time { return time.UnixMilli(v.Int64()) }), nil
	case *format.MicroSeconds:
		return timeCell(func(v parquet.Value) time.Time { return time.UnixMicro(v.Int64()) }), nil
	case *format.NanoSeconds:
		return timeCell(func(v parquet.Value) time.Time { return time.Unix(0, v.Int64()) }), nil
	}
	return nil, notRead(t)
}

func timeCell(of func(parquet.Value) time.Time) func(parquet.Value) (string, error) {
	return func(v parquet.Value) (string, error) {
		t := of(v).UTC()
		if t.Year() < 1970 || t.Year() > 9999 {
			return "", fmt.Errorf("%s is no time of a measurement; check the unit", t.Format(time.DateTime))
		}
		return t.Format(time.RFC3339Nano), nil
	}
}
