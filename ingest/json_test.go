package ingest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/visutility/visutility"
)

var now = time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)

func at(text string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		panic(err)
	}
	return t.UTC()
}

func TestJSON(t *testing.T) {
	const min = `"model":"m","metric":"x","value":1`
	one := visutility.Event{Model: "m", Metric: "x", Value: 1}
	with := func(change func(*visutility.Event)) []visutility.Event {
		e := one
		change(&e)
		return []visutility.Event{e}
	}
	timed := func(text string) []visutility.Event {
		return with(func(e *visutility.Event) { e.Time = at(text) })
	}
	for body, want := range map[string][]visutility.Event{
		`{` + min + `}`:                                      {one},
		" \t\r\n[{" + min + "}]\n ":                          {one},
		`[{` + min + `},{` + min + `}]`:                      {one, one},
		`{` + min + `}{` + min + `}`:                         {one, one},
		"{" + min + "}\r\n\r\n{" + min + "}":                 {one, one},
		`[]`:                                                 nil,
		`{"value":-1.5e-3,"metric":"x","model":"m"}`:         with(func(e *visutility.Event) { e.Value = -1.5e-3 }),
		`{"mod\u0065l":"\u00e9\n\ud83d\ude00"` + min[11:]:    nil, // a control character: see below
		`{"model":"\u00e9\ud83d\ude00",` + min[12:] + `}`:    with(func(e *visutility.Event) { e.Model = "é😀" }),
		`{` + min + `,"count":0}`:                            with(func(e *visutility.Event) { e.Count = 1 }),
		`{` + min + `,"count":9223372036854775807}`:          with(func(e *visutility.Event) { e.Count = math.MaxInt64 }),
		`{` + min + `,"version":""}`:                         {one},
		`{` + min + `,"labels":{}}`:                          {one},
		`{` + min + `,"labels":{"a":"","b":"c"}}`:            with(func(e *visutility.Event) { e.Labels = map[string]string{"a": "", "b": "c"} }),
		`{` + min + `,"time":"2026-01-31T13:00:00+01:00"}`:   timed("2026-01-31T12:00:00Z"),
		`{` + min + `,"time":"2026-01-31T12:00:00.123999Z"}`: timed("2026-01-31T12:00:00.123Z"),
		`{` + min + `,"time":1769860800}`:                    timed("2026-01-31T12:00:00Z"),
		`{` + min + `,"time":1769860800.5}`:                  timed("2026-01-31T12:00:00.5Z"),
		`{` + min + `,"time":1769860800123}`:                 timed("2026-01-31T12:00:00.123Z"),
		`{` + min + `,"time":1.7698608e12}`:                  timed("2026-01-31T12:00:00Z"),
		`{` + min + `,"time":0}`:                             timed("1970-01-01T00:00:00Z"),
		`{` + min + `,"time":100000000000}`:                  timed("1973-03-03T09:46:40Z"), // the least number of milliseconds
	} {
		got, err := JSON([]byte(body), now)
		if strings.Contains(body, `\n`) {
			if !errors.Is(err, visutility.ErrInvalid) {
				t.Errorf("%s: %v, %v", body, got, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", body, err)
			continue
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", body, diff)
		}
	}
}

func TestFaults(t *testing.T) {
	const min = `"model":"m","metric":"x","value":1`
	long := strings.Repeat("l", visutility.MaxNameBytes+1)
	for body, want := range map[string]string{
		`{` + min + `,"value":1}`:                             "value duplicate",
		`{` + min + `,"version":"` + long + `"}`:              "version too_long",
		`{` + min + `,"labels":{"a":"b","a":"b"}}`:            "labels.a duplicate",
		`{` + min + `,"labels":{"a":"b"},"labels":{"a":"b"}}`: "labels duplicate",
		`{` + min + `,"labels":{"` + long + `":""}}`:          "labels too_long",
		`[{` + min + `},{` + min + `,"labels":{"a":["b"]}}]`:  "events[1].labels.a type",
		`{` + min + `}{` + min + `,"Value":1}`:                "events[1].Value unknown_field",
		`{` + min + `,"\u0076alue":1}`:                        "value duplicate",
	} {
		events, err := JSON([]byte(body), now)
		bad, ok := errors.AsType[*visutility.InvalidError](err)
		if !ok || events != nil || len(bad.Fields) != 1 {
			t.Errorf("%.80s: %v, %v", body, events, err)
			continue
		}
		if got := bad.Fields[0].Field + " " + bad.Fields[0].Reason; got != want {
			t.Errorf("%.80s: %s, want %s", body, got, want)
		}
	}
}

func TestSuggestions(t *testing.T) {
	for name, want := range map[string]string{
		"ts": "time", "timestamp": "time", "Time": "time", "tiem": "time", "n": "count", "counts": "count", "modle": "model", "MODEL": "model",
		"tags": "labels", "lable": "labels", "vlaue": "value", "metrics": "metric", "versoin": "version", "colour": "", "x": "", "": "", "id": "",
	} {
		if got := eventWords.meant(name); got != want {
			t.Errorf("%q means %q, not %q", name, want, got)
		}
	}
}

// The words for no finite number are found where they are values, and nowhere else.
func TestQuoteNonFinite(t *testing.T) {
	for body, want := range map[string]string{
		`{"value":NaN}`:            `{"value":"N"}`,
		`[-Infinity, +inf ,nan]`:   `["-Infini", "+i" ,"n"]`,
		`{"NaN":"NaN"}`:            `{"NaN":"NaN"}`,
		`{"a\"NaN":NaN}`:           `{"a\"NaN":"N"}`,
		`{"a\\":NaN}`:              `{"a\\":"N"}`,
		`[NaNa, xNaN, 1NaN, NaN1]`: `[NaNa, xNaN, 1NaN, NaN1]`,
		`NaN`:                      `"N"`,
		`"NaN`:                     `"NaN`,
	} {
		got, ok := quoteNonFinite([]byte(body))
		if string(got) != want || ok != (body != want) {
			t.Errorf("%s became %s (%v)", body, got, ok)
		}
	}
}

// Everything wrong with a body is told, though the bare words make it no JSON.
func TestNonFiniteAmongOtherFaults(t *testing.T) {
	_, err := JSON([]byte(`[{"model":"","metric":"x","value":NaN},{"model":"m","metric":"x","value":1,"time":NaN,"count":Infinity},{"modle":-Infinity}]`), now)
	bad, ok := errors.AsType[*visutility.InvalidError](err)
	if !ok {
		t.Fatal(err)
	}
	var got []string
	for _, f := range bad.Fields {
		got = append(got, f.Field+" "+f.Reason)
	}
	want := []string{"events[0].model empty", "events[0].value nan", "events[1].time type", "events[1].count type",
		"events[2].modle unknown_field", "events[2].value empty", "events[2].model empty", "events[2].metric empty"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	// Nor does a decoder that saw such a body take the next one's strings for numbers.
	if _, err := JSON([]byte(`{"model":"m","metric":"x","value":"N"}`), now); err == nil || !strings.Contains(err.Error(), "is a string") {
		t.Error(err)
	}
	// A word where no number belongs leaves the syntax error as it is.
	if _, err := JSON([]byte(`{"model":"m","metric":"x","value":1,"labels":{"a":NaN}}`), now); !errors.Is(err, ErrSyntax) {
		t.Error(err)
	}
}

func TestEventsDoNotAliasTheBody(t *testing.T) {
	body := []byte(`[{"model":"mmmm","metric":"xxxx","value":1,"version":"vvvv","labels":{"llll":"llll"}}]`)
	events, err := JSON(body, now)
	if err != nil {
		t.Fatal(err)
	}
	for i := range body {
		body[i] = '!'
	}
	if _, err := JSON([]byte(`[{"model":"nnnn","metric":"yyyy","value":1,"version":"wwww","labels":{"kkkk":"kkkk"}}]`), now); err != nil {
		t.Fatal(err)
	}
	want := []visutility.Event{{Model: "mmmm", Metric: "xxxx", Value: 1, Version: "vvvv", Labels: map[string]string{"llll": "llll"}}}
	if diff := cmp.Diff(want, events); diff != "" {
		t.Error(diff)
	}
}

func TestConcurrentDecoding(t *testing.T) {
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			body := fmt.Appendf(nil, `[{"model":"m%d","metric":"x","value":%d,"labels":{"g":"%d"}}]`, g, g, g)
			want := []visutility.Event{{Model: fmt.Sprint("m", g), Metric: "x", Value: float64(g), Labels: map[string]string{"g": fmt.Sprint(g)}}}
			for range 500 {
				got, err := JSON(body, now)
				if err != nil || !cmp.Equal(want, got) {
					t.Errorf("%v %v", got, err)
					return
				}
				JSON([]byte(`[{"model":NaN`), now) // leaves nothing behind
			}
		})
	}
	wg.Wait()
}

