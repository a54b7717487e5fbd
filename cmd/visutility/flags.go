package main

import (
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// A spanValue is a flag for a duration that also understands days ("7d").
type spanValue time.Duration

func (v *spanValue) String() string {
	d := time.Duration(*v)
	if d == 0 {
		return ""
	}
	if d%(24*time.Hour) == 0 {
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	}
	return d.String()
}

func (v *spanValue) Type() string { return "duration" }

func (v *spanValue) Set(s string) error {
	d, err := parseSpan(s)
	if err != nil {
		return err
	}
	*v = spanValue(d)
	return nil
}

func parseSpan(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if days, ok := strings.CutSuffix(s, "d"); ok {
		var n float64
		n, err = strconv.ParseFloat(days, 64)
		d = time.Duration(n * float64(24*time.Hour))
	}
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("%q is not a positive duration such as 90m, 36h or 7d", s)
	}
	return d, nil
}

// A timeValue is a flag for a point in time: "2026-11-23T10:00:00Z", "2026-11-23", or so long ago: "30d".
type timeValue struct {
	time.Time
	text string // as it was typed
}

func (v *timeValue) String() string { return v.text }
func (v *timeValue) Type() string   { return "time" }

func (v *timeValue) Set(s string) error {
	at, err := parseTime(s)
	if ago, spanErr := parseSpan(s); spanErr == nil {
		at, err = time.Now().Add(-ago), nil
	}
	if err != nil {
		return fmt.Errorf("%q is not a time such as 2026-11-23T10:15:00Z or 2026-11-23, nor how long ago, such as 30d", s)
	}
	*v = timeValue{at, s}
	return nil
}

// A bytesValue is a flag for a size in bytes: "512MiB", "10GB", "1000000".
type bytesValue int64

var byteUnits = []struct {
	suffix string
	factor float64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
	{"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1},
}

func (v *bytesValue) String() string { return formatBytes(int64(*v)) }
func (v *bytesValue) Type() string   { return "size" }

func (v *bytesValue) Set(s string) error {
	number, factor := s, 1.0
	for _, u := range byteUnits {
		if rest, ok := strings.CutSuffix(s, u.suffix); ok {
			number, factor = strings.TrimSpace(rest), u.factor
			break
		}
	}
	n, err := strconv.ParseFloat(number, 64)
	if err != nil || !(n*factor >= 1) || n*factor >= math.MaxInt64 {
		return fmt.Errorf("%q is not a size such as 512MiB or 10GB", s)
	}
	*v = bytesValue(n * factor)
	return nil
}

// formatBytes writes a size the way people read it: "1.5 GiB".
func formatBytes(n int64) string {
	switch {
	case n == 0:
		return ""
	case n < 1<<10:
		return fmt.Sprintf("%d B", n)
	}
	f, unit := float64(n), 0
	for f >= 1<<10 && unit < 4 {
		f /= 1 << 10
		unit++
	}
	return strconv.FormatFloat(math.Round(f*10)/10, 'f', -1, 64) + " " + []string{"", "KiB", "MiB", "GiB", "TiB"}[unit]
}

// A prefixesValue is a repeatable flag for networks: "10.0.0.0/8", or an address alone.
type prefixesValue []netip.Prefix

func (v *prefixesValue) String() string {
	parts := make([]string, len(*v))
	for i, p := range *v {
		parts[i] = p.String()
	}
	return strings.Join(parts, ",")
}

func (v *prefixesValue) Type() string { return "cidr" }

func (v *prefixesValue) Set(s string) error {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		a, addrErr := netip.ParseAddr(s)
		if addrErr != nil {
			return fmt.Errorf("%q is not a network such as 10.1.0.0/16, nor an address", s)
		}
		if b := a.AsSlice(); b[len(b)-1] == 0 {
			return fmt.Errorf("%q is the address of a network, not of a machine; say how large it is, such as %s/24", s, a)
		}
		p = netip.PrefixFrom(a, a.BitLen())
	}
	*v = append(*v, p.Masked())
	return nil
}

// A choiceValue is a flag with a few possible values.
type choiceValue struct {
	value   string
	choices []string
}

func (v *choiceValue) String() string { return v.value }
func (v *choiceValue) Type() string   { return strings.Join(v.choices, "|") }

func (v *choiceValue) Set(s string) error {
	for _, c := range v.choices {
		if s == c {
			v.value = s
			return nil
		}
	}
	return fmt.Errorf("%q is none of %s", s, strings.Join(v.choices, ", "))
}
