package main

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"
)

// A record is one event of a file, as JSON, with where in the file it is.
type record struct {
	at    place
	event json.RawMessage
	timed bool // it says when it was measured
}

// A place is where a record begins: the line of a text, or the row of a table, from 1.
type place struct {
	unit string
	n    int
}

func (p place) String() string { return fmt.Sprintf("%s %d", p.unit, p.n) }

func line(n int) place { return place{"line", n} }

// A placeError says what of the input is wrong.
type placeError struct {
	at  place
	err error
}

func (e placeError) Error() string { return fmt.Sprintf("%s: %v", e.at, e.err) }
func (e placeError) Unwrap() error { return e.err }

// readRecords yields the events of r: JSON objects one after the other (NDJSON), a JSON
// array of objects, CSV with a header line, or Parquet. Which of them, the first characters tell. It ends
// at the first error. What the events say is left to the server to judge. A CSV or Parquet file may have columns
// of the names marks too, which are true, false or empty.
func readRecords(r io.Reader, marks ...string) iter.Seq2[record, error] {
	lines := &lineIndex{r: r}
	b := bufio.NewReader(lines)
	if magic, _ := b.Peek(len(parquetMagic)); string(magic) == parquetMagic {
		return readParquet(r, marks)
	}
	first, err := firstByte(b)
	if errors.Is(err, io.EOF) {
		return func(func(record, error) bool) {}
	}
	if err != nil {
		return func(yield func(record, error) bool) { yield(record{}, err) }
	}
	if first == '{' || first == '[' {
		return readJSON(b, lines, first == '[')
	}
	return readCSV(b, marks)
}

// firstByte peeks at the first character that is neither space nor byte order mark.
func firstByte(b *bufio.Reader) (byte, error) {
	if mark, _ := b.Peek(3); string(mark) == "\ufeff" {
		_, _ = b.Discard(3) // just peeked
	}
	for n := 1; ; n++ {
		p, err := b.Peek(n)
		if len(p) == n && !isSpace(p[n-1]) {
			return p[n-1], nil
		}
		if err != nil {
			return 0, err
		}
	}
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

// A lineIndex remembers where lines begin, so that offsets can be turned into line numbers.
type lineIndex struct {
	r       io.Reader
	read    int64
	ends    []int64 // offsets of newlines not yet dropped
	dropped int
}

func (x *lineIndex) Read(p []byte) (int, error) {
	n, err := x.r.Read(p)
	for i, c := range p[:n] {
		if c == '\n' {
			x.ends = append(x.ends, x.read+int64(i))
		}
	}
	x.read += int64(n)
	return n, err
}

// line is the number, from 1, of the line at an offset. Offsets asked for must not fall.
func (x *lineIndex) line(offset int64) int {
	n := sort.Search(len(x.ends), func(i int) bool { return x.ends[i] >= offset })
	x.dropped += n
	x.ends = slices.Delete(x.ends, 0, n)
	return x.dropped + 1
}

func readJSON(b *bufio.Reader, lines *lineIndex, array bool) iter.Seq2[record, error] {
	return func(yield func(record, error) bool) {
		start := lines.read - int64(b.Buffered()) // a byte order mark was discarded
		dec := json.NewDecoder(b)
		fail := func(err error) {
			rest, _ := io.ReadAll(io.LimitReader(dec.Buffered(), 1<<16)) // in memory
			gap := len(rest) - len(bytes.TrimLeft(rest, " \t\r\n,"))
			at := line(lines.line(start + dec.InputOffset() + int64(gap)))
			if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
				err = errors.New("the input ends in the middle of what begins here")
			}
			yield(record{}, placeError{at, err})
		}
		if array {
			if _, err := dec.Token(); err != nil {
				fail(err)
				return
			}
		}
		for !array || dec.More() {
			var raw json.RawMessage
			if err := dec.Decode(&raw); err != nil {
				if array || !errors.Is(err, io.EOF) {
					fail(err)
				}
				return
			}
			rec := record{at: line(lines.line(start + dec.InputOffset() - int64(len(raw)))), event: raw}
			var when struct{ Time json.RawMessage }
			if raw[0] != '{' || json.Unmarshal(raw, &when) != nil {
				yield(record{}, placeError{rec.at, errors.New("is not a JSON object with model, metric and value")})
				return
			}
			rec.timed = len(when.Time) > 0
			if !yield(rec, nil) {
				return
			}
		}
		if _, err := dec.Token(); err != nil { // the closing bracket
			fail(err)
		}
	}
}

