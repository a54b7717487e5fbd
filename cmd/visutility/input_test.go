package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
)

// records reads everything and writes it one record a line, the error last.
func records(s string) string {
	var b strings.Builder
	for rec, err := range readRecords(strings.NewReader(s)) {
		if err != nil {
			fmt.Fprintf(&b, "error: %v\n", err)
			continue
		}
		timed := ""
		if rec.timed {
			timed = " timed"
		}
		fmt.Fprintf(&b, "%d%s %s\n", rec.at.n, timed, rec.event)
	}
	return b.String()
}

func TestReadRecords(t *testing.T) {
	for _, test := range []struct{ name, in, want string }{
		{"nothing", " \n\n", ""},
		{"NDJSON", "\n{\"a\":1}\n\n {\"time\":\"x\"} {\"b\":2}\n{\"c\":3}",
			"2 {\"a\":1}\n4 timed {\"time\":\"x\"}\n4 {\"b\":2}\n5 {\"c\":3}\n"},
		{"byte order mark", "\ufeff{\"a\":1}\n{\"b\":1}", "1 {\"a\":1}\n2 {\"b\":1}\n"},
		{"an array", "[\n  {\"a\":1},\n  {\"b\":\n2}\n, {}]\n", "2 {\"a\":1}\n3 {\"b\":\n2}\n5 {}\n"},
		{"an empty array", "[]", ""},
		{"broken line", "{\"a\":1}\n\n{\"a\":1x}\n", "1 {\"a\":1}\nerror: line 3: invalid character 'x' after object key:value pair\n"},
		{"cut off", "{\"a\":1}\n{\"a\":", "1 {\"a\":1}\nerror: line 2: the input ends in the middle of what begins here\n"},
		{"array cut off", "[{\"a\":1},\n{\"b\":2}\n", "1 {\"a\":1}\n2 {\"b\":2}\nerror: line 3: the input ends in the middle of what begins here\n"},
		{"no object", "{\"a\":1}\n7\n", "1 {\"a\":1}\nerror: line 2: is not a JSON object with model, metric and value\n"},
		{"CSV", "model,metric,value,time,count,version,label_country\nm,x,0.5,2026-11-23,10,v1,DE\n\"a,b\",y,1e3,,,,\n",
			"2 timed {\"count\":10,\"labels\":{\"country\":\"DE\"},\"metric\":\"x\",\"model\":\"m\",\"time\":\"2026-11-23T00:00:00Z\",\"value\":0.5,\"version\":\"v1\"}\n" +
				"3 {\"metric\":\"y\",\"model\":\"a,b\",\"value\":1000}\n"},
		{"CSV, byte order mark and CRLF", "\ufeffmodel,metric,value\r\nm,x,1\r\n", "2 {\"metric\":\"x\",\"model\":\"m\",\"value\":1}\n"},
		{"CSV, no value column", "model,metric\nm,x\n", "error: line 1: the header has no column \"value\"; it needs model, metric and value\n"},
		{"CSV, strange column", "model,metric,value,when\n", "error: line 1: column \"when\" is not understood; the header may have model, metric, value, time, count, version and label_<name>\n"},
		{"CSV, bad number", "model,metric,value\nm,x,1\nm,x,abc\n", "2 {\"metric\":\"x\",\"model\":\"m\",\"value\":1}\nerror: line 3: value: \"abc\" is not a number\n"},
		{"CSV, not finite", "model,metric,value\nm,x,NaN\n", "error: line 2: value: is NaN; send a finite number or nothing\n"},
		{"CSV, bad time", "model,metric,value,time\nm,x,1,yesterday\n", "error: line 2: time: \"yesterday\" is not a time such as 2026-11-23T10:15:00Z, 2026-11-23 or 1795428900\n"},
		{"CSV, Unix times", "model,metric,value,time\nm,x,1,1795428900\nm,x,1,1795428900123\n",
			"2 timed {\"metric\":\"x\",\"model\":\"m\",\"time\":\"2026-11-23T10:15:00Z\",\"value\":1}\n" +
				"3 timed {\"metric\":\"x\",\"model\":\"m\",\"time\":\"2026-11-23T10:15:00.123Z\",\"value\":1}\n"},
		{"CSV, cells missing", "model,metric,value\nm,x\n", "error: line 2: wrong number of fields\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, records(test.in)); diff != "" {
				t.Error("(-want +got):\n", diff)
			}
		})
	}
}

