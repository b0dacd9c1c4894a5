package server

import (
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/secret"
	"github.com/latchkey/latchkey/internal/wire"
)

// logIn is "Start Connectivity Management Session".
func (s *Server) logIn(c *call) (any, error) {
	client, err := s.bearer(c.ctx, c.r.Header)
	if err != nil {
		return nil, err
	}
	c.client = client.Key
	var request wire.LogInRequest
	if err := c.decode(&request, &request.Username, &request.Password); err != nil {
		return nil, err
	}
	token, err := s.authority.LogIn(c.ctx, request.Username, secret.Text(request.Password), c.origin())
	if err != nil {
		return nil, err
	}
	return wire.LogInResult{SessionToken: token.Reveal()}, nil
}

// logOut is "End Connectivity Management Session". It ignores the body: the vendor's own
// clients send an empty form.
func (s *Server) logOut(c *call) (any, error) {
	token, err := s.identify(c)
	if err != nil {
		return nil, err
	}
	defer c.bound()()
	if err := s.authority.LogOut(c.ctx, token, c.origin()); err != nil {
		return nil, err
	}
	return wire.LogOutRequest{SessionToken: token.Reveal()}, nil
}

// resetPassword is "Reset Connectivity Management Password".
func (s *Server) resetPassword(c *call) (any, error) {
	token, err := s.identify(c)
	if err != nil {
		return nil, err
	}
	var request wire.ResetPasswordRequest
	if err := c.decode(&request, &request.OldPassword); err != nil {
		return nil, err
	}
	keys := c.r.Header.Values(wire.HeaderIdempotency)
	key := strings.Join(keys, ", ") // several headers make no valid key, because a key holds no space
	if len(keys) > 0 && key == "" {
		return nil, keyEmpty
	}
	password, err := s.authority.ResetPassword(c.ctx, token, secret.Text(request.OldPassword), key, c.origin())
	if err != nil {
		return nil, err
	}
	return wire.ResetPasswordResult{NewPassword: password.Reveal()}, nil
}

// session returns the caller's own session. It counts as a use, so the idle timeout
// starts again.
func (s *Server) session(c *call) (any, error) {
	token, err := s.identify(c)
	if err != nil {
		return nil, err
	}
	defer c.bound()()
	session, err := s.authority.Check(c.ctx, token)
	if err != nil {
		return nil, err
	}
	body := wire.Session{
		ID:        session.Key.ID(),
		User:      session.User,
		Client:    session.Client,
		CreatedAt: timestamp(session.CreatedAt),
		IdleAfter: timestamp(s.authority.IdleAt(session)),
	}
	if !session.ExpiresAt.IsZero() {
		body.ExpiresAt = timestamp(session.ExpiresAt)
	}
	return body, nil
}

func timestamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }
