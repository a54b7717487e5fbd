package backtest

import (
	"bytes"
	"encoding/xml"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/visutility/visutility"
)

const guarded = `model: m
retrain:
  when: accuracy < 0.8
  cooldown: {after_success: 3h, after_failure: 30m}
train: {trainer: x}
rollback: {when: accuracy < previous.accuracy - 0.1, within: 1d}
`

// suite writes a policy and a file of tests, and reads it.
func suite(t *testing.T, tests string) (*Suite, error) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"m.yaml": guarded, "fleet.yaml": "models: ['*']\nretrain: {when: accuracy < 0.5}\ntrain: {trainer: x}\n", "tests.yaml": tests,
		"counted.yaml":  "model: m\nmetrics: {accuracy: {goal: higher_is_better, min_samples: 9}}\nretrain: {when: accuracy < 0.8}\ntrain: {trainer: x}\n",
		"windowed.yaml": "model: m\nretrain: {when: 'avg(accuracy, \"12h\") < 0.5'}\ntrain: {trainer: x}\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return ReadTests(filepath.Join(dir, "tests.yaml"))
}

func TestPolicyTests(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"silence lets a cooldown open", `
series: [{metric: accuracy, values: '.9 .7 .7 .6 _x3'}]
runs: [{outcome: failed, after: 90m}, {after: 10m}]
expect:
  - {at: 1h, outcome: fired, verdict: fire}
  - {at: 2h, outcome: suppressed, suppressed_by: active_run}
  - {at: 2h30m, suppressed_by: cooldown}
  - {at: 3h, outcome: fired}
  - {nothing_between: [0s, 1d]}
`, ""},
		{"the clock alone opens it", `
series: [{metric: accuracy, values: '.9 .7 .7'}]
runs: [{outcome: failed, after: 70m}]
expect:
  - {at: 2h10m, suppressed_by: cooldown}
  - {at: 2h40m, outcome: fired}
`, ""},
		{"it does so where values could come, but do not", `
interval: 1s
series: [{metric: accuracy, values: '.9 .7 .7 _x4000'}]
runs: [{outcome: failed, after: 10m}]
expect:
  - {at: 10m1s, suppressed_by: cooldown}
  - {at: 40m10s, outcome: fired}
`, ""},
		{"other policies and models do not count", `
series: [{model: a, metric: accuracy, values: '.9 .1'}]
expect:
  - {at: 1h, model: a, policy: fleet, outcome: fired}
  - {nothing_between: [0s, 1d], policy: m}
  - {nothing_between: [0s, 1d], model: m}
`, ""},
		{"rolled back, to what previous scored", `
champion: {model: m, version: v1, metrics: {accuracy: 0.95}}
series: [{model: m, metric: accuracy, values: '.9 .7 _x2 .82 .82'}]
runs: [{after: 1h, version: v2, metrics: {accuracy: 0.9}}]
expect:
  - {at: 1h, outcome: fired}
  - {at: 4h, outcome: rollback}
`, ""},
		{"events of a replaced version do not count", `
champion: {model: m, version: v1}
series:
  - {model: m, metric: accuracy, version: v1, values: '.9 .7 .7 .7 .7 .7 .7 .7 .7'}
runs: [{version: v2}]
expect:
  - {at: 1h, outcome: fired}
  - {nothing_between: [2h, 8h]}
`, ""},
		{"counts and labels reach the fold", `
series: [{model: m, metric: accuracy, values: '.7', count: 3, labels: {country: DE}}]
expect: [{at: 0s, outcome: fired}]
`, ""},
		{"each value has its own count", `
series: [{model: m, metric: accuracy, values: '.9 .7 _ .7', counts: '5 1 _ 9'}]
expect: [{nothing_between: [0s, 2h]}, {at: 3h, outcome: fired, policy: counted}]
`, ""},
		{"windows are cut by the calendar", `
start: 2026-02-03T01:30:00+01:00
interval: 30m
series: [{model: m, metric: accuracy, values: '.2 _x22 .7'}]
runs: [{outcome: failed}]
expect: [{at: 0s, verdict: fire, policy: windowed}, {at: 11h30m, verdict: hold}]
`, ""},
		{"a fire that was not expected", `
series: [{model: m, metric: accuracy, values: '.9 .7'}]
expect: [{nothing_between: [0s, 2h]}]
`, "+       1h  fired verdict fire policy m model m: the condition holds: accuracy < 0.8"},
		{"another outcome than expected", `
series: [{model: m, metric: accuracy, values: '.9 .7 .7'}]
expect:
  - {at: 1h, outcome: suppressed, suppressed_by: budget, verdict: fire, policy: m, model: m}
  - {at: 3h}
`, `
-       1h  suppressed by budget verdict fire policy m model m
+       1h  fired verdict fire policy m model m: the condition holds: accuracy < 0.8
        2h  suppressed by cooldown verdict fire policy m model m: would retrain, but: cooling down for 3h after a success at 2026-01-01T02:00:00Z
-       3h  a decision`},
		{"one decision answers one expectation", `
series: [{model: m, metric: accuracy, values: '.9 .7'}]
expect: [{at: 1h, outcome: fired}, {at: 1h, outcome: fired}]
`, `
-       1h  fired
        1h  fired verdict fire policy m model m: the condition holds: accuracy < 0.8`},
	} {
		t.Run(test.name, func(t *testing.T) {
			policies := "[m.yaml]"
			for _, other := range []string{"fleet", "counted", "windowed"} {
				if strings.Contains(test.text, other) {
					policies = "[" + other + ".yaml]"
				}
			}
			if strings.Contains(test.text, "fleet") {
				policies = "[m.yaml, fleet.yaml]"
			}
			text := strings.ReplaceAll(strings.TrimSpace(test.text), "\n", "\n    ")
			s, err := suite(t, "policies: "+policies+"\ninterval: 1h\ntests:\n  - name: it\n    "+text+"\n")
			if err != nil {
				t.Fatal(err)
			}
			r := s.Run("")[0]
			if diff := cmp.Diff(strings.TrimSpace(test.want), strings.Join(r.Diff, "\n")); diff != "" || r.Passed != (test.want == "") {
				t.Errorf("passed %v (-want +got):\n%s\n%s", r.Passed, diff, strings.Join(r.Diff, "\n"))
			}
		})
	}
}

