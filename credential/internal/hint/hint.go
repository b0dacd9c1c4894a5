// Package hint adds advice to errors.
package hint

// Error is an error with advice.
type Error struct {
	err    error
	advice string
}

// With returns err with advice: sentences that say what to do.
func With(err error, advice string) *Error { return &Error{err, advice} }

// Error implements error. It does not include the advice.
func (e *Error) Error() string { return e.err.Error() }

// Unwrap returns the error that the advice was added to.
func (e *Error) Unwrap() error { return e.err }

// Hint returns the advice.
func (e *Error) Hint() string { return e.advice }
