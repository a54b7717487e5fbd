package server

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/visutility/visutility"
)

// TestAlertmanager has an Alertmanager tell of an alert, and of its end.
func TestAlertmanager(t *testing.T) {
	s := serve(t)
	config := filepath.Join(t.TempDir(), "alertmanager.yml")
	if err := os.WriteFile(config, fmt.Appendf(nil, `
route: {receiver: visutility, group_wait: 10ms, group_interval: 100ms}
receivers:
  - name: visutility
    webhook_configs: [{url: %q, http_config: {authorization: {credentials: %q}}}]
`, s.url+apiPath+"/alertmanager", token), 0o600); err != nil {
		t.Fatal(err)
	}
	addr := freeAddr(t)
	program(t, "prometheus-alertmanager", "--config.file="+config, "--storage.path=data", "--web.listen-address="+addr, "--cluster.listen-address=")
	alert := func(more string) {
		await(t, "Alertmanager to take an alert", func() bool {
			res, err := http.Post("http://"+addr+"/api/v2/alerts", "application/json", strings.NewReader(`[{"labels":{"alertname":"FraudDrift","model":"fraud","country":"DE"}`+more+`}]`))
			if err != nil {
				return false
			}
			res.Body.Close()
			return res.StatusCode == 200
		})
	}
	defer http.DefaultClient.CloseIdleConnections()
	is := func(value float64) func(visutility.Event) bool {
		return func(e visutility.Event) bool {
			return e.Model == "fraud" && e.Metric == "FraudDrift" && e.Value == value && e.Labels["country"] == "DE"
		}
	}
	alert("")
	s.awaitEvent("the alert", is(1))
	alert(`,"endsAt":"2020-01-01T00:00:00Z","startsAt":"2019-01-01T00:00:00Z"`)
	s.awaitEvent("its end", is(0))
}
