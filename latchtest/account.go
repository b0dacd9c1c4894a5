package latchtest

import (
	"context"
	"fmt"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/secret"
)

// origin is who does what a test asks for, in the audit trail.
var origin = authority.Origin{Address: "latchtest"}

// AddUser adds a user. The test fails if there is one of that name.
func (s *Server) AddUser(name string, password latchkey.Secret) {
	s.t.Helper()
	s.do(fmt.Sprintf("add the user %q", name), func(ctx context.Context, a *authority.Authority) error {
		_, err := a.AddUser(ctx, name, secret.Text(password), origin)
		return err
	})
}

// AddClient adds an API client and returns a Client that uses it. The test fails if there
// is one with that key.
func (s *Server) AddClient(key string, apiSecret latchkey.Secret) *latchkey.Client {
	s.t.Helper()
	s.do(fmt.Sprintf("add the API client %q", key), func(ctx context.Context, a *authority.Authority) error {
		return a.AddKnownClient(ctx, "latchtest", authority.Credentials{Key: key, Secret: secret.Text(apiSecret)}, origin)
	})
	return s.client(key, apiSecret)
}

// SetPassword changes a user's password, as an operator does, and ends the user's
// sessions.
func (s *Server) SetPassword(name string, password latchkey.Secret) {
	s.t.Helper()
	s.do(fmt.Sprintf("set the password of %q", name), func(ctx context.Context, a *authority.Authority) error {
		_, err := a.SetPassword(ctx, name, secret.Text(password), origin)
		return err
	})
}

// LockUser locks a user, as the fifth failed login does. Live sessions continue.
func (s *Server) LockUser(name string) {
	s.t.Helper()
	s.do(fmt.Sprintf("lock the user %q", name), func(ctx context.Context, a *authority.Authority) error {
		return a.LockUser(ctx, name, origin)
	})
}

// UnlockUser lifts a lock and clears the strikes.
func (s *Server) UnlockUser(name string) {
	s.t.Helper()
	s.do(fmt.Sprintf("unlock the user %q", name), func(ctx context.Context, a *authority.Authority) error {
		return a.UnlockUser(ctx, name, origin)
	})
}

// Strikes returns how many consecutive logins of the user failed, and whether the user is
// locked.
func (s *Server) Strikes(name string) (failures int, locked bool) {
	s.t.Helper()
	s.do(fmt.Sprintf("count the strikes of %q", name), func(ctx context.Context, a *authority.Authority) error {
		account, err := a.Account(ctx, name)
		failures, locked = account.Strikes.Failures, !account.Strikes.LockedAt.IsZero()
		return err
	})
	return failures, locked
}

// ExpireSessions ends all sessions of a user and returns how many there were. Requests
// with their tokens are refused because the session has expired. To let a session expire
// by itself, move the clock.
func (s *Server) ExpireSessions(name string) (ended int) {
	s.t.Helper()
	s.do(fmt.Sprintf("end the sessions of %q", name), func(ctx context.Context, a *authority.Authority) (err error) {
		ended, err = a.EndUserSessions(ctx, name, origin)
		return err
	})
	return ended
}

// RevokeBearer ends the access token of an API client. The client's next request for a
// token returns another one.
func (s *Server) RevokeBearer(key string) {
	s.t.Helper()
	s.do(fmt.Sprintf("revoke the access token of %q", key), func(ctx context.Context, a *authority.Authority) error {
		return a.EndAccessToken(ctx, key, origin)
	})
}
