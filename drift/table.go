package drift

import (
	"errors"
	"maps"
	"math"
	"slices"
	"strings"
)

// A Kind is a detector as the table knows it.
type Kind struct {
	// Summary says in a line what the detector is for.
	Summary string
	// Promise is what it promises about false alarms.
	Promise Promise
	// TwoSided reports whether it takes the direction Both.
	TwoSided bool
	// Parameters are those it takes by name.
	Parameters []Parameter

	make func(Direction, parameters) Detector
}

// A Parameter is a parameter by name.
type Parameter struct {
	Name    string
	Default float64 // what its absence means; 0 for "none"
	Whole   bool    // whether it must be a whole number
	Zero    bool    // whether 0 may be given
	Doc     string  // what it is, with its unit
}

// parameters are numbers by name; those that are absent read as 0, the default.
type parameters map[string]float64

func (p parameters) whole(name string) int { return int(p[name]) }

// New makes the detector of that name in [Detectors] from parameters by name; those
// that are absent have their defaults. The error is a [*ParameterError].
func New(name string, direction Direction, values map[string]float64) (Detector, error) {
	kind, ok := Detectors[name]
	if !ok {
		known := strings.Join(slices.Sorted(maps.Keys(Detectors)), ", ")
		return nil, &ParameterError{Detector: name, Message: "is no detector; there are " + known}
	}
	c := check{detector: name}
	for _, given := range slices.Sorted(maps.Keys(values)) {
		v := values[given]
		i := slices.IndexFunc(kind.Parameters, func(p Parameter) bool { return p.Name == given })
		if i < 0 {
			c.that(false, given, "is no parameter; there are %s", kind.names())
			break
		}
		p := kind.Parameters[i]
		c.that(!math.IsNaN(v), given, "must be a number")
		c.that(v != 0 || p.Zero, given, "must not be 0")
		c.that(!p.Whole || v == math.Trunc(v) && math.Abs(v) <= math.MaxInt32, given, "must be a whole number, not %v", v)
	}
	if c.err != nil {
		return nil, c.err
	}
	d := kind.make(direction, values)
	if err := d.Validate(); err != nil {
		if mistake, ok := errors.AsType[*ParameterError](err); ok {
			mistake.Detector = name // by which the caller knows it
		}
		return nil, err
	}
	return d, nil
}

func (k Kind) names() string {
	var names []string
	for _, p := range k.Parameters {
		names = append(names, p.Name)
	}
	return strings.Join(names, ", ")
}

// Parameters that several detectors share.
var (
	baselineParameter = Parameter{Name: "baseline", Default: defaultBaseline, Whole: true, Doc: "values to learn mean and deviation from"}
	meanParameter     = Parameter{Name: "mean", Zero: true, Doc: "mean of the values, if sigma is given"}
	sigmaParameter    = Parameter{Name: "sigma", Doc: "standard deviation of the values; learned if absent"}
	clipParameter     = Parameter{Name: "clip", Default: defaultClip, Doc: "bound of each value, in standard deviations"}
)

