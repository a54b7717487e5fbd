package bikedemand

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"time"

	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/term"

	"github.com/visutility/visutility"
)

// A Screen is where a replay tells its story: with colour and a moving line
// on a terminal, in plain lines anywhere else. It is a [Teller] that says a line a week.
type Screen struct {
	out      io.Writer
	terminal bool
	moving   bool // a line that is to be overwritten stands there
}

// NewScreen returns a screen that writes to out.
func NewScreen(out io.Writer) *Screen {
	f, ok := out.(term.File)
	return &Screen{out: out, terminal: ok && term.IsTerminal(f.Fd())}
}

// The styles of a screen.
var (
	Calm  = lipgloss.NewStyle().Foreground(lipgloss.Green)
	Alarm = lipgloss.NewStyle().Foreground(lipgloss.Red)
	Faint = lipgloss.NewStyle().Faint(true)
	Bold  = lipgloss.NewStyle().Bold(true)
)

// Paint colours text on a terminal.
func (s *Screen) Paint(style lipgloss.Style, text string) string {
	if !s.terminal {
		return text
	}
	return style.Render(text)
}

// Say prints a line that stays.
func (s *Screen) Say(text string) {
	s.Clear()
	s.write(strings.TrimRight(text, " ") + "\n")
}

// Move prints a line that the next one overwrites; nothing where that is not possible.
func (s *Screen) Move(text string) {
	if !s.terminal {
		return
	}
	s.Clear()
	s.write(text)
	s.moving = true
}

// Clear removes the line that moves.
func (s *Screen) Clear() {
	if s.moving {
		fmt.Fprint(s.out, "\r\x1b[2K")
		s.moving = false
	}
}

// write lets lipgloss reduce colours to what the terminal and NO_COLOR allow.
func (s *Screen) write(text string) {
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

// Bar draws a WMAPE.
func (s *Screen) Bar(v float64) string {
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

// Measured shows a week for the moment.
func (s *Screen) Measured(end time.Time, value float64) {
	s.Move(fmt.Sprintf("%s  %5.3f %s", end.Format(time.DateOnly), value, s.Bar(value)))
}

// Opened is nothing to this screen: the week's line will tell.
func (s *Screen) Opened(visutility.Run, visutility.Decision) {}

// Training shows for the moment how a run gets on.
func (s *Screen) Training(run visutility.Run, idle string) {
	if idle != "" {
		s.Move(fmt.Sprintf("            %s, %s", run.State, idle))
		return
	}
	s.Move(fmt.Sprintf("            %s %3.0f %%  %s", run.State, 100*run.Progress, run.Message))
}

// Week prints a week: the day on which it ended, its error, and what came of it.
func (s *Screen) Week(w Week) {
	style, note := Calm, w.Held
	switch run := w.Run; {
	case run.ID == "":
	case Serves(run):
		note = fmt.Sprintf("retrained: %s serves, %s", run.Version, comparison(run))
	case run.State == visutility.Rejected:
		note = "retrained: rejected, " + comparison(run)
	default:
		note = fmt.Sprintf("retraining %s: %s", run.State, Why(run))
	}
	if w.Run.ID != "" {
		style = Alarm
		note += "  " + s.Paint(Faint, w.Run.ID)
	}
	s.Say(fmt.Sprintf("%s  %5.3f %s  %s", w.End.Format(time.DateOnly), w.Value, s.Paint(style, s.Bar(w.Value)), note))
}

// Serves reports whether a run ended well: its version is the champion.
func Serves(r visutility.Run) bool {
	return r.State == visutility.Succeeded || r.State == visutility.Watching
}

// comparison says what challenger and champion scored on the same hours.
func comparison(r visutility.Run) string {
	if r.Artifact == nil {
		return Why(r)
	}
	champion, ok := r.Artifact.ChampionMetrics[Metric]
	if !ok {
		return fmt.Sprintf("%.3f on its hold-out", r.Artifact.Metrics[Metric])
	}
	sign := "≥"
	if r.Artifact.Metrics[Metric] < champion {
		sign = "<"
	}
	return fmt.Sprintf("%.3f %s %.3f on the same hours", r.Artifact.Metrics[Metric], sign, champion)
}

// Why is the server's own word on how a run ended.
func Why(r visutility.Run) string {
	if r.Report != nil && r.Report.Reason != "" {
		return r.Report.Reason
	}
	return cmp.Or(r.Error, "no reason given")
}

// sumUp prints what came of it all and what to look at next.
func (t tally) sumUp(s *Screen) {
	if t.weeks > 0 {
		n := float64(t.weeks)
		s.Say(fmt.Sprintf("\n%s, mean weekly WMAPE", t.played()))
		s.Say(fmt.Sprintf("  as played        %5.1f %%  %s  %s", 100*t.live/n, s.Paint(Calm, s.Bar(t.live/n)), t.runs()))
		s.Say(fmt.Sprintf("  never retrained  %5.1f %%  %s", 100*t.never/n, s.Paint(Alarm, s.Bar(t.never/n))))
	}
	s.Say("\nNext:")
	for _, c := range [][2]string{
		{"visutility explain " + ModelName, "what the policy thinks now, and why"},
		{"visutility runs --model " + ModelName, "every retraining, and what became of it"},
		{"visutility decisions --model " + ModelName, "every decision, with its evidence"},
		{"visutility versions " + ModelName, "where the champion comes from"},
	} {
		s.Say(fmt.Sprintf("  %-44s %s", c[0], s.Paint(Faint, c[1])))
	}
}

func (t tally) runs() string {
	text := "1 retraining"
	if n := t.promoted + t.rejected + t.failed; n != 1 {
		text = fmt.Sprintf("%d retrainings", n)
	}
	text += fmt.Sprintf(": %d promoted, %d rejected", t.promoted, t.rejected)
	if t.failed > 0 {
		text += fmt.Sprintf(", %d failed", t.failed)
	}
	return text
}

func (t tally) played() string {
	if t.weeks == 1 {
		return "1 week"
	}
	return fmt.Sprintf("%d weeks", t.weeks)
}

// Summary says in a line what came of the weeks that were played.
func (p *Player) Summary() string {
	t := p.tally
	if t.weeks == 0 {
		return "no week was left to play"
	}
	return fmt.Sprintf("played %s: mean error %.1f %%, %s", t.played(), 100*t.live/float64(t.weeks), t.runs())
}