// Whatever events there are, encoding/json's text of them decodes to the same.
func TestRoundTrip(t *testing.T) {
	name := rapid.StringMatching(`[^\p{Cc}\p{Cf}.][^\p{Cc}\p{Cf}]{0,19}`)
	event := rapid.Custom(func(t *rapid.T) visutility.Event {
		e := visutility.Event{
			Model: name.Draw(t, "model"), Metric: name.Draw(t, "metric"), Value: rapid.Float64().Draw(t, "value"),
			Count: rapid.Uint64Range(1, math.MaxInt64).Draw(t, "count"),
		}
		if rapid.Bool().Draw(t, "timed") {
			e.Time = time.UnixMilli(rapid.Int64Range(0, now.UnixMilli()).Draw(t, "time")).UTC()
		}
		if labels := rapid.MapOfN(name, name, 0, visutility.MaxLabels).Draw(t, "labels"); len(labels) > 0 {
			e.Labels = labels
		}
		return e
	})
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.SliceOfN(event, 1, 5).Draw(t, "events")
		array, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		var lines bytes.Buffer
		for _, e := range want {
			if err := json.NewEncoder(&lines).Encode(e); err != nil {
				t.Fatal(err)
			}
		}
		for decode, body := range map[*Decoder][]byte{new(Decoder(JSON)): array, new(Decoder(NDJSON)): lines.Bytes()} {
			got, err := (*decode)(body, now)
			if err != nil {
				t.Fatalf("%v in %s", err, body)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatal(diff)
			}
		}
	})
}

