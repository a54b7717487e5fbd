package policy

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/visutility/visutility"
)

// An Error is one fault of a policy file. It is [visutility.ErrInvalid].
type Error struct {
	File    string // as given to Parse
	Line    int    // from 1; 0 when the fault has no place (a file too large)
	Column  int    // from 1, in characters
	Message string // what is wrong and what would be right
	// Suggestion is what was probably meant, "" for no idea.
	Suggestion string
	// Excerpt is the line of the source with a caret under the column, two lines of text.
	Excerpt string
}

// Error is the place, the message, the suggestion, and the excerpt on lines of its own.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", e.Line, e.Column)
	}
	b.WriteString(": " + e.Message)
	if e.Suggestion != "" {
		fmt.Fprintf(&b, "; did you mean %q?", e.Suggestion)
	}
	if e.Excerpt != "" {
		b.WriteString("\n" + e.Excerpt)
	}
	return b.String()
}

// Is reports that an Error is [visutility.ErrInvalid].
func (e *Error) Is(target error) bool { return target == visutility.ErrInvalid }

// Errors are all faults of a policy file, in the order of the file. [Parse] returns
// its errors as Errors.
type Errors []*Error

func (e Errors) Error() string {
	parts := make([]string, len(e))
	for i, x := range e {
		parts[i] = x.Error()
	}
	return strings.Join(parts, "\n")
}

// Unwrap lets [errors.Is] and [errors.As] find the single faults.
func (e Errors) Unwrap() []error {
	all := make([]error, len(e))
	for i, x := range e {
		all[i] = x
	}
	return all
}

// A source is the text of a policy file, by lines, to show excerpts of.
type source struct {
	file  string
	lines []string
}

func newSource(file string, src []byte) *source {
	return &source{file, strings.Split(string(src), "\n")}
}

// A pos is a place in a source: line and column from 1, columns in characters.
type pos struct{ line, col int }

func (s *source) errorf(at pos, format string, args ...any) *Error {
	e := &Error{File: s.file, Line: at.line, Column: at.col, Message: fmt.Sprintf(format, args...)}
	e.Excerpt = s.excerpt(at)
	return e
}

// excerptWidth bounds an excerpt: a minified file is one line.
const excerptWidth = 160

func (s *source) excerpt(at pos) string {
	if at.line < 1 || at.line > len(s.lines) {
		return ""
	}
	line := strings.TrimRight(s.lines[at.line-1], "\r")
	if !utf8.ValidString(line) {
		line = strings.ToValidUTF8(line, "\uFFFD")
	}
	runes := []rune(line)
	col := min(max(at.col, 1), len(runes)+1)
	if from := col - excerptWidth/2; from > 0 && len(runes) > excerptWidth {
		runes, col = runes[from:], col-from
	}
	if len(runes) > excerptWidth {
		runes = runes[:excerptWidth]
	}
	// The caret's line repeats tabs, so that it stands right at any tab width.
	var pad strings.Builder
	for _, r := range runes[:min(col-1, len(runes))] {
		if r != '\t' {
			r = ' '
		}
		pad.WriteRune(r)
	}
	number := fmt.Sprintf("%4d", at.line)
	return number + " | " + string(runes) + "\n" + strings.Repeat(" ", len(number)) + " | " + pad.String() + "^"
}
