package calibrate

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"slices"
	"time"
)

// A History is one metric at equal steps.
type History struct {
	// Start is the time of the first value.
	Start time.Time
	// Step is how far apart the values are. Whole milliseconds.
	Step time.Duration
	// Values are one for each step; NaN where nothing was measured.
	Values []float64
	// Masked says of each step whether the metric was not well then: in an incident, or while
	// a retrain took effect. Nothing is learned from these. nil if there are none.
	Masked []bool
}

// A Point is one measurement.
type Point struct {
	Time   int64 // Unix milliseconds
	Value  float64
	Masked bool // see History
}

// maxSteps bounds a history, so that one point with a wrong time is an error and no flood.
const maxSteps = 500_000

// steps that metrics are commonly measured at. One that is nearly such a step is taken for it.
var steps = []time.Duration{
	time.Second, 5 * time.Second, 10 * time.Second, 15 * time.Second, 20 * time.Second, 30 * time.Second,
	time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 15 * time.Minute, 20 * time.Minute, 30 * time.Minute,
	time.Hour, 2 * time.Hour, 3 * time.Hour, 4 * time.Hour, 6 * time.Hour, 8 * time.Hour, 12 * time.Hour, day, week,
}

// newest is the last millisecond of the year 9999.
const newest = 253_402_300_799_999

// NewHistory puts points, in the order of time, at equal steps: the median interval between
// them. A point belongs to the step it is nearest to; the values of one are averaged, and it is
// masked if one of them is. NewHistory returns a [*Refusal] that names the point, or says why
// these cannot be put at equal steps.
func NewHistory(points []Point) (*History, error) {
	if len(points) < 2 {
		return nil, refuse(TooFewPoints, "there are %d points; a history needs at least %d", len(points), minPoints)
	}
	intervals := make([]int64, 0, len(points)-1)
	for i, p := range points {
		if !(math.Abs(p.Value) <= maxValue) {
			return nil, refuse(NotFinite, "point %d (%s) has the value %v: leave it out", i, at(p.Time), p.Value)
		}
		if p.Time < 0 || p.Time > newest {
			return nil, refuse(Irregular, "point %d has the time %d: it must be in milliseconds since 1970, up to the year 9999", i, p.Time)
		}
		if i == 0 {
			continue
		}
		if p.Time < points[i-1].Time {
			return nil, refuse(OutOfOrder, "point %d (%s) is older than the one before it: sort them by time", i, at(p.Time))
		}
		intervals = append(intervals, p.Time-points[i-1].Time)
	}
	slices.Sort(intervals)
	step := usual(time.Duration(intervals[len(intervals)/2]) * time.Millisecond)
	if step <= 0 {
		return nil, refuse(Irregular, "most points have the same time as the one before: a history is of one metric of one model")
	}
	origin := points[0].Time - lead(points, step.Milliseconds())
	place := func(p Point) int64 { return (p.Time - origin) / step.Milliseconds() }
	n := place(points[len(points)-1]) + 1
	if n > maxSteps {
		return nil, refuse(Irregular, "at the median interval of %s the points reach over %d steps; %d are allowed: leave out points that are far from the others", length(step), n, maxSteps)
	}
	h := &History{Start: time.UnixMilli(origin).Add(step / 2).UTC(), Step: step, Values: make([]float64, n), Masked: make([]bool, n)}
	counts := make([]float64, n)
	for _, p := range points {
		i := place(p)
		counts[i]++
		h.Values[i] += (p.Value - h.Values[i]) / counts[i]
		h.Masked[i] = h.Masked[i] || p.Masked
	}
	filled := 0
	for i, c := range counts {
		if c == 0 {
			h.Values[i] = math.NaN()
		} else {
			filled++
		}
	}
	if n > 2*int64(filled) {
		return nil, refuse(Irregular, "the median interval is %s, but %d of %d such steps have no point: the metric has to be measured at regular times", step, n-int64(filled), n)
	}
	return h, nil
}

func at(ms int64) string { return time.UnixMilli(ms).UTC().Format(time.RFC3339) }

// usual is the common step that one is within 3 % of, or the step itself.
func usual(step time.Duration) time.Duration {
	for _, s := range steps {
		if (step - s).Abs() <= s*3/100 {
			return s
		}
	}
	return step
}

// lead is how long before the first point its step begins, so that most points are in the middle of
// theirs, where a little too early or too late makes no difference.
func lead(points []Point, step int64) int64 {
	var sin, cos float64
	for _, p := range points {
		s, c := math.Sincos(2 * math.Pi * float64((p.Time-points[0].Time)%step) / float64(step))
		sin, cos = sin+s, cos+c
	}
	usual := math.Atan2(sin, cos) / (2 * math.Pi) * float64(step) // of a point, from the first one's
	return ((step/2-int64(math.Round(usual)))%step + step) % step
}

// Normal are the values that may be learned from, NaN for others.
func (h *History) Normal() []float64 {
	values := slices.Clone(h.Values)
	for i := range h.Masked {
		if h.Masked[i] {
			values[i] = math.NaN()
		}
	}
	return values
}

func (h *History) check() error {
	if ms := h.Start.UnixMilli(); ms < 0 || ms > newest {
		return refuse(Irregular, "a start of %s: it must be from 1970 to the year 9999", h.Start)
	}
	if h.Step <= 0 || h.Step%time.Millisecond != 0 {
		return refuse(Irregular, "a step of %s: it must be a whole number of milliseconds above 0", h.Step)
	}
	if len(h.Values) > maxSteps {
		return refuse(Irregular, "%d steps; %d are allowed", len(h.Values), maxSteps)
	}
	if h.Masked != nil && len(h.Masked) != len(h.Values) {
		return refuse(Irregular, "%d values but %d marks of what is masked: there must be one for each", len(h.Values), len(h.Masked))
	}
	for i, v := range h.Values {
		if math.Abs(v) > maxValue {
			return refuse(NotFinite, "value %d (%s) is %v: leave it out", i, h.time(i).Format(time.RFC3339), v)
		}
	}
	return nil
}

// maxValue bounds values, so that sums of their squares stay finite.
const maxValue = 1e100

func (h *History) time(i int) time.Time { return h.Start.Add(time.Duration(i) * h.Step).UTC() }

// span is how long the history is.
func (h *History) span() time.Duration { return time.Duration(len(h.Values)) * h.Step }

// digest is the SHA-256 of everything in the history.
func (h *History) digest() string {
	sum := sha256.New()
	fmt.Fprintf(sum, "history 1 %d %d %d\n", h.Start.UnixMilli(), h.Step, len(h.Values))
	for i, v := range h.Values {
		if v != v {
			v = math.NaN() // there are many
		}
		var b [9]byte
		binary.LittleEndian.PutUint64(b[:], math.Float64bits(v))
		if h.Masked != nil && h.Masked[i] {
			b[8] = 1
		}
		sum.Write(b[:])
	}
	return hex.EncodeToString(sum.Sum(nil))
}
