package latchkey

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/latchkey/latchkey/internal/wire"
)

// ErrNotSent matches every error which proves that the request of the operation never
// reached the server: it was no strike, and it changed nothing. Trying again is safe.
var ErrNotSent = errors.New("nothing was sent")

// The sentinels of the session API. errors.Is compares the errorCode after the name of
// the service, so that it does not matter which service responded, and never the message.
var (
	// ErrSessionExpired means that the session was idle for too long, has ended, or
	// never existed. Log in again.
	ErrSessionExpired = errors.New("the session has expired")
	// ErrSessionTokenInvalid means that the session token is not one.
	ErrSessionTokenInvalid = errors.New("the session token is malformed")
	// ErrSessionTokenMissing means that the request had no session token.
	ErrSessionTokenMissing = errors.New("the session token is missing")
	// ErrInvalidCredentials means that the user is unknown or the password is wrong.
	// It was a strike.
	ErrInvalidCredentials = errors.New("the user name or the password is wrong")
	// ErrAccountLocked means that there were five strikes. Only the operator of the
	// service can unlock the account.
	ErrAccountLocked = errors.New("the account is locked")
	// ErrPasswordMismatch means that the old password of a reset is wrong. It was a
	// strike.
	ErrPasswordMismatch = errors.New("the old password is wrong")
	// ErrIdempotencyKeyReused means that the key belongs to a reset of another
	// password. Nothing was changed, and it was no strike.
	ErrIdempotencyKeyReused = errors.New("the idempotency key was used for another reset already")
	// ErrRequestUndefined means that the request needs a body and had none.
	ErrRequestUndefined = errors.New("the request has no body")
	// ErrInvalidCharacter means that a field has one of the characters ' < \.
	ErrInvalidCharacter = errors.New("a field holds a character that is not allowed")
	// ErrDeserialization means that the service could not parse the request.
	ErrDeserialization = errors.New("the request could not be read")
	// ErrUnexpected means that a required field is missing, or that the service failed.
	ErrUnexpected = errors.New("the request failed unexpectedly")
)

// The sentinels of the API gateway, the token endpoint and the other services of the
// API, whatever form their errors have.
var (
	// ErrUnauthorized means that a token was refused. Every error with status 401
	// matches it, and so do the faults 900901 to 900904. If the error also matches
	// ErrSessionExpired or ErrInvalidClient, then it is about what that names.
	// Otherwise it is about the access token, or the service did not specify which
	// token: see [Client.InvalidateAccessToken].
	ErrUnauthorized = errors.New("the access token was refused")
	// ErrThrottled means that there were too many requests (status 429, or faults
	// 900800 to 900807 without 900805). Wait for RetryAfter.
	ErrThrottled = errors.New("too many requests")
	// ErrBlocked means that the API client was blocked (fault 900805). Do not retry:
	// only the operator of the service can unblock it.
	ErrBlocked = errors.New("the API client is blocked")
	// ErrNoSuchResource means that the API gateway has no resource at this path (faults
	// 900906 and 404).
	ErrNoSuchResource = errors.New("no such resource")
	// ErrUnavailable means that the service is overloaded or unavailable (status 503).
	// Wait for RetryAfter.
	ErrUnavailable = errors.New("the service is unavailable")
	// ErrInvalidClient means that the API key or its secret is wrong.
	ErrInvalidClient = errors.New("the API key or its secret is wrong")
)

// ConnectivityManagementResultError means that a service of the API refused the request
// with a code and a message, under whatever names the service has for them. It matches
// the sentinel of its code: errors.Is(err, ErrSessionExpired).
type ConnectivityManagementResultError struct {
	StatusCode   int    // 400 as documented; 401 from some services; 401 or 403 from latchkey's verify endpoint
	ErrorCode    string // "UnifiedWebService.REQUEST_FAILED.SessionToken.Expired", "INVALID_PARAMETER", "401"
	ErrorMessage string // may change; shortened, without control characters and secrets
	RequestID    string // X-Request-Id, if the server sent one

	meaning wire.Meaning // determined from everything that the service sent
}

func (e *ConnectivityManagementResultError) Error() string {
	return describe(e.StatusCode, e.RequestID, "refused", e.ErrorCode, e.ErrorMessage)
}

// Is reports whether target is the sentinel of the code, meaning or status of e.
func (e *ConnectivityManagementResultError) Is(target error) bool {
	sentinel, ok := errorOfCode[wire.CodeOf(e.ErrorCode)]
	return ok && sentinel == target || refusalIs(e.meaning, e.StatusCode, target)
}

// FaultError is an error of the API gateway itself. If the status is below 500, no
// service has seen the request. If it is 5xx (a timeout of the gateway, for example), a
// service may have executed it.
type FaultError struct {
	StatusCode  int
	Code        string        // "900901"
	Message     string        // shortened, without control characters and secrets
	Description string        // the same
	RetryAfter  time.Duration // 0 with ErrBlocked: do not retry
	RequestID   string
}

func (e *FaultError) Error() string {
	return describe(e.StatusCode, e.RequestID, "fault", e.Code, e.Message, e.Description)
}

// Is reports whether target is the sentinel of the code or status of e.
func (e *FaultError) Is(target error) bool {
	return refusalIs(wire.FaultMeaning(e.StatusCode, e.Code), e.StatusCode, target)
}

// OAuthError is an error in the form of RFC 6749, section 5.2. It is from the token
// endpoint, or from a service other than the session API, which wraps an expired session
// in it: errors.Is(err, ErrSessionExpired) recognizes that.
type OAuthError struct {
	StatusCode  int
	Code        string // "invalid_client"
	Description string // shortened, without control characters and secrets
	Cause       string // the same
	RetryAfter  time.Duration
	RequestID   string

	meaning wire.Meaning // determined from everything that the service sent
}

