package backtest

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/policy"
)

// An Axis is a knob of a policy with the values to try.
type Axis struct {
	Knob   string
	Values []string
}

const (
	defaultSteps = 10
	maxSteps     = 200
)

// ParseAxis reads what to vary, and over what:
//
//	0.30=0.2,0.25,0.35        these values
//	0.30=0.20..0.40           ten values, evenly spaced
//	cooldown=6h..48h:8        eight of them
//	edetector.arl=1e3..1e6:7:log   spaced by equal factors
//
// What stands before the sign is the name of a knob: see [policy.Policy.Knobs].
func ParseAxis(p *policy.Policy, text string) (Axis, error) {
	name, values, ok := strings.Cut(text, "=")
	if !ok || values == "" {
		return Axis{}, fmt.Errorf("%w: %q: write NAME=FROM..TO or NAME=VALUE,VALUE", visutility.ErrInvalid, text)
	}
	a := Axis{Knob: name}
	knobs := p.Knobs()
	i := slices.IndexFunc(knobs, func(k policy.Knob) bool { return k.Name == name })
	if i < 0 {
		return a, fmt.Errorf("%w: %q is no number of the policy; there are %s", visutility.ErrInvalid, name, strings.Join(knobNames(p), ", "))
	}
	from, rest, ranged := strings.Cut(values, "..")
	if !ranged {
		a.Values = strings.Split(values, ",")
		return a, nil
	}
	var err error
	if a.Values, err = spread(from, strings.Split(rest, ":"), knobs[i]); err != nil {
		return a, fmt.Errorf("%w: %s: %w", visutility.ErrInvalid, text, err)
	}
	return a, nil
}

func knobNames(p *policy.Policy) []string {
	var names []string
	for _, k := range p.Knobs() {
		names = append(names, k.Name)
	}
	return names
}

// spread makes the values of a range; rest is its end, how many, and "log".
func spread(from string, rest []string, k policy.Knob) ([]string, error) {
	low, err := number(from, k)
	if err != nil {
		return nil, err
	}
	high, err := number(rest[0], k)
	if err != nil {
		return nil, err
	}
	n, byFactor := defaultSteps, false
	for i, word := range rest[1:] {
		switch {
		case i == 0 && word != "log":
			if n, err = strconv.Atoi(word); err != nil || n < 2 || n > maxSteps {
				return nil, fmt.Errorf("%q is not a number of values from 2 to %d", word, maxSteps)
			}
		case word == "log" && i == len(rest)-2:
			byFactor = true
		default:
			return nil, fmt.Errorf("%q: after the range may stand how many values, and log", word)
		}
	}
	if !(low < high) || byFactor && low <= 0 {
		return nil, fmt.Errorf("the range must go upwards, and with log from above zero")
	}
	var values []string
	for i := range n {
		x := float64(i) / float64(n-1)
		v := low + (high-low)*x
		if byFactor {
			v = low * math.Pow(high/low, x)
		}
		if text := format(v, k); !slices.Contains(values, text) {
			values = append(values, text)
		}
	}
	return values, nil
}

// number reads a value of a knob; a duration in seconds.
func number(text string, k policy.Knob) (float64, error) {
	if k.Span {
		d, err := policy.ParseDuration(text)
		return d.Seconds(), err
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
		return 0, fmt.Errorf("%q is not a number", text)
	}
	return v, nil
}

// format writes a value of a knob, to four digits.
func format(v float64, k policy.Knob) string {
	switch {
	case k.Span:
		return policy.FormatDuration(time.Duration(math.Round(v)) * time.Second)
	case k.Whole:
		return strconv.FormatFloat(math.Round(v), 'f', -1, 64)
	}
	return levelText(v)
}
