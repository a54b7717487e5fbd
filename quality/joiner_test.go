package quality

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/visutility/visutility"
)

var epoch = time.Date(2026, 1, 31, 0, 0, 0, 0, time.UTC)

// An entry of the log, as a test makes it.
type logged struct {
	stored      time.Time
	predictions []visutility.Prediction
	truths      []visutility.Truth
}

func (l logged) payloads(t testing.TB) [][]byte {
	t.Helper()
	payloads, err := Encode(l.predictions, l.truths, 1, l.stored)
	if err != nil {
		t.Fatal(err)
	}
	var out [][]byte
	for _, p := range payloads {
		out = append(out, p.Data)
	}
	return out
}

// play folds entries and returns what was judged.
func play(t testing.TB, j *Joiner, entries ...logged) []Judged {
	t.Helper()
	var out []Judged
	for _, e := range entries {
		out = append(out, j.Fold(e.stored.UnixMilli(), e.payloads(t))...)
	}
	return out
}

func predicted(id string, at time.Time, answer visutility.Answer) visutility.Prediction {
	return visutility.Prediction{Model: "fraud", ID: id, Answer: answer, Score: math.NaN(), Version: "7", Time: at}
}

func truth(id string, at time.Time, answer visutility.Answer) visutility.Truth {
	return visutility.Truth{Model: "fraud", ID: id, Answer: answer, Time: at}
}

func class(name string) visutility.Answer { return visutility.Answer{Class: name} }

func number(v float64) visutility.Answer { return visutility.Answer{Number: v} }

// metrics are the values of what was judged, by metric, version and window.
func metrics(judged []Judged) map[string]float64 {
	out := map[string]float64{}
	for _, j := range judged {
		for _, e := range j.Events {
			out[fmt.Sprintf("%s %s %s %s", e.Metric, e.Version, visutility.MakeLabels(e.Labels), e.Time.Format(time.RFC3339))] = e.Value
		}
	}
	return out
}

// rules wait a day for labels, with small windows.
func rules(s Settings) Rules {
	s.Window, s.MatureAfter = cmp.Or(s.Window, time.Hour), cmp.Or(s.MatureAfter, 24*time.Hour)
	return Rules{{"*", s}}
}

// A world is predictions and labels that are told in an order of their own.
type world struct {
	predictions []visutility.Prediction
	truths      []visutility.Truth
}

func drawWorld(t *rapid.T) world {
	var w world
	n := rapid.IntRange(1, 60).Draw(t, "n")
	numeric := rapid.Bool().Draw(t, "numeric")
	classes := []string{"spam", "ham"}
	if rapid.Bool().Draw(t, "three") {
		classes = append(classes, "eggs")
	}
	for i := range n {
		p := predicted(strconv.Itoa(i), epoch.Add(time.Duration(rapid.IntRange(0, 3*3600-1).Draw(t, "at"))*time.Second), visutility.Answer{})
		p.Version = rapid.SampledFrom([]string{"", "7", "8"}).Draw(t, "version")
		if rapid.Bool().Draw(t, "segmented") {
			p.Labels = map[string]string{"country": rapid.SampledFrom([]string{"DE", "FR"}).Draw(t, "country")}
		}
		draw := func() visutility.Answer {
			if numeric {
				return number(float64(rapid.IntRange(-50, 50).Draw(t, "number")) / 8)
			}
			return class(rapid.SampledFrom(classes).Draw(t, "class"))
		}
		p.Answer = draw()
		if !numeric && rapid.Bool().Draw(t, "scored") {
			p.Score = rapid.SampledFrom([]float64{0, 0.001, 0.1, 0.25, 0.5, 0.75, 0.9, 0.999, 1}).Draw(t, "score")
			if rapid.IntRange(0, 3).Draw(t, "alone") == 0 {
				p.Answer = number(math.NaN())
			}
		}
		w.predictions = append(w.predictions, p)
		if rapid.IntRange(0, 4).Draw(t, "labelled") > 0 {
			w.truths = append(w.truths, truth(p.ID, p.Time.Add(time.Duration(rapid.IntRange(0, 7200).Draw(t, "lag"))*time.Second), draw()))
		}
	}
	return w
}

// entries tell a world in any order, with repetitions, within ten minutes after its end.
func (w world) entries(t *rapid.T) []logged {
	var all []logged
	for i := range w.predictions {
		all = append(all, logged{predictions: w.predictions[i : i+1]})
	}
	for i := range w.truths {
		all = append(all, logged{truths: w.truths[i : i+1]})
	}
	all = rapid.Permutation(all).Draw(t, "order")
	for range rapid.IntRange(0, 5).Draw(t, "repeated") {
		all = append(all, all[rapid.IntRange(0, len(all)-1).Draw(t, "again")])
	}
	for i := range all {
		all[i].stored = epoch.Add(3*time.Hour + time.Duration(i)*time.Second)
	}
	// Then there is silence, and the clock goes on.
	for i := range 30 {
		all = append(all, logged{stored: epoch.Add(time.Duration(4+i) * time.Hour)})
	}
	return all
}

// naive measures a world as the definitions of the metrics say.
func (w world) naive(positive string) map[string]float64 {
	truths := map[string]visutility.Truth{}
	for _, x := range w.truths {
		truths[x.ID] = x
	}
	groups := map[string][]visutility.Prediction{}
	for _, p := range w.predictions {
		key := fmt.Sprintf("%s %s %s", p.Version, visutility.MakeLabels(p.Labels), p.Time.Truncate(time.Hour).Add(time.Hour).Format(time.RFC3339))
		groups[key] = append(groups[key], p)
	}
	out := map[string]float64{}
	for key, ps := range groups {
		set := func(metric string, v float64) {
			if !math.IsNaN(v) && !math.IsInf(v, 0) {
				out[metric+" "+key] = v
			}
		}
		var said, right []visutility.Answer
		var scores []float64
		for _, p := range ps {
			if x, ok := truths[p.ID]; ok {
				said, right, scores = append(said, p.Answer), append(right, x.Answer), append(scores, p.Score)
			}
		}
		set("label_coverage", float64(len(said))/float64(len(ps)))
		if len(said) == 0 {
			continue
		}
		if right[0].Class == "" {
			naiveNumbers(set, said, right)
		} else {
			naiveClasses(set, said, right, scores, positive)
		}
	}
	return out
}

func naiveNumbers(set func(string, float64), said, right []visutility.Answer) {
	var absolute, square, size float64
	for i := range said {
		off := math.Abs(said[i].Number - right[i].Number)
		absolute, square, size = absolute+off, square+off*off, size+math.Abs(right[i].Number)
	}
	n := float64(len(said))
	set("mae", absolute/n)
	set("rmse", math.Sqrt(square/n))
	set("wmape", absolute/size)
}

func naiveClasses(set func(string, float64), said, right []visutility.Answer, scores []float64, positive string) {
	hits, all, classes := 0.0, 0.0, map[string]bool{}
	for i := range said {
		if said[i].Class == "" {
			continue // a score alone
		}
		all++
		if said[i] == right[i] {
			hits++
		}
		classes[said[i].Class], classes[right[i].Class] = true, true
	}
	set("accuracy", hits/all)
	of := func(class string, none float64) (precision, recall, f1 float64) {
		var tp, fp, fn float64
		for i := range said {
			s, r := said[i].Class == class, right[i].Class == class
			switch {
			case said[i].Class == "":
			case s && r:
				tp++
			case s:
				fp++
			case r:
				fn++
			}
		}
		div := func(a, b float64) float64 {
			if b == 0 {
				return none
			}
			return a / b
		}
		return div(tp, tp+fp), div(tp, tp+fn), div(2*tp, 2*tp+fp+fn)
	}
	if positive == "" {
		var p, r, f float64
		for c := range classes {
			x, y, z := of(c, 0)
			p, r, f = p+x, r+y, f+z
		}
		n := float64(len(classes))
		set("precision", p/n)
		set("recall", r/n)
		set("f1_score", f/n)
		return
	}
	p, r, f := of(positive, math.NaN())
	set("precision", p)
	set("recall", r)
	set("f1_score", f)
	var loss, n, pairs, wins float64
	for i, s := range scores {
		if math.IsNaN(s) {
			continue
		}
		n++
		if right[i].Class == positive {
			loss -= math.Log(max(s, 1e-15))
			for k, other := range scores {
				if !math.IsNaN(other) && right[k].Class != positive {
					pairs++
					if s > other {
						wins++
					} else if s == other {
						wins += 0.5
					}
				}
			}
		} else {
			loss -= math.Log(max(1-s, 1e-15))
		}
	}
	set("log_loss", loss/n)
	set("auc", wins/pairs)
}