func (e *OAuthError) Error() string {
	return describe(e.StatusCode, e.RequestID, "error", e.Code, e.Description, e.Cause)
}

// Is reports whether target is ErrInvalidClient, the sentinel of what e wraps, or that
// of its status.
func (e *OAuthError) Is(target error) bool {
	return target == ErrInvalidClient && e.Code == wire.OAuthInvalidClient || refusalIs(e.meaning, e.StatusCode, target)
}

// ResponseError means that a response cannot be understood: an error page of a proxy, a
// redirect (none is followed), or a success without the expected content.
type ResponseError struct {
	StatusCode  int
	ContentType string
	Size        int    // bytes of the body that arrived, at most 1 MiB
	Problem     string // what is wrong with the response
	RetryAfter  time.Duration
	RequestID   string
	// RawBody is what arrived of the body. After a reset it may hold the only copy of
	// the new password.
	RawBody Secret
	Err     error // why the body ended early; nil if it did not

	ofReset bool // it is the successful response to a reset
}

func (e *ResponseError) Error() string {
	text := fmt.Sprintf("latchkey: unexpected response (status %d, content type %q, %d bytes%s): %s",
		e.StatusCode, e.ContentType, e.Size, requestID(e.RequestID), e.Problem)
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// Hint returns what to do after a reset whose response cannot be parsed; "" for any
// other response.
func (e *ResponseError) Hint() string {
	if !e.ofReset {
		return ""
	}
	return "The password has probably been changed, and the response (RawBody) holds the only trace of the new one: " +
		"keep it."
}

// Unwrap returns Err.
func (e *ResponseError) Unwrap() error { return e.Err }

// Is reports whether target is the sentinel of the status: ErrUnauthorized,
// ErrThrottled or ErrUnavailable.
func (e *ResponseError) Is(target error) bool { return statusIs(e.StatusCode, target) }

// AccessTokenError means that an operation was not sent because there was no access
// token for it. Err is the error of the request for the token. AccessTokenError matches
// ErrNotSent.
type AccessTokenError struct {
	Err error
}

func (e *AccessTokenError) Error() string {
	return fmt.Sprintf("latchkey: no access token, so the request was not sent: %v", e.Err)
}

// Unwrap returns Err.
func (e *AccessTokenError) Unwrap() error { return e.Err }

// Is reports whether target is ErrNotSent, even if the request for the token was sent.
func (e *AccessTokenError) Is(target error) bool { return target == ErrNotSent }

// TransportError means that there was no response: the connection failed, or the time
// was over.
type TransportError struct {
	Op           string // "start session"
	Method, Path string // as in the API, without the base URL
	// MaybeSent is false if the request was provably not sent, because there was no
	// connection. The error then matches ErrNotSent. Otherwise the server may have
	// executed the request.
	MaybeSent bool
	Err       error // the cause: net, tls, context, …

	repeatable bool // the request carried an idempotency key
}

func (e *TransportError) Error() string {
	text := fmt.Sprintf("latchkey: %s: %s %s: %v", e.Op, e.Method, e.Path, e.Err)
	if !e.MaybeSent {
		return text + "; nothing was sent"
	}
	return text + "; the server may have received the request"
}

// Hint returns what the request may have changed at the server, and how to proceed; ""
// if there is nothing to do.
func (e *TransportError) Hint() string {
	switch {
	case !e.MaybeSent:
		return ""
	case e.Path == wire.PathLogIn:
		return "If the login failed, the server may have counted it."
	case e.repeatable:
		return "The server may have changed the password: keep the old one, " +
			"and repeat the reset with the same key in a live session, within 24 hours."
	case e.Path == wire.PathResetPassword:
		return "The server may have changed the password: keep the old one, " +
			"and determine by one login which of them is in effect before you reset again."
	}
	return ""
}

// Unwrap returns Err.
func (e *TransportError) Unwrap() error { return e.Err }

// Is reports whether target is ErrNotSent and the request was not sent.
func (e *TransportError) Is(target error) bool { return target == ErrNotSent && !e.MaybeSent }

// Timeout reports whether the time was over: Config.Timeout, the context's deadline, or
// a limit of the transport.
func (e *TransportError) Timeout() bool {
	var netErr net.Error
	return errors.Is(e.Err, context.DeadlineExceeded) || errors.Is(e.Err, os.ErrDeadlineExceeded) ||
		errors.As(e.Err, &netErr) && netErr.Timeout()
}

// refuse returns the error for a request that the client does not send. It matches
// ErrNotSent and the sentinels in also.
func refuse(op, problem string, also ...error) error {
	return &requestError{op + ": " + problem, append(also, ErrNotSent)}
}

// requestError means that the client refused to send a request.
type requestError struct {
	text    string
	matches []error
}

func (e *requestError) Error() string   { return "latchkey: " + e.text + "; nothing was sent" }
func (e *requestError) Unwrap() []error { return e.matches }

// RetryAfter returns how long the service asked to wait before another attempt. It finds
// the [FaultError], [OAuthError] or [ResponseError] that err is or wraps. It returns 0 if
// there is none, and if the service specified nothing.
func RetryAfter(err error) time.Duration {
	var fault *FaultError
	var oauth *OAuthError
	var odd *ResponseError
	switch {
	case errors.As(err, &fault):
		return fault.RetryAfter
	case errors.As(err, &oauth):
		return oauth.RetryAfter
	case errors.As(err, &odd):
		return odd.RetryAfter
	}
	return 0
}
