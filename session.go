package latchkey

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/latchkey/latchkey/internal/wire"
)

// LogIn starts a session and returns its token, which every further request of the API
// needs. A session ends when it has not been used for 20 minutes, so keep using the
// one you have. User and password are required and must be valid UTF-8: LogIn does not
// send a request that cannot succeed, because failed logins lock the account.
//
// The request is sent exactly once. That includes the case that the API gateway refuses
// the access token ([ErrUnauthorized]): the Client forgets the token and the next call
// fetches another, but this call fails.
//
// [ErrInvalidCredentials] is a strike, and the fifth in a row locks the account
// ([ErrAccountLocked]): do not try the same password again. After an error that is not
// [ErrNotSent] and has no code of the service, the login may have been counted, and a
// session may exist; it ends when it has been idle.
func (c *Client) LogIn(ctx context.Context, user string, password Secret) (session Secret, err error) {
	session, _, err = c.logIn(ctx, &LogInRequest{Username: user, Password: password})
	return session, err
}

func (c *Client) logIn(ctx context.Context, credentials *LogInRequest) (Secret, *response, error) {
	r := &request{
		op: "start session", method: http.MethodPost, path: wire.PathLogIn,
		contentType: wire.MediaTypeJSON, once: true,
	}
	if credentials != nil {
		if problem := credentials.problem(); problem != "" {
			return "", nil, c.refuse(ctx, r, problem)
		}
		r.setJSON(wire.LogInRequest{Username: credentials.Username, Password: credentials.Password.Reveal()})
		r.secrets = []Secret{credentials.Password}
	}
	return perform(ctx, c, r, func(result wire.LogInResult) string { return result.SessionToken })
}

// LogOut ends a session. [ErrSessionExpired] means that it had ended already.
//
// Unlike a login, a logout is sent a second time, with another access token, if the API
// gateway refuses the first one: the service has not seen the request, and ending a
// session twice does no harm.
func (c *Client) LogOut(ctx context.Context, session Secret) error {
	_, _, err := c.logOut(ctx, session)
	return err
}

func (c *Client) logOut(ctx context.Context, session Secret) (ended Secret, resp *response, err error) {
	// The vendor's own SDK sends the content type of a form, without a body.
	r := &request{
		op: "end session", method: http.MethodPost, path: wire.PathLogOut,
		contentType: wire.MediaTypeForm, sessionToken: session, needsSession: true,
	}
	return perform(ctx, c, r, func(result wire.LogOutRequest) string { return result.SessionToken })
}

// ResetOptions are the options of [Client.ResetPassword]. The zero value has none.
type ResetOptions struct {
	// IdempotencyKey makes it possible to repeat the reset: for 24 hours a latchkey
	// service returns the same new password for the same user, key and old password.
	// Make a new random key for each reset (a UUID, or crypto/rand.Text) of at most
	// 255 visible ASCII characters, and store it before the reset. Default: none.
	//
	// The vendor documents no such key. If Config.BaseURL is the vendor's host, a
	// reset with a key is not sent (ErrNotSent).
	IdempotencyKey string
	// OnResponse, if set, is called with the raw body of a successful response,
	// before it is parsed: store it durably there. ParseNewPassword reads the
	// password from what was stored if the program stops before ResetPassword
	// returns.
	OnResponse func(body Secret)
}

// ResetPassword replaces the user's password and returns the new one, which the server
// makes and which is effective immediately. The response is the only place where the
// new password ever appears: store it durably before you do anything else.
//
// The request is sent exactly once, as a login is. As soon as it may have been sent,
// cancellation of ctx is ignored: ResetPassword waits for the response until
// Config.Timeout is over, because returning early would lose the password.
//
// The error determines which password is in effect:
//   - [ErrNotSent], [ErrUnauthorized], [ErrThrottled], or a code of the service such as
//     [ErrPasswordMismatch] (a strike): the old one.
//   - [ResponseError]: look for the new one in RawBody. If it is not there, either.
//   - [TransportError] with MaybeSent, [FaultError] with status 5xx, [ErrUnexpected]:
//     either. A login with the old password determines it; a failed one is a strike.
//
// With [ResetOptions.IdempotencyKey] the request is sent exactly once too, but the
// caller may repeat it when either password may be in effect: with the same key and old
// password, in a live session of the same user, within 24 hours. The repeat returns the
// new password whether or not the first request arrived, and is no strike.
// [ErrPasswordMismatch] from a repeat is a strike, and means that the old password is
// no longer in effect: the 24 hours are over, the password was changed again, or the
// service does not support such keys. Do not repeat again. [ErrIdempotencyKeyReused]
// means that the key belongs to another reset; the old password is in effect.
func (c *Client) ResetPassword(
	ctx context.Context, session, oldPassword Secret, options ResetOptions,
) (newPassword Secret, err error) {
	newPassword, _, err = c.resetPassword(ctx, session, oldPassword, options)
	return newPassword, err
}

