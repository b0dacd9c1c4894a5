package latchkey

import (
	"strings"
	"unicode/utf8"

	"github.com/latchkey/latchkey/internal/wire"
)

// The models carry secrets, so they print and marshal without them. Their form
// on the wire is made by the operations alone.

// LogInRequest is the user name and the password of a login. Both are required,
// and both must be valid UTF-8: a request that cannot succeed is refused before
// it is sent, because failed logins lock the account.
type LogInRequest struct {
	Username string
	Password Secret
}

// LogInResult answers a login.
type LogInResult struct {
	// SessionToken goes into the VZ-M2M-Token header of every further request.
	SessionToken Secret
}

// LogOutRequest answers a logout, under the name that the API gives it.
type LogOutRequest struct {
	// SessionToken is the token that ended.
	SessionToken Secret
}

// SessionResetPasswordRequest holds the password that is to be replaced. It is
// required, and must be valid UTF-8.
type SessionResetPasswordRequest struct {
	OldPassword Secret
	// IdempotencyKey, unless empty, makes the reset one that may be repeated: for
	// 24 hours a service of latchkey answers the same user, key and old password
	// with the same new password. Make a new random one for each reset (a UUID, or
	// crypto/rand.Text), of up to 255 visible ASCII characters, and store it
	// before the reset. Default: none. The vendor documents no such thing, so a
	// reset with a key is refused (ErrNotSent) where Config.BaseURL is the
	// vendor's own host.
	IdempotencyKey string
}

// SessionResetPasswordResult answers a password reset.
type SessionResetPasswordResult struct {
	// NewPassword was made by the server, is effective already, and is told
	// nowhere else. Store it durably before doing anything else.
	NewPassword Secret
}

func (r *LogInRequest) problem() string {
	switch {
	case r.Username == "":
		return "the user name is empty"
	case r.Password == "":
		return "the password is empty"
	case !utf8.ValidString(r.Username):
		return "the user name is not valid UTF-8"
	case !utf8.ValidString(r.Password.Reveal()):
		return "the password is not valid UTF-8"
	}
	return ""
}

func (r *LogInRequest) wire() wire.LogInRequest {
	return wire.LogInRequest{Username: r.Username, Password: r.Password.Reveal()}
}

func (r *SessionResetPasswordRequest) problem() string {
	switch {
	case r == nil:
		return "the request is nil, and the old password is required"
	case r.OldPassword == "":
		return "the old password is empty"
	case !utf8.ValidString(r.OldPassword.Reveal()):
		return "the old password is not valid UTF-8"
	case len(r.IdempotencyKey) > 255 || strings.ContainsFunc(r.IdempotencyKey, func(c rune) bool { return c <= ' ' || c > '~' }):
		return "the idempotency key is not 1 to 255 visible ASCII characters"
	}
	return ""
}

func (r *SessionResetPasswordRequest) wire() wire.ResetPasswordRequest {
	return wire.ResetPasswordRequest{OldPassword: r.OldPassword.Reveal()}
}
