package authority

import (
	"errors"
	"fmt"
	"time"
)

// Errors of the rules. Callers test with errors.Is; the server converts each to its wire
// form in one table. Any other error means that a store failed, and must be treated as
// "unknown, try again": never as "allowed" and never as "expired".
var (
	ErrInvalidCredentials   = errors.New("the user name or the password is wrong")
	ErrAccountLocked        = errors.New("the account is locked after too many failed logins")
	ErrPasswordMismatch     = errors.New("the old password is wrong")
	ErrPasswordReplaced     = fmt.Errorf("%w: it was replaced a moment ago", ErrPasswordMismatch)
	ErrIdempotencyKeyReused = errors.New("the idempotency key was used for another reset already")
	ErrSessionExpired       = errors.New("the session has ended, or was idle too long")
	ErrInvalidBearer        = errors.New("the access token is wrong, expired or revoked")
	ErrInvalidClient        = errors.New("the API key or its secret is wrong, or the key is revoked")
	ErrOverloaded           = errors.New("too many logins are waiting")
	ErrUnavailable          = errors.New("the store is unavailable")
	ErrExists               = errors.New("exists already")
	ErrNotFound             = errors.New("does not exist")
)

// ErrUserInUse is returned by UserStore.RemoveUser for a user who is enabled, or has
// sessions that are still to be ended.
var ErrUserInUse = errors.New("authority: the user is enabled, or sessions of the user are still to be ended")

// RetryAfter is how long a caller should wait after ErrOverloaded or ErrUnavailable: long
// enough for a good part of a queue of logins to be done.
const RetryAfter = time.Second
