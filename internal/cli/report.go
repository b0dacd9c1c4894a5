package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// failure is the error of a command: what happened and what was kept, what the user
// can do about it, and the exit code.
type failure struct {
	code   int
	text   string
	advice string
	err    error
}

func (f *failure) Error() string { return f.text }
func (f *failure) Unwrap() error { return f.err }

// Hint returns the failure's own advice. If it is empty, hintsOf returns the advice of
// the wrapped error.
func (f *failure) Hint() string { return f.advice }

// fail returns an error whose text is what happened and what was kept. hint adds what to
// do about it.
func fail(code int, format string, args ...any) *failure {
	wrapped := fmt.Errorf(format, args...)
	return &failure{code: code, text: wrapped.Error(), err: errors.Unwrap(wrapped)}
}

// usage returns a failure for a wrong command line.
func usage(format string, args ...any) *failure { return fail(exitUsage, format, args...) }

// hint sets the advice of f and returns f.
func (f *failure) hint(format string, args ...any) *failure {
	f.advice = fmt.Sprintf(format, args...)
	return f
}

// hintsOf returns the advice in an error, in order and without repetition. The
// outermost advice of a chain replaces what it wraps; each error of a join has its own.
func hintsOf(err error) []string {
	var found []string
	if h, ok := err.(interface{ Hint() string }); ok && h.Hint() != "" {
		return []string{h.Hint()}
	}
	switch e := err.(type) { //nolint:errorlint // walks the tree itself
	case interface{ Unwrap() error }:
		return hintsOf(e.Unwrap())
	case interface{ Unwrap() []error }:
		for _, each := range e.Unwrap() {
			for _, hint := range hintsOf(each) {
				if !slices.Contains(found, hint) {
					found = append(found, hint)
				}
			}
		}
	}
	return found
}

// hintOf returns all advice in an error, one line each.
func hintOf(err error) string { return strings.Join(hintsOf(err), "\n") }

// errorText returns the text of an error without the prefixes of the packages that made
// it and the errors that it wraps.
func errorText(err error) string {
	text := err.Error()
	for _, prefix := range []string{"latchkey: ", "keeper: "} {
		text = strings.ReplaceAll(strings.TrimPrefix(text, prefix), ": "+prefix, ": ")
	}
	return text
}

// reportedError is an error as --json prints it. Its field names are part of the
// interface.
type reportedError struct {
	Error    string `json:"error"`
	Hint     string `json:"hint,omitempty"`
	ExitCode int    `json:"exitCode"`
}

// report prints an error: what happened on a line that begins with "latchkey: ", and
// each piece of advice on a line of its own that begins with "hint: ". With asJSON it
// prints one line of JSON instead. It prints nothing for an output that was closed.
func report(w io.Writer, err error, asJSON bool) {
	text := strings.TrimRight(errorText(err), "\n")
	if errors.Is(err, syscall.EPIPE) || text == "" { // exec has no text for a command that failed
		return
	}
	if asJSON {
		encoder := json.NewEncoder(w)
		encoder.SetEscapeHTML(false)
		_ = encoder.Encode(reportedError{text, hintOf(err), exitCode(err)}) // there is nowhere else to report to
		return
	}
	var b strings.Builder
	fmt.Fprintf(&b, "latchkey: %s\n", text)
	for _, hint := range hintsOf(err) {
		for line := range strings.Lines(hint) {
			fmt.Fprintf(&b, "hint: %s\n", strings.TrimRight(line, "\n"))
		}
	}
	_, _ = io.WriteString(w, b.String()) // there is nowhere else to report to
}

// wantsJSON reports whether a command was called with --json, which may also come from
// the environment and the config file, and may not have been read yet when it fails.
func wantsJSON(command *cobra.Command) bool {
	if command == nil {
		return false
	}
	flag := command.Flags().Lookup("json")
	if flag == nil {
		return false
	}
	value := flag.Value.String()
	if p, ok := flag.Value.(*pending); ok && len(p.raw) > 0 {
		value = p.raw[len(p.raw)-1]
	}
	yes, err := strconv.ParseBool(value)
	return err == nil && yes
}