// TestJoinedMetricsAreThoseOfTheDefinitions holds whatever the order in which predictions and labels arrive, and however often.
func TestJoinedMetricsAreThoseOfTheDefinitions(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		positive := rapid.SampledFrom([]string{"", "spam"}).Draw(t, "positive")
		j := NewJoiner(rules(Settings{Positive: positive}), Limits{})
		var got map[string]float64
		var judged []Judged
		for _, e := range w.entries(t) {
			payloads, err := Encode(e.predictions, e.truths, 1, e.stored)
			if err != nil {
				t.Fatal(err)
			}
			var data [][]byte
			for _, p := range payloads {
				data = append(data, p.Data)
			}
			judged = append(judged, j.Fold(e.stored.UnixMilli(), data)...)
		}
		got = metrics(judged)
		maps.DeleteFunc(got, func(k string, _ float64) bool { return k[:9] == "label_lag" })
		want := w.naive(positive)
		for _, k := range slices.Sorted(maps.Keys(want)) {
			if v, ok := got[k]; !ok || math.Abs(v-want[k]) > 1e-9 {
				t.Errorf("%s is %v, want %v", k, v, want[k])
			}
		}
		for k := range got {
			if _, ok := want[k]; !ok {
				t.Errorf("%s is told and should not be", k)
			}
		}
		if j.Pending() != len(w.predictions)-len(w.truths) {
			t.Errorf("%d are pending, want those without a label", j.Pending())
		}
	})
}

// TestSnapshotsGoOnExactly cuts a log at every entry: what is restored makes the same of the rest.
func TestSnapshotsGoOnExactly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		for i := range w.predictions {
			w.predictions[i].Features = []visutility.Feature{
				{Name: "amount", Value: number(rapid.Float64Range(-1e6, 1e6).Draw(t, "amount"))},
				{Name: "channel", Value: class(rapid.SampledFrom([]string{"web", "shop"}).Draw(t, "channel"))},
			}
		}
		r := rules(Settings{Positive: "spam", MinSamples: 2, Window: 30 * time.Minute})
		if rapid.Bool().Draw(t, "learned") {
			r[0].MatureAfter = 0
		}
		whole, cut := NewJoiner(r, Limits{Pending: 40}), NewJoiner(r, Limits{Pending: 40})
		for _, e := range w.entries(t) {
			payloads, err := Encode(e.predictions, e.truths, 1, e.stored)
			if err != nil {
				t.Fatal(err)
			}
			var data [][]byte
			for _, p := range payloads {
				data = append(data, p.Data)
			}
			a, b := whole.Fold(e.stored.UnixMilli(), data), cut.Fold(e.stored.UnixMilli(), data)
			if x, y := fmt.Sprint(a), fmt.Sprint(b); x != y {
				t.Fatalf("after a restart\n%s\nis made, want\n%s", y, x)
			}
			state, err := cut.AppendBinary(nil)
			if err != nil {
				t.Fatal(err)
			}
			cut = NewJoiner(r, Limits{Pending: 40})
			if err := cut.UnmarshalBinary(state); err != nil {
				t.Fatal(err)
			}
			if whole.pending != cut.pending || whole.early != cut.early || whole.columns != cut.columns {
				t.Fatalf("restored are %d pending, %d early, %d columns; want %d, %d, %d", cut.pending, cut.early, cut.columns, whole.pending, whole.early, whole.columns)
			}
		}
	})
}

// TestEarlyLabelsDoNotBias tells nothing of a window before nearly all of its labels can be there.
func TestEarlyLabelsDoNotBias(t *testing.T) {
	j := NewJoiner(rules(Settings{MatureAfter: 3 * time.Hour}), Limits{})
	var es []logged
	for i := range 10 {
		es = append(es, logged{stored: epoch.Add(time.Minute), predictions: []visutility.Prediction{predicted(strconv.Itoa(i), epoch.Add(time.Minute), class("ok"))}})
	}
	// What is found soon is bad, all else turns out well after two hours.
	es = append(es, logged{stored: epoch.Add(10 * time.Minute), truths: []visutility.Truth{truth("0", epoch.Add(10*time.Minute), class("fraud"))}})
	if got := play(t, j, append(es, logged{stored: epoch.Add(90 * time.Minute)})...); len(got) > 0 {
		t.Fatalf("%v was told too early", got)
	}
	for i := 1; i < 10; i++ {
		play(t, j, logged{stored: epoch.Add(2 * time.Hour), truths: []visutility.Truth{truth(strconv.Itoa(i), epoch.Add(2*time.Hour), class("ok"))}})
	}
	if got := play(t, j, logged{stored: epoch.Add(4*time.Hour - time.Second)}); len(got) > 0 {
		t.Fatalf("%v was told too early", got)
	}
	got := metrics(play(t, j, logged{stored: epoch.Add(4 * time.Hour)}))
	if v := got["accuracy 7  2026-01-31T01:00:00Z"]; v != 0.9 {
		t.Errorf("accuracy is %v of %v, want 0.9", v, got)
	}
	if v := got["label_lag 7  2026-01-31T01:00:00Z"]; math.Abs(v-7140) > 72 {
		t.Errorf("label_lag is %v, want about 7140", v)
	}
}

