package keeper

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/keeper/internal/ledger"
)

// ErrClosed is the error of every call that wants a token of a closed Keeper.
var ErrClosed = errors.New("keeper: closed")

// hintedError is an error with advice.
type hintedError struct {
	text, hint string
	err        error
}

func (e *hintedError) Error() string {
	if e.err != nil {
		return e.text + ": " + e.err.Error()
	}
	return e.text
}

func (e *hintedError) Unwrap() error { return e.err }

// Hint returns what to do.
func (e *hintedError) Hint() string { return e.hint }

// hintOf returns the advice that err has, or the empty string.
func hintOf(err error) string {
	var hinted interface{ Hint() string }
	if errors.As(err, &hinted) {
		return hinted.Hint()
	}
	return ""
}

// LatchedError reports that the guard is latched: the keeper does not log in, so that
// the account is not locked. A session that is live remains in use. In the process
// whose login latched the guard, it wraps the error of that login.
type LatchedError struct {
	Since   time.Time
	Reason  string // what happened then
	Strikes int    // how many failed logins in a row the upstream may have counted

	kind  ledger.LatchKind
	cause error
}

func newLatchedError(latch ledger.Latch, cause error) *LatchedError {
	return &LatchedError{
		Since: latch.Since, Reason: latch.Reason, Strikes: latch.Strikes, kind: latch.Kind, cause: cause,
	}
}

// Unwrap returns the error of the login if it is known.
func (e *LatchedError) Unwrap() error { return e.cause }

func (e *LatchedError) Error() string {
	return fmt.Sprintf("keeper: no login has been attempted since %s: %s (at most %d failed logins in a row count "+
		"toward the lock of the account)",
		e.Since.UTC().Format(time.RFC3339), e.Reason, e.Strikes)
}

// Hint returns what to do.
func (e *LatchedError) Hint() string {
	switch {
	case e.kind == ledger.LostPassword:
		return "Ask the vendor's support to set another password, and put it into the credential store. " +
			"The keeper then uses it automatically."
	case e.kind == ledger.UnclearProbe:
		return "Find out whether the account is locked. If it is not, have an operator reset the guard " +
			"(latchkey guard reset), and another login with the old password is made."
	case e.Strikes < ledger.StrikeLimit:
		return "Correct the password where it is kept, and the keeper tries it automatically. " +
			"If the password is right as it is, have an operator reset the guard (latchkey guard reset)."
	}
	return "Find out whether the password is right and the account is not locked. " +
		"Then have an operator reset the guard (latchkey guard reset)."
}

// WaitError reports why there is no token, and until when the Keeper makes no further
// attempt. It wraps the error of every login and of every request for an access token
// that failed, except *[LatchedError], which does not end with time.
type WaitError struct {
	Err   error         // what happened
	Until time.Time     // when the next attempt may be made, by the Keeper's clock
	Wait  time.Duration // the time until then when the error was returned

	next string
}

// Unwrap returns Err.
func (e *WaitError) Unwrap() error { return e.Err }

func (e *WaitError) Error() string {
	return fmt.Sprintf("%v; %s at %s", e.Err, e.next, e.Until.UTC().Format(time.RFC3339))
}

// tooSoonError reports that the next login has to wait. It is not a failure of the
// upstream, and nothing was sent.
type tooSoonError struct {
	why  string
	left time.Duration
}

func (e *tooSoonError) Error() string { return "keeper: " + e.why }

// notSentError wraps every error of a Transport that proves that no service has
// executed the request, because there was no token for it.
type notSentError struct{ error }

func (e *notSentError) Unwrap() error { return e.error }

// Is makes errors.Is(err, latchkey.ErrNotSent) true.
func (e *notSentError) Is(target error) bool { return target == latchkey.ErrNotSent }

// RotationError reports why a rotation is not finished, and which password is in
// effect.
type RotationError struct {
	State RotationState // RotationNone: the old password is in effect, and nothing was changed
	Since time.Time     // when the rotation was begun
	Err   error         // what went wrong

	inMemory bool // the new password is not in the State
}

// Unwrap returns Err.
func (e *RotationError) Unwrap() error { return e.Err }

func (e *RotationError) Error() string {
	begun := e.Since.UTC().Format(time.RFC3339)
	text := "keeper: the password was not rotated, the old one is in effect and nothing was changed"
	switch e.State {
	case RotationNone:
	case RotationUnsaved:
		text = fmt.Sprintf("keeper: the password was changed at %s, and the new one is not in the credential store", begun)
	case RotationUnproven:
		text = fmt.Sprintf("keeper: the password was changed at %s, and no login has proven the new one, which is stored",
			begun)
	case RotationInDoubt:
		text = fmt.Sprintf("keeper: a reset of the password was begun at %s, and its response was lost", begun)
	case RotationRefused:
		text = fmt.Sprintf("keeper: the password was changed at %s, and the upstream refuses the new one", begun)
	default:
		text = fmt.Sprintf("keeper: the password was reset at %s, the response was lost and the old password is refused, "+
			"so the new password is lost", begun)
	}
	return text + ": " + strings.TrimPrefix(e.Err.Error(), "keeper: ")
}

// Hint returns what was kept and what to do.
func (e *RotationError) Hint() string {
	switch e.State {
	case RotationNone:
		return hintOf(e.Err)
	case RotationUnsaved:
		if e.inMemory {
			return "The new password is in the memory of this program alone, so do not end the program. " +
				"It is saved automatically as soon as the state or the store can be written."
		}
		return "The new password is kept in the state, encrypted, and logins use it from there. " +
			"Make the store writable, and the password is saved there automatically."
	case RotationUnproven:
		return "The next login proves the new password."
	case RotationInDoubt:
		return "One login with the old password determines which password is in effect, as soon as the upstream responds " +
			"(latchkey rotate --resume)."
	case RotationRefused:
		return "Both passwords are kept in the state. Find out whether the account is locked, " +
			"then reset the guard (latchkey guard reset), and the new password is tried again."
	}
	return "Ask the vendor's support to set another password, and put it into the credential store. " +
		"Until then the live session remains in use, but cannot be renewed."
}

// recordError is an error of what a State holds.
func recordError(err error) error {
	var version *ledger.VersionError
	if errors.As(err, &version) {
		return &hintedError{
			text: "keeper: read state", err: err,
			hint: "Use the same version of latchkey wherever this state is shared.",
		}
	}
	return &hintedError{
		text: "keeper: read state", err: err,
		hint: "No login is made, because the count of failed logins cannot be read either. Restore the state, " +
			"or remove it if you know that the account is not near its lock.",
	}
}

// stateError is an error of the State.
func stateError(what string, err error) error {
	if errors.Is(err, ErrLeaseLost) {
		return err
	}
	return fmt.Errorf("keeper: %s state: %w", what, err)
}
