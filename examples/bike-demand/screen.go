package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"charm.land/lipgloss/v2"
)

// A screen is where the replay tells its story: with colour and a moving line
// on a terminal, in plain lines anywhere else.
type screen struct {
	out      io.Writer
	terminal bool
	moving   bool // a line that is to be overwritten stands there
}

func newScreen(out io.Writer) *screen {
	s := &screen{out: out}
	if f, ok := out.(*os.File); ok {
		info, err := f.Stat()
		s.terminal = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	return s
}

var (
	calm  = lipgloss.NewStyle().Foreground(lipgloss.Green)
	alarm = lipgloss.NewStyle().Foreground(lipgloss.Red)
	faint = lipgloss.NewStyle().Faint(true)
	bold  = lipgloss.NewStyle().Bold(true)
)

// paint colours text on a terminal.
func (s *screen) paint(style lipgloss.Style, text string) string {
	if !s.terminal {
		return text
	}
	return style.Render(text)
}

// line prints a line that stays.
func (s *screen) line(text string) {
	s.clear()
	s.write(strings.TrimRight(text, " ") + "\n")
}

// move prints a line that the next one overwrites; nothing where that is not possible.
func (s *screen) move(text string) {
	if !s.terminal {
		return
	}
	s.clear()
	s.write(text)
	s.moving = true
}

func (s *screen) clear() {
	if s.moving {
		fmt.Fprint(s.out, "\r\x1b[2K")
		s.moving = false
	}
}

// write lets lipgloss reduce colours to what the terminal and NO_COLOR allow.
func (s *screen) write(text string) {
	if s.terminal {
		lipgloss.Fprint(s.out, text)
		return
	}
	fmt.Fprint(s.out, text)
}

const (
	barCells = 20  // of a whole bar
	barFull  = 1.0 // the WMAPE that fills it
)

// bar draws a WMAPE.
func (s *screen) bar(v float64) string {
	eighths := int(min(v/barFull, 1)*barCells*8 + 0.5)
	var text string
	if s.terminal {
		text = strings.Repeat("█", eighths/8)
		if rest := eighths % 8; rest > 0 {
			text += string([]rune("▏▎▍▌▋▊▉")[rest-1])
		}
	} else {
		text = strings.Repeat("#", (eighths+4)/8)
	}
	return text + strings.Repeat(" ", max(0, barCells-len([]rune(text))))
}

// week prints a week: the day on which it ended, its error, and what came of it.
func (s *screen) week(end time.Time, value float64, fired bool, note string) {
	style := calm
	if fired {
		style = alarm
	}
	s.line(fmt.Sprintf("%s  %5.3f %s  %s", end.Format(time.DateOnly), value, s.paint(style, s.bar(value)), note))
}
