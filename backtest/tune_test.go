package backtest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

const tuned = "model: m\nretrain: {when: 'accuracy < 0.8 || cusum(accuracy)', cooldown: 2h}\ntrain: {run: a}\n"

func TestParseAxis(t *testing.T) {
	p := mustPolicy(t, tuned)
	for text, want := range map[string]string{
		"0.8=0.7,0.75":              "0.7 0.75",
		"0.8=0.7..0.8:3":            "0.7 0.75 0.8",
		"0.8=0..1":                  "0 0.1111 0.2222 0.3333 0.4444 0.5556 0.6667 0.7778 0.8889 1",
		"cusum.h=1..1000:4:log":     "1 10 100 1000",
		"cusum.h=1e-3..1e3:3:log":   "0.001 1 1000",
		"cusum.baseline=10..12:5":   "10 11 12",
		"cooldown=1h..2d:2":         "1h 2d",
		"cooldown=30m..90m:3":       "30m 1h 1h30m",
		"0.9=1..2":                  `"0.9" is no number of the policy; there are 0.8, cusum.k, cusum.h`,
		"0.8":                       "write NAME=FROM..TO",
		"0.8=":                      "write NAME=FROM..TO",
		"0.8=2..1":                  "upwards",
		"0.8=0..1:3:log":            "above zero",
		"0.8=0..1:1":                "number of values",
		"0.8=0..1:1000":             "number of values",
		"0.8=0..1:3:lin":            "how many values, and log",
		"0.8=0..1:log:3":            "how many values, and log",
		"cooldown=1..2":             `"1" is not a duration`,
		"0.8=1h..2h":                `"1h" is not a number`,
		"0.8=0..Inf":                `"Inf" is not a number`,
		"0.8=-1..NaN":               `"NaN" is not a number`,
		"cusum.baseline=1..2:3:log": "1 2",
	} {
		a, err := ParseAxis(p, text)
		got := strings.Join(a.Values, " ")
		if err != nil {
			got = err.Error()
		}
		if err == nil && got != want || err != nil && !strings.Contains(got, want) {
			t.Errorf("%s: %s; want %s", text, got, want)
		}
	}
}

func TestTune(t *testing.T) {
	p := mustPolicy(t, "model: m\nretrain: {when: accuracy < 0.8, cooldown: 2h}\ntrain: {run: a}\n")
	data := hourly(t, ".9 .75 .75 .75 .75 .9 .9 .85 .85 .9 .5 .5 .5 .9 .9 .9")
	s, err := Tune(t.Context(), Options{TrainTime: 30 * time.Minute}, p, []Axis{{"0.8", []string{"0.6", "0.8", "0.88"}}, {"cooldown", []string{"2h", "1d"}}}, data)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, x := range s.Trials {
		got = append(got, fmt.Sprintf("%s %s same=%v runs=%d unattended=%gh frontier=%v", x.Values["0.8"], x.Values["cooldown"], x.Same, x.Runs, x.Unattended/3600, x.Frontier))
	}
	// The breaches are from 1 to 5 and from 10 to 13.
	want := []string{
		"0.8 2h same=true runs=4 unattended=1h frontier=true",
		"0.6 2h same=false runs=2 unattended=4.5h frontier=false",
		"0.6 1d same=false runs=1 unattended=4.5h frontier=false",
		"0.8 1d same=false runs=1 unattended=3.5h frontier=true",
		"0.88 2h same=false runs=5 unattended=1h frontier=false",
		"0.88 1d same=false runs=1 unattended=3.5h frontier=false",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error("(-want +got):\n", diff)
	}
	if s.InBreach != 7*3600 {
		t.Errorf("in breach for %v s", s.InBreach)
	}
}

// TestFrontier: a trial is on the frontier unless another is better in one respect and no worse in the other.
func TestFrontier(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		trials := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Trial {
			return Trial{Runs: rapid.IntRange(0, 5).Draw(t, "runs"), Unattended: float64(rapid.IntRange(0, 5).Draw(t, "time"))}
		}), 1, 20).Draw(t, "trials")
		markFrontier(trials)
		for _, x := range trials {
			beaten := slices.ContainsFunc(trials, func(o Trial) bool {
				return o.Runs <= x.Runs && o.Unattended <= x.Unattended && (o.Runs < x.Runs || o.Unattended < x.Unattended)
			})
			twin := slices.ContainsFunc(trials, func(o Trial) bool {
				return o.Frontier && o.Runs == x.Runs && o.Unattended == x.Unattended
			})
			if x.Frontier && beaten || !beaten && !twin {
				t.Fatalf("%d runs, %v unattended: frontier %v, beaten %v", x.Runs, x.Unattended, x.Frontier, beaten)
			}
		}
	})
}

func TestTuneRefuses(t *testing.T) {
	p := mustPolicy(t, tuned)
	data := hourly(t, ".9 .7")
	many := make([]string, 40)
	for i := range many {
		many[i] = fmt.Sprint(0.5 + float64(i)/100)
	}
	for want, axes := range map[string][]Axis{
		"nothing to vary":         nil,
		"more than 1000":          {{"0.8", many}, {"cusum.k", many}},
		"is not a duration":       {{"cooldown", []string{"soon"}}},
		"has no number \"other\"": {{"other", []string{"1"}}},
	} {
		if _, err := Tune(t.Context(), Options{}, p, axes, data); err == nil || len(axes) > 0 && !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v; want %s", axes, err, want)
		}
	}
}
