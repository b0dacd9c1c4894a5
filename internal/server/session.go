package server

import (
	"bytes"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/latchkey/latchkey/internal/secret"
	"github.com/latchkey/latchkey/internal/wire"
)

// logIn is "Start Connectivity Management Session".
func (s *Server) logIn(x *exchange) (any, error) {
	client, err := s.bearer(x.ctx, x.r.Header)
	if err != nil {
		return nil, err
	}
	x.client = client.Key
	var request wire.LogInRequest
	if err := x.decode(&request, &request.Username, &request.Password); err != nil {
		return nil, err
	}
	token, err := s.authority.LogIn(x.ctx, request.Username, secret.Text(request.Password), x.origin())
	if err != nil {
		return nil, err
	}
	return wire.LogInResult{SessionToken: token.Reveal()}, nil
}

// logOut is "End Connectivity Management Session". The vendor's own clients send
// it as an empty form; whatever the body is, it says nothing.
func (s *Server) logOut(x *exchange) (any, error) {
	token, err := s.identify(x)
	if err != nil {
		return nil, err
	}
	defer x.bound()()
	if err := s.authority.LogOut(x.ctx, token, x.origin()); err != nil {
		return nil, err
	}
	return wire.LogOutRequest{SessionToken: token.Reveal()}, nil
}

// resetPassword is "Reset Connectivity Management Password".
func (s *Server) resetPassword(x *exchange) (any, error) {
	token, err := s.identify(x)
	if err != nil {
		return nil, err
	}
	var request wire.ResetPasswordRequest
	if err := x.decode(&request, &request.OldPassword); err != nil {
		return nil, err
	}
	keys := x.r.Header.Values(wire.HeaderIdempotency)
	key := strings.Join(keys, ", ") // of several none is chosen: a key holds no space
	if len(keys) > 0 && key == "" {
		return nil, keyEmpty
	}
	password, err := s.authority.ResetPassword(x.ctx, token, secret.Text(request.OldPassword), key, x.origin())
	if err != nil {
		return nil, err
	}
	return wire.ResetPasswordResult{NewPassword: password.Reveal()}, nil
}

// session tells the caller about the caller's own session. It is a use like any
// other, so the session slides.
func (s *Server) session(x *exchange) (any, error) {
	token, err := s.identify(x)
	if err != nil {
		return nil, err
	}
	defer x.bound()()
	session, err := s.authority.Check(x.ctx, token)
	if err != nil {
		return nil, err
	}
	answer := wire.Session{
		ID:        session.Key.ID(),
		User:      session.User,
		Client:    session.Client,
		CreatedAt: timestamp(session.CreatedAt),
		IdleAfter: timestamp(s.authority.IdleAt(session)),
	}
	if !session.ExpiresAt.IsZero() {
		answer.ExpiresAt = timestamp(session.ExpiresAt)
	}
	return answer, nil
}

func timestamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// decode reads the JSON body into request, whatever its content type says, and
// looks at the text fields that came of it.
func (x *exchange) decode(request any, fields ...*string) error {
	body, err := x.body(unreadable)
	switch {
	case err != nil:
		return err
	case len(bytes.TrimPrefix(body, []byte(wire.ByteOrderMark))) == 0:
		return requestUndefined
	case wire.Unmarshal(body, request) != nil:
		return unreadable
	}
	for _, field := range fields {
		// Half of a surrogate pair decodes to the replacement character, and so
		// would any other half: then two passwords were one.
		if strings.ContainsRune(*field, utf8.RuneError) {
			return unreadable
		}
	}
	return nil
}
