package policy

import (
	"strings"

	"github.com/agnivade/levenshtein"
)

// closest returns the candidate that was probably meant by name, "" if none is near.
func closest(name string, candidates []string) string {
	best, distance := "", 1+max(1, len(name)/3)
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
