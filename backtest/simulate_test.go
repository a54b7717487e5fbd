package backtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/policy"
)

// A lab trains and scores in the test's place: trainings take ten seconds by its clock.
type lab struct {
	mu    sync.Mutex
	now   time.Time
	jobs  []visutility.Job // of the plan "policy"
	spans []visutility.Window
	// train says what a job's attempt leaves; nil for an accuracy of 0.95 against 0.7.
	train func(job visutility.Job) (visutility.Artifact, error)
	// backwards has scores come in no good order.
	backwards bool
	// score is the accuracy of a version at a time; nil for always 0.9.
	score func(v visutility.Version, at time.Time) float64
}

// simulation is one in which every version is scored hourly.
func (l *lab) simulation(t *testing.T) *Simulation {
	l.now = start
	return &Simulation{
		Dir: filepath.Join(t.TempDir(), "new"),
		Now: func() time.Time { l.mu.Lock(); defer l.mu.Unlock(); return l.now },
		Trainer: func(*policy.Policy) (visutility.Trainer, error) {
			return visutility.TrainerFunc(func(_ context.Context, job visutility.Job) (visutility.Artifact, error) {
				l.mu.Lock()
				defer l.mu.Unlock()
				l.now = l.now.Add(10 * time.Second)
				if strings.Contains(job.Dir, "/policy/") {
					l.jobs = append(l.jobs, job)
				}
				if l.train == nil {
					return leaves(0.95, 0.7), nil
				}
				return l.train(job)
			}), nil
		},
		Score: func(_ context.Context, _ *policy.Policy, v visutility.Version, span visutility.Window) (*Data, error) {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.spans = append(l.spans, span)
			d := NewData()
			var times []time.Time
			for at := span.From.Add(time.Hour - 1).Truncate(time.Hour); !at.After(span.To); at = at.Add(time.Hour) {
				times = append(times, at)
			}
			if l.backwards {
				slices.Reverse(times)
			}
			for _, at := range times {
				e := visutility.Event{Model: v.Model, Metric: "accuracy", Value: 0.9, Time: at}
				if l.score != nil {
					e.Value = l.score(v, at)
				}
				if err := d.Add(e, false); err != nil {
					return nil, err
				}
			}
			return d, nil
		},
	}
}

func leaves(candidate, champion float64) visutility.Artifact {
	a := visutility.Artifact{URI: "mem:model", Metrics: map[string]float64{"accuracy": candidate}}
	if champion > 0 {
		a.ChampionMetrics = map[string]float64{"accuracy": champion}
	}
	return a
}

const simulated = "name: p\nmodel: m\nretrain: {when: accuracy < 0.8%s}\ntrain: {run: none%s}\npromote: {when: candidate.accuracy > champion.accuracy}\n"