// TestMaturityIsLearned waits a day at first, and then about as long as labels take.
func TestMaturityIsLearned(t *testing.T) {
	j := NewJoiner(Rules{{"*", Settings{}}}, Limits{})
	var ends []time.Duration // how long after its end a window was judged
	for hour := range 72 {
		for i := range 20 {
			at := epoch.Add(time.Duration(hour)*time.Hour + time.Duration(i)*3*time.Minute)
			id := fmt.Sprint(hour, "/", i)
			es := []logged{{stored: at, predictions: []visutility.Prediction{predicted(id, at, number(1))}}}
			if earlier := at.Add(-2 * time.Hour); hour >= 2 {
				es = append(es, logged{stored: at, truths: []visutility.Truth{truth(fmt.Sprint(hour-2, "/", i), earlier, number(1))}})
			}
			for _, w := range play(t, j, es...) {
				ends = append(ends, at.Sub(w.Events[0].Time))
			}
		}
	}
	if len(ends) < 48 {
		t.Fatalf("%d windows were judged in three days", len(ends))
	}
	if last := ends[len(ends)-1]; last < 110*time.Minute || last > 130*time.Minute {
		t.Errorf("a window is judged %v after its end; labels take two hours", last)
	}
	if n := j.Counts().Dropped[dropLateLabel]; n > 40 {
		t.Errorf("%d labels were late", n)
	}
}

// TestWhatCannotBeUsedIsCounted gives each reason once.
func TestWhatCannotBeUsedIsCounted(t *testing.T) {
	j := NewJoiner(rules(Settings{MatureAfter: time.Hour, Task: Regression}), Limits{})
	at := func(m int) time.Time { return epoch.Add(time.Duration(m) * time.Minute) }
	judged := play(t, j,
		logged{stored: at(1), predictions: []visutility.Prediction{predicted("a", at(1), number(1)), predicted("a", at(1), number(2)), predicted("b", at(1), number(2)), predicted("x", at(1), class("no number"))}},
		logged{stored: at(2), truths: []visutility.Truth{truth("a", at(2), number(3)), truth("a", at(2), number(4)), truth("nobody", at(2), number(1)), truth("b", at(2), class("no number"))}},
		logged{stored: at(120)},
		logged{stored: at(121), truths: []visutility.Truth{truth("b", at(121), number(1))}, predictions: []visutility.Prediction{predicted("c", at(3), number(1))}},
	)
	j.Fold(at(122).UnixMilli(), [][]byte{{0xff}})
	want := map[string]uint64{dropDuplicatePrediction: 1, dropDuplicateLabel: 1, dropUnmatched: 1, dropLateLabel: 1, dropLatePrediction: 1, dropAnswer: 2, dropMalformed: 1}
	if got := j.Counts(); !maps.Equal(got.Dropped, want) || got.Predictions != 5 || got.Labels != 5 || got.Joined != 1 {
		t.Errorf("counted %+v, want %v", got, want)
	}
	if v := metrics(judged)["mae 7  2026-01-31T01:00:00Z"]; v != 2 {
		t.Errorf("mae is %v of %v, want 2: the first prediction and the first label count", v, metrics(judged))
	}
}

// TestMemoryIsBounded floods a joiner: it gives up the oldest windows, tells how many predictions that
// were, and goes on with the newest.
func TestMemoryIsBounded(t *testing.T) {
	const most, flood = 100, 1000
	j := NewJoiner(rules(Settings{MatureAfter: time.Hour}), Limits{Pending: most})
	for i := range flood {
		at := epoch.Add(time.Duration(i) * 2 * time.Minute)
		play(t, j, logged{stored: epoch.Add(40 * time.Hour), predictions: []visutility.Prediction{predicted(strconv.Itoa(i), at, number(1))}})
		if j.Pending() > most {
			t.Fatalf("%d are pending, %d are allowed", j.Pending(), most)
		}
	}
	c := j.Counts()
	if got := c.Dropped[dropGivenUp] + uint64(j.Pending()); got != flood {
		t.Errorf("%d predictions are accounted for, want %d: %v", got, flood, c)
	}
	for i := range flood { // labels, of which most belong to nothing
		play(t, j, logged{stored: epoch.Add(40*time.Hour + time.Minute), truths: []visutility.Truth{truth("none/"+strconv.Itoa(i), epoch, number(1))}})
	}
	if j.early > most/earlyShare {
		t.Errorf("%d labels wait for their predictions", j.early)
	}
	if j.columns > 200 {
		t.Errorf("%d columns are held for %d windows", j.columns, len(j.models["fraud"].windows))
	}
	// As many versions as predictions are no way around it either.
	j = NewJoiner(rules(Settings{}), Limits{Columns: 50})
	for i := range flood {
		p := predicted(strconv.Itoa(i), epoch, number(1))
		p.Version = strconv.Itoa(i)
		play(t, j, logged{stored: epoch, predictions: []visutility.Prediction{p}})
	}
	if c := j.Counts(); j.columns > 51 || c.Dropped[dropLimit] == 0 || c.Dropped[dropLimit]+uint64(j.Pending()) != flood {
		t.Errorf("%d columns, %d pending, %v", j.columns, j.Pending(), c.Dropped)
	}
	// A single window that is too large keeps what came first.
	j = NewJoiner(rules(Settings{}), Limits{Pending: most})
	for i := range flood {
		play(t, j, logged{stored: epoch, predictions: []visutility.Prediction{predicted(strconv.Itoa(i), epoch, number(1))}})
	}
	if j.Pending() != most || j.Counts().Dropped[dropLimit] != flood-most {
		t.Errorf("%d are pending, dropped were %v", j.Pending(), j.Counts().Dropped)
	}
}

