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
	values := make([]sample, times+1)
	if step == "" {
		for i := range values {
			values[i].value = a // adding nothing would make 0 of -0
		}
		return values, nil
	}
	b, err := strconv.ParseFloat(step, 64)
	if err != nil {
		return nil, errors.New("is out of range")
	}
	for i := range values {
		if values[i].value = stepped(a, b, i); math.IsInf(values[i].value, 0) {
			return nil, errors.New("grows out of range")
		}
	}
	return values, nil
}

// stepped is the i-th value from a on, in steps of b. The product is rounded before it is added, also
// where a processor could do without: values mean the same everywhere.
func stepped(a, b float64, i int) float64 { return a + float64(float64(i)*b) }

// formatValues is the inverse of parseValues: the words of values, which expand to the same again, bit for bit.
func formatValues(all []sample) []string {
	var words []string
	for i := 0; i < len(all); {
		word, n := formatFirst(all[i:])
		words = append(words, word)
		i += n
	}
	return words
}

// formatFirst is the word of the first of some values, and of as many as fit into it.
func formatFirst(all []sample) (word string, n int) {
	same := func(s sample) bool {
		return s.none == all[0].none && math.Float64bits(s.value) == math.Float64bits(all[0].value)
	}
	for n = 1; n < len(all) && same(all[n]); n++ {
	}
	first := formatValue(all[0].value)
	switch {
	case all[0].none && n > 1:
		return "_x" + strconv.Itoa(n), n
	case all[0].none:
		return "_", 1
	case n > 1:
		return first + "x" + strconv.Itoa(n-1), n
	}
	if step, n := steady(all); n >= leastSteady {
		return first + step + "x" + strconv.Itoa(n-1), n
	}
	return first, 1
}

// leastSteady is how many values in equal steps are worth a word of their own: three may be so by chance.
const leastSteady = 4

// steady finds the step, in as few digits as do, by which values follow each other, and how many do.
func steady(all []sample) (step string, n int) {
	if len(all) < leastSteady || all[1].none || all[2].none {
		return "", 0
	}
	a, d := all[0].value, all[1].value-all[0].value
	if off := all[2].value - all[1].value - d; math.Abs(off) > 1e-9*math.Abs(d) && math.Abs(off) > 1e-15*math.Abs(a) {
		return "", 0 // not even nearly
	}
	for digits := 1; digits <= 17; digits++ {
		step = strconv.FormatFloat(d, 'g', digits, 64)
		b, err := strconv.ParseFloat(step, 64)
		if err != nil {
			return "", 0
		}
		for n = 0; n < len(all) && !all[n].none && math.Float64bits(stepped(a, b, n)) == math.Float64bits(all[n].value); n++ {
		}
		if n >= leastSteady {
			if b >= 0 {
				step = "+" + step
			}
			return step, n
		}
	}
	return "", 0
}

// formatValue writes a value in as few digits as tell it from all others.
func formatValue(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }
