package visutilitytest

import (
	"context"
	"math"
	"slices"
	"unsafe"

	"github.com/visutility/visutility"
)

// HandOver calls an observer as a dispatcher does, with a batch that is only lent: it
// hands over a copy, and when the call has returned it overwrites all of the copy's
// memory, the bytes of its strings too. An observer that kept any of it then shows nonsense.
// It returns what the observer returned.
func HandOver(ctx context.Context, o visutility.Observer, b visutility.Batch) error {
	var l lender
	lent := b
	lent.Entries = slices.Clone(b.Entries)
	for i := range lent.Entries {
		e := &lent.Entries[i]
		e.Series = slices.Clone(e.Series)
		for j := range e.Series {
			s := &e.Series[j]
			*s = visutility.Series{
				Model: l.lend(s.Model), Metric: l.lend(s.Metric), Version: l.lend(s.Version),
				Labels: visutility.Labels(l.lend(string(s.Labels))),
			}
		}
		e.Records = slices.Clone(e.Records)
		e.Controls = slices.Clone(e.Controls)
	}
	defer l.takeBack(lent)
	return o.Observe(ctx, lent)
}

// A lender makes strings whose bytes it can overwrite later.
type lender struct{ lent [][]byte }

func (l *lender) lend(s string) string {
	if s == "" {
		return ""
	}
	b := []byte(s)
	l.lent = append(l.lent, b)
	return unsafe.String(&b[0], len(b)) // to change a string behind its holder's back is the purpose
}

func (l *lender) takeBack(b visutility.Batch) {
	for i := range b.Entries {
		e := &b.Entries[i]
		for j := range e.Records {
			e.Records[j] = visutility.Record{Series: math.MaxUint32, Time: math.MinInt64, Value: math.NaN(), Count: -1}
		}
		clear(e.Controls)
		clear(e.Series)
	}
	clear(b.Entries)
	for _, s := range l.lent {
		for i := range s {
			s[i] = '#'
		}
	}
}
