package authority_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/secret"
	"github.com/latchkey/latchkey/internal/store/sqlite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// service is an authority over a real database, with a clock that tests move.
type service struct {
	*authority.Authority
	clock atomic.Int64
}

func (s *service) advance(d time.Duration) { s.clock.Add(int64(d)) }

var serverKey = []byte(strings.Repeat("k", 32))

// cheap makes hashing quick; what it proves does not depend on the cost.
var cheap = authority.HashParams{MemoryKiB: 64, Passes: 1, Lanes: 1}

func newService(t *testing.T, alter func(*authority.Config)) *service {
	t.Helper()
	db, err := sqlite.Open(t.Context(), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	s := &service{}
	s.clock.Store(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).UnixNano())
	config := authority.Config{
		Stores: db.Stores(),
		Key:    serverKey,
		Hash:   cheap,
		Now:    func() time.Time { return time.Unix(0, s.clock.Load()).UTC() },
	}
	if alter != nil {
		alter(&config)
	}
	if s.Authority, err = authority.New(config); err != nil {
		t.Fatal(err)
	}
	if err := s.AddKnownUser(t.Context(), "zaphod", "right", authority.Origin{}); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *service) logIn(t *testing.T, name string, password secret.Text) (authority.SessionToken, error) {
	t.Helper()
	return s.LogIn(t.Context(), name, password, authority.Origin{Client: "key", Address: "192.0.2.1"})
}

func (s *service) mustLogIn(t *testing.T, password secret.Text) authority.SessionToken {
	t.Helper()
	token, err := s.logIn(t, "zaphod", password)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func want(t *testing.T, what string, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Fatalf("%s: got %v, want %v", what, err, target)
	}
}

func TestFifthFailureLocksKnownAndUnknownUsersAlike(t *testing.T) {
	s := newService(t, nil)
	for _, name := range []string{"zaphod", "nobody"} {
		for range 5 {
			_, err := s.logIn(t, name, "wrong")
			want(t, "a wrong password of "+name, err, authority.ErrInvalidCredentials)
		}
		_, err := s.logIn(t, name, "right")
		want(t, "the sixth login of "+name, err, authority.ErrAccountLocked)
	}
	s.advance(1000 * time.Hour)
	_, err := s.logIn(t, "zaphod", "right")
	want(t, "a login a month later", err, authority.ErrAccountLocked)
	want(t, "unlocking", s.UnlockUser(t.Context(), "zaphod", authority.Origin{}), nil)
	s.mustLogIn(t, "right")
}

func TestSuccessResetsTheCount(t *testing.T) {
	s := newService(t, nil)
	for range 3 {
		for range 4 {
			_, err := s.logIn(t, "zaphod", "wrong")
			want(t, "a wrong password", err, authority.ErrInvalidCredentials)
		}
		s.mustLogIn(t, "right")
	}
}

func TestAtMostFiveWrongPasswordsAreEvaluatedAtOnce(t *testing.T) {
	s := newService(t, nil)
	var evaluated, locked atomic.Int64
	var group sync.WaitGroup
	for i := range 200 {
		group.Go(func() {
			client := authority.Origin{Client: fmt.Sprint("key ", i%4)}
			switch _, err := s.LogIn(t.Context(), "zaphod", secret.Text(fmt.Sprint("wrong", i)), client); {
			case errors.Is(err, authority.ErrInvalidCredentials):
				evaluated.Add(1)
			case errors.Is(err, authority.ErrAccountLocked):
				locked.Add(1)
			default:
				t.Errorf("got %v", err)
			}
		})
	}
	group.Wait()
	if evaluated.Load() != 5 || locked.Load() != 195 {
		t.Errorf("%d passwords were evaluated and %d refused, want 5 and 195", evaluated.Load(), locked.Load())
	}
}