// simulate runs a simulation under a policy and returns the report.
func simulate(t *testing.T, l *lab, retrain, train, past string, change ...func(*Options)) *Report {
	t.Helper()
	o := Options{Policies: []*policy.Policy{mustPolicy(t, fmt.Sprintf(simulated, retrain, train))}, Simulate: l.simulation(t)}
	for _, c := range change {
		c(&o)
	}
	r, err := Run(t.Context(), o, hourly(t, past))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func withChampion(o *Options) {
	o.Simulate.Champions = map[string]visutility.Version{"m": {Artifact: leaves(0.9, 0), Metrics: map[string]float64{"accuracy": 0.9}}}
}

// states says what became of a plan's runs.
func states(p *Plan) (all []string) {
	for _, r := range p.Runs {
		all = append(all, fmt.Sprintf("%s %s %s: %s", r.Time.Sub(start), r.State, r.Version, r.Note))
	}
	return all
}

func TestSimulatedVersionsAreScoredAsTheyWouldHave(t *testing.T) {
	l := &lab{}
	r := simulate(t, l, "", "", ".9 .9 .9 "+repeated(".7", 7))
	want := Plan{
		Name: "policy", Policies: []string{"p"},
		Runs: []Played{{
			Time: hour(3), Ended: hour(4), State: visutility.Succeeded, Version: "v1", Note: "no champion yet: nothing to beat", TrainingSeconds: 10,
		}},
		InBreach: 3600, BreachShare: 1. / 9,
		Simulated: &Simulated{Means: map[string]float64{"accuracy": (9*.9 + .7) / 10}, Promoted: 1, TrainingSeconds: 10},
	}
	opts := cmp.Options{
		cmpopts.IgnoreUnexported(Plan{}), cmpopts.EquateEmpty(), cmpopts.EquateApprox(1e-9, 0),
		cmpopts.IgnoreFields(Plan{}, "RunsPerMonth", "Decisions", "Months"), cmpopts.IgnoreFields(Played{}, "ID", "Reason", "Model", "Policy"),
	}
	if diff := cmp.Diff(want, r.Plans[0], opts); diff != "" {
		t.Error("(-want +got):\n", diff)
	}
	never := &r.Plans[1]
	if never.Name != "never" || len(never.Runs) > 0 || fmt.Sprintf("%.3f", never.Simulated.Means["accuracy"]) != "0.760" {
		t.Errorf("never: %+v %v", never, never.Simulated)
	}
	// The job is that of production; the version is scored from its promotion to the last event.
	job := l.jobs[0]
	if job.Champion != nil || job.Attempt != 1 || job.Decision.ID == "" || job.Decision.Reason != r.Plans[0].Runs[0].Reason ||
		job.Window != (visutility.Window{From: hour(0), To: hour(3)}) || !job.Deadline.Equal(start.Add(24*time.Hour)) {
		t.Errorf("job %+v", job)
	}
	if want := []visutility.Window{{From: hour(4), To: hour(9)}}; !cmp.Equal(l.spans, want) {
		t.Errorf("scored %v, want %v", l.spans, want)
	}
}

func TestSimulatedChallengersAreJudged(t *testing.T) {
	for _, c := range []struct {
		name, train string
		champion    bool
		trainer     func(job visutility.Job) (visutility.Artifact, error)
		attempts    int
		want        string
	}{
		{"rejected", "", true, func(visutility.Job) (visutility.Artifact, error) { return leaves(0.6, 0.7), nil },
			1, "1h0m0s rejected : not better: candidate.accuracy 0.6 > champion.accuracy 0.7 does not hold"},
		{"against what the champion scored itself", "", true, func(visutility.Job) (visutility.Artifact, error) { return leaves(0.85, 0), nil },
			1, "1h0m0s rejected : not better: candidate.accuracy 0.85 > champion.accuracy 0.9 does not hold"},
		{"failed", ", retries: 2", false, func(visutility.Job) (visutility.Artifact, error) { return visutility.Artifact{}, errors.New("boom") },
			3, "1h0m0s failed : attempt 3 of 3 failed: boom"},
		{"invalid", ", retries: 2", false, func(visutility.Job) (visutility.Artifact, error) {
			return visutility.Artifact{}, visutility.Invalidf("artifact", "missing", "is missing")
		}, 1, "1h0m0s failed : attempt 1 of 3 failed: invalid: artifact: is missing"},
		{"the second attempt", ", retries: 2", true, func(job visutility.Job) (visutility.Artifact, error) {
			if job.Attempt == 1 {
				return visutility.Artifact{}, errors.New("boom")
			}
			return leaves(0.8, 0.7), nil
		}, 2, "1h0m0s succeeded v2: candidate.accuracy 0.8 > champion.accuracy 0.7"},
		{"artifact outside", "", false, func(job visutility.Job) (visutility.Artifact, error) {
			return visutility.Artifact{URI: job.Dir + "/../../secret", Metrics: map[string]float64{"accuracy": 1}}, nil
		}, 1, "1h0m0s failed : the registry refused the version: invalid: artifact.uri: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := &lab{train: c.trainer}
			r := simulate(t, l, ", cooldown: 9d", c.train, ".9 .7 .7 .7 .7", func(o *Options) {
				if c.champion {
					withChampion(o)
				}
			})
			if got := states(&r.Plans[0]); len(got) != 1 || !strings.HasPrefix(got[0], c.want) {
				t.Errorf("runs %q, want %q", got, c.want)
			}
			if len(l.jobs) != c.attempts {
				t.Errorf("%d attempts, want %d", len(l.jobs), c.attempts)
			}
			if c.champion && (l.jobs[0].Champion == nil || l.jobs[0].Champion.ID != "v1" || l.jobs[0].Champion.Artifact.URI != "mem:model") {
				t.Errorf("champion %+v", l.jobs[0].Champion)
			}
			if strings.Contains(strings.Join(states(&r.Plans[0]), ""), os.TempDir()) {
				t.Error("a note names the directory of the simulation")
			}
		})
	}
}

