package authority

import (
	"errors"
	"fmt"
	"time"
)

// What the rules answer. Callers test with errors.Is; the server turns each into
// its wire form in one table. Any error that is none of these means that a store
// could not answer, and must be treated as "unknown, try again": never as
// "allowed" and never as "expired".
var (
	ErrInvalidCredentials   = errors.New("the user name or the password is wrong")
	ErrAccountLocked        = errors.New("the account is locked after too many failed logins; an operator has to unlock it")
	ErrPasswordMismatch     = errors.New("the old password is wrong")
	ErrPasswordReplaced     = fmt.Errorf("%w: somebody else replaced it a moment ago", ErrPasswordMismatch)
	ErrIdempotencyKeyReused = errors.New("the key of a repeatable reset was used for another one already")
	ErrSessionExpired       = errors.New("the session has ended, or was idle too long")
	ErrInvalidBearer        = errors.New("the access token is wrong, expired or revoked")
	ErrInvalidClient        = errors.New("the API key or its secret is wrong, or the key is revoked")
	ErrOverloaded           = errors.New("too many logins are waiting")
	ErrUnavailable          = errors.New("the store cannot answer now")
	ErrExists               = errors.New("exists already")
	ErrNotFound             = errors.New("does not exist")
)

// ErrUserInUse is returned by UserStore.RemoveUser for a user who is enabled, or has
// sessions that are still to be ended.
var ErrUserInUse = errors.New("authority: the user is enabled, or sessions of the user are still to be ended")

// RetryAfter is how long a caller should wait after ErrOverloaded or
// ErrUnavailable: long enough for a queue of logins to drain by a good part.
const RetryAfter = time.Second
