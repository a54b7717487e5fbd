package ingest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/visutility/visutility"
)

// Why a body as a whole is refused. All are [visutility.ErrInvalid], except ErrBusy,
// which is [visutility.ErrOverloaded].
var (
	// ErrTooLarge: the body, decompressed, is over the limit.
	ErrTooLarge error = &refusal{"body too large", visutility.ErrInvalid}
	// ErrUnsupported: no decoder for the content type or the content encoding.
	ErrUnsupported error = &refusal{"unsupported", visutility.ErrInvalid}
	// ErrSyntax: the body is not JSON, or not what its encoding says.
	ErrSyntax error = &refusal{"malformed body", visutility.ErrInvalid}
	// ErrBusy: too many bytes of other bodies are being handled.
	ErrBusy error = &refusal{"too many bodies at once", visutility.ErrOverloaded}
)

// A refusal is an error of a kind, with words of its own.
type refusal struct {
	text string
	kind error
}

func (r *refusal) Error() string { return r.text }
func (r *refusal) Unwrap() error { return r.kind }

// MaxFaults is how many faults of a body are listed; decoding stops there.
const MaxFaults = 20

// errEnough ends the decoding of a body that has MaxFaults faults.
var errEnough = errors.New("enough faults")

// A fault is a bad field of the event, or other object, with that index.
type fault struct {
	event int
	visutility.FieldError
}

// faults gathers what is wrong with a body. Paths are completed at the end,
// since only then is it known whether the body was a single object.
type faults struct{ list []fault }

func (f *faults) add(event int, field, reason, format string, args ...any) {
	f.addField(event, visutility.FieldError{Field: field, Reason: reason, Message: fmt.Sprintf(format, args...)})
}

func (f *faults) addField(event int, e visutility.FieldError) {
	if len(f.list) < MaxFaults {
		f.list = append(f.list, fault{event, e})
	}
}

func (f *faults) enough() bool { return len(f.list) >= MaxFaults }

// has reports whether a field of the event is known to be bad already.
func (f *faults) has(event int, field string) bool {
	return slices.ContainsFunc(f.list, func(x fault) bool { return x.event == event && x.Field == field })
}

// err is the InvalidError for all faults, nil for none. noun is what the body consists of.
func (f *faults) err(single bool, noun string) error {
	if len(f.list) == 0 {
		return nil
	}
	fields := make([]visutility.FieldError, len(f.list))
	for i, x := range f.list {
		switch {
		case single && x.Field == "":
			x.Field = noun
		case single:
		case x.Field == "":
			x.Field = fmt.Sprintf("%ss[%d]", noun, x.event)
		default:
			x.Field = fmt.Sprintf("%ss[%d].%s", noun, x.event, x.Field)
		}
		fields[i] = x.FieldError
	}
	return &visutility.InvalidError{Fields: fields}
}

// clip makes a sender's text fit to be repeated in a message: short, one line, valid UTF-8.
func clip(s string) string {
	const most = 64
	if len(s) > most {
		s = s[:most] + "…"
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == utf8.RuneError {
			return '?'
		}
		return r
	}, s)
}