// TestDriftIsHeldAgainstTheFirstWindowOfTheVersion sees features move, and stay.
func TestDriftIsHeldAgainstTheFirstWindowOfTheVersion(t *testing.T) {
	for _, distance := range []Distance{PSI, JensenShannon} {
		j := NewJoiner(rules(Settings{MatureAfter: time.Hour, MinSamples: 500, Distance: distance}), Limits{})
		for hour := range 3 {
			for i := range 1000 {
				at := epoch.Add(time.Duration(hour)*time.Hour + time.Duration(i)*time.Second)
				p := predicted(fmt.Sprint(hour, "/", i), at, class([]string{"yes", "no"}[i%2]))
				p.Score = float64(i%100) / 100
				shift := 0.0
				if hour == 2 {
					shift = 30
				}
				p.Features = []visutility.Feature{{Name: "moves", Value: number(float64(i%100) + shift)}, {Name: "stays", Value: number(float64(i % 100))}, {Name: "kind", Value: class([]string{"a", "b"}[i%2])}}
				play(t, j, logged{stored: at, predictions: []visutility.Prediction{p}})
			}
		}
		got := metrics(play(t, j, logged{stored: epoch.Add(5 * time.Hour)}))
		at := func(metric string, hour int) float64 {
			v, ok := got[metric+" 7  "+epoch.Add(time.Duration(hour)*time.Hour).Format(time.RFC3339)]
			if !ok {
				return math.NaN()
			}
			return v
		}
		for _, metric := range []string{"drift.moves", "drift.stays", "drift.kind", "probability_drift", "prediction_drift", "drift_score"} {
			if v := at(metric, 1); !math.IsNaN(v) {
				t.Errorf("%s: %s of the reference itself is %v", distance, metric, v)
			}
			if v := at(metric, 2); v != 0 {
				t.Errorf("%s: %s of the same data is %v", distance, metric, v)
			}
		}
		if v := at("drift.moves", 3); !(v > 0.25) || at("drift_score", 3) != v {
			t.Errorf("%s: drift.moves is %v, drift_score %v", distance, v, at("drift_score", 3))
		}
		if v := at("drift.stays", 3); v != 0 {
			t.Errorf("%s: drift.stays is %v", distance, v)
		}
	}
}

func FuzzSnapshot(f *testing.F) {
	j := NewJoiner(rules(Settings{}), Limits{})
	play(f, j, logged{stored: epoch, predictions: []visutility.Prediction{predicted("a", epoch, class("yes"))}})
	state, err := j.AppendBinary(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(state)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		j := NewJoiner(rules(Settings{}), Limits{})
		if j.UnmarshalBinary(b) != nil {
			return
		}
		if _, err := j.AppendBinary(nil); err != nil {
			t.Fatal(err)
		}
	})
}

func FuzzPayload(f *testing.F) {
	for _, e := range []logged{{stored: epoch, predictions: []visutility.Prediction{predicted("a", epoch, number(2))}}, {stored: epoch, truths: []visutility.Truth{truth("a", epoch, number(2))}}} {
		for _, p := range e.payloads(f) {
			f.Add(p)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		j := NewJoiner(rules(Settings{MatureAfter: time.Second}), Limits{})
		j.Fold(epoch.UnixMilli(), [][]byte{b})
		j.Fold(epoch.Add(1000*time.Hour).UnixMilli(), nil)
	})
}
