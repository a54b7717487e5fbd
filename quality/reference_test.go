package quality

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/visutility/visutility"
)

// training is a file of data in which amounts are from 0 to 99, and half of the countries are DE.
func training(t testing.TB) Reference {
	t.Helper()
	var b strings.Builder
	b.WriteString("\ufeffamount,country,zip,member,prediction,score\r\n")
	for i := range 1000 {
		fmt.Fprintf(&b, "%d,%s,1011%d,%s,%s,%g\r\n", i%100, []string{"DE", "FR"}[i%2], i%3, []string{"True", "False"}[i%2], []string{"1.0", "0.0"}[i%2], float64(i%100)/100)
	}
	r, err := ReadReference(strings.NewReader(b.String()), 0)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// sample is a prediction like those of the training data, whose amounts are shifted.
func sample(i int, at time.Time, shift float64) visutility.Prediction {
	p := predicted(fmt.Sprint(at.UnixMilli(), "/", i), at, number(float64(1-i%2)))
	p.Score = float64(i%100) / 100
	p.Features = []visutility.Feature{
		{Name: "amount", Value: number(float64(i%100) + shift)}, {Name: "country", Value: class([]string{"DE", "FR"}[i%2])},
		{Name: "zip", Value: class(fmt.Sprint("1011", i%3))}, {Name: "member", Value: class([]string{"true", "false"}[i%2])},
		{Name: "unknown", Value: number(float64(i%100) + shift)},
	}
	return p
}

// hours plays hours of a thousand predictions each; the amounts of the second are shifted. Between entries the joiner is what next makes of it.
func hours(t testing.TB, j *Joiner, next func(*Joiner) *Joiner) func(metric string, hour int) float64 {
	t.Helper()
	var judged []Judged
	for hour := range 2 {
		for part := range 4 {
			at := epoch.Add(time.Duration(hour)*time.Hour + time.Duration(part)*time.Minute)
			l := logged{stored: at}
			for i := range 250 {
				l.predictions = append(l.predictions, sample(250*part+i, at, 30*float64(hour)))
			}
			judged = append(judged, play(t, j, l)...)
			j = next(j)
		}
	}
	got := metrics(append(judged, play(t, j, logged{stored: epoch.Add(5 * time.Hour)})...))
	return func(metric string, hour int) float64 {
		v, ok := got[metric+" 7  "+epoch.Add(time.Duration(hour)*time.Hour).Format(time.RFC3339)]
		if !ok {
			return math.NaN()
		}
		return v
	}
}

// TestReferenceIsWhatIsHeldAgainst sees the first window measured already, and what the file does not have held against the first window.
func TestReferenceIsWhatIsHeldAgainst(t *testing.T) {
	for _, distance := range []Distance{PSI, JensenShannon, ChiSquare} {
		r := rules(Settings{MatureAfter: time.Hour, Distance: distance, Reference: training(t)})
		at := hours(t, NewJoiner(r, Limits{}), func(j *Joiner) *Joiner { return j })
		for _, metric := range []string{"drift.amount", "drift.country", "drift.zip", "drift.member", "prediction_drift", "probability_drift", "drift_score"} {
			if v := at(metric, 1); !(math.Abs(v) < 1e-6) {
				t.Errorf("%s: %s of data like those of training is %v", distance, metric, v)
			}
		}
		for _, metric := range []string{"drift.country", "drift.zip", "drift.member", "prediction_drift", "probability_drift"} {
			if v := at(metric, 2); !(math.Abs(v) < 1e-6) {
				t.Errorf("%s: %s, which did not move, is %v", distance, metric, v)
			}
		}
		least := map[Distance]float64{PSI: 0.25, JensenShannon: 0.25, ChiSquare: 10}[distance]
		if v := at("drift.amount", 2); !(v > least) || at("drift_score", 2) < v {
			t.Errorf("%s: drift.amount is %v, drift_score %v", distance, v, at("drift_score", 2))
		}
		if first, second := at("drift.unknown", 1), at("drift.unknown", 2); !math.IsNaN(first) || !(second > least) {
			t.Errorf("%s: what the reference does not have has drift %v, then %v", distance, first, second)
		}
	}
}

// TestReferenceOutlivesRestarts restores a joiner from its state after every entry: the state has the reference in it, whatever became of the file.
func TestReferenceOutlivesRestarts(t *testing.T) {
	r := rules(Settings{MatureAfter: time.Hour, Reference: training(t)})
	whole := hours(t, NewJoiner(r, Limits{}), func(j *Joiner) *Joiner { return j })
	cut := hours(t, NewJoiner(r, Limits{}), func(j *Joiner) *Joiner {
		state, err := j.AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		restored := NewJoiner(nil, Limits{})
		if err := restored.UnmarshalBinary(state); err != nil {
			t.Fatal(err)
		}
		if restored.Adopt(rules(Settings{MatureAfter: time.Hour, Reference: training(t)})) {
			t.Error("the same file is taken for other rules")
		}
		return restored
	})
	for _, metric := range []string{"drift.amount", "drift.unknown", "drift_score"} {
		for hour := 1; hour <= 2; hour++ {
			if a, b := whole(metric, hour), cut(metric, hour); a != b && !(math.IsNaN(a) && math.IsNaN(b)) {
				t.Errorf("%s until hour %d is %v after restarts, want %v", metric, hour, b, a)
			}
		}
	}
	j := NewJoiner(rules(Settings{MatureAfter: time.Hour}), Limits{})
	at := hours(t, j, func(j *Joiner) *Joiner { j.Adopt(r); return j })
	if v := at("drift.amount", 1); v != whole("drift.amount", 1) {
		t.Errorf("a reference that came later: drift.amount is %v", v)
	}
}

// Chance is told from drift by the number of samples: with few of them a large distance is none.
func TestChiSquareKnowsChance(t *testing.T) {
	at := func(scale float64) float64 {
		s := &standard{Edges: []float64{math.Inf(-1)}, Numbers: []float64{0, 0}, Categories: map[string]float64{"a": 50 * scale, "b": 50 * scale, "rare": 1}}
		return s.distance(&column{Categories: map[string]float64{"a": 60 * scale, "b": 40 * scale, "odd": 1}}, ChiSquare)
	}
	// 60:40 against 50:50 is χ² = 2.02 for a hundred each. The rare ones count as one category: of three, 13.8 is exceeded one time in a thousand.
	if few, many := at(1), at(100); !(few > 0.1 && few < 0.3) || !(many > 14 && many < 15) {
		t.Errorf("a hundred samples are %v, ten thousand %v", few, many)
	}
	one := &standard{Edges: []float64{math.Inf(-1)}, Numbers: []float64{0, 0}, Categories: map[string]float64{"a": 500}}
	if v := one.distance(&column{Categories: map[string]float64{"a": 700}}, ChiSquare); v != 0 {
		t.Errorf("one category and the same is %v", v)
	}
}

// A column in which there is a word has categories only, wherever in the file the word is.
func TestReferenceWithWordsAndNumbers(t *testing.T) {
	read := func(text string) Reference {
		r, err := ReadReference(strings.NewReader(text), 2)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	if late, early := read("size\n10\n20\nXL\n"), read("size\nXL\n10\n20\n"); late != early {
		t.Error("the order of the lines makes another reference")
	}
}

func TestBadReference(t *testing.T) {
	rows := func(row string) string { return strings.Repeat(row+"\n", 600) }
	for text, want := range map[string]string{
		"":                                       "file: has no line of names",
		"amount\n":                               `column "amount": has 0 values`,
		"amount\n" + rows("1")[:200]:             `column "amount": has 100 values, and of fewer than 500`,
		"amount,,x\n" + rows("1,2,3"):            "line 1, column 2: has no name",
		"amount,x,amount\n" + rows("1,2,3"):      `line 1: has column "amount" twice`,
		"amount,x\n" + rows("1,2") + "1\n":       "line 602: is not CSV with as many cells",
		"amount,x\n1,2\n1,\"2\n":                 "line",
		"amount\n1\nInf\n":                       `line 3, column "amount": is "Inf"`,
		"amount\n1\n1e101\n":                     `line 3, column "amount": is "1e101"`,
		"amount\n1\n1e999\n":                     `line 3, column "amount": is "1e999"`,
		"score\n0.5\n1.5\n":                      `line 3, column "score": is "1.5"; a score is a probability`,
		"score\n0.5\nhigh\n":                     `line 3, column "score": is "high"`,
		"x\n" + strings.Repeat("a", 2000) + "\n": `line 2, column "x": has 2000 bytes`,
		strings.Repeat("x,", 300) + "y\n":        "line 1: has 301 columns; 256 are allowed",
	} {
		if _, err := ReadReference(strings.NewReader(text), 0); !errors.Is(err, visutility.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%.30q: %v; want %q", text, err, want)
		}
	}
	broken := errors.New("the disk is broken")
	if _, err := ReadReference(iotest.ErrReader(broken), 0); !errors.Is(err, broken) {
		t.Errorf("an error of the file: %v", err)
	}
	if _, err := NewObserver(Options{Dir: t.TempDir(), Rules: Rules{{"*", Settings{Reference: "x"}}}}); !errors.Is(err, visutility.ErrInvalid) {
		t.Errorf("a reference that none made: %v", err)
	}
}
