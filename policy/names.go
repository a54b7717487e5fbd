package policy

import (
	"strings"

	"github.com/agnivade/levenshtein"
)

// closest returns the candidate that was probably meant by name, "" if none is near.
func closest(name string, candidates []string) string {
	best, distance := "", 2 // exclusive: what is further off is another word
	switch {
	case len(name) >= 9:
		distance = 4
	case len(name) >= 4:
		distance = 3 // two letters the wrong way round count as two
	}
	for _, c := range candidates {
		d := levenshtein.ComputeDistance(strings.ToLower(name), strings.ToLower(c))
		if d < distance || d == distance && best != "" && c < best {
			best, distance = c, d
		}
	}
	if best == name {
		return ""
	}
	return best
}
