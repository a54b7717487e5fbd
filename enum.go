package visutility

import (
	"fmt"
	"slices"
)

// enumString, enumText and enumParse give the small integer types of this
// package their names; names[i] is the name of value i.
func enumString[T ~int](names []string, v T) string {
	if int(v) >= 0 && int(v) < len(names) {
		return names[v]
	}
	return fmt.Sprintf("unknown(%d)", int(v))
}

func enumText[T ~int](names []string, v T) ([]byte, error) {
	if int(v) < 0 || int(v) >= len(names) {
		return nil, fmt.Errorf("%w: no name for value %d", ErrInvalid, int(v))
	}
	return []byte(names[v]), nil
}

func enumParse[T ~int](names []string, v *T, b []byte, kind string) error {
	i := slices.Index(names, string(b))
	if i < 0 {
		return fmt.Errorf("%w: unknown %s %q", ErrInvalid, kind, b)
	}
	*v = T(i)
	return nil
}