// TestSimulatedRollback: v2, promoted at hour 3, is good for two hours; v3, promoted at 6, is bad from the start and is
// taken back at 7. Then v2's scores go on; in truth they were good, so nothing fires any more.
func TestSimulatedRollback(t *testing.T) {
	l := &lab{backwards: true, score: func(v visutility.Version, at time.Time) float64 {
		switch {
		case v.ID == "v3":
			return 0.3
		case v.ID == "v2" && at.Equal(hour(5)):
			return 0.75
		case v.ID == "v2":
			return 0.93
		}
		return 0.7 // v1 is the champion that the data measured
	}}
	var saw []float64
	r := simulate(t, l, "", "", ".9 .9 .7 "+repeated(".7", 9), withChampion, func(o *Options) {
		src := fmt.Sprintf(simulated, "", "") + "rollback: {when: accuracy < previous.accuracy - 0.1, within: 1d}\n"
		o.Policies = []*policy.Policy{mustPolicy(t, src)}
	})
	for _, rec := range r.Plans[0].lived.records {
		saw = append(saw, rec.value)
	}
	want := []float64{.9, .9, .7, .93, .93, .75, .3, .93, .93, .93, .93, .93}
	if diff := cmp.Diff(want, saw); diff != "" {
		t.Error("events (-want +got):\n", diff)
	}
	wantStates := []string{
		"2h0m0s succeeded v2: candidate.accuracy 0.95 > champion.accuracy 0.7",
		"5h0m0s rolled_back v3: candidate.accuracy 0.95 > champion.accuracy 0.7",
	}
	if diff := cmp.Diff(wantStates, states(&r.Plans[0])); diff != "" {
		t.Error("(-want +got):\n", diff)
	}
	if s := r.Plans[0].Simulated; s.Promoted != 2 {
		t.Errorf("%+v", s)
	}
}

// TestSimulatedChampionOfTheMoment: v2 is taken back while another training is under way, which began with v2 as the
// champion and is held against v1.
func TestSimulatedChampionOfTheMoment(t *testing.T) {
	l := &lab{score: func(_ visutility.Version, at time.Time) float64 {
		if at.Before(hour(6)) {
			return 0.75
		}
		return 0.3
	}}
	l.train = func(job visutility.Job) (visutility.Artifact, error) {
		if job.Champion.ID == "v2" {
			return leaves(0.92, 0), nil
		}
		return leaves(0.95, 0), nil
	}
	r := simulate(t, l, "", "", ".9 .7 "+repeated(".7", 9), withChampion, func(o *Options) {
		o.TrainTime = 3 * time.Hour
		o.Policies = []*policy.Policy{mustPolicy(t, fmt.Sprintf(simulated, "", "")+"rollback: {when: accuracy < previous.accuracy - 0.3, within: 1d}\n")}
	})
	want := []string{
		"1h0m0s rolled_back v2: candidate.accuracy 0.95 > champion.accuracy 0.9",
		"4h0m0s rolled_back v3: candidate.accuracy 0.92 > champion.accuracy 0.9",
	}
	if got := states(&r.Plans[0])[:2]; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestScoresBetweenEvents: what comes between two events of the data comes in its time.
func TestScoresBetweenEvents(t *testing.T) {
	data := hourly(t, ".9 .7")
	for _, n := range []int{20, 21} {
		if err := data.Add(visutility.Event{Model: "m", Metric: "accuracy", Value: .7, Time: hour(n)}, false); err != nil {
			t.Fatal(err)
		}
	}
	l := &lab{backwards: true, score: func(v visutility.Version, at time.Time) float64 {
		if v.ID == "v1" && !at.Before(hour(8)) {
			return 0.5
		}
		return 0.9
	}}
	r, err := Run(t.Context(), Options{Policies: []*policy.Policy{mustPolicy(t, fmt.Sprintf(simulated, "", ""))}, Simulate: l.simulation(t)}, data)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"1h0m0s succeeded v1: no champion yet: nothing to beat", "8h0m0s succeeded v2: candidate.accuracy 0.95 > champion.accuracy 0.7"}
	if diff := cmp.Diff(want, states(&r.Plans[0])); diff != "" {
		t.Error("(-want +got):\n", diff)
	}
}

