package quality

import (
	"cmp"
	"path"
	"strings"
	"time"
)

// Bounds of settings.
const (
	MinWindow = time.Second
	MaxWindow = 14 * 24 * time.Hour
	// MaxMature bounds how long labels are waited for, told or learned, and how long late ones are recognised.
	MaxMature = 90 * 24 * time.Hour
)

// A Task says what kind of answers a model gives.
type Task string

// The tasks.
const (
	Classification Task = "classification"
	Regression     Task = "regression"
)

// A Distance is how drift is measured.
type Distance string

// The distances, see package drift. ChiSquare is the statistic of the test, in units of what chance alone exceeds one time in
// a thousand: it grows with the number of samples, so that over 1 there is a difference, however small.
const (
	PSI           Distance = "psi"
	JensenShannon Distance = "jensen_shannon"
	ChiSquare     Distance = "chi_square"
)

// Settings say how a model is measured. The zero value is useful.
type Settings struct {
	// Window is the length of a window, aligned to 1970. Defaults to 1 h.
	Window time.Duration
	// MatureAfter is how long after its end a window is judged. Defaults to the learned time, from a minute
	// to MaxMature; a day, until it is known.
	MatureAfter time.Duration
	// Positive is the class that precision, recall, auc and log_loss are about, and of which the score is the
	// probability. Defaults to "true" or "1" where the classes are true and false, or 1 and 0; otherwise precision, recall and
	// f1_score are the means over the classes.
	Positive string
	// Task defaults to regression where prediction and label are numbers and there is no score, else classification.
	Task Task
	// Distance is that of drift. Defaults to PSI.
	Distance Distance
	// Reference is what features, answers and scores are held against. Those that it has not are held against the
	// first window of their version. Defaults to none.
	Reference Reference
	// MinSamples are needed, in the reference and in the window, to tell drift: with fewer, chance
	// alone looks like drift. Defaults to 500.
	MinSamples int
	// MaxPending bounds the predictions that are held until their labels come. Defaults to what the joiner has.
	MaxPending int
}

func (s Settings) withDefaults() Settings {
	s.Window = cmp.Or(s.Window, time.Hour)
	s.Distance = cmp.Or(s.Distance, PSI)
	s.MinSamples = cmp.Or(s.MinSamples, 500)
	return s
}

// Rules give settings to models: the first that matches counts. Others have the defaults.
type Rules []Rule

// A Rule is the settings of the models that a glob matches.
type Rule struct {
	Models string
	Settings
}

// For returns the settings of a model.
func (r Rules) For(model string) Settings {
	for i := range r {
		if matches(r[i].Models, model) {
			return r[i].Settings.withDefaults()
		}
	}
	return Settings{}.withDefaults()
}

// check reports a reference that cannot be read.
func (r Rules) check() error {
	for i := range r {
		if _, err := r[i].Reference.standards(); err != nil {
			return err
		}
	}
	return nil
}

// matches is path.Match on names, in which a slash is a letter like any other.
func matches(glob, name string) bool {
	const stand = "\x00" // occurs in no name that is accepted
	ok, err := path.Match(strings.ReplaceAll(glob, "/", stand), strings.ReplaceAll(name, "/", stand))
	return ok && err == nil
}
