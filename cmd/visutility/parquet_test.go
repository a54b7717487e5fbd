package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress"
	"github.com/parquet-go/parquet-go/deprecated"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
	"pgregory.net/rapid"

	"github.com/visutility/visutility/backtest"
	"github.com/visutility/visutility/policy"
)

// A score is a row with all that a file may say.
type score struct {
	Model    string   `parquet:"model,dict"`
	Metric   string   `parquet:"metric"`
	Value    *float64 `parquet:"value,optional"`
	Time     int64    `parquet:"time,timestamp(millisecond)"`
	Count    *uint64  `parquet:"count,optional"`
	Version  *string  `parquet:"version,optional,dict"`
	Incident *bool    `parquet:"incident,optional"`
	Country  *string  `parquet:"label_country,optional"`
}

// parquetOf is a file of these rows.
func parquetOf[T any](t interface{ Fatal(...any) }, rows []T, options ...parquet.WriterOption) string {
	var b bytes.Buffer
	w := parquet.NewGenericWriter[T](&b, options...)
	if _, err := w.Write(rows); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestParquetOfOtherPrograms reads what pandas, Polars and DuckDB wrote of one table, in several encodings.
func TestParquetOfOtherPrograms(t *testing.T) {
	read := func(file string) (all []string) {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for rec, err := range readRecords(bytes.NewReader(b), "incident") {
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			all = append(all, string(rec.event))
		}
		return all
	}
	want := read("testdata/parquet/events.csv")
	files, err := filepath.Glob("testdata/parquet/*.parquet")
	if err != nil || len(files) < 7 || len(want) != 30 {
		t.Fatal(len(files), len(want), err)
	}
	for _, file := range files {
		if diff := cmp.Diff(want, read(file)); diff != "" {
			t.Errorf("%s (-of CSV +of Parquet):\n%s", file, diff)
		}
	}
}

// The three columns that every file needs.
type needed struct {
	Model  string  `parquet:"model"`
	Metric string  `parquet:"metric"`
	Value  float64 `parquet:"value"`
}

func TestParquetTypes(t *testing.T) {
	n := needed{"m", "x", 1}
	at := func(s string) time.Time { return must(time.Parse(time.RFC3339Nano, s)) }
	type row[T any] struct {
		needed
		Of T `parquet:"time"`
	}
	int96 := deprecated.Int96{1_500_000_000, 0, 2_440_588 + 20_780} // 1.5 s into the day
	for _, test := range []struct{ name, file, want string }{
		{"seconds", parquetOf(t, []row[int64]{{n, 1795428900}}), "2026-11-23T10:15:00Z"},
		{"milliseconds", parquetOf(t, []row[int64]{{n, 1795428900123}}), "2026-11-23T10:15:00.123Z"},
		{"a float", parquetOf(t, []row[float64]{{n, 1795428900.5}}), "2026-11-23T10:15:00.5Z"},
		{"a small number", parquetOf(t, []row[int32]{{n, 86400}}), "1970-01-02T00:00:00Z"},
		{"an unsigned number", parquetOf(t, []row[uint32]{{n, 4_000_000_000}}), "2096-10-02T07:06:40Z"},
		{"text", parquetOf(t, []row[string]{{n, "2026-11-23"}}), "2026-11-23T00:00:00Z"},
		{"bytes", parquetOf(t, []row[[]byte]{{n, []byte("2026-11-23 10:15:00")}}), "2026-11-23T10:15:00Z"},
		{"a time", parquetOf(t, []row[time.Time]{{n, at("2026-11-23T10:15:00.123456789Z")}}), "2026-11-23T10:15:00.123456789Z"},
		{"a time of old", parquetOf(t, []row[deprecated.Int96]{{n, int96}}), "2026-11-23T00:00:01.5Z"},
		{"a day", parquetOf(t, []struct {
			needed
			Of int32 `parquet:"time,date"`
		}{{n, 20_780}}), "2026-11-23T00:00:00Z"},
		{"microseconds", parquetOf(t, []struct {
			needed
			Of int64 `parquet:"time,timestamp(microsecond)"`
		}{{n, 1795428900123456}}), "2026-11-23T10:15:00.123456Z"},
	} {
		want := fmt.Sprintf("1 timed {\"metric\":\"x\",\"model\":\"m\",\"time\":%q,\"value\":1}\n", test.want)
		if diff := cmp.Diff(want, records(test.file)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
	odd := parquetOf(t, []struct {
		Model  bool    `parquet:"model"`
		Metric int32   `parquet:"metric"`
		Value  float32 `parquet:"value"`
		Count  float64 `parquet:"count"`
		Of     string  `parquet:"label_a b"`
	}{{true, -7, 0.9, 12, ""}, {false, 0, 1e-9, 1, "x"}})
	want := "1 {\"count\":12,\"metric\":\"-7\",\"model\":\"true\",\"value\":0.9}\n2 {\"count\":1,\"labels\":{\"a b\":\"x\"},\"metric\":\"0\",\"model\":\"false\",\"value\":1e-9}\n"
	if diff := cmp.Diff(want, records(odd)); diff != "" {
		t.Errorf("odd types (-want +got):\n%s", diff)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestParquetFaults(t *testing.T) {
	one := []needed{{"m", "x", 1}}
	type with[T any] struct {
		needed
		More T `parquet:"count"`
	}
	type text struct {
		Model  string  `parquet:"model"`
		Metric string  `parquet:"metric"`
		Value  *string `parquet:"value,optional"`
	}
	null := text{"m", "x", nil}
	word := "1"
	for _, test := range []struct{ name, file, want string }{
		{"nested", parquetOf(t, []with[struct{ A int64 }]{{}}), "column \"count\" is nested"},
		{"repeated", parquetOf(t, []with[[]int64]{{}}), "column \"count\" is nested"},
		{"time of day", parquetOf(t, []struct {
			needed
			Of int64 `parquet:"time,time(microsecond)"`
		}{{}}), "column \"time\" is of type TIME(isAdjustedToUTC=true,unit=MICROS), which is not read here"},
		{"decimal", parquetOf(t, []struct {
			needed
			Of int64 `parquet:"count,decimal(2:12)"`
		}{{}}), "column \"count\" is of type DECIMAL(12,2), which is not read here"},
		{"fixed", parquetOf(t, []with[[16]byte]{{}}), "column \"count\" is of type FIXED_LEN_BYTE_ARRAY, which is not read here"},
		{"no value", parquetOf(t, []struct {
			Model string `parquet:"model"`
		}{{}}), "the header has no column \"metric\""},
		{"strange column", parquetOf(t, []struct {
			needed
			Of int64 `parquet:"__index_level_0__"`
		}{{}}), "column \"__index_level_0__\" is not understood"},
		{"null", parquetOf(t, []text{{"m", "x", &word}, null}), "row 2: value: is null; leave the row out"},
		{"not finite", parquetOf(t, []needed{{"m", "x", 1}, {"m", "x", math.NaN()}}), "row 2: value: is NaN; send a finite number or nothing"},
		{"negative count", parquetOf(t, []with[int64]{{one[0], -1}}), "row 1: count: \"-1\" is not a whole number"},
		{"too long", parquetOf(t, []needed{{strings.Repeat("x", 257), "x", 1}}), "row 1: model: has 257 bytes; 256 are allowed"},
		{"no text", parquetOf(t, []needed{{"m\xff", "x", 1}}), "row 1: model: is not valid UTF-8"},
		{"long ago", parquetOf(t, []struct {
			needed
			Of int64 `parquet:"time,timestamp(millisecond)"`
		}{{one[0], math.MinInt64}}), "row 1: time: -292275055-05-16 16:47:04 is no time of a measurement"},
		{"LZ4", parquetOf(t, one, parquet.Compression(&parquet.Lz4Raw)), "row group 1, column \"model\": it is compressed by LZ4_RAW, which is not read here"},
		{"Brotli", parquetOf(t, one, parquet.Compression(&parquet.Brotli)), "row group 1, column \"model\": it is compressed by BROTLI, which is not read here"},
		{"prefixes", parquetOf(t, []struct {
			Model  string  `parquet:"model,delta"`
			Metric string  `parquet:"metric"`
			Value  float64 `parquet:"value"`
		}{{}}, parquet.Compression(&parquet.Uncompressed)), "row group 1, column \"model\": its values are encoded as DELTA_BYTE_ARRAY, which is not read here"},
		{"many columns", parquetOf(t, []any{}, wide(maxParquetColumns+1)), fmt.Sprintf("it has %d columns; %d are allowed", maxParquetColumns+1, maxParquetColumns)},
	} {
		got := records(test.file)
		if _, message, _ := strings.Cut(got, "error: "); !strings.HasPrefix(message, test.want) {
			t.Errorf("%s: want %q, got %q", test.name, test.want, got)
		}
	}
	if n := strings.Count(records(parquetOf(t, []text{{"m", "x", &word}, null})), "\n"); n != 2 {
		t.Errorf("%d lines: the rows before a bad one are lost", n)
	}
	for _, err := range readRecords(struct{ *bytes.Buffer }{bytes.NewBufferString(parquetOf(t, one))}) {
		if err == nil || !strings.Contains(err.Error(), "give the name of the file") {
			t.Errorf("a pipe: %v", err)
		}
	}
}

// wide is the schema of a file with so many columns.
func wide(n int) parquet.WriterOption {
	group := parquet.Group{}
	for i := range n {
		group[fmt.Sprintf("label_%d", i)] = parquet.String()
	}
	return parquet.NewSchema("wide", group)
}

// TestEmptyParquet: a file without rows has no events, and no faults.
func TestEmptyParquet(t *testing.T) {
	if got := records(parquetOf(t, []needed{})); got != "" {
		t.Error(got)
	}
}

// taken is how much memory was asked for while do ran, in bytes.
func taken(do func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	do()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// small is what any of the small files of these tests may take to be refused.
const small = 64 << 20

// TestDamagedParquet cuts a file short everywhere, and changes every byte of it.
func TestDamagedParquet(t *testing.T) {
	v, c, yes := 0.5, uint64(3), true
	rows := slices.Repeat([]score{{"m", "x", &v, 1795428900000, &c, nil, &yes, nil}}, 20)
	for name, codec := range map[string]compress.Codec{"plain": &parquet.Uncompressed, "zstd": &parquet.Zstd, "snappy": &parquet.Snappy, "gzip": &parquet.Gzip} {
		file := parquetOf(t, rows, parquet.Compression(codec))
		check := func(how, file string, must bool) {
			var got string
			if n := taken(func() { got = records(file) }); n > small {
				t.Errorf("%s, %s: %d bytes were taken", name, how, n)
			}
			if must && !strings.Contains(got, "error: ") {
				t.Errorf("%s, %s: no error in %q", name, how, got)
			}
		}
		for i := range len(file) {
			check(fmt.Sprintf("%d bytes of it", i), file[:i], i > 0)
			b := []byte(file)
			for _, x := range []byte{0xff, 0x80, 0x01} {
				b[i] ^= x
				check(fmt.Sprintf("byte %d changed by %x", i, x), string(b), false)
				b[i] ^= x
			}
		}
	}
}

// forged is a file whose description says something else.
func forged(t *testing.T, file string, change func(*format.FileMetaData)) string {
	t.Helper()
	length := binary.LittleEndian.Uint32([]byte(file)[len(file)-8:])
	head := file[:len(file)-8-int(length)]
	var meta format.FileMetaData
	if err := thrift.Unmarshal(new(thrift.CompactProtocol), []byte(file[len(head):len(file)-8]), &meta); err != nil {
		t.Fatal(err)
	}
	change(&meta)
	foot, err := thrift.Marshal(new(thrift.CompactProtocol), &meta)
	if err != nil {
		t.Fatal(err)
	}
	return footed(head, foot)
}

func footed(head string, foot []byte) string {
	return head + string(foot) + string(binary.LittleEndian.AppendUint32(nil, uint32(len(foot)))) + parquetMagic
}

func TestParquetThatLies(t *testing.T) {
	file := parquetOf(t, slices.Repeat([]needed{{"m", "x", 1}}, 100), parquet.DataPageVersion(1))
	groups := parquetOf(t, slices.Repeat([]needed{{"m", "x", 1}}, 100), parquet.DataPageVersion(1), parquet.MaxRowsPerRowGroup(50))
	chunk := func(change func(c *format.ColumnChunk)) func(*format.FileMetaData) {
		return func(m *format.FileMetaData) { change(&m.RowGroups[0].Columns[2]) }
	}
	for name, test := range map[string]struct {
		file, want string
	}{
		"more rows":       {forged(t, file, func(m *format.FileMetaData) { m.RowGroups[0].NumRows = 101 }), "it has 100 values where the row group has 101 rows"},
		"fewer rows":      {forged(t, file, func(m *format.FileMetaData) { m.RowGroups[0].NumRows = 99 }), "it has 100 values where the row group has 99 rows"},
		"huge rows":       {forged(t, file, func(m *format.FileMetaData) { m.RowGroups[0].NumRows = math.MaxInt64 }), "it has more than 250000000 rows"},
		"negative rows":   {forged(t, file, func(m *format.FileMetaData) { m.RowGroups[0].NumRows = -1 }), "num_rows=-1 is negative"},
		"beyond the end":  {forged(t, file, chunk(func(c *format.ColumnChunk) { c.MetaData.TotalCompressedSize = math.MaxInt64 })), "column \"value\": the file is cut short or damaged"},
		"before it":       {forged(t, file, chunk(func(c *format.ColumnChunk) { c.MetaData.DataPageOffset = -5 })), "column \"value\": the file is cut short or damaged"},
		"another file":    {forged(t, file, chunk(func(c *format.ColumnChunk) { c.FilePath = "/etc/passwd" })), "it is encrypted, or in another file"},
		"another type":    {forged(t, file, func(m *format.FileMetaData) { m.Schema[3].Type.V = format.Int32 }), "cut short or damaged"},
		"another codec":   {forged(t, file, chunk(func(c *format.ColumnChunk) { c.MetaData.Codec = format.Gzip })), "cut short or damaged"},
		"two codecs":      {forged(t, groups, func(m *format.FileMetaData) { m.RowGroups[1].Columns[2].MetaData.Codec = format.Gzip }), "row group 2, column \"value\": it is compressed in another way"},
		"no columns":      {forged(t, file, func(m *format.FileMetaData) { m.RowGroups[0].Columns = nil }), "cut short or damaged"},
		"many children":   {forged(t, file, func(m *format.FileMetaData) { m.Schema[0].NumChildren.V = math.MaxInt32 }), "cut short or damaged"},
		"only the magic":  {parquetMagic + parquetMagic, "cut short or damaged"},
		"a long end":      {parquetMagic + "\xff\xff\xff\x7f" + parquetMagic, "cut short or damaged"},
		"a long list":     {footed(parquetMagic, append([]byte{0x15, 2, 0x19, 0xfc}, 0xff, 0xff, 0xff, 0xff, 7)), "has more than 262144 parts"},
		"a deep one":      {footed(parquetMagic, bytes.Repeat([]byte{0x1c}, maxFooter)), "cut short or damaged"},
		"a long text":     {footed(parquetMagic, []byte{0x18, 0xff, 0xff, 0xff, 0xff, 7}), "cut short or damaged"},
		"another's magic": {parquetMagic + strings.Repeat("x", 30) + "PARE", "cut short or damaged"},
	} {
		var got string
		if n := taken(func() { got = records(test.file) }); n > small {
			t.Errorf("%s: %d bytes were taken", name, n)
		}
		if !strings.Contains(got, test.want) {
			t.Errorf("%s: want %q, got %q", name, test.want, got)
		}
	}
}

// pages makes a column of pages as they are in a file.
func pages(t *testing.T, parts ...any) []byte {
	t.Helper()
	var all []byte
	for _, part := range parts {
		if h, ok := part.(*format.PageHeader); ok {
			b, err := thrift.Marshal(new(thrift.CompactProtocol), h)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, b...)
			continue
		}
		all = append(all, part.([]byte)...)
	}
	return all
}

func dataPage(n, size, compressed int32, e format.Encoding) *format.PageHeader {
	h := &format.PageHeader{Type: format.DataPage, UncompressedPageSize: size, CompressedPageSize: compressed}
	h.DataPageHeader.Valid = true
	h.DataPageHeader.V = format.DataPageHeader{NumValues: n, Encoding: e, DefinitionLevelEncoding: format.RLE, RepetitionLevelEncoding: format.RLE}
	return h
}

// dataPage2 is a page of the second version: its nulls are not compressed.
func dataPage2(n, size, compressed, nulls int32, e format.Encoding) *format.PageHeader {
	h := &format.PageHeader{Type: format.DataPageV2, UncompressedPageSize: size, CompressedPageSize: compressed}
	h.DataPageHeaderV2.Valid = true
	h.DataPageHeaderV2.V = format.DataPageHeaderV2{NumValues: n, NumRows: n, Encoding: e, DefinitionLevelsByteLength: nulls}
	return h
}

// TestBombs: a few bytes that would become gigabytes are refused, and cost nothing.
func TestBombs(t *testing.T) {
	zeros := make([]byte, 200<<20)
	zstd := must(parquet.Zstd.Encode(nil, zeros))
	gzip := must(parquet.Gzip.Encode(nil, zeros))
	const most = math.MaxInt32
	run := binary.AppendUvarint(nil, most<<1) // of one value
	runs := bytes.Repeat(append(run, 0), 1000)
	delta := binary.AppendUvarint([]byte{128, 1, 4}, most)
	sized := func(b []byte) []byte { return append(binary.LittleEndian.AppendUint32(nil, uint32(len(b))), b...) }
	for name, test := range map[string]struct {
		codec    format.CompressionCodec
		optional bool
		pages    []byte
	}{
		"values":     {format.Uncompressed, false, pages(t, dataPage(most, 8, 8, format.RLEDictionary), zeros[:8])},
		"size":       {format.Snappy, false, pages(t, dataPage(100, most, 8, format.Plain), zeros[:8])},
		"page":       {format.Snappy, false, pages(t, dataPage(100, 8, most, format.Plain), zeros[:8])},
		"snappy":     {format.Snappy, false, pages(t, dataPage(100, 8, 6, format.Plain), append(binary.AppendUvarint(nil, 1<<31), 0))},
		"zstd":       {format.Zstd, false, pages(t, dataPage(100, 800, int32(len(zstd)), format.Plain), zstd)},
		"gzip":       {format.Gzip, false, pages(t, dataPage(100, 800, int32(len(gzip)), format.Plain), gzip)},
		"runs":       {format.Uncompressed, false, pages(t, dataPage(100, int32(len(runs)+1), int32(len(runs)+1), format.RLEDictionary), []byte{8}, runs)},
		"truth":      {format.Uncompressed, false, pages(t, dataPage(100, int32(len(runs)+4), int32(len(runs)+4), format.RLE), sized(runs))},
		"nulls":      {format.Uncompressed, true, pages(t, dataPage(100, int32(len(runs)+4), int32(len(runs)+4), format.Plain), sized(runs))},
		"delta":      {format.Uncompressed, false, pages(t, dataPage(100, int32(len(delta)), int32(len(delta)), format.DeltaBinaryPacked), delta)},
		"zstd 2":     {format.Zstd, false, pages(t, dataPage2(100, 800, int32(len(zstd)), 0, format.Plain), zstd)},
		"runs 2":     {format.Uncompressed, false, pages(t, dataPage2(100, int32(len(runs)+1), int32(len(runs)+1), 0, format.RLEDictionary), []byte{8}, runs)},
		"nulls 2":    {format.Uncompressed, true, pages(t, dataPage2(100, int32(len(runs)), int32(len(runs)), int32(len(runs)), format.Plain), runs)},
		"beyond":     {format.Uncompressed, true, pages(t, dataPage2(100, 8, 8, most, format.Plain), zeros[:8])},
		"statistics": {format.Uncompressed, false, []byte{0x15, 0, 0x15, 16, 0x15, 16, 0x2c, 0x15, 2, 0x15, 0, 0x15, 6, 0x15, 6, 0x1c, 0x18, 0xff, 0xff, 0xff, 0xff, 7}},
	} {
		n := taken(func() {
			g := &chunkGuard{r: bytes.NewReader(test.pages), codec: test.codec, optional: test.optional, rows: 100, budget: maxRowGroup}
			if err := g.check(0, int64(len(test.pages))); err == nil {
				t.Errorf("%s: no error", name)
			}
		})
		if n > small {
			t.Errorf("%s: %d bytes were taken", name, n)
		}
	}
	good := pages(t, dataPage(100, 800, 800, format.Plain), zeros[:800])
	g := &chunkGuard{r: bytes.NewReader(good), rows: 100, budget: 2400}
	if err := g.check(0, int64(len(good))); err != nil || g.page != 2400 {
		t.Errorf("%v, %d bytes", err, g.page)
	}
	g = &chunkGuard{r: bytes.NewReader(good), rows: 100, budget: 2399}
	if err := g.check(0, int64(len(good))); err == nil || !strings.Contains(err.Error(), "write smaller row groups") {
		t.Errorf("over the budget: %v", err)
	}
}

func FuzzReadParquet(f *testing.F) {
	files, err := filepath.Glob("testdata/parquet/*.parquet")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		f.Add(must(os.ReadFile(file)))
	}
	v, c := 0.5, uint64(3)
	rows := slices.Repeat([]score{{"m", "x", &v, 1795428900000, &c, nil, nil, nil}, {"m", "x", &v, 1795428900000, nil, nil, nil, nil}}, 5)
	for _, codec := range []compress.Codec{&parquet.Uncompressed, &parquet.Zstd, &parquet.Snappy, &parquet.Gzip} {
		f.Add([]byte(parquetOf(f, rows, parquet.Compression(codec), parquet.DataPageVersion(1))))
		f.Add([]byte(parquetOf(f, rows, parquet.Compression(codec), parquet.MaxRowsPerRowGroup(4))))
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		if !bytes.HasPrefix(file, []byte(parquetMagic)) {
			return
		}
		n := taken(func() {
			last := 0
			for rec, err := range readRecords(bytes.NewReader(file), "incident") {
				if err != nil {
					break
				}
				if !json.Valid(rec.event) || rec.at != (place{"row", last + 1}) {
					t.Fatalf("%s after %d: %s", rec.at, last, rec.event)
				}
				if last++; last == 10_000 {
					break // a run of equal values takes a few bytes
				}
			}
		})
		if limit := uint64(4*maxRowGroup + 100*len(file)); n > limit {
			t.Errorf("%d bytes were taken for %d", n, len(file))
		}
	})
}

// TestSamePastOfAnyFile: the same events given as CSV, NDJSON and Parquet give the same report.
func TestSamePastOfAnyFile(t *testing.T) {
	p := must(policy.Parse("p.yaml", []byte("models: [a, b]\nmetrics: {x: higher_is_better}\nretrain: {when: 'avg(x, 3) < 0.4', for: 1h, cooldown: 3h}\ntrain: {trainer: none}\n")))
	rapid.Check(t, func(t *rapid.T) {
		var rows []score
		csv := []string{"model,metric,value,time,count,version,incident,label_country"}
		var ndjson []string
		maybe := func(name string) bool { return rapid.Bool().Draw(t, name) }
		at := int64(1767225600000)
		for range rapid.IntRange(1, 60).Draw(t, "events") {
			at += 60_000 * rapid.Int64Range(-3, 60).Draw(t, "minutes")
			v := rapid.Float64Range(0, 1).Draw(t, "value")
			r := score{Model: rapid.SampledFrom([]string{"a", "b", `"c,`}).Draw(t, "model"), Metric: "x", Value: &v, Time: at}
			event := map[string]any{"model": r.Model, "metric": "x", "value": v, "time": at}
			cells := []string{`"` + strings.ReplaceAll(r.Model, `"`, `""`) + `"`, "x", fmt.Sprint(v), time.UnixMilli(at).UTC().Format(time.RFC3339), "", "", "", ""}
			if maybe("counted") {
				n := rapid.Uint64Range(1, 1000).Draw(t, "count")
				r.Count, event["count"], cells[4] = &n, n, fmt.Sprint(n)
			}
			if maybe("versioned") {
				s := "v1"
				r.Version, event["version"], cells[5] = &s, s, s
			}
			if maybe("marked") {
				ill := maybe("ill")
				r.Incident, event["incident"], cells[6] = &ill, ill, fmt.Sprint(ill)
			}
			if maybe("labeled") {
				s := "DE"
				r.Country, event["labels"], cells[7] = &s, map[string]string{"country": s}, s
			}
			rows, csv = append(rows, r), append(csv, strings.Join(cells, ","))
			ndjson = append(ndjson, string(must(json.Marshal(event))))
		}
		codec := rapid.SampledFrom([]compress.Codec{&parquet.Uncompressed, &parquet.Snappy, &parquet.Zstd, &parquet.Gzip}).Draw(t, "codec")
		group := rapid.Int64Range(1, 70).Draw(t, "rows of a group")
		var reports []string
		for _, file := range []string{
			strings.Join(csv, "\n"), strings.Join(ndjson, "\n"),
			parquetOf(t, rows, parquet.Compression(codec), parquet.MaxRowsPerRowGroup(group), parquet.PageBufferSize(64), parquet.DataPageVersion(1+int(group)%2)),
		} {
			past := pastReader{past: backtest.NewData(), now: time.Now()}
			if err := past.read(strings.NewReader(file)); err != nil {
				t.Fatal(err)
			}
			r, err := backtest.Run(t.Context(), backtest.Options{Policies: []*policy.Policy{p}}, past.past)
			if err != nil {
				t.Fatal(err)
			}
			reports = append(reports, string(must(json.Marshal(r))))
		}
		if reports[0] != reports[1] || reports[0] != reports[2] {
			t.Errorf("CSV:\n%s\nNDJSON:\n%s\nParquet:\n%s", reports[0], reports[1], reports[2])
		}
	})
}
