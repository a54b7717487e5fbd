package bikedemand

import (
	"encoding/json"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/visutility/visutility"
)

// workshop runs trainings of the generated stream in a directory of their own.
func workshop(t *testing.T, job visutility.Job) (out string, res result, stderr string, err error) {
	t.Helper()
	dir := t.TempDir()
	out = filepath.Join(dir, "output")
	if err := os.Mkdir(out, 0o700); err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(job)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "job.json")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	var words strings.Builder
	err = train(nil, env("VISUTILITY_JOB", file, "VISUTILITY_OUTPUT", out, "BIKE_DATA", "generated"), io.Discard, &words)
	if b, readErr := os.ReadFile(filepath.Join(out, "result.json")); readErr == nil {
		if err := json.Unmarshal(b, &res); err != nil {
			t.Fatal(err)
		}
	}
	return out, res, words.String(), err
}

func version(out string, res result) *visutility.Version {
	uri := url.URL{Scheme: "file", Path: filepath.Join(out, res.Artifact)}
	return &visutility.Version{ID: "v1", Artifact: visutility.Artifact{URI: uri.String()}, Metrics: res.Metrics}
}

func TestFirstTraining(t *testing.T) {
	out, res, _, err := workshop(t, visutility.Job{Run: "r1", Model: ModelName})
	if err != nil {
		t.Fatal(err)
	}
	s := Generate(generatedSeed)
	model, err := loadArtifact(version(out, res).Artifact)
	if err != nil {
		t.Fatal(err)
	}
	if eight := s.Start().Add(8 * week); !model.From.Equal(s.Start()) || !model.To.Equal(eight) {
		t.Errorf("learnt from %v to %v, want the first eight weeks", model.From, model.To)
	}
	// The score is that of a model which did not see the two weeks.
	twin, _ := fit(s.Digest, s.Between(s.Start(), s.Start().Add(6*week)), unobserved)
	want, _ := twin.score(s.Between(s.Start().Add(6*week), s.Start().Add(8*week)))
	if res.Metrics[Metric] != want || res.ChampionMetrics != nil {
		t.Errorf("result %+v, want wmape %v and no champion", res, want)
	}
	if own, _ := model.score(s.Between(s.Start().Add(6*week), s.Start().Add(8*week))); own >= want {
		t.Errorf("the model that is handed in did not learn the newest weeks: %v against %v", own, want)
	}
	var progress struct {
		Progress float64
		Message  string
	}
	b, _ := os.ReadFile(filepath.Join(out, "progress.json"))
	if err := json.Unmarshal(b, &progress); err != nil || progress.Progress != 1 || progress.Message != "on all hours: 150 of 150 trees" {
		t.Errorf("progress %s, %v", b, err)
	}
}

func TestRetrainingScoresBothOnTheSameUnseenHours(t *testing.T) {
	first, res, _, err := workshop(t, visutility.Job{Run: "r1"})
	if err != nil {
		t.Fatal(err)
	}
	champion := version(first, res)
	s := Generate(generatedSeed)
	end := growthTo
	_, res, _, err = workshop(t, visutility.Job{Run: "r2", Champion: champion, Window: visutility.Window{From: end.Add(-week), To: end}})
	if err != nil {
		t.Fatal(err)
	}
	old, err := loadArtifact(champion.Artifact)
	if err != nil {
		t.Fatal(err)
	}
	want, _ := old.score(s.Between(end.Add(-2*week), end))
	if res.ChampionMetrics[Metric] != want {
		t.Errorf("champion scored %v, want %v", res.ChampionMetrics, want)
	}
	if res.Metrics[Metric] >= want/2 {
		t.Errorf("after the growth the challenger scores %v against %v", res.Metrics[Metric], want)
	}
}

func TestPlan(t *testing.T) {
	s := Generate(generatedSeed)
	at := func(weeks int) time.Time { return s.Start().Add(time.Duration(weeks) * week) }
	until := func(weeks int) visutility.Window { return visutility.Window{From: at(weeks - 1), To: at(weeks)} }
	champion := func(weeks int) *Model { return &Model{To: at(weeks)} }
	for _, c := range []struct {
		name            string
		window          visutility.Window
		champion        *Model
		from, hold, end int // weeks
		err             string
	}{
		{name: "first run", from: 0, hold: 6, end: 8},
		{name: "early", window: until(12), champion: champion(8), from: 0, hold: 10, end: 12},
		{name: "half a year back", window: until(40), champion: champion(30), from: 14, hold: 38, end: 40},
		{name: "champion of last week", window: until(40), champion: champion(39), from: 14, hold: 39, end: 40},
		{name: "champion has seen all", window: until(40), champion: champion(40), err: "nothing new to learn"},
		{name: "asked for by hand, no events since", champion: champion(40), err: "nothing new to learn"},
		{name: "before the data", window: until(2), err: "too little to learn from"},
	} {
		p, err := makePlan(s, c.window, c.champion)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: error %v, want %q", c.name, err, c.err)
			}
			continue
		}
		if want := (plan{at(c.from), at(c.hold), at(c.end)}); err != nil || p != want {
			t.Errorf("%s: %v, %v; want %v", c.name, p, err, want)
		}
	}
	p, err := makePlan(s, visutility.Window{To: s.End().Add(week)}, nil)
	if err != nil || !p.end.Equal(s.End()) {
		t.Errorf("after the data: %v, %v", p, err)
	}
}

