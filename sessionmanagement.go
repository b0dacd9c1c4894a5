package latchkey

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/latchkey/latchkey/internal/wire"
)

// SessionManagementController holds the operations of the session API. Get it
// from [Client.SessionManagement]. It is safe for concurrent use.
type SessionManagementController struct {
	client *Client
}

// StartConnectivityManagementSession logs in and answers the session token that
// every further request of the API needs. Keep using it: it lives until it has
// not been used for 20 minutes. A nil body sends none, which the API allows for
// and its services refuse ([ErrRequestUndefined]).
//
// The request is sent exactly once. That holds for a bearer that the gateway
// refuses (ErrUnauthorized), too: it is forgotten, so that the next call brings
// a fresh one, but this call is over.
//
// [ErrInvalidCredentials] is a strike, and the fifth in a row is
// [ErrAccountLocked]: do not try again with the same password. After any error
// that is not [ErrNotSent] and has no code of the service, the login may have
// counted; a session that it may have opened ends by itself.
func (s *SessionManagementController) StartConnectivityManagementSession(
	ctx context.Context, body *LogInRequest,
) (*ApiResponse[LogInResult], error) {
	r := &request{
		op: "start session", method: http.MethodPost, path: wire.PathLogIn,
		contentType: wire.MediaTypeJSON, once: true,
	}
	if body != nil {
		if problem := body.problem(); problem != "" {
			return nil, s.client.refuse(ctx, r, problem)
		}
		r.setJSON(body.wire())
		r.carries = []Secret{body.Password}
	}
	return perform(ctx, s.client, r, func(w wire.LogInResult) (LogInResult, Secret) {
		token := Secret(w.SessionToken)
		return LogInResult{SessionToken: token}, token
	})
}

// EndConnectivityManagementSession logs out and answers the token that ended.
// [ErrSessionExpired] means that there was nothing left to end.
//
// Unlike a login, a logout whose bearer the gateway refuses is sent a second
// time with a fresh one: the gateway refused before the service saw it, and a
// session cannot be harmed by being ended twice.
func (s *SessionManagementController) EndConnectivityManagementSession(
	ctx context.Context, sessionToken Secret,
) (*ApiResponse[LogOutRequest], error) {
	// The form content type without a body is what the vendor's own SDK sends.
	r := &request{
		op: "end session", method: http.MethodPost, path: wire.PathLogOut,
		contentType: wire.MediaTypeForm, sessionToken: sessionToken, needsSession: true,
	}
	return perform(ctx, s.client, r, func(w wire.LogOutRequest) (LogOutRequest, Secret) {
		token := Secret(w.SessionToken)
		return LogOutRequest{SessionToken: token}, token
	})
}

// ResetConnectivityManagementPassword replaces the user's password by one that
// the server makes, effective immediately. The answer is the only place where
// the new password is ever told: store it durably before anything else.
//
// The request is sent exactly once, as a login is. From the moment that it may be
// on its way, the end of ctx no longer ends the call: it waits for the answer
// until Config.Timeout is over, because leaving early would lose the password.
//
// Errors say what is known. [ErrNotSent], [ErrUnauthorized], [ErrThrottled], or a
// code of the service such as [ErrPasswordMismatch] (a strike): the old password
// still holds. A [ResponseError]: look for the new password in its RawBody. That
// without a find, a [TransportError] with MaybeSent, a [FaultError] with status
// 5xx, or [ErrUnexpected]: either password may hold; one login with the old one
// decides, at the price of a strike if it fails.
//
// With an IdempotencyKey a call is sent exactly once, too, but the caller may
// repeat it where either password may hold: with the same key and old password,
// in a session of the same user that still lives, within 24 hours. It answers the
// new password, whether or not the first request had arrived, and costs no
// strike. [ErrPasswordMismatch] to a repeat was one: the time is over, the
// password was changed again, or the service knows no such keys. Then it is the
// old password that does not hold; do not repeat further.
// [ErrIdempotencyKeyReused] means that the key is an earlier reset's, and the old
// password is the one that holds.
func (s *SessionManagementController) ResetConnectivityManagementPassword(
	ctx context.Context, sessionToken Secret, body *SessionResetPasswordRequest,
) (*ApiResponse[SessionResetPasswordResult], error) {
	return s.resetPassword(ctx, sessionToken, body, nil)
}

func (s *SessionManagementController) resetPassword(
	ctx context.Context, sessionToken Secret, body *SessionResetPasswordRequest, received func(Secret),
) (*ApiResponse[SessionResetPasswordResult], error) {
	r := &request{
		op: "reset password", method: http.MethodPut, path: wire.PathResetPassword,
		contentType: wire.MediaTypeJSON, sessionToken: sessionToken, needsSession: true,
		once: true, toldOnce: true, received: received,
	}
	if problem := body.problem(); problem != "" {
		return nil, s.client.refuse(ctx, r, problem)
	}
	if body.IdempotencyKey != "" && s.client.isVendors() {
		return nil, s.client.refuse(ctx, r, "the vendor documents no idempotency key, so a repeat could not be relied on")
	}
	r.idempotency = body.IdempotencyKey
	r.setJSON(body.wire())
	r.carries = []Secret{body.OldPassword}
	return perform(ctx, s.client, r,
		func(w wire.ResetPasswordResult) (SessionResetPasswordResult, Secret) {
			password := Secret(w.NewPassword)
			return SessionResetPasswordResult{NewPassword: password}, password
		})
}

// NewPassword reads the new password out of the raw answer to a reset, for those
// who kept the answer (see [Client.ResetPassword]). The error shows none of it.
func NewPassword(raw Secret) (Secret, error) {
	var w wire.ResetPasswordResult
	a := &answer{body: []byte(raw)}
	if problem := a.tells(&w, func() Secret { return Secret(w.NewPassword) }); problem != "" {
		return "", errors.New("latchkey: no new password can be read in the answer to the reset: " + problem)
	}
	return Secret(w.NewPassword), nil
}

// perform sends r and turns its answer of wire form W into the model T. convert
// also returns the secret without which the answer is worthless.
func perform[W, T any](
	ctx context.Context, c *Client, r *request, convert func(W) (T, Secret),
) (*ApiResponse[T], error) {
	began := time.Now()
	var data T
	a, err := c.ask(ctx, r)
	if err == nil {
		var w W
		if problem := a.tells(&w, func() (told Secret) {
			data, told = convert(w)
			return told
		}); problem != "" {
			if r.toldOnce {
				problem += ". The password has probably been changed, and RawBody holds the only trace of the new one: keep it"
			}
			err = a.unreadable(problem)
		}
	}
	c.logAnswer(ctx, r, began, a, err)
	if err != nil {
		return nil, err
	}
	return &ApiResponse[T]{
		StatusCode: a.status, Header: a.header, RawBody: Secret(a.body), Data: data,
	}, nil
}

// ask sends r, unless it lacks a session token that it needs, and returns the answer to it.
func (c *Client) ask(ctx context.Context, r *request) (*answer, error) {
	if r.needsSession {
		r.carries = append(r.carries, r.sessionToken)
		switch {
		case r.sessionToken == "":
			return nil, refuse(r.op, "no session token was given", ErrSessionTokenMissing)
		case !isToken(r.sessionToken.Reveal()):
			return nil, refuse(r.op, "the session token cannot stand in a header", ErrSessionTokenInvalid)
		}
	}
	return c.authorized(ctx, r)
}
