package visutility

import "context"

// A Validator holds a challenger against the champion. champion is the zero
// Version when the model has none. The report says whether it passed; an error
// means that it could not be told.
type Validator interface {
	Validate(ctx context.Context, challenger, champion Version) (Report, error)
}

// A Report is what the gate said.
type Report struct {
	Passed bool   `json:"passed"`
	Reason string `json:"reason"` // one sentence, for people
	// Evidence is the gate's condition with the value of every part of it.
	Evidence []Term `json:"evidence,omitempty"`
}
