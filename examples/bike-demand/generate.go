package bikedemand

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"
)

const generatedSeed = 1

// Drift says in words what the generated stream is known to do.
func Drift() string {
	return fmt.Sprintf("demand grows %.1f-fold from %s to %s; on %s it falls by %.0f %% and its evening peak moves to noon",
		growthFactor, growthFrom.Format(time.DateOnly), growthTo.Format(time.DateOnly), shiftAt.Format(time.DateOnly), 100*(1-shiftFactor))
}

// The drift that the generated stream is known to have.
var (
	generatedStart = time.Date(2011, 1, 1, 0, 0, 0, 0, time.UTC)
	generatedDays  = 731
	// Demand grows to growthFactor times what it was, between these days.
	growthFrom   = time.Date(2011, 3, 12, 0, 0, 0, 0, time.UTC)
	growthTo     = time.Date(2011, 8, 13, 0, 0, 0, 0, time.UTC)
	growthFactor = 2.4
	// From one day to the next demand falls to shiftFactor of what it was, and
	// the evening peak moves to noon: an employer lets people work from home.
	shiftAt     = time.Date(2012, 4, 14, 0, 0, 0, 0, time.UTC)
	shiftFactor = 0.55
)

// What a typical hour of the day sees, of a hundred.
var (
	commuterDay = [24]float64{6, 3, 2, 1, 1, 4, 14, 40, 70, 35, 26, 30, 36, 36, 34, 40, 60, 95, 88, 62, 44, 34, 26, 15}
	leisureDay  = [24]float64{18, 14, 10, 5, 2, 2, 4, 8, 18, 32, 46, 58, 66, 68, 68, 66, 64, 58, 48, 38, 30, 26, 22, 18}
	homeDay     = [24]float64{6, 3, 2, 1, 1, 3, 8, 22, 34, 30, 34, 58, 92, 88, 52, 42, 44, 48, 44, 36, 28, 22, 16, 10}
)

// A sky is the weather of the generated stream: it carries over from hour to hour.
type sky struct {
	rng        *rand.Rand
	warm, damp float64 // departures from what the season and the hour would have
	state      int     // Hour.Weather
}

// Generate makes a stream of the same columns and shape as the real one, for
// machines that do not have it. The same seed gives the same stream.
func Generate(seed uint64) *Stream {
	w := &sky{rng: rand.New(rand.NewPCG(seed, 0)), state: 1}
	hours := make([]Hour, 0, generatedDays*24)
	for t := generatedStart; len(hours) < generatedDays*24; t = t.Add(time.Hour) {
		h := Hour{Time: t, Season: seasonOf(t), Holiday: holiday(t)}
		h.WorkingDay = !h.Holiday && t.Weekday() != time.Saturday && t.Weekday() != time.Sunday
		w.blow(&h)
		rentals := demand(&h) * math.Exp(0.10*w.rng.NormFloat64())
		guests := 0.12
		if !h.WorkingDay {
			guests = 0.35
		}
		h.Casual = int(math.Round(rentals * guests))
		h.Registered = int(math.Round(rentals * (1 - guests)))
		hours = append(hours, h)
	}
	return newStream(fmt.Sprintf("generated stream, seed %d", seed), hours)
}

// blow moves the weather on by an hour and fills in h's.
func (w *sky) blow(h *Hour) {
	year := 2 * math.Pi * float64(h.Time.YearDay()-15) / 365
	day := 2 * math.Pi * float64(h.Time.Hour()-3) / 24
	w.warm = 0.97*w.warm + 0.02*w.rng.NormFloat64()
	w.damp = 0.95*w.damp + 0.04*w.rng.NormFloat64()
	if w.rng.Float64() < 0.12 { // else it stays as it is
		switch u := w.rng.Float64() - w.damp; {
		case u < 0.08:
			w.state = 3
		case u < 0.33:
			w.state = 2
		default:
			w.state = 1
		}
	}
	h.Weather = w.state
	h.Temp = clamp(0.50 - 0.28*math.Cos(year) - 0.07*math.Cos(day) + w.warm)
	h.Wind = clamp(0.19 + 0.09*w.rng.NormFloat64())
	h.FeelsLike = clamp(0.97*h.Temp - 0.06*h.Wind + 0.01)
	h.Humidity = clamp(0.60 + 0.08*float64(w.state-1) + 0.10*math.Cos(day) + w.damp)
}

// demand is the mean number of rentals in the circumstances of h.
func demand(h *Hour) float64 {
	shape := &leisureDay
	if h.WorkingDay {
		shape = &commuterDay
		if !h.Time.Before(shiftAt) {
			shape = &homeDay
		}
	}
	level := 2.6
	grown := float64(h.Time.Sub(growthFrom)) / float64(growthTo.Sub(growthFrom))
	level *= 1 + (growthFactor-1)*clamp(grown)
	if !h.Time.Before(shiftAt) {
		level *= shiftFactor
	}
	comfort := 0.45 + 0.75*h.Temp - 0.35*h.Wind
	wet := [...]float64{1, 0.9, 0.5, 0.3}[h.Weather-1]
	return level * shape[h.Time.Hour()] * comfort * wet
}

func seasonOf(t time.Time) int {
	starts := [...]int{321, 621, 923, 1221} // month*100+day on which spring, summer, autumn, winter begin
	md := int(t.Month())*100 + t.Day()
	for i, start := range starts {
		if md < start {
			return i + 1
		}
	}
	return 1
}

func holiday(t time.Time) bool {
	switch int(t.Month())*100 + t.Day() {
	case 101, 704, 1111, 1225:
		return true
	default:
		return false
	}
}

func clamp(v float64) float64 { return min(1, max(0, v)) }
