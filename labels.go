package visutility

import (
	"hash/fnv"
	"maps"
	"slices"
	"strings"
)

// LabelSep stands between the names and values of Labels: no UTF-8 has it.
const LabelSep = "\xff"

// MakeLabels returns the canonical form of m.
func MakeLabels(m map[string]string) Labels {
	if len(m) == 0 {
		return ""
	}
	var b strings.Builder
	for i, k := range slices.Sorted(maps.Keys(m)) {
		if i > 0 {
			b.WriteString(LabelSep)
		}
		b.WriteString(k)
		b.WriteString(LabelSep)
		b.WriteString(m[k])
	}
	return Labels(b.String())
}

// Map returns the labels as a new map, nil when there are none.
func (l Labels) Map() map[string]string {
	if l == "" {
		return nil
	}
	parts := strings.Split(string(l), LabelSep)
	m := make(map[string]string, len(parts)/2)
	for i := 0; i+1 < len(parts); i += 2 {
		m[parts[i]] = parts[i+1]
	}
	return m
}

// PartitionOf is the partition of a model among n: FNV-1a of its name, modulo n.
// It is part of the disk format: it never changes.
func PartitionOf(model string, n int) int {
	h := fnv.New32a()
	h.Write([]byte(model)) // never fails
	return int(h.Sum32() % uint32(n))
}
