package backtest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/visutility/visutility"
)

// score runs a line of shell as a score command, for v2 of m from hour 1 to hour 5.
func score(t *testing.T, script string, change ...func(*ScoreCommand)) (*Data, error) {
	t.Helper()
	c := ScoreCommand{Argv: []string{"/bin/sh", "-c", script}}
	for _, f := range change {
		f(&c)
	}
	p := mustPolicy(t, "model: m\nretrain: {when: accuracy < 0.8}\ntrain: {run: none, env: [SHARED]}\n")
	v := visutility.Version{ID: "v2", Model: "m", Artifact: visutility.Artifact{URI: "file:///tmp/model.bin"}}
	return c.Score(t.Context(), p, v, visutility.Window{From: hour(1), To: hour(5)})
}

func TestScoreCommand(t *testing.T) {
	t.Setenv("SHARED", "shared")
	t.Setenv("SECRET", "secret")
	d, err := score(t, `cat <<END
{"model":"$VISUTILITY_MODEL","metric":"accuracy","value":0.91,"time":"$VISUTILITY_TO","version":"$VISUTILITY_VERSION","count":3}

{"model":"m","metric":"$SHARED$SECRET","value":1,"time":"$VISUTILITY_FROM","labels":{"artifact":"$VISUTILITY_ARTIFACT"}}
END`)
	if err != nil {
		t.Fatal(err)
	}
	d.sort()
	var got []string
	for _, r := range d.records {
		s := d.series[r.series]
		got = append(got, fmt.Sprint(utc(r.time).Sub(start), s.Model, s.Metric, s.Version, s.Labels.Map(), r.value, r.count))
	}
	want := "1h0m0smsharedmap[artifact:file:///tmp/model.bin] 1 1|5h0m0smaccuracyv2map[] 0.91 3"
	if g := strings.Join(got, "|"); g != want {
		t.Errorf("got %s, want %s", g, want)
	}
}

func TestScoreCommandFaults(t *testing.T) {
	event := func(model, hour, more string) string {
		return fmt.Sprintf(`{"model":%q,"metric":"accuracy","value":0.9,"time":"2026-01-01T%s:00:00Z"%s}`, model, hour, more)
	}
	good := event("m", "02", "")
	for _, c := range []struct {
		name, script, want string
		change             func(*ScoreCommand)
	}{
		{"another model", "echo '" + good + "'; echo; echo '" + event("n", "02", "") + "'", `its output, line 3: model: is "n"`, nil},
		{"another version", "echo '" + event("m", "02", `,"version":"v1"`) + "'", `line 1: version: is "v1"; VISUTILITY_VERSION is "v2"`, nil},
		{"too early", "echo '" + event("m", "00", "") + "'", "line 1: time: 2026-01-01T00:00:00Z is not between VISUTILITY_FROM 2026-01-01T01:00:00Z and", nil},
		{"too late", "echo '" + event("m", "06", "") + "'", "line 1: time: 2026-01-01T06:00:00Z is not", nil},
		{"no time", `echo '{"model":"m","metric":"accuracy","value":0.9}'`, "line 1: time: is missing", nil},
		{"no JSON", "echo '" + good + "'; echo wmape: 0.3", "line 2: ", nil},
		{"half a line", "echo '" + good + "'; printf '{\"model\":'", "line 2: ", nil},
		{"an unknown field", "echo '" + event("m", "02", `,"valeu":1`) + "'", `line 1: valeu`, nil},
		{"fails", "echo '" + good + "'; echo no such model >&2; exit 3", `the score command "/bin/sh": it failed: exit status 3; it said: no such model`, nil},
		{"too many events", "echo '" + good + "'; echo '" + good + "'", "line 2: invalid: there are more events", func(c *ScoreCommand) { c.MaxEvents = 1 }},
		{"too many bytes", "while :; do echo; done", "its output: invalid: is longer than 1000 bytes", func(c *ScoreCommand) { c.MaxBytes = 1000 }},
		{"too long a line", "while :; do printf '                                                '; done", "line 1: invalid: is longer than 1048576 bytes", nil},
		{"too long", "while :; do :; done", "longer than its timeout", func(c *ScoreCommand) { c.Timeout = 100 * time.Millisecond }},
		{"no such program", "", "no-such-program", func(c *ScoreCommand) { c.Argv = []string{"./no-such-program"} }},
	} {
		t.Run(c.name, func(t *testing.T) {
			var change []func(*ScoreCommand)
			if c.change != nil {
				change = append(change, c.change)
			}
			_, err := score(t, c.script, change...)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}

func FuzzScores(f *testing.F) {
	f.Add([]byte(`{"model":"m","metric":"accuracy","value":0.9,"time":"2026-01-01T02:00:00Z"}` + "\n\n[1]"))
	f.Add([]byte(`{"model":"m","metric":"x","value":1,"time":1767236400,"count":3,"labels":{"a":"b"}} {"model":"m"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := scoreReader{v: visutility.Version{ID: "v2", Model: "m"}, span: visutility.Window{From: hour(1), To: hour(5)}, now: hour(9), left: 100, scores: NewData()}
		if err := r.read(strings.NewReader(string(b)), 1<<12); err != nil {
			return
		}
		for _, rec := range r.scores.records {
			if rec.time < hour(1).UnixMilli() || rec.time > hour(5).UnixMilli() || r.scores.series[rec.series].Model != "m" {
				t.Errorf("%+v was let through", rec)
			}
		}
	})
}
