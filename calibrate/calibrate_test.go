package calibrate_test

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"math/rand/v2"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/visutility/visutility/calibrate"
)

// quick is enough to see that something is reported, and too little to rely on it.
func quick(t trial) calibrate.Options {
	return calibrate.Options{Levels: t.levels, WarmUp: t.warmUp, Outer: 9, Inner: 20}
}

func calibrated(t testing.TB, h *calibrate.History, rule calibrate.Rule, o calibrate.Options) *calibrate.Report {
	t.Helper()
	r, err := calibrate.Calibrate(context.Background(), h, rule, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestReport(t *testing.T) {
	average := trials[1]
	h := worlds[3].sixtyDays(5)
	r := calibrated(t, h, average.rule, quick(average))

	want := calibrate.Promise{MaxFalse: 1, Per: 90 * 24 * 3600, Prob: 0.9, Confidence: 0.9}
	if r.Promise != want {
		t.Errorf("promised is %+v", r.Promise)
	}
	if !slices.Contains(average.levels, r.Level) || r.Level < 0.8 || r.Level > 2 {
		t.Errorf("the level is %v", r.Level)
	}
	for name, e := range map[string]calibrate.Estimate{"false retrains": r.Predicted.FalseRetrains, "exceeds": r.Predicted.Exceeds} {
		if e.Low > e.Value || e.Value > e.High || e.Low < 0 || e.High > 0.7 {
			t.Errorf("%s: %+v", name, e)
		}
	}
	m := r.Model
	if m.Season != "day" || m.Steps != 1440 || m.Masked != 0 || m.Gaps != 0 || m.Step != 3600 || m.Order < 1 || m.Order != len(m.Coefficients) {
		t.Errorf("the model is %+v", m)
	}
	if math.Abs(m.Lag1-0.5) > 0.1 || math.Abs(m.Deviation-1) > 0.15 || math.Abs(m.Mean) > 0.2 || m.Effective < 300 || m.Effective > 700 {
		t.Errorf("the model is %+v", m)
	}
	if !m.From.Equal(h.Start) || !m.To.Equal(h.Start.Add(1439*time.Hour)) {
		t.Errorf("the history is from %s to %s", m.From, m.To)
	}
	last := math.Inf(1)
	for i, d := range r.Delays {
		if d.Shift != []float64{0.5, 1, 1.5, 2, 3}[i] || math.Abs(d.Change-d.Shift*m.Deviation) > 1e-9 {
			t.Errorf("delay %d is for %v, %v", i, d.Shift, d.Change)
		}
		if d.Median == nil {
			continue
		}
		if *d.Median > last || *d.Median < 3600 || d.Late != nil && *d.Late < *d.Median {
			t.Errorf("delay %d: %v, %v after %v", i, *d.Median, d.Late, last)
		}
		last = *d.Median
	}
	if len(r.Delays) != 5 || last > 36*3600 {
		t.Errorf("a shift by three deviations is found in %v s", last)
	}
	if len(r.Assumptions) < 5 || len(r.Limits) < 5 || len(r.Input) != 64 || r.SelfAlarms == nil || r.Flags == nil {
		t.Errorf("%d assumptions, %d limits, input %q", len(r.Assumptions), len(r.Limits), r.Input)
	}
}

// TestDirections: what holds for errors that rise holds for scores that fall.
func TestDirections(t *testing.T) {
	average := trials[1]
	h := worlds[1].sixtyDays(1)
	up := calibrated(t, h, average.rule, quick(average))
	fallen := make([]float64, len(h.Values))
	for i, v := range h.Values {
		fallen[i] = -v
	}
	o := quick(average)
	o.Harm, o.Levels = calibrate.Down, slices.Clone(o.Levels)
	for i := range o.Levels {
		o.Levels[i] *= -1
	}
	down := calibrated(t, hours(fallen), downward{average.rule}, o)
	// The novelties are drawn from the other end, so the two are only alike.
	if math.Abs(up.Level+down.Level) > 0.25 {
		t.Errorf("level %v up, %v down", up.Level, down.Level)
	}
	if d := down.Delays[4]; d.Change >= 0 || d.Median == nil || *d.Median > 36*3600 {
		t.Errorf("a fall by three deviations: %+v", d)
	}
}

// TestSameResult: the report depends on its input only, not on how many processors there are.
func TestSameResult(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	cusum := trials[0]
	h := worlds[3].sixtyDays(7)
	var reports []*calibrate.Report
	for _, processors := range []int{1, 2, 5} {
		runtime.GOMAXPROCS(processors)
		reports = append(reports, calibrated(t, h, cusum.rule, quick(cusum)))
	}
	for _, r := range reports[1:] {
		if diff := cmp.Diff(reports[0], r); diff != "" {
			t.Error(diff)
		}
	}
	o := quick(cusum)
	o.Seed = 1
	other := calibrated(t, h, cusum.rule, o)
	if other.Predicted == reports[0].Predicted || other.Input != reports[0].Input {
		t.Error("another seed changes nothing, or the digest of the input")
	}
	h.Values[100] += 1e-9
	if calibrated(t, h, cusum.rule, quick(cusum)).Input == other.Input {
		t.Error("another value has the same digest")
	}
}

// TestUnits: in other units, the level is the same in them.
func TestUnits(t *testing.T) {
	average := trials[1]
	h := worlds[1].sixtyDays(2)
	base := calibrated(t, h, average.rule, quick(average))
	at := slices.Index(average.levels, base.Level)
	rapid.Check(t, func(t *rapid.T) {
		scale := math.Exp(rapid.Float64Range(-8, 8).Draw(t, "scale"))
		shift := rapid.Float64Range(-100, 100).Draw(t, "shift") * scale
		values, o := make([]float64, len(h.Values)), quick(average)
		for i, v := range h.Values {
			values[i] = shift + scale*v
		}
		o.Levels = make([]float64, len(average.levels))
		for i, l := range average.levels {
			o.Levels[i] = shift + scale*l
		}
		r, err := calibrate.Calibrate(context.Background(), hours(values), average.rule, o)
		if err != nil {
			t.Fatal(err)
		}
		// Rounding may move a value across a level.
		if got := slices.Index(o.Levels, r.Level); got < at-1 || got > at+1 {
			t.Fatalf("level %d in other units, %d in those of before", got, at)
		}
	})
}

// TestCalmerForMore: who promises more gets a calmer level.
func TestCalmerForMore(t *testing.T) {
	average := trials[1]
	h := worlds[2].sixtyDays(3)
	base := calibrated(t, h, average.rule, quick(average)).Level
	for name, change := range map[string]func(*calibrate.Options){
		"none false":      func(o *calibrate.Options) { o.MaxFalse = -1 },
		"for longer":      func(o *calibrate.Options) { o.Per = 360 * 24 * time.Hour },
		"19 times in 20":  func(o *calibrate.Options) { o.Prob = 0.95 },
		"more confidence": func(o *calibrate.Options) { o.Confidence, o.Outer = 0.975, 39 },
	} {
		o := quick(average)
		change(&o)
		if got := calibrated(t, h, average.rule, o).Level; got < base || got > 2*base {
			t.Errorf("%s: level %v, %v before", name, got, base)
		}
	}
	o := quick(average)
	o.MaxFalse = 5
	if got := calibrated(t, h, average.rule, o).Level; got >= base {
		t.Errorf("with five false retrains allowed the level is %v, %v with one", got, base)
	}
}

// TestLittleIsKnown: of little history the level is calmer, for the fit may be wrong.
func TestLittleIsKnown(t *testing.T) {
	average := trials[1]
	var little, much float64
	for seed := range uint64(3) {
		h := make([]float64, 600*24)
		worlds[2].make(rand.New(rand.NewPCG(seed, 600)), h)
		little += calibrated(t, hours(h[:60*24]), average.rule, quick(average)).Level
		much += calibrated(t, hours(h), average.rule, quick(average)).Level
	}
	if little < 1.05*much {
		t.Errorf("three levels add up to %.3g where sixty days are known, to %.3g where ten times as much is", little, much)
	}
}

// TestMask: what is masked changes nothing; what is not is refused, or makes the level calmer.
func TestMask(t *testing.T) {
	average := trials[1]
	h := worlds[1].sixtyDays(4)
	h.Masked = make([]bool, len(h.Values))
	for i := 600; i < 700; i++ {
		h.Masked[i] = true
	}
	before := calibrated(t, h, average.rule, quick(average))
	for i := 600; i < 700; i++ {
		h.Values[i] += 6
	}
	after := calibrated(t, h, average.rule, quick(average))
	if before.Level != after.Level || after.Model.Masked != 100 || len(after.SelfAlarms) != 0 {
		t.Errorf("level %v before an incident that is masked, %v after; %d masked", before.Level, after.Level, after.Model.Masked)
	}
	h.Masked = nil
	if r, err := calibrate.Calibrate(context.Background(), h, average.rule, quick(average)); err == nil && r.Level < 2*before.Level {
		t.Errorf("level %v without the mask, %v with it", r.Level, before.Level)
	}
}

func TestRefusals(t *testing.T) {
	average := trials[1]
	fill := func(n int, value func(i int) float64) []float64 {
		values := make([]float64, n)
		for i := range values {
			values[i] = value(i)
		}
		return values
	}
	r := rand.New(rand.NewPCG(1, 1))
	noise := func(int) float64 { return r.NormFloat64() }
	walk := 0.0
	for _, c := range []struct {
		reason  calibrate.Reason
		says    string
		history *calibrate.History
		change  func(*calibrate.Options)
	}{
		{calibrate.TooShort, "29.9 days", hours(fill(718, noise)), nil},
		{calibrate.TooFewPoints, "960 values", hours(fill(960, noise)), nil},
		{calibrate.TooManyGaps, "534 of 1600", hours(fill(1600, func(i int) float64 {
			if i%3 == 0 {
				return math.NaN()
			}
			return r.NormFloat64()
		})), nil},
		{calibrate.Constant, "all values are 0.25", hours(fill(1440, func(int) float64 { return 0.25 })), nil},
		{calibrate.Constant, "the same in every 24h:", hours(fill(1440, func(i int) float64 { return float64(i % 24 * (i % 24)) })), nil},
		{calibrate.TooLittleInformation, "independent ones; 100 are needed", hours(fill(1440, func(int) float64 { walk += r.NormFloat64(); return walk })), nil},
		{calibrate.TooManySteps, "at most 50000", &calibrate.History{Start: monday, Step: time.Minute, Values: fill(30*24*60, noise)}, nil},
		{calibrate.NotFinite, "value 7 (2026-03-02T07:00:00Z) is +Inf", hours(fill(1440, func(i int) float64 {
			if i == 7 {
				return math.Inf(1)
			}
			return 0
		})), nil},
		{calibrate.Irregular, "a step of 0s", &calibrate.History{Start: monday, Values: fill(1440, noise)}, nil},
		{calibrate.Irregular, "1 marks", &calibrate.History{Start: monday, Step: time.Hour, Values: fill(1440, noise), Masked: []bool{true}}, nil},
		{calibrate.Irregular, "a start of 0001", &calibrate.History{Step: time.Hour, Values: fill(1440, noise)}, nil},
		{calibrate.TooShort, "a cycle of 720h it", hours(fill(1440, noise)), func(o *calibrate.Options) { o.Season = 30 * 24 * time.Hour }},
		{calibrate.NotCalmEnough, "even at the calmest level, 0.2", worlds[2].sixtyDays(1), func(o *calibrate.Options) { o.Levels = linear(0, 0.2, 10) }},
	} {
		o := quick(average)
		if c.change != nil {
			c.change(&o)
		}
		_, err := calibrate.Calibrate(context.Background(), c.history, average.rule, o)
		var refusal *calibrate.Refusal
		if !errors.As(err, &refusal) || refusal.Reason != c.reason || !strings.Contains(refusal.Message, c.says) {
			t.Errorf("%s, %q: %v", c.reason, c.says, err)
		}
	}
}

// TestSelfAlarm: a history in which the rule finds what no metric like it should have is not one of a metric that is well.
func TestSelfAlarm(t *testing.T) {
	average := trials[1]
	h := worlds[1].sixtyDays(9)
	const never = 3.25 // to the last bit
	for _, i := range []int{700, 900, 1000} {
		h.Values[i] = never
	}
	_, err := calibrate.Calibrate(context.Background(), h, finds{average.rule, never}, quick(average))
	var refusal *calibrate.Refusal
	if !errors.As(err, &refusal) || refusal.Reason != calibrate.SelfAlarming ||
		!strings.Contains(refusal.Message, "3 times in the history itself, where the promise allows 1: at 2026-03-31T04:00:00Z, 2026-04-08T12:00:00Z, 2026-04-12T16:00:00Z") {
		t.Errorf("three alarms: %v", err)
	}
	h.Masked = make([]bool, len(h.Values))
	h.Masked[900], h.Masked[1000] = true, true
	r := calibrated(t, h, finds{average.rule, never}, quick(average))
	if diff := cmp.Diff([]time.Time{h.Start.Add(700 * time.Hour)}, r.SelfAlarms); diff != "" {
		t.Error(diff)
	}
	if !slices.ContainsFunc(r.Flags, func(f calibrate.Flag) bool { return f.Reason == calibrate.SelfAlarms }) {
		t.Errorf("one alarm is not among the flags %v", r.Flags)
	}
}

// finds fires at one exact value as well.
type finds struct {
	calibrate.Rule
	value float64
}

func (f finds) Retrains(level float64, stream []float64, at []int) int {
	n := f.Rule.Retrains(level, stream, at)
	for i, x := range stream {
		if x == f.value && n < len(at) && !slices.Contains(at[:n], i) {
			at[n] = i
			n++
		}
	}
	slices.Sort(at[:n])
	return n
}

func TestOptionErrors(t *testing.T) {
	h := worlds[0].sixtyDays(1)
	for option, change := range map[string]func(*calibrate.Options){
		"Levels":     func(o *calibrate.Options) { o.Levels = []float64{1, 3, 2} },
		"MaxFalse":   func(o *calibrate.Options) { o.MaxFalse = 1000 },
		"Per":        func(o *calibrate.Options) { o.Per = time.Hour },
		"Prob":       func(o *calibrate.Options) { o.Prob = 1 },
		"Confidence": func(o *calibrate.Options) { o.Confidence = 0.2 },
		"WarmUp":     func(o *calibrate.Options) { o.WarmUp = -1 },
		"MaxOrder":   func(o *calibrate.Options) { o.MaxOrder = 1000 },
		"Outer":      func(o *calibrate.Options) { o.Outer = 8 },
		"Inner":      func(o *calibrate.Options) { o.Inner = 9 },
		"Season":     func(o *calibrate.Options) { o.Season = 90 * time.Minute },
		"Harm":       func(o *calibrate.Options) { o.Harm = "sideways" },
		"Shifts":     func(o *calibrate.Options) { o.Shifts = []float64{1, math.NaN()} },
	} {
		o := quick(trials[1])
		change(&o)
		_, err := calibrate.Calibrate(context.Background(), h, trials[1].rule, o)
		var wrong *calibrate.OptionError
		if !errors.As(err, &wrong) || wrong.Option != option {
			t.Errorf("%s: %v", option, err)
		}
	}
	for _, levels := range [][]float64{nil, {1}, {1, 1}, {1, math.Inf(1)}, {math.NaN(), 1}} {
		o := quick(trials[1])
		o.Levels = levels
		if _, err := calibrate.Calibrate(context.Background(), h, trials[1].rule, o); err == nil {
			t.Errorf("levels %v are taken", levels)
		}
	}
}

func TestFlags(t *testing.T) {
	average := trials[1]
	reasons := func(h *calibrate.History, tr trial, change func(*calibrate.Options)) (all []calibrate.Reason) {
		o := quick(tr)
		if change != nil {
			change(&o)
		}
		for _, f := range calibrated(t, h, tr.rule, o).Flags {
			all = append(all, f.Reason)
		}
		return all
	}
	short := worlds[1].sixtyDays(1)
	short.Values = short.Values[:45*24]
	holes := worlds[0].sixtyDays(1)
	for i := range holes.Values {
		if i%8 == 0 {
			holes.Values[i] = math.NaN()
		}
	}
	step := worlds[0].sixtyDays(2)
	step.Step = 5 * time.Hour
	drifts := worlds[1].sixtyDays(3)
	for i := range drifts.Values[:720] {
		drifts.Values[i] += 0.7
	}
	for _, c := range []struct {
		want   calibrate.Reason
		got    []calibrate.Reason
		absent bool
	}{
		{want: calibrate.ShortHistory, got: reasons(short, average, nil)},
		{want: calibrate.Gaps, got: reasons(holes, average, nil)},
		{want: calibrate.LittleInformation, got: reasons(worlds[2].sixtyDays(2), average, nil)},
		{want: calibrate.NoCycleSought, got: reasons(step, average, nil)},
		{want: calibrate.NotNervousEnough, got: reasons(worlds[0].sixtyDays(1), average, func(o *calibrate.Options) { o.Levels = linear(3, 4, 10) })},
		{want: calibrate.Extrapolates, got: reasons(worlds[4].sixtyDays(1), trials[2], nil)},
		{want: calibrate.Wanders, got: reasons(drifts, average, nil)},
		{want: calibrate.Wanders, got: reasons(worlds[1].sixtyDays(3), average, nil), absent: true},
		{want: calibrate.Extrapolates, got: reasons(worlds[1].sixtyDays(1), trials[0], nil), absent: true},
	} {
		if slices.Contains(c.got, c.want) == c.absent {
			t.Errorf("the flags are %v: is %s among them?", c.got, c.want)
		}
	}
}

// TestUnsteadyRule: a rule that is more nervous at some calmer levels does not lead to one of those.
func TestUnsteadyRule(t *testing.T) {
	average := trials[1]
	h := worlds[1].sixtyDays(6)
	steady := calibrated(t, h, average.rule, quick(average)).Level
	at := slices.Index(average.levels, steady)
	r := calibrated(t, h, unsteady{average.rule, average.levels[at : at+3]}, quick(average))
	if r.Level != average.levels[at+3] || r.Predicted.Exceeds.Value > 0.1 {
		t.Errorf("level %v breaks the promise in %v of all times; %v was the level, the next three fire at once", r.Level, r.Predicted.Exceeds.Value, steady)
	}
}

// unsteady fires all the time at some levels.
type unsteady struct {
	calibrate.Rule
	bad []float64
}

func (u unsteady) Retrains(level float64, stream []float64, at []int) int {
	if slices.Contains(u.bad, level) {
		level = -10
	}
	return u.Rule.Retrains(level, stream, at)
}

// TestReportIsFinite: whatever the history, what is reported are numbers.
func TestReportIsFinite(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		phi, height := rapid.Float64Range(-0.95, 0.85).Draw(t, "phi"), rapid.Float64Range(0, 3).Draw(t, "cycle")
		noise := rapid.SampledFrom([]func(*rand.Rand) float64{normal, t3, coin, cubed}).Draw(t, "noise")
		values := make([]float64, rapid.IntRange(1200, 1600).Draw(t, "hours"))
		autoregressive(phi, height, noise)(r, values)
		scale := math.Exp(rapid.Float64Range(-50, 50).Draw(t, "scale"))
		missing := rapid.Float64Range(0, 0.2).Draw(t, "missing")
		for i := range values {
			if values[i] *= scale; r.Float64() < missing {
				values[i] = math.NaN()
			}
		}
		average := trials[1]
		o := quick(average)
		o.Levels = linear(0, 20*scale, 50)
		report, err := calibrate.Calibrate(context.Background(), hours(values), average.rule, o)
		if err != nil {
			if refusal := (*calibrate.Refusal)(nil); !errors.As(err, &refusal) {
				t.Fatal(err)
			}
			return
		}
		finite(t, "report", reflect.ValueOf(report))
		if _, err := json.Marshal(report); err != nil {
			t.Fatal(err)
		}
	})
}

