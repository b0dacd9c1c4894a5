package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode"

	"golang.org/x/term"

	"github.com/latchkey/latchkey/internal/service"
)

// note prints a message for people, on standard error.
func (a *app) note(format string, args ...any) {
	_, _ = fmt.Fprintf(a.Err, format+"\n", args...) // there is nowhere else to report to
}

// warn prints a warning. A service that logs JSON writes it to its log.
func (a *app) warn(format string, args ...any) {
	if a.warnings != nil {
		a.warnings(fmt.Sprintf(format, args...))
		return
	}
	a.note("latchkey: note: "+format, args...)
}

// warnReadable warns if other users may read a file with a secret. It ignores a missing
// file.
func (a *app) warnReadable(path string) {
	if info, err := os.Stat(path); err == nil {
		a.warnMode(path, info)
	}
}

func (a *app) warnMode(path string, info fs.FileInfo) {
	if info.Mode().IsRegular() && service.OthersMay(info, 0o077) {
		a.warn("%s contains a secret, and others may read it; fix it with: chmod 600 %s", path, shellQuote(path))
	}
}

// print writes a line of output.
func (a *app) print(format string, args ...any) error {
	_, err := fmt.Fprintf(a.Out, format+"\n", args...)
	return err
}

// printJSON writes a value as indented JSON.
func (a *app) printJSON(value any) error {
	text, err := indented(value)
	if err == nil {
		_, err = io.WriteString(a.Out, text)
	}
	return err
}

func indented(value any) (string, error) {
	var b strings.Builder
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	err := encoder.Encode(value)
	return b.String(), err
}

// tellJSON prints a value as JSON like tell.
func (a *app) tellJSON(value any) error {
	text, err := indented(value)
	if err != nil {
		return err
	}
	return a.tell(text)
}

// printable replaces what is not safe to print on a terminal: characters that move the
// cursor or change the direction of writing.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
}

// colors maps the states that are colored to their codes.
var colors = map[string]string{
	stateActive:   "32",
	stateLive:     "32",
	stateLocked:   "31",
	stateDisabled: "33",
	stateRevoked:  "33",
}

func (a *app) color(text string) string {
	code, ok := colors[text]
	if !ok || !a.colorful() {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// colorful reports whether the output is a terminal whose user wants colors
// (https://no-color.org).
func (a *app) colorful() bool {
	_, isTerminal := terminal(a.Out)
	return isTerminal && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

// terminal returns the file descriptor of a stream if it is a terminal.
func terminal(stream any) (descriptor int, ok bool) {
	if out, ok := stream.(*output); ok {
		stream = out.to
	}
	file, ok := stream.(interface{ Fd() uintptr })
	if !ok {
		return 0, false
	}
	descriptor = int(file.Fd())
	return descriptor, term.IsTerminal(descriptor)
}

// moment formats a time for people: the local time, and how far away it is.
func (a *app) moment(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format("2006-01-02 15:04") + " (" + a.relative(t) + ")"
}

// when formats a time for a table: like moment, but shorter on a narrow terminal.
func (a *app) when(t time.Time) string {
	if wide := a.columns(); wide == 0 || wide >= narrow || t.IsZero() {
		return a.moment(t)
	}
	return a.relative(t)
}

// relative returns how far away a time is: "3 hours ago", "in 5 minutes".
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

// span formats a duration in its largest fitting unit.
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