func (c *Client) resetPassword(
	ctx context.Context, session, oldPassword Secret, options ResetOptions,
) (Secret, *response, error) {
	r := &request{
		op: "reset password", method: http.MethodPut, path: wire.PathResetPassword,
		contentType: wire.MediaTypeJSON, sessionToken: session, needsSession: true,
		once: true, unrepeatedResult: true, onResponse: options.OnResponse,
	}
	if problem := resetProblem(oldPassword, options); problem != "" {
		return "", nil, c.refuse(ctx, r, problem)
	}
	if options.IdempotencyKey != "" && c.isVendors() {
		return "", nil, c.refuse(ctx, r, "the vendor documents no idempotency key, so a repeat could not be relied on")
	}
	r.idempotencyKey = options.IdempotencyKey
	r.setJSON(wire.ResetPasswordRequest{OldPassword: oldPassword.Reveal()})
	r.secrets = []Secret{oldPassword}
	return perform(ctx, c, r, func(result wire.ResetPasswordResult) string { return result.NewPassword })
}

// resetProblem returns why a reset cannot succeed; "" if it can.
func resetProblem(oldPassword Secret, options ResetOptions) string {
	key := options.IdempotencyKey
	switch {
	case oldPassword == "":
		return "the old password is empty"
	case !utf8.ValidString(oldPassword.Reveal()):
		return "the old password is not valid UTF-8"
	case len(key) > 255 || strings.ContainsFunc(key, func(c rune) bool { return c <= ' ' || c > '~' }):
		return "the idempotency key is not 1 to 255 visible ASCII characters"
	}
	return ""
}

// ParseNewPassword returns the new password in the raw body of a response to a reset;
// see [ResetOptions.OnResponse]. The error shows nothing of the body.
func ParseNewPassword(body Secret) (Secret, error) {
	resp := &response{body: []byte(body)}
	password, problem := decodeSecret(resp, func(result wire.ResetPasswordResult) string { return result.NewPassword })
	if problem != "" {
		return "", errors.New("latchkey: no new password can be read in the response to the reset: " + problem)
	}
	return password, nil
}

// perform sends r and decodes the body of its response into a W. It returns the token or
// the password that field selects, without which the response is worthless.
func perform[W any](
	ctx context.Context, c *Client, r *request, field func(W) string,
) (secret Secret, resp *response, err error) {
	began := time.Now()
	resp, err = c.sendOperation(ctx, r)
	if err == nil {
		var problem string
		if secret, problem = decodeSecret(resp, field); problem != "" {
			unreadable := resp.unreadable(problem)
			unreadable.ofReset = r.unrepeatedResult
			err = unreadable
		}
	}
	c.logResponse(ctx, r, began, resp, err)
	if err != nil {
		return "", nil, err
	}
	return secret, resp, nil
}

// decodeSecret decodes the body of resp into a W and returns the string that field
// selects, or what is wrong with either.
func decodeSecret[W any](resp *response, field func(W) string) (secret Secret, problem string) {
	var result W
	if problem := resp.decode(&result); problem != "" {
		return "", problem
	}
	switch value := field(result); {
	case value == "":
		return "", "the body lacks the expected field"
	case strings.ContainsRune(value, utf8.RuneError):
		// encoding/json puts this character where it cannot decode the real one.
		return "", "the expected field is not valid text"
	default:
		return Secret(value), ""
	}
}

// sendOperation sends r and returns its response. It does not send r without a session
// token that r needs.
func (c *Client) sendOperation(ctx context.Context, r *request) (*response, error) {
	if r.needsSession {
		r.secrets = append(r.secrets, r.sessionToken)
		switch {
		case r.sessionToken == "":
			return nil, refuse(r.op, "no session token was given", ErrSessionTokenMissing)
		case !isToken(r.sessionToken.Reveal()):
			return nil, refuse(r.op, "the session token is not valid in a header", ErrSessionTokenInvalid)
		}
	}
	return c.authorized(ctx, r)
}
