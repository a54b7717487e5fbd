package ingest

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/visutility/visutility"
)

const alertsBody = `{"version":"4","groupKey":"{}:{}","status":"firing","receiver":"visutility","groupLabels":{},"commonLabels":{},"commonAnnotations":{},
"externalURL":"http://a","truncatedAlerts":2,"alerts":[
{"status":"firing","labels":{"alertname":"FraudDrift","model":"fraud","severity":"page","instance":"a"},"annotations":{"x":"y"},"startsAt":"2026-01-31T11:00:00Z","endsAt":"0001-01-01T00:00:00Z","fingerprint":"f"},
{"status":"resolved","labels":{"alertname":"FraudDrift","model":"fraud","severity":"warn"}},
{"status":"firing","labels":{"alertname":"DiskFull"}},
{"status":"firing","labels":{"model":"fraud"}},
{"status":"odd","labels":{"alertname":"FraudDrift","model":"fraud"}}]}`

func TestAlertmanager(t *testing.T) {
	b := mustRead(t, &Alertmanager, newSource(), jsonType, []byte(alertsBody))
	want := []visutility.Event{
		{Model: "fraud", Metric: "FraudDrift", Value: 0, Labels: map[string]string{"severity": "warn"}},
		{Model: "fraud", Metric: "FraudDrift", Value: 1, Labels: map[string]string{"severity": "page"}},
	}
	if diff := cmp.Diff(want, b.Events); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]int{"no_model": 1, "empty": 1, "unknown": 1}, b.Refused); diff != "" {
		t.Error(diff)
	}
	if b.Ignored["truncated"] != 2 || b.Key == "" {
		t.Errorf("%v %q", b.Ignored, b.Key)
	}
	if a := Alertmanager.Answer(Request{}, b); a.Status != 200 || !strings.Contains(string(a.Body), `"accepted":2,"refused":3`) {
		t.Errorf("%d %s", a.Status, a.Body)
	}
	for body, want := range map[string]error{"": ErrSyntax, "[]": ErrSyntax, "{}": ErrUnsupported, `{"version":"5"}`: ErrUnsupported, strings.Repeat("[", 999): ErrTooLarge} {
		if _, err := read(t, &Alertmanager, newSource(), jsonType, []byte(body)); !errors.Is(err, want) {
			t.Errorf("%.20s: %v", body, err)
		}
	}
}

func FuzzAlertmanager(f *testing.F) {
	f.Add([]byte(`{"version":"4","alerts":[{"status":"firing","labels":{"alertname":"a","model":"m"}}]}`))
	s := newSource()
	f.Fuzz(func(t *testing.T, body []byte) {
		if _, err := read(t, &Alertmanager, s, jsonType, body); err != nil && !errors.Is(err, visutility.ErrInvalid) {
			t.Fatal(err)
		}
	})
}

func BenchmarkAlertmanager(b *testing.B) {
	var alerts []string
	for i := range 100 {
		alerts = append(alerts, fmt.Sprintf(`{"status":"firing","labels":{"alertname":"Drift","model":"m%d","severity":"page"},"annotations":{"summary":"drifts"},"startsAt":"2026-01-31T11:00:00Z"}`, i))
	}
	benchProtocol(b, &Alertmanager, jsonType, fmt.Appendf(nil, `{"version":"4","alerts":[%s]}`, strings.Join(alerts, ",")), 100)
}
