package visutility

import (
	"errors"
	"fmt"
	"strings"
)

// The kinds of error that callers tell apart with [errors.Is]. Everything the
// packages of this module return wraps one of them, or is an unexpected fault.
var (
	// ErrNotFound: the named model, run, decision, version or alias does not exist.
	ErrNotFound = errors.New("not found")
	// ErrConflict: the state moved on (a lost compare-and-swap, a run already active, a superseded result).
	ErrConflict = errors.New("conflict")
	// ErrInvalid: the input is wrong; see [InvalidError] for the fields.
	ErrInvalid = errors.New("invalid")
	// ErrOverloaded: a bounded queue is full; the same call may succeed later.
	ErrOverloaded = errors.New("overloaded")
	// ErrUnavailable: the disk, the log or the database cannot take writes now.
	ErrUnavailable = errors.New("unavailable")

	// ErrShutdown is the cause of a context that ends because the process
	// stops: work outside the process is left running, to be attached to again.
	ErrShutdown = errors.New("shutting down")
	// ErrCanceled is the cause of a context that ends because somebody
	// canceled the run: work outside the process is to be stopped.
	ErrCanceled = errors.New("canceled")
)

// A FieldError says what is wrong with one field of an input.
type FieldError struct {
	// Field is the path of the field, such as "events[3].value".
	Field string `json:"field"`
	// Message says what is wrong and what would be right.
	Message string `json:"message"`
	// Reason is the short word under which the refusal is counted: "nan",
	// "too_long", "future", "unknown_field" …
	Reason string `json:"reason"`
}

func (e FieldError) Error() string { return e.Field + ": " + e.Message }

// An InvalidError lists every bad field of an input. It is [ErrInvalid].
type InvalidError struct{ Fields []FieldError }

func (e *InvalidError) Error() string {
	parts := make([]string, len(e.Fields))
	for i, f := range e.Fields {
		parts[i] = f.Error()
	}
	return "invalid: " + strings.Join(parts, "; ")
}

// Is reports that an InvalidError is [ErrInvalid].
func (e *InvalidError) Is(target error) bool { return target == ErrInvalid }

// Invalidf returns an [InvalidError] for a single field.
func Invalidf(field, reason, format string, args ...any) error {
	return &InvalidError{Fields: []FieldError{{Field: field, Reason: reason, Message: fmt.Sprintf(format, args...)}}}
}