func coin(r *rand.Rand) float64 { return float64(r.IntN(2)*2 - 1) }

func cubed(r *rand.Rand) float64 { x := r.NormFloat64(); return x * x * x }

// finite fails if there is a number in v that is not.
func finite(t *rapid.T, path string, v reflect.Value) {
	switch v.Kind() {
	case reflect.Float64:
		if x := v.Float(); math.IsNaN(x) || math.IsInf(x, 0) {
			t.Fatalf("%s is %v", path, x)
		}
	case reflect.Pointer:
		if !v.IsNil() {
			finite(t, path, v.Elem())
		}
	case reflect.Slice:
		for i := range v.Len() {
			finite(t, path, v.Index(i))
		}
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			return
		}
		for i := range v.NumField() {
			finite(t, path+"."+v.Type().Field(i).Name, v.Field(i))
		}
	}
}

// TestProgress: it is told of every step, in order, and stops when it is told to.
func TestProgress(t *testing.T) {
	average := trials[1]
	var told []int
	o := quick(average)
	o.Progress = func(done, all int) {
		told = append(told, done)
		if all != 34 {
			t.Fatalf("%d steps", all)
		}
	}
	calibrated(t, worlds[0].sixtyDays(1), average.rule, o)
	if len(told) != 34 || !slices.IsSorted(told) || told[33] != 34 {
		t.Errorf("told %v", told)
	}

	ctx, cancel := context.WithCancelCause(context.Background())
	enough := errors.New("enough")
	o.Progress = func(done, all int) {
		if done == 10 {
			cancel(enough)
		}
		if done > 10+runtime.GOMAXPROCS(0) {
			t.Errorf("step %d after it was canceled", done)
		}
	}
	if _, err := calibrate.Calibrate(ctx, worlds[0].sixtyDays(1), average.rule, o); !errors.Is(err, enough) {
		t.Errorf("canceled, it returns %v", err)
	}
}
