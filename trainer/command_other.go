//go:build !unix

package trainer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/visutility/visutility"
)

const nonBlock = 0

// Train refuses: there are no process groups here to stop a training with.
func (Command) Train(context.Context, visutility.Job) (visutility.Artifact, error) {
	return visutility.Artifact{}, fmt.Errorf("%w: training programs run on Unix only; use a webhook", errors.Join(visutility.ErrInvalid, errors.ErrUnsupported))
}

// Output refuses, as Train does.
func (Program) Output(context.Context, func(io.Reader) error) error {
	return fmt.Errorf("%w: programs are run on Unix only", errors.Join(visutility.ErrInvalid, errors.ErrUnsupported))
}

// Supervise refuses, as Train does.
func Supervise([]string) int {
	fmt.Fprintln(os.Stderr, "supervise: not supported on this system")
	return 1
}