func FuzzReadRecords(f *testing.F) {
	for _, s := range []string{"{}", "[{},{\"time\":1}]", "model,metric,value\na,b,1\n", "\ufeff[", "\"", "{}{}\n7"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		last := 0
		for rec, err := range readRecords(strings.NewReader(s)) {
			if err != nil {
				continue
			}
			if !json.Valid(rec.event) {
				t.Fatalf("record %q is not JSON", rec.event)
			}
			if rec.at.n < last || rec.at.n > strings.Count(s, "\n")+1 {
				t.Fatalf("line %d after line %d", rec.at.n, last)
			}
			last = rec.at.n
		}
	})
}

// sink accepts batches and remembers their keys.
type sink struct {
	keys   []string
	sizes  []int
	refuse int // the batch to refuse, from 1
}

func (s *sink) serve(w http.ResponseWriter, r *http.Request) {
	var events []json.RawMessage
	b, _ := io.ReadAll(r.Body)
	if err := json.Unmarshal(b, &events); err != nil {
		refuse(w, 400, `{"detail":"not an array"}`)
		return
	}
	s.keys, s.sizes = append(s.keys, r.Header.Get("Idempotency-Key")), append(s.sizes, len(events))
	if len(s.keys) == s.refuse {
		refuse(w, 422, `{"detail":"validation failed","errors":[{"location":"events[3].value","message":"is missing"}]}`)
		return
	}
	fmt.Fprintf(w, `{"accepted":%d}`, len(events))
}

func ndjson(n int, timed bool) string {
	var b strings.Builder
	for i := range n {
		when := ""
		if timed {
			when = `,"time":"2026-11-23T10:00:00Z"`
		}
		fmt.Fprintf(&b, "{\"model\":\"m\",\"metric\":\"x\",\"value\":%d%s}\n\n", i, when)
	}
	return b.String()
}

func TestAFileSentAgainHasTheSameKeys(t *testing.T) {
	send := func(s *sink, file string) (publication, error) {
		c, _ := testClient(t, s.serve)
		cmd := &cobra.Command{}
		cmd.SetContext(t.Context())
		cmd.SetIn(strings.NewReader(ndjson(3, false)))
		return publishFile(cmd, c, file)
	}
	write := func(name, text string) string {
		file := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	timed, untimed := write("timed", ndjson(2500, true)), write("untimed", ndjson(3, false))

	var first, second, copied, plain, plainAgain, plainCopy, in, inAgain sink
	done, err := send(&first, timed)
	if err != nil || done != (publication{Accepted: 2500, Batches: 3}) {
		t.Fatalf("%+v, %v", done, err)
	}
	if diff := cmp.Diff([]int{1000, 1000, 500}, first.sizes); diff != "" {
		t.Error("batches (-want +got):\n", diff)
	}
	for s, file := range map[*sink]string{
		&second: timed, &copied: write("copy", ndjson(2500, true)),
		&plain: untimed, &plainAgain: untimed, &plainCopy: write("copy", ndjson(3, false)),
		&in: "-", &inAgain: "-",
	} {
		if _, err := send(s, file); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(first.keys, second.keys); diff != "" {
		t.Error("sent again:\n", diff)
	}
	if diff := cmp.Diff(first.keys, copied.keys); diff != "" {
		t.Error("a copy, of events with times:\n", diff)
	}
	if plain.keys[0] != plainAgain.keys[0] {
		t.Error("a file without times sent again has another key")
	}
	if plain.keys[0] == plainCopy.keys[0] {
		t.Error("two files without times pass for one")
	}
	if in.keys[0] == inAgain.keys[0] {
		t.Error("events without times on the standard input pass for repetitions")
	}
}

func TestARefusedBatchNamesLines(t *testing.T) {
	c, _ := testClient(t, (&sink{refuse: 2}).serve)
	p := publisher{client: c}
	_, err := p.publish(t.Context(), strings.NewReader(ndjson(1500, true)))
	want := "the batch of lines 2001 to 2999 was refused:\n  line 2007: value: is missing\n" +
		"accepted before: 1000 events, up to line 1999; run the same command again to go on, within ten minutes nothing is counted twice"
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func TestABatchIsBoundedInBytes(t *testing.T) {
	var s sink
	c, _ := testClient(t, s.serve)
	p := publisher{client: c}
	long := `{"model":"` + strings.Repeat("m", 300<<10) + `"}` + "\n"
	if _, err := p.publish(t.Context(), strings.NewReader(strings.Repeat(long, 7))); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]int{3, 3, 1}, s.sizes); diff != "" {
		t.Error("(-want +got):\n", diff)
	}
}
