package latchkey

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/latchkey/latchkey/internal/wire"
)

// ErrNotSent is in every error that proves that the operation's own request
// never reached the server: no strike was spent, and nothing was changed there.
// Trying again is safe, as far as that goes.
var ErrNotSent = errors.New("nothing was sent")

// What a service of the API says went wrong. Test with errors.Is: it compares
// the errorCode after the service's name, so that it does not matter which
// service said so, and never the message.
var (
	// ErrSessionExpired: the session was idle too long, has ended, or never was.
	// Log in again.
	ErrSessionExpired = errors.New("the session has expired")
	// ErrSessionTokenInvalid: what was sent as session token is none.
	ErrSessionTokenInvalid = errors.New("the session token is malformed")
	// ErrSessionTokenMissing: the request carried no session token.
	ErrSessionTokenMissing = errors.New("the session token is missing")
	// ErrInvalidCredentials: unknown user or wrong password. This was a strike.
	ErrInvalidCredentials = errors.New("the user name or the password is wrong")
	// ErrAccountLocked: five strikes. Only the operator of the service unlocks.
	ErrAccountLocked = errors.New("the account is locked")
	// ErrPasswordMismatch: the old password of a reset is wrong. This was a strike.
	ErrPasswordMismatch = errors.New("the old password is wrong")
	// ErrIdempotencyKeyReused: the key is that of a reset of another password.
	// Nothing was changed, and it was no strike.
	ErrIdempotencyKeyReused = errors.New("the idempotency key was used for another reset already")
	// ErrRequestUndefined: the request needs a body and had none.
	ErrRequestUndefined = errors.New("the request has no body")
	// ErrInvalidCharacter: a field holds one of ' < \.
	ErrInvalidCharacter = errors.New("a field holds a character that is not allowed")
	// ErrDeserialization: the service could not read the request.
	ErrDeserialization = errors.New("the request could not be read")
	// ErrUnexpected: a required field is missing, or the service failed.
	ErrUnexpected = errors.New("the request failed unexpectedly")
)

var errorOfCode = map[wire.Code]error{
	wire.CodeTokenExpired:       ErrSessionExpired,
	wire.CodeTokenInvalid:       ErrSessionTokenInvalid,
	wire.CodeTokenMissing:       ErrSessionTokenMissing,
	wire.CodeInvalidCredentials: ErrInvalidCredentials,
	wire.CodeAccountLocked:      ErrAccountLocked,
	wire.CodePasswordMismatch:   ErrPasswordMismatch,
	wire.CodeRepeatKeyReused:    ErrIdempotencyKeyReused,
	wire.CodeRequestUndefined:   ErrRequestUndefined,
	wire.CodeInvalidCharacter:   ErrInvalidCharacter,
	wire.CodeDeserialization:    ErrDeserialization,
	wire.CodeUnexpected:         ErrUnexpected,
}

// ConnectivityManagementResultError is the refusal of a service of the API: a code
// and a message, under whatever names the service has for them. It matches the
// sentinel of what it means: errors.Is(err, ErrSessionExpired).
type ConnectivityManagementResultError struct {
	StatusCode   int    // 400, as documented; 401 of some services, and 401 or 403 of latchkey's own verify endpoint
	ErrorCode    string // "UnifiedWebService.REQUEST_FAILED.SessionToken.Expired", "INVALID_PARAMETER", "401"
	ErrorMessage string // prose that may change; shortened, without control characters and secrets
	RequestID    string // X-Request-Id, where the server sent one

	meaning wire.Meaning // found in the whole of what the service sent
}

func (e *ConnectivityManagementResultError) Error() string {
	return describe(e.StatusCode, e.RequestID, "refused", e.ErrorCode, e.ErrorMessage)
}

// Is reports whether target is the sentinel of e's code, meaning or status.
func (e *ConnectivityManagementResultError) Is(target error) bool {
	sentinel, ok := errorOfCode[wire.CodeOf(e.ErrorCode)]
	return ok && sentinel == target || refusalIs(e.meaning, e.StatusCode, target)
}

// AccessTokenError says that an operation was not sent because the access token
// that it needs could not be had. Err says why; it speaks of the request for the
// token. It matches ErrNotSent.
type AccessTokenError struct {
	Err error
}

func (e *AccessTokenError) Error() string {
	return fmt.Sprintf("latchkey: no access token, so the request was not sent: %v", e.Err)
}

// Unwrap answers Err.
func (e *AccessTokenError) Unwrap() error { return e.Err }

// Is reports whether target is ErrNotSent, whatever became of the request for
// the token.
func (e *AccessTokenError) Is(target error) bool { return target == ErrNotSent }

// TransportError says that no answer came: the connection failed, or the time
// was over.
type TransportError struct {
	Op           string // "start session"
	Method, Path string // as in the API, without the base URL
	// MaybeSent is false where the request provably never left: no connection
	// was had. The error then matches ErrNotSent. Otherwise the server may have
	// received the request and acted on it.
	MaybeSent bool
	Err       error // the cause: net, tls, context, …

	repeatable bool // it carried an idempotency key
}

func (e *TransportError) Error() string {
	text := fmt.Sprintf("latchkey: %s: %s %s: %v", e.Op, e.Method, e.Path, e.Err)
	switch {
	case !e.MaybeSent:
		return text + "; nothing was sent"
	case e.Path == wire.PathLogIn:
		return text + "; the server may have received the login, and counted it if it failed"
	case e.repeatable:
		return text + "; the server may have changed the password: keep the old one, " +
			"and repeat the reset with the same key in a session that lives, within 24 hours"
	case e.Path == wire.PathResetPassword:
		return text + "; the server may have changed the password: keep the old one, " +
			"and find out by one login which of them holds before resetting again"
	}
	return text + "; the server may have received the request"
}

// Unwrap answers the cause.
func (e *TransportError) Unwrap() error { return e.Err }

// Is reports whether target is ErrNotSent and that is what happened.
func (e *TransportError) Is(target error) bool { return target == ErrNotSent && !e.MaybeSent }

// Timeout reports whether the time was over: Config.Timeout, the context's
// deadline, or one of the transport's own.
func (e *TransportError) Timeout() bool {
	var netErr net.Error
	return errors.Is(e.Err, context.DeadlineExceeded) || errors.Is(e.Err, os.ErrDeadlineExceeded) ||
		errors.As(e.Err, &netErr) && netErr.Timeout()
}

// refuse is the error for a request that was not even tried. also names a
// sentinel that it matches beside ErrNotSent.
func refuse(op, problem string, also ...error) error {
	return &refusal{op + ": " + problem, append(also, ErrNotSent)}
}

type refusal struct {
	text    string
	matches []error
}

func (e *refusal) Error() string   { return "latchkey: " + e.text + "; nothing was sent" }
func (e *refusal) Unwrap() []error { return e.matches }
