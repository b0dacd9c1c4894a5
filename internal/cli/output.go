package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"
)

// note says something to the person at the terminal, beside the output.
func (a *app) note(format string, args ...any) {
	_, _ = fmt.Fprintf(a.Err, format+"\n", args...) // there is nowhere else to complain
}

// print writes a line of output.
func (a *app) print(format string, args ...any) error {
	_, err := fmt.Fprintf(a.Out, format+"\n", args...)
	return err
}

// marshal is a value as a line of JSON that people can read as well: < and & are not
// escaped.
func marshal(value any) ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(value)
	return b.Bytes(), err
}

// printJSON writes a value for programs, indented, for people look at it, too.
func (a *app) printJSON(value any) error {
	encoder := json.NewEncoder(a.Out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(value)
}

// table prints rows in aligned columns, the first row being the headings.
func (a *app) table(rows [][]string) {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, text := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(printable(text)))
		}
	}
	var b strings.Builder
	for n, row := range rows {
		for i, text := range row {
			text = printable(text)
			gap := widths[i] - utf8.RuneCountInString(text)
			if n > 0 {
				text = a.colour(text)
			}
			b.WriteString(text)
			if i < len(row)-1 {
				b.WriteString(strings.Repeat(" ", gap+2))
			}
		}
		b.WriteByte('\n')
	}
	_, _ = io.WriteString(a.Out, b.String()) // a reader who left needs no table
}

// pairs prints names and values, one pair to a line.
func (a *app) pairs(pairs ...[2]string) {
	width := 0
	for _, pair := range pairs {
		width = max(width, utf8.RuneCountInString(pair[0]))
	}
	for _, pair := range pairs {
		_, _ = fmt.Fprintf(a.Out, "%-*s  %s\n", width, pair[0], a.colour(printable(pair[1]))) // a reader who left needs none
	}
}

// printable makes a name that somebody chose fit for a terminal: nothing in it
// moves the cursor or turns the direction of writing.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
}

// The states that are coloured where they are a whole cell.
var colours = map[string]string{
	stateActive:   "32",
	stateLive:     "32",
	stateLocked:   "31",
	stateDisabled: "33",
	stateRevoked:  "33",
}

func (a *app) colour(text string) string {
	code, ok := colours[text]
	if !ok || !a.colourful() {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// colourful reports whether the output is a terminal whose user wants colours
// (https://no-color.org).
func (a *app) colourful() bool {
	_, isTerminal := terminal(a.Out)
	return isTerminal && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

// terminal answers the descriptor of a stream that is a terminal.
func terminal(stream any) (descriptor int, ok bool) {
	file, ok := stream.(interface{ Fd() uintptr })
	if !ok {
		return 0, false
	}
	descriptor = int(file.Fd())
	return descriptor, term.IsTerminal(descriptor)
}

// moment shows a time to people: by their own clock, and how far away it is.
func (a *app) moment(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format("2006-01-02 15:04") + " (" + a.relative(t) + ")"
}

// relative says how far away a time is: "3 hours ago", "in 5 minutes".
func (a *app) relative(t time.Time) string {
	switch d := a.Now().Sub(t); {
	case d <= -time.Second:
		return "in " + span(-d)
	case d < 0:
		return "now"
	case d < time.Second:
		return "just now"
	default:
		return span(d) + " ago"
	}
}

// span says a duration in its largest fitting unit.
func span(d time.Duration) string {
	const day = 24 * time.Hour
	unit, name := time.Second, "second"
	switch {
	case d >= 2*365*day:
		unit, name = 365*day, "year"
	case d >= 2*day:
		unit, name = day, "day"
	case d >= 2*time.Hour:
		unit, name = time.Hour, "hour"
	case d >= 2*time.Minute:
		unit, name = time.Minute, "minute"
	}
	n := int((d + unit/2) / unit)
	if n != 1 {
		name += "s"
	}
	return strconv.Itoa(n) + " " + name
}