// FuzzJSON holds the decoder against encoding/json: what it accepts must be JSON
// of that meaning, and what it refuses must be refused with a reason.
func FuzzJSON(f *testing.F) {
	for _, seed := range []string{
		`{"model":"m","metric":"x","value":1,"time":"2026-01-31T12:00:00Z","count":2,"version":"v","labels":{"a":"b"}}`,
		`[{"model":"m","metric":"x","value":1e3,"time":1769860800},{"model":"m","metric":"x","value":NaN}]`,
		"{\"model\":\"m\",\"metric\":\"x\",\"value\":1}\n{\"model\":\"m\",\"metric\":\"x\",\"value\":-Infinity}", `[`, `[[[`, "\"\xff\"", `{"a":{"b":[1,2]}}`, `[] []`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		given := bytes.Clone(body)
		events, err := JSON(body, now)
		if !bytes.Equal(given, body) {
			t.Fatal("the body was written to")
		}
		if err != nil {
			bad, invalid := errors.AsType[*visutility.InvalidError](err)
			if events != nil || !errors.Is(err, visutility.ErrInvalid) || invalid == errors.Is(err, ErrSyntax) {
				t.Fatalf("%v with %v", err, events)
			}
			if invalid && (len(bad.Fields) == 0 || len(bad.Fields) > MaxFaults) {
				t.Fatalf("%d faults", len(bad.Fields))
			}
			return
		}
		var faults []visutility.FieldError
		for i := range events {
			faults = events[i].Check(faults, "", now)
		}
		if len(faults) > 0 {
			t.Fatalf("accepted %v", faults)
		}
		same(t, body, events)
	})
}

// same decodes the body with encoding/json and compares.
func same(t *testing.T, body []byte, events []visutility.Event) {
	t.Helper()
	type loose struct {
		Model, Metric, Version string
		Value                  float64
		Labels                 map[string]string
		Time                   any
		Count                  uint64
	}
	var want []loose
	if bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte("[")) {
		if err := json.Unmarshal(body, &want); err != nil {
			t.Fatalf("accepted %s: %v", body, err)
		}
	} else {
		for dec := json.NewDecoder(bytes.NewReader(body)); dec.More(); {
			var one loose
			if err := dec.Decode(&one); err != nil {
				t.Fatalf("accepted %s: %v", body, err)
			}
			want = append(want, one)
		}
	}
	if len(want) != len(events) {
		t.Fatalf("%d events, want %d", len(events), len(want))
	}
	for i, w := range want {
		e := events[i]
		if w.Model != e.Model || w.Metric != e.Metric || w.Version != e.Version || w.Value != e.Value || len(w.Labels) != len(e.Labels) {
			t.Fatalf("%+v, want %+v", e, w)
		}
		for k, v := range w.Labels {
			if e.Labels[k] != v {
				t.Fatalf("%+v, want %+v", e, w)
			}
		}
	}
}

func benchBody(format string, labels bool) []byte {
	var b bytes.Buffer
	sep := "\n"
	if format == "array" {
		b.WriteByte('[')
		sep = ","
	}
	for i := range 500 {
		if i > 0 {
			b.WriteString(sep)
		}
		fmt.Fprintf(&b, `{"model":"fraud-%d","metric":"accuracy","value":0.9%d,"time":1769860800%03d,"count":100`, i%50, i, i)
		if labels {
			fmt.Fprintf(&b, `,"labels":{"country":"%d","tier":"gold"}`, i%10)
		}
		b.WriteByte('}')
	}
	if format == "array" {
		b.WriteByte(']')
	}
	return b.Bytes()
}

func BenchmarkJSON(b *testing.B) {
	for _, c := range []struct {
		name, format string
		labels       bool
	}{{"array", "array", false}, {"lines", "lines", false}, {"array+labels", "array", true}} {
		b.Run(c.name, func(b *testing.B) {
			body := benchBody(c.format, c.labels)
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := JSON(body, now); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/500, "ns/event")
		})
	}
}

// A body of known names costs one allocation, the events, and a few where hashes collide.
func TestAllocations(t *testing.T) {
	if raceEnabled {
		return // the race detector drops pooled decoders at random
	}
	body := benchBody("array", false)
	if n := testing.AllocsPerRun(20, func() {
		if _, err := JSON(body, now); err != nil {
			t.Fatal(err)
		}
	}); n > 50 {
		t.Errorf("%v allocations for 500 events", n)
	}
}