func TestTrainingWithoutTheChampionsFile(t *testing.T) {
	lost := &visutility.Version{ID: "v7", Artifact: visutility.Artifact{URI: "s3://elsewhere/model"}}
	_, res, stderr, err := workshop(t, visutility.Job{Run: "r", Champion: lost})
	if err != nil || res.ChampionMetrics != nil || res.Metrics[Metric] == 0 {
		t.Errorf("result %+v, error %v", res, err)
	}
	if !strings.Contains(stderr, "champion v7 is not scored") {
		t.Errorf("said %q", stderr)
	}
}

func TestArtifactsAreCheckedAgainstTheirDigest(t *testing.T) {
	out, res, _, err := workshop(t, visutility.Job{Run: "r"})
	if err != nil {
		t.Fatal(err)
	}
	a := version(out, res).Artifact
	a.SHA256 = strings.Repeat("0", 64)
	if _, err := loadArtifact(a); err == nil || !strings.Contains(err.Error(), "SHA-256") {
		t.Errorf("error %v", err)
	}
}

func TestTrainRefusesToRunAlone(t *testing.T) {
	var stdout, stderr strings.Builder
	if code := Run(t.Context(), []string{"train"}, env(), &stdout, &stderr); code != 1 || !strings.Contains(stderr.String(), "VISUTILITY_JOB") {
		t.Errorf("exit %d, said %q", code, stderr.String())
	}
}

// The whole loop without a server: each week is scored by a champion that had
// not seen it; above 0.30 a challenger is trained and has to beat the champion.
func TestLoopOnTheGeneratedStream(t *testing.T) {
	s := Generate(generatedSeed)
	sim := simulate(t, s)
	t.Logf("never retrained %.3f, retrained %.3f, promoted %d, rejected %d", sim.never, sim.live, len(sim.promoted), sim.rejected)
	if sim.never < 0.45 || sim.live > 0.20 || len(sim.promoted) > 10 {
		t.Errorf("never %.3f, live %.3f with %d retrainings: the loop does not pay", sim.never, sim.live, len(sim.promoted))
	}
	for name, span := range map[string][2]time.Time{
		"growth": {growthFrom, growthTo},
		"shift":  {shiftAt, shiftAt.Add(4 * week)},
	} {
		hit := false
		for _, at := range sim.promoted {
			hit = hit || at.After(span[0]) && !at.After(span[1])
		}
		if !hit {
			t.Errorf("no retraining after the %s; there were some on %v", name, sim.promoted)
		}
	}
	if at := shiftAt.Add(week); sim.weekly[at] < 0.60 {
		t.Errorf("the shift made a wmape of only %.3f", sim.weekly[at])
	}
	after := 0.0
	for n := 6; n < 14; n++ {
		after += sim.weekly[shiftAt.Add(time.Duration(n)*week)] / 8
	}
	if after > 0.25 {
		t.Errorf("mean wmape from six weeks after the shift: %.3f, want recovery", after)
	}
}

type simulation struct {
	never, live float64 // means over weeks
	promoted    []time.Time
	rejected    int
	weekly      map[time.Time]float64 // by the week's end
}

func simulate(t *testing.T, s *Stream) simulation {
	t.Helper()
	first, err := fit(s.Digest, s.Between(s.Start(), s.Start().Add(firstWeeks*week)), unobserved)
	if err != nil {
		t.Fatal(err)
	}
	sim := simulation{weekly: make(map[time.Time]float64)}
	champion := first
	for end := s.Start().Add((firstWeeks + 1) * week); !end.After(s.End()); end = end.Add(week) {
		hours := s.Between(end.Add(-week), end)
		never, _ := first.score(hours)
		live, _ := champion.score(hours)
		sim.never += never
		sim.live += live
		sim.weekly[end] = live
		if live <= 0.30 {
			continue
		}
		p, err := makePlan(s, visutility.Window{To: end}, champion)
		if err != nil {
			t.Fatal(err)
		}
		model, res, err := p.carryOut(s, champion, func(float64, string) error { return nil }, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		if res.Metrics[Metric] < res.ChampionMetrics[Metric] {
			champion = model
			sim.promoted = append(sim.promoted, end)
		} else {
			sim.rejected++
		}
	}
	sim.never /= float64(len(sim.weekly))
	sim.live /= float64(len(sim.weekly))
	return sim
}

// A training that is to be watched takes its time, and says at each moment no more than it should have done by then.
func TestATrainingThatIsWatchedLasts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		var said []time.Duration
		report := slowly(3*time.Second, func(float64, string) error {
			said = append(said, time.Since(begun))
			return nil
		})
		for _, fraction := range []float64{0.1, 0.5, 1} {
			if err := report(fraction, ""); err != nil {
				t.Fatal(err)
			}
		}
		if want := []time.Duration{0, 300 * time.Millisecond, 1500 * time.Millisecond}; !slices.Equal(said, want) || time.Since(begun) != 3*time.Second {
			t.Errorf("it reported at %v, want %v, and ended after %v", said, want, time.Since(begun))
		}
		if err := slowly(time.Hour, func(float64, string) error { return io.ErrShortWrite })(1, ""); err != io.ErrShortWrite {
			t.Errorf("error %v", err)
		}
	})
}
