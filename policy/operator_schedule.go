package policy

import (
	"time"

	"github.com/robfig/cron/v3"
)

// A schedule comes due at the first of its times after the last training that led to a challenger was opened;
// before there was one, after the model was first heard of. However many times went by, it is due once.
//
// Its words: when that training was opened, when the run under way was (stored times, 0 for none), and when it is
// due (0: not yet worked out).
const (
	scheduleLast = iota
	scheduleProposed
	scheduleDue
	scheduleWords
)

func newSchedule(spec string, times cron.Schedule) *slot {
	op := newOperator(schedule, "", spec)
	op.times = times
	return &slot{fn: fnCron, typ: truth, op: op}
}

// due is when the schedule comes due, in Unix milliseconds; 0 when the model was never heard of.
func (o *operator) due(state, w []uint64) int64 {
	if w[scheduleDue] == 0 {
		last := max(w[scheduleLast], state[headFirstSeen])
		if last == 0 {
			return 0
		}
		w[scheduleDue] = uint64(o.times.Next(time.UnixMilli(int64(last)).UTC()).UnixMilli())
	}
	return int64(w[scheduleDue])
}
