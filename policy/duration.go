package policy

import (
	"fmt"
	"strings"
	"time"

	"github.com/prometheus/common/model"
)

// ParseDuration reads "90s", "2h", "1h30m", "30d", "2w", and what [time.ParseDuration]
// reads ("1.5h"). A duration is not negative and a whole number of milliseconds.
func ParseDuration(s string) (time.Duration, error) {
	s = strings.TrimSpace(s)
	if strings.HasPrefix(s, "-") {
		return 0, fmt.Errorf("%q is negative", s)
	}
	if d, err := model.ParseDuration(s); err == nil {
		return time.Duration(d), nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%q is not a duration; write a number and a unit, such as 90s, 2h or 30d", s)
	}
	if d%time.Millisecond != 0 {
		return 0, fmt.Errorf("%q is not a whole number of milliseconds", s)
	}
	return d, nil
}

// FormatDuration writes d as policies do: "1d12h".
func FormatDuration(d time.Duration) string {
	if d < 0 {
		return "-" + FormatDuration(-d)
	}
	return model.Duration(d).String()
}
