package ingest

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/visutility/visutility"
)

func TestReadNATS(t *testing.T) {
	body := []byte(`[{"model":"m","metric":"x","value":1},{"model":"m","metric":"x","value":2,"time":1769860700}]`)
	key, events, err := ReadNATS(NATSMessage{Header: map[string][]string{"Nats-Msg-Id": {"a"}}, Data: body, At: now.Add(time.Microsecond)})
	want := []visutility.Event{{Model: "m", Metric: "x", Value: 1, Time: now}, {Model: "m", Metric: "x", Value: 2, Time: now.Add(-100 * time.Second)}}
	if diff := cmp.Diff(want, events); err != nil || diff != "" || key != "nats:a" {
		t.Errorf("%q %v %s", key, err, diff)
	}
	const longest = visutility.MaxNameBytes - len("nats:")
	if key, _, err := ReadNATS(NATSMessage{Header: map[string][]string{"Nats-Msg-Id": {strings.Repeat("x", longest)}}, Data: body, At: now}); err != nil || len(key) != visutility.MaxNameBytes {
		t.Errorf("the longest id: %q %v", key, err)
	}
	for _, bad := range []NATSMessage{
		{Data: []byte("{")}, {}, {Data: body, Header: map[string][]string{"Content-Type": {"text/csv"}}},
		{Data: body, Header: map[string][]string{"Content-Type": {"application/x-ndjson"}}},
		{Data: body, Header: map[string][]string{"Nats-Msg-Id": {strings.Repeat("x", longest+1)}}},
	} {
		bad.At = now
		if _, events, err := ReadNATS(bad); !errors.Is(err, visutility.ErrInvalid) || events != nil {
			t.Errorf("%+v: %v %v", bad, events, err)
		}
	}
	if got := string(NATSAccepted(3)); got != `{"stream":"visutility","accepted":3,"seq":0}` {
		t.Error(got)
	}
}

func FuzzReadNATS(f *testing.F) {
	f.Add("application/json", "id", []byte(`{"model":"m","metric":"x","value":1}`))
	f.Fuzz(func(t *testing.T, contentType, id string, data []byte) {
		key, events, err := ReadNATS(NATSMessage{Header: map[string][]string{"Content-Type": {contentType}, "Nats-Msg-Id": {id}}, Data: data, At: now})
		if err != nil {
			if !errors.Is(err, visutility.ErrInvalid) {
				t.Fatal(err)
			}
			return
		}
		checkBatch(t, &Batch{Events: events, Key: key})
	})
}
