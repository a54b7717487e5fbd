package policy

import (
	"strings"
	"time"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"github.com/robfig/cron/v3"
)

// newSamples is new_samples(x): how many samples of x there were since the last training that led to a challenger.
func (s *substitution) newSamples(e ast.Expr, args []ast.Expr) {
	if name, _, ok := s.metricArg(args[0]); ok {
		s.replace(e, newSamples(name))
	}
}

// excess is excess(x): what was lost since then against the baseline of the champion, in units of x times samples. A
// policy that retrains when it reaches what a training costs pays at most about twice what the best
// schedule chosen in hindsight would have (the ski-rental rule).
func (s *substitution) excess(e ast.Expr, args []ast.Expr) {
	name, m, ok := s.metricArg(args[0])
	if !ok {
		return
	}
	o, ok := s.options("excess", args[1:], []string{"tolerance"})
	if !ok {
		return
	}
	values, ok := s.numbers("excess", o)
	switch {
	case !ok:
		return
	case values["tolerance"] < 0:
		s.fail(o.get("tolerance"), "", "excess: tolerance must not be negative")
		return
	case m.Goal == "":
		s.fail(args[0], "", "excess adds up harm, and where that lies is not known of %q; declare higher_is_better or lower_is_better under metrics", name)
		return
	}
	s.optionKnobs("excess", o, false)
	l := ledger{sign: 1, constant: m.Baseline.Constant, level: m.Baseline.Value, tolerance: values["tolerance"]}
	if m.Goal == HigherIsBetter {
		l.sign = -1
	}
	s.replace(e, newExcess(name, m, l))
}

// cron is cron("0 3 * * 1"), in UTC, or cron("0 3 * * 1", "Europe/Berlin"): such a time has come since the last
// training that led to a challenger.
func (s *substitution) cron(e ast.Expr, args []ast.Expr) {
	if s.inside {
		s.fail(e, "", "cron changes with the clock; m_of_n counts events")
		return
	}
	spec, ok := literalText(args[0])
	if !ok || strings.Contains(spec, "TZ=") {
		s.fail(args[0], "", `cron takes a text of five fields, such as "0 3 * * 1" (minute, hour, day, month, weekday), or "@daily", and a time zone after it`)
		return
	}
	zone := "UTC"
	if len(args) > 1 {
		zone, _ = literalText(args[1])
		if _, err := time.LoadLocation(zone); err != nil || zone == "" || zone == "Local" {
			s.fail(args[1], "", `%q is not a time zone, such as "Europe/Berlin"`, zone)
			return
		}
	}
	times, err := cron.ParseStandard("CRON_TZ=" + zone + " " + spec)
	if err != nil {
		s.fail(args[0], "", "cron: %v; write minute, hour, day, month and weekday, or @daily", err)
		return
	}
	if times.Next(time.Unix(0, 0)).IsZero() {
		s.fail(args[0], "", "cron: %q never comes", spec)
		return
	}
	s.replace(e, newSchedule(zone+" "+spec, times))
}

// worst is worst(x, "label"), worst(x, "label", "24h") or worst(x, "label", 30): the worst latest value, or mean over a
// window, of the segments that have enough samples.
func (s *substitution) worst(e ast.Expr, args []ast.Expr) {
	name, m, ok := s.metricArg(args[0])
	if !ok {
		return
	}
	label, ok := literalText(args[1])
	if !ok || label == "" {
		s.fail(args[1], "", `worst takes the name of a label in quotes, such as "country"`)
		return
	}
	rest := args[2:]
	var w *window
	if len(rest) > 0 && rest[0].Kind() != ast.MapKind {
		read, ok := s.windowArg(rest[0])
		if !ok {
			return
		}
		w, rest = &read, rest[1:]
	}
	o, ok := s.options("worst", rest, []string{"min_samples", "segments"})
	if !ok {
		return
	}
	least, ok1 := s.whole("worst", o, "min_samples", m.MinSamples, 0, 1<<40)
	places, ok2 := s.whole("worst", o, "segments", defaultSegments, 1, maxSegments)
	switch {
	case !ok1 || !ok2:
		return
	case m.Goal == "":
		s.fail(args[0], "", "which segment is the worst is not known of %q; declare higher_is_better or lower_is_better under metrics", name)
		return
	}
	s.optionKnobs("worst", o, true)
	m.MinSamples = least
	s.replace(e, newWorst(name, label, m, w, int(places)))
}

// quorum is quorum(2, a, b, c): at least two of the conditions hold.
func (s *substitution) quorum(e ast.Expr, args []ast.Expr) {
	k, ok := literalNumber(args[0])
	n := len(args) - 1
	switch {
	case n > maxQuorum:
		s.fail(e, "", "quorum takes at most %d conditions", maxQuorum)
	case !ok || k != float64(int(k)) || k < 1:
		s.fail(args[0], "", "quorum takes first how many of the conditions must hold, a whole number of at least 1")
	case int(k) > n:
		s.fail(args[0], "", "%v of %d conditions can never hold", k, n)
	default:
		s.knob(args[0], "").Whole = true
		args[0].SetKindCase(s.fac.NewLiteral(args[0].ID(), types.Double(k)))
		for _, a := range args[1:] {
			s.visit(a)
		}
	}
}
