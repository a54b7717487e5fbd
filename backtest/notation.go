package backtest

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
)

// maxValues bounds the values of one series of a test.
const maxValues = 1_000_000

// A sample is a value of a series, or none.
type sample struct {
	value float64
	none  bool
}

const digits = `(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?`

var term = regexp.MustCompile(`^(?:(_)|([+-]?` + digits + `)(?:([+-]` + digits + `))?)(?:x([0-9]+))?$`)

// parseValues expands the values of a series, in promtool's notation:
//
//	0.9          a value
//	_            none
//	0.9x3        0.9 and three more: 0.9 0.9 0.9 0.9
//	1+2x3        1 3 5 7
//	1-2x3        1 -1 -3 -5
//	_x3          three times none
func parseValues(s string) ([]sample, error) {
	var all []sample
	for _, word := range strings.Fields(s) {
		m := term.FindStringSubmatch(word)
		if m == nil || m[3] != "" && m[4] == "" {
			return nil, fmt.Errorf("%q is no value; write 0.9, 0.9x5, 0.9-0.01x5, _ or _x5", word)
		}
		times := uint64(0)
		if m[4] != "" {
			var err error
			if times, err = strconv.ParseUint(m[4], 10, 32); err != nil || times > maxValues {
				return nil, fmt.Errorf("%q is repeated too often; a series may have %d values", word, maxValues)
			}
		}
		more, err := repeat(m[1] != "", m[2], m[3], m[4] != "", int(times))
		if err != nil {
			return nil, fmt.Errorf("%q: %w", word, err)
		}
		if all = append(all, more...); len(all) > maxValues {
			return nil, fmt.Errorf("it has more than %d values", maxValues)
		}
	}
	if len(all) == 0 {
		return nil, errors.New("it has no values")
	}
	return all, nil
}

// repeat expands one word. A value is followed by so many more; none is there so many times.
func repeat(none bool, first, step string, repeated bool, times int) ([]sample, error) {
	if none {
		if !repeated {
			times = 1
		}
		gap := make([]sample, times)
		for i := range gap {
			gap[i].none = true
		}
		return gap, nil
	}
	a, err := strconv.ParseFloat(first, 64)
	if err != nil {
		return nil, errors.New("is out of range")
	}
	b := 0.0
	if step != "" {
		if b, err = strconv.ParseFloat(step, 64); err != nil {
			return nil, errors.New("is out of range")
		}
	}
	values := make([]sample, times+1)
	for i := range values {
		if values[i].value = a + float64(i)*b; math.IsInf(values[i].value, 0) {
			return nil, errors.New("grows out of range")
		}
	}
	return values, nil
}