// TestVersionsOfThePastSayNothing: the data's v1 is not the simulation's, and counts on when that is replaced.
func TestVersionsOfThePastSayNothing(t *testing.T) {
	data := hourly(t, ".9 .7 .7 .7 .7 .7 .7 .7")
	for i, drift := range []float64{.1, .1, .1, .1, .1, .1, .9, .1} {
		if err := data.Add(visutility.Event{Model: "m", Metric: "drift_score", Value: drift, Version: "v1", Time: hour(i)}, false); err != nil {
			t.Fatal(err)
		}
	}
	l := &lab{score: func(v visutility.Version, at time.Time) float64 {
		if v.ID == "v1" {
			return 0.7
		}
		return 0.9
	}}
	src := strings.Replace(fmt.Sprintf(simulated, "", ""), "accuracy < 0.8", "accuracy < 0.8 || drift_score > 0.5", 1)
	src = strings.Replace(src, "promote: {", "promote: {approval: required, ", 1)
	r, err := Run(t.Context(), Options{Policies: []*policy.Policy{mustPolicy(t, src)}, Simulate: l.simulation(t)}, data)
	if err != nil {
		t.Fatal(err)
	}
	if got := states(&r.Plans[0]); len(got) != 3 || !strings.HasPrefix(got[2], "6h0m0s succeeded v3") {
		t.Errorf("runs %q, want the third for the drift at hour 6", got)
	}
	caveats := strings.Join(r.Caveats, "\n")
	for _, says := range []string{"with the promotions that it had", "Every approval that a policy asks for is taken as given"} {
		if !strings.Contains(caveats, says) {
			t.Errorf("no caveat says %q:\n%s", says, caveats)
		}
	}
}

func TestMeansAreWeighed(t *testing.T) {
	data := NewData()
	metrics := []string{"accuracy", "accuracy", "other"}
	for i, e := range []visutility.Event{{Value: 1, Count: 3}, {Value: 2}, {Value: 9}} {
		e.Model, e.Metric, e.Time = "m", metrics[i], hour(i)
		if err := data.Add(e, false); err != nil {
			t.Fatal(err)
		}
	}
	r, err := Run(t.Context(), Options{Policies: []*policy.Policy{mustPolicy(t, fmt.Sprintf(simulated, "", ""))}, Simulate: (&lab{}).simulation(t)}, data)
	if err != nil {
		t.Fatal(err)
	}
	if want := map[string]float64{"accuracy": 1.25}; !cmp.Equal(r.Plans[0].Simulated.Means, want) {
		t.Errorf("means %v, want %v", r.Plans[0].Simulated.Means, want)
	}
}

// TestSimulatedRollbackToTheData: the champion that the data measured serves again, and so do its events.
func TestSimulatedRollbackToTheData(t *testing.T) {
	l := &lab{score: func(v visutility.Version, at time.Time) float64 { return 0.1 }}
	r := simulate(t, l, ", cooldown: 9d", "", ".9 .7 .7 .7 .71 .72", withChampion, func(o *Options) {
		src := fmt.Sprintf(simulated, ", cooldown: 9d", "") + "rollback: {when: accuracy < previous.accuracy - 0.1, within: 1d}\n"
		o.Policies = []*policy.Policy{mustPolicy(t, src)}
	})
	var saw []float64
	for _, rec := range r.Plans[0].lived.records {
		saw = append(saw, rec.value)
	}
	if diff := cmp.Diff([]float64{.9, .7, .1, .7, .71, .72}, saw); diff != "" {
		t.Error("events (-want +got):\n", diff)
	}
}

