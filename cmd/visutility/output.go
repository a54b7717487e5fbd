package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"image/color"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"charm.land/lipgloss/v2"
	"charm.land/lipgloss/v2/table"
	"github.com/charmbracelet/x/term"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// output is the -o flag of a command that prints.
type output struct{ format choiceValue }

func (o *output) flag(cmd *cobra.Command) {
	o.format = choiceValue{"table", []string{"table", "json"}}
	cmd.Flags().VarP(&o.format, "output", "o", "table for people, json for programs")
	completeFlags(cmd, map[string][]string{"output": o.format.choices})
}

func (o *output) json() bool { return o.format.value == "json" }

// print writes v as JSON, or what table draws. A json.RawMessage is what the
// server said: it is indented and otherwise left alone.
func (o *output) print(cmd *cobra.Command, v any, table func(*page)) error {
	w := cmd.OutOrStdout()
	if o.json() {
		return printJSON(w, v)
	}
	p := &page{now: time.Now(), again: commandLine(cmd)}
	table(p)
	return p.write(w)
}

func printJSON(w io.Writer, v any) error {
	raw, ok := v.(json.RawMessage)
	if !ok {
		var b bytes.Buffer
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(false) // "a < b" is for terminals, not for pages
		if err := enc.Encode(v); err != nil {
			return fmt.Errorf("writing the output: %w", err)
		}
		raw = b.Bytes()
	}
	var b bytes.Buffer
	if err := json.Indent(&b, bytes.TrimSpace(raw), "", "  "); err != nil {
		return fmt.Errorf("the server's answer is not JSON: %w", err)
	}
	b.WriteByte('\n')
	if _, err := w.Write(b.Bytes()); err != nil {
		return fmt.Errorf("writing the output: %w", err)
	}
	return nil
}

// isTerminal reports whether w shows to a person at once.
func isTerminal(w io.Writer) bool {
	f, ok := w.(term.File)
	return ok && term.IsTerminal(f.Fd())
}

var (
	headStyle  = lipgloss.NewStyle().Bold(true)
	faintStyle = lipgloss.NewStyle().Faint(true)
)

// A page collects what a command shows to people: colours are taken out again
// where the output is no terminal, or NO_COLOR is set.
type page struct {
	text  strings.Builder
	now   time.Time
	again string // the command line that draws it, without --cursor
}

// commandLine is what was typed, as far as it says what to list.
func commandLine(cmd *cobra.Command) string {
	parts := append([]string{cmd.CommandPath()}, cmd.Flags().Args()...)
	cmd.Flags().Visit(func(f *pflag.Flag) {
		values := []string{f.Value.String()}
		if slice, ok := f.Value.(pflag.SliceValue); ok {
			values = slice.GetSlice()
		}
		for _, v := range values {
			if f.Name != "cursor" {
				parts = append(parts, "--"+f.Name, v)
			}
		}
	})
	return strings.Join(parts, " ")
}

func (p *page) write(w io.Writer) error {
	if _, err := lipgloss.Fprint(w, p.text.String()); err != nil {
		return fmt.Errorf("writing the output: %w", err)
	}
	return nil
}

func (p *page) line(format string, args ...any) {
	fmt.Fprintf(&p.text, format, args...)
	p.text.WriteByte('\n')
}

// next ends a page with the command that is likely to be typed next.
func (p *page) next(format string, args ...any) {
	p.line("%s", faintStyle.Render("next: "+fmt.Sprintf(format, args...)))
}

// more says how to list the next page, where there is one.
func (p *page) more(cursor string) {
	if cursor != "" {
		p.next("%s --cursor %s", p.again, cursor)
	}
}

// fact is a line of a record: a name and a value. Empty values are left out.
func (p *page) fact(name, value string) {
	if value = strings.TrimRight(value, " "); value != "" && value != "-" {
		p.line("%s %s", headStyle.Render(fmt.Sprintf("%-13s", name)), value)
	}
}

// table draws rows under headers, kubectl's way: columns, no lines.
func (p *page) table(headers []string, rows [][]string) {
	t := table.New().Headers(headers...).Rows(rows...).Wrap(false).
		BorderTop(false).BorderBottom(false).BorderLeft(false).BorderRight(false).
		BorderHeader(false).BorderColumn(false).BorderRow(false).
		StyleFunc(func(row, col int) lipgloss.Style {
			style := lipgloss.NewStyle().PaddingRight(2)
			if row == table.HeaderRow {
				return style.Bold(true)
			}
			if c := colourOf(rows[row][col]); c != nil {
				style = style.Foreground(c)
			}
			return style
		})
	for l := range strings.Lines(t.String()) {
		p.line("%s", strings.TrimRight(l, " \n"))
	}
}

// colourOf gives the words that matter most their colour; nil for all others.
func colourOf(word string) color.Color {
	switch word {
	case "succeeded", "hold", "fired", "champion", "promoted":
		return lipgloss.Green
	case "failed", "fire", "rolled_back", "rollback":
		return lipgloss.Red
	case "breach", "awaiting_approval", "suppressed", "rejected", "canceled", "paused", "watching":
		return lipgloss.Yellow
	case "pending", "training", "validating", "registering", "promoting":
		return lipgloss.Cyan
	}
	return nil
}

func paint(word string) string {
	if c := colourOf(word); c != nil {
		return lipgloss.NewStyle().Foreground(c).Render(word)
	}
	return word
}

// ago writes a time relative to now, "-" for the zero time.
func (p *page) ago(t time.Time) string { return relative(t, p.now) }

// at writes a time in full and relative to now.
func (p *page) at(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return fmt.Sprintf("%s (%s)", t.Local().Format("2006-01-02 15:04:05"), p.ago(t))
}

func relative(t, now time.Time) string {
	if t.IsZero() {
		return "-"
	}
	d := now.Sub(t)
	switch {
	case d <= -time.Second:
		return "in " + short(-d)
	case d < time.Second:
		return "just now"
	default:
		return short(d) + " ago"
	}
}

// short writes a duration with the one or two units that matter.
func short(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm", d/time.Minute)
	case d < 10*time.Hour && d%time.Hour >= time.Minute:
		return fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	case d < 2*day:
		return fmt.Sprintf("%dh", d/time.Hour)
	default:
		return fmt.Sprintf("%dd", d/day)
	}
}

// number writes a measurement with the digits that matter.
func number(f float64) string {
	if math.Abs(f) >= 1e6 || f != 0 && math.Abs(f) < 1e-4 {
		return strconv.FormatFloat(f, 'g', 6, 64)
	}
	return strconv.FormatFloat(math.Round(f*1e6)/1e6, 'f', -1, 64)
}

// value writes the value of a term.
func value(v any) string {
	switch v := v.(type) {
	case nil:
		return "no data"
	case float64:
		return number(v)
	case string:
		return strconv.Quote(v)
	default:
		return fmt.Sprint(v)
	}
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
