package service

import (
	"errors"
	"fmt"
)

// Error is a failure to open a service. Its text says what happened and what was kept.
type Error struct {
	text string
	hint string
	err  error

	misconfigured bool
}

// Error implements error.
func (e *Error) Error() string { return e.text }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.err }

// Hint returns what an operator can do, or "". It names settings as `latchkey serve` does.
func (e *Error) Hint() string { return e.hint }

// Misconfigured reports whether the Config itself is wrong, rather than a file, the database
// or the network.
func (e *Error) Misconfigured() bool { return e.misconfigured }

// failed returns an Error. The format is that of fmt.Errorf.
func failed(format string, args ...any) *Error {
	wrapped := fmt.Errorf(format, args...)
	return &Error{text: wrapped.Error(), err: errors.Unwrap(wrapped)}
}

// advise sets the hint of e and returns e.
func (e *Error) advise(format string, args ...any) *Error {
	e.hint = fmt.Sprintf(format, args...)
	return e
}
