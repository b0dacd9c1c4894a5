package authority_test

import (
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/authority"
)

// TestTimesOfTheFutureCountAsNow puts the clock back by a day after everything was done.
func TestTimesOfTheFutureCountAsNow(t *testing.T) {
	policy := authority.Policy{Lifetime: time.Hour, UnlockAfter: time.Hour, KeepAudit: 2 * time.Hour}
	s := newService(t, func(c *authority.Config) { c.Policy = policy })
	ctx := t.Context()
	for _, name := range []string{"ford", "trillian"} {
		want(t, "a user", s.AddKnownUser(ctx, name, "right", authority.Origin{}), nil)
	}
	credentials, err := s.AddClient(ctx, "c", authority.Origin{})
	want(t, "a client", err, nil)

	s.advance(24 * time.Hour)
	issued, err := s.IssueAccessToken(ctx, credentials.Key, credentials.Secret)
	want(t, "a token", err, nil)
	token := s.mustLogIn(t, "right")
	made, err := s.ResetPassword(ctx, token, "right", "key", authority.Origin{})
	want(t, "a reset", err, nil)
	for range 5 {
		_, err := s.logIn(t, "ford", "wrong")
		want(t, "a wrong password", err, authority.ErrInvalidCredentials)
	}

	s.advance(-24 * time.Hour)
	sweep := func() {
		t.Helper()
		want(t, "a sweep", s.Sweep(ctx), nil)
	}
	sweep()
	_, err = s.Authenticate(ctx, issued.Token.Reveal())
	want(t, "the access token of the future", err, authority.ErrInvalidBearer)
	next, err := s.IssueAccessToken(ctx, credentials.Key, credentials.Secret)
	want(t, "another token", err, nil)
	if left := next.ExpiresAt.Sub(s.Now()); left != time.Hour {
		t.Errorf("another token ends in %v", left)
	}
	_, err = s.Check(ctx, token)
	want(t, "the session", err, nil)
	if told, err := s.ResetPassword(ctx, token, "right", "key", authority.Origin{}); err != nil || told != made {
		t.Errorf("the reset is not repeated: %v", err)
	}
	_, err = s.logIn(t, "ford", "right")
	want(t, "the locked user", err, authority.ErrAccountLocked)

	s.advance(15 * time.Minute)
	_, err = s.Check(ctx, token)
	want(t, "the session that is used", err, nil)
	s.advance(45 * time.Minute)
	sweep()
	_, err = s.Check(ctx, token)
	want(t, "the session an hour later", err, authority.ErrSessionExpired)
	_, err = s.logIn(t, "ford", "right")
	want(t, "the user who was locked an hour ago", err, nil)

	// What was written in the future does not keep the trail from being trimmed.
	s.advance(3 * time.Hour)
	_, _ = s.logIn(t, "trillian", "right")
	s.advance(4 * time.Hour)
	sweep()
	events, err := s.AuditEvents(ctx, authority.AuditQuery{Limit: 1000})
	want(t, "the trail", err, nil)
	for _, e := range events {
		if e.At.After(s.Now()) {
			t.Errorf("the trail still has %+v", e)
		}
	}
	s.advance(13 * time.Hour) // 21 hours after the clock was put back
	token = s.mustLogIn(t, made)
	if told, err := s.ResetPassword(ctx, token, "right", "key", authority.Origin{}); err != nil || told != made {
		t.Errorf("within its day, the reset is not repeated: %v", err)
	}
	s.advance(4 * time.Hour)
	token = s.mustLogIn(t, made)
	_, err = s.ResetPassword(ctx, token, "right", "key", authority.Origin{})
	want(t, "the reset a day later", err, authority.ErrPasswordMismatch)
}

// TestARepeatOfTheFutureIsNotToldLater waits until the clock gets where it was.
func TestARepeatOfTheFutureIsNotToldLater(t *testing.T) {
	s := newService(t, nil)
	s.advance(time.Hour)
	token := s.mustLogIn(t, "right")
	_, err := s.ResetPassword(t.Context(), token, "right", "", authority.Origin{})
	want(t, "a reset", err, nil)
	s.advance(-time.Hour)
	for range 12 {
		want(t, "a sweep", s.Sweep(t.Context()), nil)
		s.advance(5 * time.Minute)
		_, err := s.Check(t.Context(), token)
		want(t, "the session", err, nil)
	}
	_, err = s.ResetPassword(t.Context(), token, "right", "", authority.Origin{})
	want(t, "a repeat an hour later", err, authority.ErrPasswordMismatch)
}
