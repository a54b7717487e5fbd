package policy

import (
	"encoding/json"
	"slices"
)

// A Past is what was measured before a condition was there, as a state of its program that was folded over it.
type Past struct {
	State []uint64
	// Whole says that it begins where the champion was new, and has all since then.
	Whole bool
	// Trained says that a run was opened since: alarms and counts may have been used up by it.
	Trained bool
}

// Cold reports whether the program has operators that another one, with that layout (nil for none), did not have
// and that what was measured before can fill: see [Program.Warm].
func (p *Program) Cold(layout []byte) bool {
	return slices.ContainsFunc(p.added(layout), Past{Whole: true}.fills)
}

// Warm fills the operators that a state got only now, by [Program.Migrate] from that layout or by [Program.Init] (nil), from the
// past. So a changed condition sees what it would see had it been in force all along. What is about the time at which
// events were stored (silence, schedules) or came with a promotion stays as it is, and so do verdicts: how long a breach lasts
// counts from now. What stands on all that was measured since the champion was new, or since the last training, starts
// afresh where the past is not whole, or a run came in between.
func (p *Program) Warm(state []uint64, past Past, layout []byte) {
	for _, o := range p.added(layout) {
		if past.fills(o) {
			copy(state[o.at:o.at+o.words], past.State[o.at:o.at+o.words])
		}
	}
	if layout == nil && state[headLast] == 0 {
		state[headClock] = max(state[headClock], past.State[headClock])
		state[headFirst], state[headLast] = past.State[headFirst], past.State[headLast]
	}
}

// fills reports whether the operator's state follows from the past.
func (x Past) fills(o *operator) bool {
	switch {
	case o.kind == seen || o.kind == schedule || o.kind == previous:
		return false
	case o.usedUp():
		return x.Whole && !x.Trained
	case o.kind == baseline || o.kind == tally:
		return x.Whole
	}
	return true
}

// added are the operators that a program with that layout does not have.
func (p *Program) added(from []byte) (list []*operator) {
	var old layout
	if from != nil && json.Unmarshal(from, &old) != nil {
		return nil // Migrate says so
	}
	known := make(map[string]int, len(old.Operators))
	for _, x := range old.Operators {
		known[x.Key] = x.Len
	}
	for _, o := range p.operators {
		if n, ok := known[o.key]; !ok || n != o.words {
			list = append(list, o)
		}
	}
	return list
}