func TestTestFileFaults(t *testing.T) {
	const head = "policies: [m.yaml]\ntests:\n  - series: [{metric: accuracy, values: '1'}]\n"
	for text, want := range map[string]string{
		"":                                 "policies: is missing",
		"policies: [m.yaml]":               "tests: is missing",
		"policies: [no.yaml]\ntests: [{}]": "no.yaml",
		"tests: [{}]":                      "policies: is missing",
		"policies: [m.yaml]\ntests: [{}]":  "tests[0] (test 1): series: is missing",
		head:                               "expect: is missing",
		head + "    expect: [{}]":          "expect[0]: needs either at or nothing_between",
		head + "    expect: [{at: 1h, nothing_between: [0s, 1h]}]":                                         "needs either",
		head + "    expect: [{nothing_between: [1h, 0s]}]":                                                 "the earlier first",
		head + "    expect: [{nothing_between: [1h]}]":                                                     "is two times",
		head + "    expect: [{at: soon}]":                                                                  `tests.yaml:4:19: invalid: "soon" is not a duration`,
		head + "    expect: [{at: 1h, outcome: fire}]":                                                     `4:32: invalid: "fire" is no outcome`,
		head + "    expect: [{at: 1h, verdict: fired}]":                                                    `"fired" is no verdict`,
		head + "    expect: [{at: 1h, outcome: fired, suppressed_by: budget}]":                             "goes with outcome suppressed only",
		head + "    expect: [{at: 1h, when: 3}]":                                                           `4:23: invalid: unknown field "when"`,
		head + "    runs: [{outcome: training}]":                                                           `"training" is no outcome of a run`,
		head + "    champion: {metrics: {accuracy: 1}}\n    expect: [{at: 1h}]":                            "champion.version: is missing",
		"policies: [m.yaml]\ntests:\n  - series: [{metric: accuracy, values: '1 x'}]":                      `3:41: invalid: values: "x" is no value`,
		"policies: [m.yaml]\ntests:\n  - series: [{metric: accuracy, values: '1 2', counts: '1'}]":         "series[0].counts: has 1 places and values has 2",
		"policies: [m.yaml]\ntests:\n  - series: [{metric: accuracy, values: '1', count: 2, counts: '1'}]": "series[0].counts: goes without count",
		"policies: [m.yaml]\ntests:\n  - series: [{metric: accuracy, values: '1', counts: '0.5'}]":         `3:54: invalid: counts: 0.5 is not a whole number`,
		"policies: [m.yaml]\ntests:\n  - start: yesterday\n    series: [{metric: accuracy, values: '1'}]":  `3:12: invalid: "yesterday" is not a time`,
		"policies: [m.yaml]\ntests:\n  - series: [{values: '1'}]":                                          "series[0].metric: is missing or empty",
		"policies: [fleet.yaml]\ntests:\n  - series: [{metric: accuracy, values: '1'}]":                    "more than one model",
		"policies: [m.yaml, m.yaml]\ntests: [{}]":                                                          "two policies are named",
		"policies: {": "invalid",
		"- 1":         "invalid",
	} {
		_, err := suite(t, text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\n%v, want %q", text, err, want)
		} else if want != "no.yaml" && !errors.Is(err, visutility.ErrInvalid) {
			t.Errorf("%v is not ErrInvalid", err)
		}
	}
}

func TestJUnit(t *testing.T) {
	var b bytes.Buffer
	err := WriteJUnit(&b, []Result{{File: "a", Name: "one", Passed: true}, {File: "a", Name: "two", Diff: []string{"- <1>", "+ ]]>"}}, {File: "b", Name: "three", Passed: true}})
	if err != nil {
		t.Fatal(err)
	}
	var got junitSuites
	if err := xml.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatalf("%v in %s", err, b.String())
	}
	if got.Tests != 3 || got.Failures != 1 || len(got.Suites) != 2 || got.Suites[0].Tests != 2 || got.Suites[0].Failures != 1 {
		t.Errorf("counts are wrong: %+v", got)
	}
	if f := got.Suites[0].Cases[1].Failure; f == nil || f.Text != "- <1>\n+ ]]>" {
		t.Errorf("the failure is %+v", f)
	}
}
