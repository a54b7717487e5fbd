package policy

import (
	"errors"
	"slices"
	"time"

	"cel.dev/cel-go/common/ast"

	"github.com/visutility/visutility/drift"
)

// detector is a call of a detector of package drift: adwin(accuracy), cusum(wmape, {k: 0.5, h: 5, hold: "2d"}).
func (s *substitution) detector(e ast.Expr, name string, kind drift.Kind, args []ast.Expr) {
	metric, m, ok := s.metricArg(args[0])
	if !ok {
		return
	}
	known := []string{"direction", "hold"}
	for _, p := range kind.Parameters {
		known = append(known, p.Name)
	}
	o, ok := s.options(name, args[1:], known)
	if !ok {
		return
	}
	direction, ok := s.direction(args[0], name, metric, m, kind, o)
	if !ok {
		return
	}
	values, ok := s.numbers(name, o, "direction", "hold")
	if !ok {
		return
	}
	hold, ok := s.holdOption(name, o)
	if !ok {
		return
	}
	d, err := drift.New(name, direction, values)
	if mistake, bad := errors.AsType[*drift.ParameterError](err); bad {
		s.fail(o.place(mistake.Parameter, e), "", "%v", mistake)
		return
	} else if err != nil {
		s.fail(e, "", "%v", err)
		return
	}
	s.detectorKnobs(args[0], name, kind, o)
	s.replace(e, newAlarm(metric, name, m, d, hold))
}

// direction is where harm lies: by the metric's goal, unless the condition says otherwise.
func (s *substitution) direction(at ast.Expr, name, metric string, m Metric, kind drift.Kind, o options) (drift.Direction, bool) {
	if x := o.get("direction"); x != nil {
		text, _ := literalText(x)
		all := []drift.Direction{drift.Up, drift.Down, drift.Both}
		i := slices.IndexFunc(all, func(d drift.Direction) bool { return d.String() == text })
		if i < 0 {
			s.fail(x, "", `%s: direction must be "up", "down" or "both": where harm lies`, name)
			return 0, false
		}
		return all[i], true
	}
	switch m.Goal {
	case HigherIsBetter:
		return drift.Down, true
	case LowerIsBetter:
		return drift.Up, true
	}
	s.fail(at, "", "%s fires on harm, and where that lies is not known of %q; declare higher_is_better or lower_is_better under metrics%s", name, metric, orBoth(kind))
	return 0, false
}

func orBoth(kind drift.Kind) string {
	if kind.TwoSided {
		return `, or give {direction: "both"}`
	}
	return ""
}

func (s *substitution) holdOption(name string, o options) (time.Duration, bool) {
	x := o.get("hold")
	if x == nil {
		return 0, true
	}
	text, ok := literalText(x)
	d, err := ParseDuration(text)
	if !ok || err != nil || d <= 0 {
		s.fail(x, "", `%s: hold is how long an alarm lasts, such as "24h"`, name)
		return 0, false
	}
	s.knob(x, name+".hold")
	return d, true
}
