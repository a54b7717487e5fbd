package bikedemand

import "time"

// featureNames are the columns that the model sees. It is a model of the usual
// kind: it knows the calendar and the weather. The day lets it tell recent rows
// from old ones; trees cannot carry a trend beyond the days that they have seen,
// so the model goes wrong as demand grows, and has to be retrained.
var featureNames = []string{
	"hour", "weekday", "working_day", "holiday", "weather",
	"temp", "feels_like", "humidity", "wind", "day",
}

// row is the features of an hour, in the order of featureNames.
func (h *Hour) row() []float64 {
	return []float64{
		float64(h.Time.Hour()), float64(h.Time.Weekday()), indicator(h.WorkingDay), indicator(h.Holiday), float64(h.Weather),
		h.Temp, h.FeelsLike, h.Humidity, h.Wind, float64(h.Time.Unix() / int64(24*time.Hour/time.Second)),
	}
}

func indicator(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
