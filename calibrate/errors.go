package calibrate

import "fmt"

// A Reason is why a history is refused, or what is doubtful about one.
type Reason string

// Why a history is refused.
const (
	TooFewPoints         Reason = "too_few_points"
	TooShort             Reason = "too_short"
	TooLittleInformation Reason = "too_little_information"
	TooManyGaps          Reason = "too_many_gaps"
	TooManySteps         Reason = "too_many_steps"
	Constant             Reason = "constant"
	NotFinite            Reason = "not_finite"
	OutOfOrder           Reason = "out_of_order"
	Irregular            Reason = "irregular"
	SelfAlarming         Reason = "self_alarming"
	NotCalmEnough        Reason = "not_calm_enough"
)

// What is doubtful about one that is not refused.
const (
	ShortHistory      Reason = "short_history"
	LittleInformation Reason = "little_information"
	Gaps              Reason = "gaps"
	Wanders           Reason = "wanders"
	Extrapolates      Reason = "extrapolates"
	SelfAlarms        Reason = "self_alarms"
	NotNervousEnough  Reason = "not_nervous_enough"
	NoCycleSought     Reason = "no_cycle_sought"
)

// A Refusal says why a history cannot be calibrated on, and what to do.
type Refusal struct {
	Reason  Reason `json:"reason"`
	Message string `json:"message"`
}

func (r *Refusal) Error() string { return r.Message }

func refuse(reason Reason, format string, args ...any) *Refusal {
	return &Refusal{Reason: reason, Message: fmt.Sprintf(format, args...)}
}

// A Flag says what is doubtful about a calibration.
type Flag struct {
	Reason  Reason `json:"reason"`
	Message string `json:"message"`
}

// An OptionError says which of the [Options] is wrong, and what would be right.
type OptionError struct {
	Option  string // the name of the field
	Message string
}

func (e *OptionError) Error() string { return e.Option + " " + e.Message }
