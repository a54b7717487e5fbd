package quality

import (
	"bytes"
	"encoding/csv"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/visutility/visutility"
)

// Bounds of a file of data to be held against.
const (
	maxReferenceBytes   = 1 << 30
	maxReferenceColumns = 256
)

// The columns of such a file that are no features.
const (
	predictionHeader = "prediction"
	scoreHeader      = "score"
)

// A Reference is what features, answers and scores are held against instead of the first window of a version:
// the distribution of each column of the data that a model was trained on. Equal data make equal references. The zero value is none. Make
// one with [ReadReference].
type Reference string

// ReadReference reads a CSV file: a line of names, then a line for each sample. Its columns are features by name and, optionally, "prediction" and
// "score", of the model on that data. An empty cell is no value; True and False are as true and false. A column needs minSamples values; 0 stands for
// the default of [Settings]. Errors are [visutility.ErrInvalid], with line and column, or those of r.
func ReadReference(r io.Reader, minSamples int) (Reference, error) {
	limited := &io.LimitedReader{R: r, N: maxReferenceBytes + 1}
	rows := csv.NewReader(limited)
	rows.ReuseRecord = true
	columns, err := readHeader(rows)
	if err != nil {
		return "", err
	}
	for {
		cells, err := rows.Read()
		switch {
		case limited.N == 0:
			return "", visutility.Invalidf("file", "too_long", "has more than %d bytes; a sample of the rows does", maxReferenceBytes)
		case err == io.EOF:
			return encodeReference(columns, Settings{MinSamples: minSamples}.withDefaults().MinSamples)
		case err != nil:
			return "", csvError(err)
		}
		for i := range columns {
			if reason, text := columns[i].cell(cells[i]); reason != "" {
				line, _ := rows.FieldPos(i)
				return "", visutility.Invalidf(fmt.Sprintf("line %d, column %q", line, columns[i].name), reason, "%s", text)
			}
		}
	}
}

// csvError is an error of the CSV reader: its own name the line, others are those of what it reads from.
func csvError(err error) error {
	if bad, ok := errors.AsType[*csv.ParseError](err); ok {
		return visutility.Invalidf(fmt.Sprintf("line %d", bad.Line), "syntax", "is not CSV with as many cells as the first line has: %v", bad.Err)
	}
	return err
}

func readHeader(rows *csv.Reader) ([]referenceColumn, error) {
	names, err := rows.Read()
	if err == io.EOF {
		return nil, visutility.Invalidf("file", "empty", "has no line of names")
	}
	if err != nil {
		return nil, csvError(err)
	}
	if len(names) > maxReferenceColumns {
		return nil, visutility.Invalidf("line 1", "too_many", "has %d columns; %d are allowed", len(names), maxReferenceColumns)
	}
	var columns []referenceColumn
	for i, name := range names {
		if i == 0 {
			name = strings.TrimPrefix(name, "\ufeff")
		}
		switch {
		case name == "" || len(name) > visutility.MaxNameBytes:
			return nil, visutility.Invalidf(fmt.Sprintf("line 1, column %d", i+1), "empty", "has no name, or one of more than %d bytes; leave out the index of the rows, such as by to_csv(…, index=False)", visutility.MaxNameBytes)
		case slices.ContainsFunc(columns, func(c referenceColumn) bool { return c.name == name }):
			return nil, visutility.Invalidf("line 1", "duplicate", "has column %q twice", name)
		}
		columns = append(columns, referenceColumn{name: name, numeric: true})
	}
	return columns, nil
}

// A referenceColumn gathers the cells of a column. A file does not tell the number 7 from the category "7", so both are kept until
// there is a cell that is no number.
type referenceColumn struct {
	name    string
	numeric bool
	words   column
	numbers column
}

// cell takes in a cell, or says why it cannot.
func (c *referenceColumn) cell(text string) (reason, message string) {
	if text == "" {
		return "", ""
	}
	v, err := strconv.ParseFloat(text, 64)
	number := err == nil
	switch {
	case number && !(math.Abs(v) <= maxNumber), errors.Is(err, strconv.ErrRange):
		return "range", fmt.Sprintf("is %q; leave the cell empty where there is no number", text)
	case c.name == scoreHeader && !(number && v >= 0 && v <= 1):
		return "range", fmt.Sprintf("is %q; a score is a probability, from 0 to 1", text)
	case len(text) > visutility.MaxNameBytes:
		return "too_long", fmt.Sprintf("has %d bytes; a category has at most %d", len(text), visutility.MaxNameBytes)
	}
	switch {
	case c.name == scoreHeader:
		c.numbers.add(visutility.Answer{Number: logit(v)})
		return "", ""
	case c.name == predictionHeader && number:
		c.words.add(visutility.Answer{Class: className("", v)})
	case text == "True" || text == "False": // as Python writes them
		c.words.add(visutility.Answer{Class: strings.ToLower(text)})
	default:
		c.words.add(visutility.Answer{Class: text})
	}
	if c.numeric = c.numeric && number; c.numeric {
		c.numbers.add(visutility.Answer{Number: v})
	} else {
		c.numbers = column{}
	}
	return "", ""
}

// metric is the name of the column's drift.
func (c *referenceColumn) metric() string {
	switch c.name {
	case predictionHeader:
		return answerColumn
	case scoreHeader:
		return scoreColumn
	}
	return driftPrefix + c.name
}

// A givenColumn is a column of a reference, without maps: equal data come out byte for byte the same.
type givenColumn struct {
	Metric         string
	Edges, Numbers []float64
	Categories     []string
	Counts         []float64
}

func encodeReference(columns []referenceColumn, least int) (Reference, error) {
	var given []givenColumn
	for i := range columns {
		c := &columns[i]
		if n := max(c.words.count(), c.numbers.count()); n < float64(least) {
			return "", visutility.Invalidf(fmt.Sprintf("column %q", c.name), "too_few", "has %.0f values, and of fewer than %d chance alone makes drift: give more, leave the column out, or lower min_samples", n, least)
		}
		both := (&column{Numbers: c.numbers.Numbers, Categories: c.words.Categories}).standard()
		g := givenColumn{Metric: c.metric(), Edges: both.Edges, Numbers: both.Numbers}
		for _, name := range slices.Sorted(maps.Keys(both.Categories)) {
			g.Categories, g.Counts = append(g.Categories, name), append(g.Counts, both.Categories[name])
		}
		given = append(given, g)
	}
	var b bytes.Buffer
	if err := gob.NewEncoder(&b).Encode(given); err != nil {
		return "", fmt.Errorf("keep the reference: %w", err)
	}
	return Reference(b.String()), nil
}

// standards are the columns of a reference by the names of their metrics; none of the zero value.
func (r Reference) standards() (map[string]*standard, error) {
	if r == "" {
		return nil, nil
	}
	var given []givenColumn
	if err := gob.NewDecoder(strings.NewReader(string(r))).Decode(&given); err != nil {
		return nil, fmt.Errorf("%w: the reference was not made by ReadReference: %w", visutility.ErrInvalid, err)
	}
	out := map[string]*standard{}
	for _, g := range given {
		if len(g.Numbers) != len(g.Edges)+1 || len(g.Counts) != len(g.Categories) {
			return nil, fmt.Errorf("%w: the reference of %s contradicts itself", visutility.ErrInvalid, g.Metric)
		}
		s := &standard{Edges: g.Edges, Numbers: g.Numbers, Categories: map[string]float64{}, Either: true}
		for i, name := range g.Categories {
			s.Categories[name] = g.Counts[i]
		}
		out[g.Metric] = s
	}
	return out, nil
}