// TestSimulatedSchedules: a schedule's runs are trained on what there is at their moment, and judged like all.
func TestSimulatedSchedules(t *testing.T) {
	var windows []visutility.Window
	l := &lab{}
	l.train = func(job visutility.Job) (visutility.Artifact, error) {
		if strings.Contains(job.Dir, "/weekly/") {
			windows = append(windows, job.Window)
		}
		if len(windows) == 2 {
			return leaves(0.5, 0.7), nil
		}
		return leaves(0.95, 0.7), nil
	}
	r := simulate(t, l, "", "", repeated(".9", 24*22))
	weekly := &r.Plans[2]
	want := []string{
		"168h0m0s succeeded v1: no champion yet: nothing to beat",
		"336h0m0s rejected : not better: candidate.accuracy 0.5 > champion.accuracy 0.7 does not hold",
		"504h0m0s succeeded v2: candidate.accuracy 0.95 > champion.accuracy 0.7",
	}
	if diff := cmp.Diff(want, states(weekly)); diff != "" {
		t.Error("(-want +got):\n", diff)
	}
	wantWindows := []visutility.Window{{From: hour(0), To: hour(168)}, {From: hour(169), To: hour(336)}, {From: hour(169), To: hour(504)}}
	if diff := cmp.Diff(wantWindows, windows); diff != "" {
		t.Error("windows (-want +got):\n", diff)
	}
}

// TestSimulationIsRepeatable: the same data and the same trainings give the same report, whatever order they end in.
func TestSimulationIsRepeatable(t *testing.T) {
	report := func() *Report {
		past := repeated(".9", 30) + repeated(".7", 24*16)
		return simulate(t, &lab{score: func(v visutility.Version, at time.Time) float64 { return 0.9 - at.Sub(start).Hours()/5000 }}, "", "", past, withChampion,
			func(o *Options) {
				o.Simulate.Now = nil
				o.Against = []*policy.Policy{mustPolicy(t, strings.Replace(fmt.Sprintf(simulated, "", ""), "0.8", "0.85", 1))}
			})
	}
	opts := cmp.Options{cmpopts.IgnoreUnexported(Report{}, Plan{}), cmpopts.IgnoreFields(Played{}, "TrainingSeconds"), cmpopts.IgnoreFields(Simulated{}, "TrainingSeconds")}
	a, b := report(), report()
	if diff := cmp.Diff(a, b, opts); diff != "" {
		t.Error("(-first +second):\n", diff)
	}
	if n := len(a.Plans[1].Runs); n < 2 {
		t.Errorf("the other policy has %d runs; that proves little", n)
	}
}

// TestOtherModelsAndMetricsStay: what a version has no score of goes on as it was.
func TestOtherModelsAndMetricsStay(t *testing.T) {
	data := hourly(t, ".9 .7 .7 .7")
	for i := range 4 {
		for _, e := range []visutility.Event{
			{Model: "m", Metric: "drift_score", Value: 0.1, Version: "v1"}, {Model: "n", Metric: "accuracy", Value: 0.5, Version: "v1"},
		} {
			e.Time = hour(i)
			if err := data.Add(e, false); err != nil {
				t.Fatal(err)
			}
		}
	}
	l := &lab{}
	src := strings.Replace(fmt.Sprintf(simulated, "", ""), "accuracy < 0.8", "accuracy < 0.8 || drift_score > 0.5", 1)
	r, err := Run(t.Context(), Options{Policies: []*policy.Policy{mustPolicy(t, src)}, Simulate: l.simulation(t)}, data)
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string][]float64)
	p := r.Plans[0]
	for _, rec := range p.lived.records {
		s := p.lived.series[rec.series]
		got[s.Model+" "+s.Metric] = append(got[s.Model+" "+s.Metric], rec.value)
	}
	want := map[string][]float64{"m accuracy": {.9, .7, .9, .9}, "m drift_score": {.1, .1, .1, .1}, "n accuracy": {.5, .5, .5, .5}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error("(-want +got):\n", diff)
	}
	caveats := strings.Join(r.Caveats, "\n")
	for _, says := range []string{"nothing on drift_score", "first challenger of a model has nothing to beat", "watched by no policy"} {
		if !strings.Contains(caveats, says) {
			t.Errorf("no caveat says %q:\n%s", says, caveats)
		}
	}
	if strings.Contains(caveats, "old model") {
		t.Errorf("a caveat is that of played runs:\n%s", caveats)
	}
}