// csvColumns says what a CSV header may contain, beside label_*.
var csvColumns = []string{"model", "metric", "value", "time", "count", "version"}

func readCSV(r io.Reader, marks []string) iter.Seq2[record, error] {
	return func(yield func(record, error) bool) {
		rows := csv.NewReader(r)
		rows.ReuseRecord = true
		rows.TrimLeadingSpace = true
		head, err := rows.Read()
		if err == nil {
			head = slices.Clone(head)
			err = checkHeader(head, marks)
		}
		if err != nil {
			yield(record{}, placeError{line(1), csvCause(err)})
			return
		}
		for {
			cells, err := rows.Read()
			if errors.Is(err, io.EOF) {
				return
			}
			at := line(0)
			if parse, ok := errors.AsType[*csv.ParseError](err); ok {
				at.n = parse.Line
			} else if err == nil {
				at.n, _ = rows.FieldPos(0)
			}
			var rec record
			if err == nil {
				rec, err = csvRecord(head, cells, marks)
			}
			if err != nil {
				yield(record{}, placeError{at, csvCause(err)})
				return
			}
			rec.at = at
			if !yield(rec, nil) {
				return
			}
		}
	}
}

// csvCause is the error without the position that the caller puts before it.
func csvCause(err error) error {
	if parse, ok := errors.AsType[*csv.ParseError](err); ok {
		return parse.Err
	}
	return err
}

func checkHeader(head, marks []string) error {
	known := slices.Concat(csvColumns, marks)
	for i, name := range head {
		if !slices.Contains(known, name) && !(strings.HasPrefix(name, "label_") && len(name) > len("label_")) {
			return fmt.Errorf("column %q is not understood; the header may have %s and label_<name>", name, strings.Join(known, ", "))
		}
		if slices.Contains(head[:i], name) {
			return fmt.Errorf("column %q is there twice", name)
		}
	}
	for _, name := range csvColumns[:3] {
		if !slices.Contains(head, name) {
			return fmt.Errorf("the header has no column %q; it needs model, metric and value", name)
		}
	}
	return nil
}

// csvRecord turns a row into an event. Empty cells say nothing.
func csvRecord(head, cells, marks []string) (record, error) {
	event := make(map[string]any, len(head))
	labels := map[string]string{}
	timed := false
	for i, name := range head {
		cell := cells[i]
		if cell == "" && name != "value" {
			continue
		}
		var err error
		switch name {
		case "value":
			event[name], err = finite(cell)
		case "count":
			event[name], err = strconv.ParseUint(cell, 10, 64)
			if err != nil {
				err = fmt.Errorf("%q is not a whole number", cell)
			}
		case "time":
			event[name], err = parseTime(cell)
			timed = true
		case "model", "metric", "version":
			event[name] = cell
		default:
			if slices.Contains(marks, name) {
				event[name], err = parseMark(cell)
				break
			}
			labels[strings.TrimPrefix(name, "label_")] = cell
		}
		if err != nil {
			return record{}, fmt.Errorf("%s: %w", name, err)
		}
	}
	if len(labels) > 0 {
		event["labels"] = labels
	}
	raw, err := json.Marshal(event)
	return record{event: raw, timed: timed}, err
}

func parseMark(s string) (bool, error) {
	switch strings.ToLower(s) {
	case "true", "1":
		return true, nil
	case "false", "0":
		return false, nil
	}
	return false, fmt.Errorf("%q is neither true nor false", s)
}

func finite(s string) (float64, error) {
	f, err := strconv.ParseFloat(s, 64)
	switch {
	case err != nil:
		return 0, fmt.Errorf("%q is not a number", s)
	case math.IsNaN(f) || math.IsInf(f, 0):
		return 0, fmt.Errorf("is %s; send a finite number or nothing", s)
	}
	return f, nil
}

// parseTime reads RFC 3339, a date with or without a time, which is UTC then, or
// Unix time: like the server it takes numbers below 1e11 for seconds, others for milliseconds.
func parseTime(s string) (time.Time, error) {
	if f, err := finite(s); err == nil && math.Abs(f) < 1e15 {
		if f < 1e11 {
			f *= 1000
		}
		return time.UnixMilli(int64(math.Round(f))).UTC(), nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", time.DateTime, time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is not a time such as 2026-11-23T10:15:00Z, 2026-11-23 or 1795428900", s)
}
