package policy

import (
	"fmt"
	"time"
)

// What is wrong with a policy as a whole though every part of it is right: conditions that can never hold, guardrails that
// contradict each other (errors), and what is allowed but perhaps not meant (warnings).

// sane reports what keeps the policy from ever doing what it says.
func (x *draft) sane(d *decoder) {
	r := &x.p.Retrain
	x.never(d, x.when, "retrain.when", r.when)
	x.never(d, x.unless, "retrain.unless", r.unless)
	x.never(d, x.gate, "promote.when", x.p.Promote.gate)
	if x.p.Rollback != nil {
		x.never(d, x.revert, "rollback.when", x.p.Rollback.when)
	}
	if r.when == nil {
		return
	}
	if len(d.errs) == 0 && r.unless != nil {
		whole := []claim{{r.when.root, r.when.slots, true}, {r.unless.root, r.unless.slots, false}}
		if clash := clashOf(whole...); clash != nil {
			d.fail(x.unless.at, "stands against every run: whenever retrain.when holds, so does retrain.unless (%s)", clash.text)
		}
	}
	for _, c := range flatten(r.when.root) {
		if c.op != opSlot || r.when.slots[c.slot].fn != fnAlarm {
			continue
		}
		if hold := r.when.slots[c.slot].op.watch.hold; hold > 0 && hold <= r.For.Milliseconds() {
			d.fail(d.locate(x.when, c.at), "the alarm of %s lasts for %s and must hold for %s: it can never retrain; make hold longer or for shorter",
				c.text, FormatDuration(time.Duration(hold)*time.Millisecond), FormatDuration(r.For))
		}
	}
}

// never reports a condition that can never hold.
func (x *draft) never(d *decoder, n *node, name string, c *condition) {
	if c == nil {
		return
	}
	if clash := clashOf(claim{c.root, c.slots, true}); clash != nil {
		why := ": " + clash.text
		if clash.at.e == c.root && clash.at.parts() == nil && c.root.op >= opAnd {
			why = "" // it would repeat the whole condition
		}
		d.fail(d.locate(n, clash.at.e.at), "%s can never be true%s", name, why)
	}
}

// flatten takes a conjunction apart.
func flatten(e *expr) []*expr {
	if e.op != opAnd {
		return []*expr{e}
	}
	return append(flatten(e.args[0]), flatten(e.args[1])...)
}

// warn notes what is allowed and perhaps not meant.
func (x *draft) warn(d *decoder) {
	remark := func(at pos, format string, args ...any) {
		x.p.Warnings = append(x.p.Warnings, d.errorf(at, format, args...))
	}
	r, root := &x.p.Retrain, x.root.get("retrain")
	if r.AfterSuccess == 0 && r.Budget.Runs == 0 {
		remark(root.at, "retrain has no cooldown and no budget: as long as the condition holds, each run follows upon the last")
	}
	// Between the starts of two runs there is at least the shorter cooldown.
	if least := min(r.AfterSuccess, r.AfterFailure); r.Budget.Runs > 0 && least > 0 && int64(r.Budget.Per/least) < int64(r.Budget.Runs) {
		remark(root.get("budget").at, "the budget can never be used up: with a cooldown of %s there are at most %d runs in %s",
			FormatDuration(least), r.Budget.Per/least+1, FormatDuration(r.Budget.Per))
	}
	if r.when != nil {
		x.warnOfWhen(d, remark)
	}
	if gate := x.p.Promote.gate; gate != nil {
		x.warnOfGate(d, gate, remark)
	}
}

func (x *draft) warnOfWhen(d *decoder, remark func(pos, string, ...any)) {
	when := x.p.Retrain.when
	if clashOf(claim{when.root, when.slots, false}) != nil {
		remark(x.when.at, "retrain.when holds whatever is measured: it retrains as often as the guardrails let it")
	}
	slot, op, _, ok := when.root.simple()
	if !ok {
		return
	}
	s := when.slots[slot]
	goal := x.p.Metrics[s.metric].Goal
	up := op == opGreater || op == opGreaterEq
	down := op == opLess || op == opLessEq
	valued := s.fn <= fnMax || s.fn == fnQuantile || s.fn == fnWorst
	if valued && (goal == HigherIsBetter && up || goal == LowerIsBetter && down) {
		remark(d.locate(x.when, when.root.at), "retrain.when (%s) is true when %s is good: its goal is %s", x.p.Retrain.When, s.metric, goal)
	}
}

// warnOfGate notes a gate that lets the worse pass.
func (x *draft) warnOfGate(d *decoder, gate *condition, remark func(pos, string, ...any)) {
	for _, e := range flatten(gate.root) {
		if e.op < opLess || e.op > opGreaterEq || e.args[0].op != opSlot || e.args[1].op != opSlot {
			continue
		}
		a, b := gate.slots[e.args[0].slot], gate.slots[e.args[1].slot]
		if a.metric != b.metric || a.fn == b.fn {
			continue
		}
		candidateAbove := (e.op >= opGreater) == (a.fn == fnCandidate)
		goal := x.p.Metrics[a.metric].Goal
		if goal == HigherIsBetter && !candidateAbove || goal == LowerIsBetter && candidateAbove {
			remark(d.locate(x.gate, e.at), "promote.when (%s) lets pass what does worse: the goal of %s is %s", e.text, a.metric, goal)
		}
	}
}

// String is the fault without the file and the excerpt: "3:12: message".
func (e *Error) String() string { return fmt.Sprintf("%d:%d: %s", e.Line, e.Column, e.Message) }
