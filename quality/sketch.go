package quality

import (
	"math"

	"github.com/DataDog/sketches-go/ddsketch"
	"github.com/DataDog/sketches-go/ddsketch/store"
)

const (
	sketchAccuracy = 0.01 // of a value, relative
	sketchBins     = 512  // of each sign; beyond, the values nearest to zero share one
)

// A sketch is how often which values occurred, in bins of 2 % of the value. All
// sketches have the same bins, so that they can be held against each other bin by bin.
type sketch struct{ *ddsketch.DDSketch }

func newSketch() sketch {
	s, err := ddsketch.LogCollapsingLowestDenseDDSketch(sketchAccuracy, sketchBins)
	if err != nil {
		panic(err) // the constants are good
	}
	return sketch{s}
}

// add counts a value. It takes all that is checked: up to ±1e100.
func (s sketch) add(v float64) {
	if err := s.Add(v); err != nil {
		panic(err)
	}
}

// quantile is NaN for an empty sketch.
func (s sketch) quantile(q float64) float64 {
	v, err := s.GetValueAtQuantile(q)
	if err != nil {
		return math.NaN()
	}
	return v
}

// MarshalBinary implements encoding.BinaryMarshaler, for snapshots.
func (s sketch) MarshalBinary() ([]byte, error) {
	var b []byte
	s.Encode(&b, false)
	return b, nil
}

// UnmarshalBinary implements encoding.BinaryUnmarshaler.
func (s *sketch) UnmarshalBinary(b []byte) error {
	d, err := ddsketch.DecodeDDSketch(b, func() store.Store { return store.NewCollapsingLowestDenseStore(sketchBins) }, nil)
	s.DDSketch = d
	return err
}