func TestScoresAreHeldAgainstTheData(t *testing.T) {
	for score, word := range map[float64]string{0.9: "they agree", 0.8: "they differ"} {
		l := &lab{score: func(visutility.Version, time.Time) float64 { return score }}
		r := simulate(t, l, "", "", ".9 .9 .9", withChampion)
		if want := []Check{{"m", "accuracy", 0.9, score}}; !cmp.Equal(r.Checks, want, cmpopts.EquateApprox(1e-9, 0)) {
			t.Errorf("checks %+v, want %+v", r.Checks, want)
		}
		if caveats := strings.Join(r.Caveats, "\n"); !strings.Contains(caveats, word) || strings.Contains(caveats, "is not known") {
			t.Errorf("no caveat says %q:\n%s", word, caveats)
		}
	}
}

func TestSimulationFaults(t *testing.T) {
	command := mustPolicy(t, fmt.Sprintf(simulated, "", ""))
	for name, c := range map[string]struct {
		policy string
		change func(*Options)
		want   string
	}{
		"a webhook":        {"train: {webhook: {url: 'https://example.com'}}", func(o *Options) { o.Simulate.Trainer = nil }, "p.yaml: train names no command but a webhook"},
		"another trainer":  {"train: {trainer: gpu}", func(o *Options) { o.Simulate.Trainer = nil }, `train names no command but the trainer "gpu"`},
		"no scores":        {"", func(o *Options) { o.Simulate.Score = nil }, "score: is missing"},
		"no directory":     {"", func(o *Options) { o.Simulate.Dir = "" }, "dir: is missing"},
		"not empty":        {"", func(o *Options) { o.Simulate.Dir = "." }, "is not empty"},
		"unknown champion": {"", func(o *Options) { o.Simulate.Champions = map[string]visutility.Version{"n": {}} }, `given for the model "n"`},
		"scoring fails": {"", func(o *Options) {
			o.Simulate.Score = func(context.Context, *policy.Policy, visutility.Version, visutility.Window) (*Data, error) {
				return nil, errors.New("boom")
			}
		}, `scoring v1 of m under the plan "policy": boom`},
		"nothing scored": {"", func(o *Options) {
			o.Simulate.Score = func(context.Context, *policy.Policy, visutility.Version, visutility.Window) (*Data, error) {
				return NewData(), nil
			}
		}, "there is no event from 2026-01-01 02:00 to 2026-01-01 03:00"},
	} {
		t.Run(name, func(t *testing.T) {
			p := command
			if c.policy != "" {
				p = mustPolicy(t, "model: m\nretrain: {when: accuracy < 0.8}\n"+c.policy+"\n")
			}
			o := Options{Policies: []*policy.Policy{p}, Simulate: (&lab{}).simulation(t)}
			c.change(&o)
			_, err := Run(t.Context(), o, hourly(t, ".9 .7 .7 .7"))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}

// TestCanceledSimulation: a training is told, and no plan goes on.
func TestCanceledSimulation(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	s := (&lab{}).simulation(t)
	s.Trainer = func(*policy.Policy) (visutility.Trainer, error) {
		return visutility.TrainerFunc(func(ctx context.Context, _ visutility.Job) (visutility.Artifact, error) {
			cancel(errors.New("enough"))
			<-ctx.Done()
			return visutility.Artifact{}, context.Cause(ctx)
		}), nil
	}
	_, err := Run(ctx, Options{Policies: []*policy.Policy{mustPolicy(t, fmt.Sprintf(simulated, "", ""))}, Simulate: s}, hourly(t, ".9 .7 .7 .7"))
	if err == nil || !strings.Contains(err.Error(), "enough") {
		t.Errorf("error %v", err)
	}
}

func TestSimulatedHTML(t *testing.T) {
	l := &lab{train: func(visutility.Job) (visutility.Artifact, error) { return leaves(0.6, 0.7), nil }}
	data := hourly(t, ".9 .7 .7 .7")
	o := Options{Policies: []*policy.Policy{mustPolicy(t, fmt.Sprintf(simulated, "", ""))}, Simulate: l.simulation(t)}
	withChampion(&o)
	r, err := Run(t.Context(), o, data)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := r.WriteHTML(&b, data); err != nil {
		t.Fatal(err)
	}
	for _, good := range []string{"Mean accuracy", "Rejected", "does not hold", "as it was", `class="was"`} {
		if !strings.Contains(b.String(), good) {
			t.Errorf("the page has no %q", good)
		}
	}
}
