package bikedemand

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/backtest"
	"github.com/visutility/visutility/policy"
)

// writePast writes the past of the generated stream and returns its directory.
func writePast(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "past")
	var stdout, stderr strings.Builder
	if code := Run(t.Context(), []string{"past", "--out", dir}, env("BIKE_DATA", "generated"), &stdout, &stderr); code != 0 {
		t.Fatalf("exit %d: %s", code, stderr.String())
	}
	if !strings.Contains(stdout.String(), "--champion "+dir+" --simulate") {
		t.Errorf("it does not say what comes next: %s", stdout.String())
	}
	return dir
}

// scoreOf is what the score command prints for the version whose training left dir.
func scoreOf(t *testing.T, dir string, from, to time.Time) []byte {
	t.Helper()
	uri := url.URL{Scheme: "file", Path: filepath.Join(dir, "model.bin")}
	var stdout, stderr bytes.Buffer
	vars := env("BIKE_DATA", "generated", "VISUTILITY_MODEL", ModelName, "VISUTILITY_ARTIFACT", uri.String(),
		"VISUTILITY_FROM", from.Format(time.RFC3339Nano), "VISUTILITY_TO", to.Format(time.RFC3339Nano))
	if code := Run(t.Context(), []string{"score"}, vars, &stdout, &stderr); code != 0 {
		t.Fatalf("exit %d: %s", code, stderr.String())
	}
	return stdout.Bytes()
}

func eventsOf(t *testing.T, text []byte) (events []visutility.Event) {
	t.Helper()
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		var e visutility.Event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatal(err)
		}
		events = append(events, e)
	}
	return events
}

// The past is that of the first champion: it says of it what the score command does.
func TestPastIsWhatTheFirstChampionScores(t *testing.T) {
	dir := writePast(t)
	past, err := os.ReadFile(filepath.Join(dir, "events.ndjson"))
	if err != nil {
		t.Fatal(err)
	}
	events := eventsOf(t, past)
	s := Generate(generatedSeed)
	if first := events[0].Time; len(events) != 96 || !first.Equal(s.Start().Add(9*week)) {
		t.Errorf("%d events from %v on, want one for each week after the first eight", len(events), first)
	}
	if got := scoreOf(t, dir, events[0].Time, events[95].Time); !bytes.Equal(got, past) {
		t.Errorf("the score command prints\n%.300s\nand the past is\n%.300s", got, past)
	}
	// Both ends of the time asked for are part of it.
	if got := eventsOf(t, scoreOf(t, dir, events[3].Time.Add(time.Hour), events[5].Time)); len(got) != 2 || got[0].Value != events[4].Value {
		t.Errorf("got %+v", got)
	}
}

func TestScoreRefuses(t *testing.T) {
	dir := writePast(t)
	model := "file://" + filepath.Join(dir, "model.bin")
	other := filepath.Join(t.TempDir(), "other.csv")
	var hours bytes.Buffer
	if err := writeHours(&hours, Generate(2).Hours); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(other, hours.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ from, to, artifact, want string }{
		{"", "", "", "VISUTILITY_FROM"},
		{"2011-03-01T00:00:00Z", "soon", "", "VISUTILITY_TO"},
		{"2011-03-01T00:00:00Z", "2011-04-01T00:00:00Z", "s3://models/1", "is not a file"},
		{"2011-03-01T00:00:00Z", "2011-04-01T00:00:00Z", model, "other data"},
	} {
		var stderr strings.Builder
		code := Run(t.Context(), []string{"score"}, env("BIKE_DATA", other, "VISUTILITY_FROM", c.from, "VISUTILITY_TO", c.to, "VISUTILITY_ARTIFACT", c.artifact), io.Discard, &stderr)
		if code != 1 || !strings.Contains(stderr.String(), c.want) {
			t.Errorf("exit %d, said %q, want %q", code, stderr.String(), c.want)
		}
	}
}

// A simulated backtest over the first weeks of the growth: the policy of the example pays, and so do schedules.
func TestSimulatedBacktestOnTheGeneratedStream(t *testing.T) {
	const weeks = 12
	s := Generate(generatedSeed).Cut(weeks)
	p, err := policy.Parse("bike-demand.yaml", policyFile)
	if err != nil {
		t.Fatal(err)
	}
	options, past, err := Compare(s, p, filepath.Join(t.TempDir(), "compare"))
	if err != nil {
		t.Fatal(err)
	}
	if past.Events() != weeks {
		t.Errorf("the past has %d events, want one for each of %d weeks", past.Events(), weeks)
	}
	r, err := backtest.Run(t.Context(), options, past)
	if err != nil {
		t.Fatal(err)
	}
	if c := r.Checks; len(c) != 1 || c[0].Data != c[0].Scored {
		t.Errorf("the scores of the first champion are not those of the past: %+v", c)
	}
	mean := make(map[string]float64)
	for _, plan := range r.Plans {
		mean[plan.Name] = plan.Simulated.Means[Metric]
		t.Logf("%s: %d runs, %+v", plan.Name, len(plan.Runs), plan.Simulated)
		if plan.Simulated.Failed > 0 {
			t.Errorf("%s: %+v", plan.Name, plan.Runs)
		}
	}
	if runs := len(r.Plans[0].Runs); runs == 0 || runs > 6 || mean["policy"] > 0.9*mean["never"] {
		t.Errorf("%d runs bring the error from %.3f to %.3f", runs, mean["never"], mean["policy"])
	}
	if mean["weekly"] > 0.9*mean["never"] {
		t.Errorf("weekly brings it to %.3f", mean["weekly"])
	}
}