// Detectors are all detectors by name. Treat it as constant.
var Detectors = map[string]Kind{
	"ewma": {
		Summary: "moving average chart: small lasting shifts", Promise: Calibrated, TwoSided: true,
		Parameters: []Parameter{
			{Name: "lambda", Default: 0.2, Doc: "weight of the newest value"},
			{Name: "l", Default: 3, Doc: "limit, in standard deviations of the average"},
			baselineParameter, meanParameter, sigmaParameter, clipParameter,
		},
		make: func(dir Direction, p parameters) Detector {
			return EWMA{Direction: dir, Lambda: p["lambda"], L: p["l"], Baseline: p.whole("baseline"),
				Mean: p["mean"], Sigma: p["sigma"], Clip: p["clip"]}
		},
	},
	"cusum": {
		Summary: "cumulative sum chart: a shift of 2k deviations", Promise: Calibrated, TwoSided: true,
		Parameters: []Parameter{
			{Name: "k", Default: 0.5, Doc: "slack, in standard deviations"},
			{Name: "h", Default: 5, Doc: "limit of the sum, in standard deviations"},
			baselineParameter, meanParameter, sigmaParameter, clipParameter,
		},
		make: func(dir Direction, p parameters) Detector {
			return CUSUM{Direction: dir, K: p["k"], H: p["h"], Baseline: p.whole("baseline"),
				Mean: p["mean"], Sigma: p["sigma"], Clip: p["clip"]}
		},
	},
	"page_hinkley": {
		Summary: "sum of deviations above its minimum", Promise: Heuristic, TwoSided: true,
		Parameters: []Parameter{
			{Name: "delta", Default: 0.005, Doc: "change that is tolerated, in units of the values"},
			{Name: "threshold", Default: 50, Doc: "rise of the sum, in units of the values"},
			{Name: "alpha", Default: 0.9999, Doc: "fading of the sum at each value"},
			{Name: "min_instances", Default: 30, Whole: true, Doc: "values before which it does not fire"},
		},
		make: func(dir Direction, p parameters) Detector {
			return PageHinkley{Direction: dir, Delta: p["delta"], Threshold: p["threshold"], Alpha: p["alpha"],
				MinInstances: p.whole("min_instances")}
		},
	},
	"adwin": {
		Summary: "adaptive window, of standardized values", Promise: Heuristic, TwoSided: true,
		Parameters: []Parameter{
			{Name: "delta", Default: 0.002, Doc: "confidence of a cut"},
			{Name: "clock", Default: 32, Whole: true, Doc: "values between checks"},
			{Name: "max_buckets", Default: 5, Whole: true, Doc: "buckets of a size"},
			{Name: "min_window", Default: 5, Whole: true, Doc: "least values in a part of a cut"},
			{Name: "grace", Default: 10, Whole: true, Doc: "values before the first check"},
			{Name: "rows", Default: 16, Whole: true, Doc: "sizes of buckets: bounds the window"},
			{Name: "baseline", Default: defaultBaseline, Whole: true, Zero: true, Doc: "values to standardize by; 0 takes them as they are, as 0/1 errors should be"},
			{Name: "clip", Default: defaultClip, Doc: "bound of each standardized value, in standard deviations"},
		},
		make: makeADWIN,
	},
	"ddm": {
		Summary: "rise of the error rate over its minimum", Promise: Heuristic,
		Parameters: []Parameter{
			{Name: "drift", Default: 3, Doc: "limit, in standard deviations"},
			{Name: "min_instances", Default: 30, Whole: true, Doc: "values before the first minimum"},
		},
		make: func(dir Direction, p parameters) Detector {
			return DDM{Direction: dir, Drift: p["drift"], MinInstances: p.whole("min_instances")}
		},
	},
	"eddm": {
		Summary: "shrinking distance between errors", Promise: Heuristic,
		Parameters: []Parameter{
			{Name: "beta", Default: 0.9, Doc: "part of the greatest distance below which it fires"},
			{Name: "min_errors", Default: 30, Whole: true, Doc: "errors before which it does not fire"},
		},
		make: func(dir Direction, p parameters) Detector {
			return EDDM{Direction: dir, Beta: p["beta"], MinErrors: p.whole("min_errors")}
		},
	},
	"hddm_a": {
		Summary: "mean against its best past, by Hoeffding's bound", Promise: Heuristic,
		Parameters: []Parameter{
			{Name: "delta", Default: 0.001, Doc: "probability of error of a comparison"},
		},
		make: func(dir Direction, p parameters) Detector { return HDDMA{Direction: dir, Delta: p["delta"]} },
	},
	"hddm_w": {
		Summary: "weighted mean against its best past, by McDiarmid's bound", Promise: Heuristic,
		Parameters: []Parameter{
			{Name: "delta", Default: 0.001, Doc: "probability of error of a comparison"},
			{Name: "lambda", Default: 0.05, Doc: "weight of the newest value"},
		},
		make: func(dir Direction, p parameters) Detector {
			return HDDMW{Direction: dir, Delta: p["delta"], Lambda: p["lambda"]}
		},
	},
	"kswin": {
		Summary: "newest values against older ones, by Kolmogorov and Smirnov's test", Promise: Heuristic, TwoSided: true,
		Parameters: []Parameter{
			{Name: "alpha", Default: 0.005, Doc: "level of a test"},
			{Name: "window", Default: 100, Whole: true, Doc: "values in the sliding window"},
			{Name: "stat", Default: 30, Whole: true, Doc: "values compared"},
			{Name: "seed", Default: 1, Whole: true, Doc: "start of the random numbers"},
		},
		make: func(dir Direction, p parameters) Detector {
			return KSWIN{Direction: dir, Alpha: p["alpha"], Window: p.whole("window"), Stat: p.whole("stat"), Seed: p.whole("seed")}
		},
	},
	"stepd": {
		Summary: "recent against older error rate, by the test of equal proportions", Promise: Heuristic,
		Parameters: []Parameter{
			{Name: "window", Default: 30, Whole: true, Doc: "recent events"},
			{Name: "alpha", Default: 0.003, Doc: "level of a test"},
		},
		make: func(dir Direction, p parameters) Detector {
			return STEPD{Direction: dir, Window: p.whole("window"), Alpha: p["alpha"]}
		},
	},
	"edetector": {
		Summary: "bets against no harm: few false alarms, guaranteed", Promise: Guaranteed, TwoSided: true,
		Parameters: []Parameter{
			{Name: "arl", Default: defaultARL, Doc: "values until a false alarm, on average at least"},
			{Name: "low", Zero: true, Doc: "least possible value"},
			{Name: "high", Default: 1, Zero: true, Doc: "greatest possible value"},
			{Name: "block", Default: 1, Whole: true, Doc: "values whose mean is a bet"},
			{Name: "baseline", Default: 1000, Whole: true, Doc: "bets to learn the reference mean from"},
			{Name: "confidence", Default: 0.95, Doc: "confidence of the bound on the reference mean"},
			{Name: "tolerance", Zero: true, Doc: "harm to tolerate, in units of the values"},
			{Name: "mean", Doc: "the reference mean; learned if absent"},
		},
		make: makeEDetector,
	},
}

func makeADWIN(dir Direction, p parameters) Detector {
	d := ADWIN{Direction: dir, Delta: p["delta"], Clock: p.whole("clock"), MaxBuckets: p.whole("max_buckets"),
		MinWindow: p.whole("min_window"), Grace: p.whole("grace"), Rows: p.whole("rows")}
	if n, given := p["baseline"]; given && n == 0 {
		return d
	}
	return Standardized{Of: d, Baseline: p.whole("baseline"), Clip: p["clip"]}
}

func makeEDetector(dir Direction, p parameters) Detector {
	high, given := p["high"]
	if !given {
		high = 1
	}
	return EDetector{Direction: dir, ARL: p["arl"], Low: p["low"], High: high, Block: p.whole("block"),
		Baseline: p.whole("baseline"), Confidence: p["confidence"], Tolerance: p["tolerance"], Mean: p["mean"]}
}