func TestRightPasswordsArrivingTogetherAllSucceed(t *testing.T) {
	s := newService(t, nil)
	var group sync.WaitGroup
	for range 60 {
		group.Go(func() {
			if _, err := s.logIn(t, "zaphod", "right"); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
}

func TestResetEndsOtherSessionsAndTheOldPassword(t *testing.T) {
	s := newService(t, nil)
	other, own := s.mustLogIn(t, "right"), s.mustLogIn(t, "right")
	_, err := s.ResetPassword(t.Context(), own, "wrong", "", authority.Origin{})
	want(t, "a reset with a wrong password", err, authority.ErrPasswordMismatch)
	changed, err := s.ResetPassword(t.Context(), own, "right", "", authority.Origin{})
	want(t, "the reset", err, nil)
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	if len(changed.Reveal()) != 20 || strings.Trim(changed.Reveal(), alphabet) != "" {
		t.Error("the new password is not 20 letters and digits")
	}
	_, err = s.Check(t.Context(), own)
	want(t, "the session that did the reset", err, nil)
	_, err = s.Check(t.Context(), other)
	want(t, "the other session", err, authority.ErrSessionExpired)
	_, err = s.logIn(t, "zaphod", "right")
	want(t, "the old password", err, authority.ErrInvalidCredentials)
	s.mustLogIn(t, changed)
}

func TestOfResetsOfManySessionsAtOnceOneSucceeds(t *testing.T) {
	s := newService(t, func(c *authority.Config) { c.Policy.LockAfter, c.Policy.KeepSessionsOnReset = 100, true })
	var group sync.WaitGroup
	passwords := make(chan secret.Text, 20)
	var tokens [20]authority.SessionToken
	for i := range tokens {
		tokens[i] = s.mustLogIn(t, "right")
	}
	for _, token := range tokens {
		group.Go(func() {
			password, err := s.ResetPassword(t.Context(), token, "right", "", authority.Origin{})
			if err == nil {
				passwords <- password
			} else if !errors.Is(err, authority.ErrPasswordMismatch) {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if len(passwords) != 1 {
		t.Fatalf("%d resets succeeded", len(passwords))
	}
	s.mustLogIn(t, <-passwords)
}

// TestStressNoSessionOfAnOldPasswordSurvives lets logins and a reset meet.
func TestStressNoSessionOfAnOldPasswordSurvives(t *testing.T) {
	for range 20 {
		s := newService(t, func(c *authority.Config) { c.Policy.LockAfter = 100 })
		own := s.mustLogIn(t, "right")
		var group sync.WaitGroup
		tokens := make(chan authority.SessionToken, 20)
		for range 20 {
			group.Go(func() {
				if token, err := s.logIn(t, "zaphod", "right"); err == nil {
					tokens <- token
				}
			})
		}
		_, err := s.ResetPassword(t.Context(), own, "right", "", authority.Origin{})
		want(t, "the reset", err, nil)
		group.Wait()
		close(tokens)
		for token := range tokens {
			_, err := s.Check(t.Context(), token)
			want(t, "a session of the old password", err, authority.ErrSessionExpired)
		}
	}
}

func TestIdleTimeSlidesAndLogoutHappensOnce(t *testing.T) {
	s := newService(t, nil)
	token := s.mustLogIn(t, "right")
	for range 10 {
		s.advance(20*time.Minute - time.Microsecond)
		_, err := s.Check(t.Context(), token)
		want(t, "a session in use", err, nil)
	}
	s.advance(20 * time.Minute)
	_, err := s.Check(t.Context(), token)
	want(t, "an idle session", err, authority.ErrSessionExpired)
	want(t, "its logout", s.LogOut(t.Context(), token, authority.Origin{}), authority.ErrSessionExpired)

	token = s.mustLogIn(t, "right")
	want(t, "a logout", s.LogOut(t.Context(), token, authority.Origin{}), nil)
	want(t, "a second logout", s.LogOut(t.Context(), token, authority.Origin{}), authority.ErrSessionExpired)
}

func TestAccessTokenStaysTheSameWithinItsHour(t *testing.T) {
	s := newService(t, nil)
	ctx := t.Context()
	credentials, err := s.AddClient(ctx, "test", authority.Origin{})
	want(t, "adding a client", err, nil)
	issue := func() authority.AccessToken {
		t.Helper()
		token, err := s.IssueAccessToken(ctx, credentials.Key, credentials.Secret)
		want(t, "issuing", err, nil)
		return token
	}
	first := issue()
	s.advance(time.Hour - time.Microsecond)
	if again := issue(); again != first {
		t.Error("another access token within the hour")
	}
	client, err := s.Authenticate(ctx, first.Token.Reveal())
	want(t, "using it", err, nil)
	if client.Key != credentials.Key {
		t.Errorf("it belongs to %q", client.Key)
	}
	s.advance(time.Microsecond)
	_, err = s.Authenticate(ctx, first.Token.Reveal())
	want(t, "using it after its hour", err, authority.ErrInvalidBearer)
	second := issue()
	if second.Token == first.Token {
		t.Error("the same access token after its hour")
	}
	revoked, err := s.RevokeAccessToken(ctx, credentials.Key, credentials.Secret, second.Token, authority.Origin{})
	if err != nil || !revoked {
		t.Fatal("not revoked", err)
	}
	_, err = s.Authenticate(ctx, second.Token.Reveal())
	want(t, "a revoked one", err, authority.ErrInvalidBearer)
	third := issue()
	for i := range third.Token {
		forged := []byte(third.Token)
		forged[i] ^= 1
		_, err = s.Authenticate(ctx, string(forged))
		want(t, "a forged one", err, authority.ErrInvalidBearer)
	}
	_, err = s.IssueAccessToken(ctx, credentials.Key, "wrong")
	want(t, "a wrong secret", err, authority.ErrInvalidClient)
	want(t, "revoking the client", s.RevokeClient(ctx, credentials.Key, authority.Origin{}), nil)
	_, err = s.Authenticate(ctx, third.Token.Reveal())
	want(t, "the token of a revoked client", err, authority.ErrInvalidBearer)
}

func TestBadInputIsRefusedAndCostsNothing(t *testing.T) {
	s := newService(t, func(c *authority.Config) { c.Policy.LockAfter = 1 })
	for _, bad := range []string{"", "a'b", "a<b", `a\b`, "a\x00b", "a\xffb", strings.Repeat("x", 300)} {
		var invalid *authority.InvalidError
		if _, err := s.logIn(t, "zaphod", secret.Text(bad)); !errors.As(err, &invalid) {
			t.Errorf("password %q: %v", bad, err)
		}
		if _, err := s.logIn(t, bad, "right"); !errors.As(err, &invalid) {
			t.Errorf("user name %q: %v", bad, err)
		}
	}
	s.mustLogIn(t, "right") // one strike would have locked
}

func TestSweepEndsWhatExpiredAndWritesItDown(t *testing.T) {
	s := newService(t, nil)
	s.mustLogIn(t, "right")
	s.advance(21 * time.Minute)
	want(t, "the sweep", s.Sweep(t.Context()), nil)
	events, err := s.AuditEvents(t.Context(), authority.AuditQuery{})
	want(t, "the audit trail", err, nil)
	kinds := ""
	for _, event := range events {
		kinds += string(event.Kind) + " "
	}
	if kinds != "user-added login expired " {
		t.Errorf("the audit trail says: %s", kinds)
	}
}

func TestNewListsEveryFault(t *testing.T) {
	_, err := authority.New(authority.Config{
		Policy: authority.Policy{LockAfter: -1, IdleTimeout: -1}, Hash: authority.HashParams{Lanes: 1},
	})
	for _, words := range []string{"idle timeout", "locking after -1", "argon2id", "server key"} {
		if err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("the error does not speak of %q: %v", words, err)
		}
	}
}
