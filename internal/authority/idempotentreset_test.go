package authority_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/secret"
)

// failing is a store that cannot settle strikes, or end a user's sessions, while a flag is
// set.
type failing struct {
	authority.StrikeStore
	authority.SessionStore
	settling, ending atomic.Bool
}

// UpdateStrikes fails for updates that settle a reservation.
func (f *failing) UpdateStrikes(
	ctx context.Context, key authority.StrikeKey, change func(*authority.Strikes) error,
) error {
	return f.StrikeStore.UpdateStrikes(ctx, key, func(s *authority.Strikes) error {
		before := len(s.Reservations)
		err := change(s)
		if f.settling.Load() && len(s.Reservations) < before {
			return authority.ErrReservationLost
		}
		return err
	})
}

func (f *failing) EndUserSessions(
	ctx context.Context, user string, version int64, keep authority.SessionKey, end authority.End,
) (int, error) {
	if f.ending.Load() {
		return 0, errors.New("the disk is full")
	}
	return f.SessionStore.EndUserSessions(ctx, user, version, keep, end)
}

// repeatable is a service in which zaphod's password was reset from "right", with
// the key "key".
func repeatable(
	t *testing.T, policy authority.Policy) (s *service, store *failing, token authority.SessionToken, made secret.Text,
) {
	t.Helper()
	store = &failing{}
	s = newService(t, func(c *authority.Config) {
		store.StrikeStore, store.SessionStore = c.Stores.Strikes, c.Stores.Sessions
		c.Stores.Strikes, c.Stores.Sessions, c.Policy = store, store, policy
	})
	token = s.mustLogIn(t, "right")
	made, err := s.ResetPassword(t.Context(), token, "right", "key", authority.Origin{})
	if err != nil {
		t.Fatal(err)
	}
	return s, store, token, made
}

func TestARepeatWhoseReservationIsLostTellsNothing(t *testing.T) {
	s, store, token, made := repeatable(t, authority.Policy{})
	store.settling.Store(true)
	told, err := s.ResetPassword(t.Context(), token, "right", "key", authority.Origin{})
	want(t, "a repeat that could not be settled", err, authority.ErrUnavailable)
	if told != "" {
		t.Error("it told the password")
	}
	store.settling.Store(false)
	repeated, err := s.ResetPassword(t.Context(), token, "right", "key", authority.Origin{})
	if err != nil || !repeated.Equal(made) {
		t.Errorf("the next repeat returned the same password: %v, error %v", repeated.Equal(made), err)
	}
}

func TestADisabledUserCannotRepeatAReset(t *testing.T) {
	s, store, token, _ := repeatable(t, authority.Policy{})
	store.ending.Store(true) // so that the session outlives the user's disabling
	if err := s.DisableUser(t.Context(), "zaphod", authority.Origin{}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Check(t.Context(), token); err != nil {
		t.Fatalf("the session: %v", err)
	}
	told, err := s.ResetPassword(t.Context(), token, "right", "key", authority.Origin{})
	want(t, "a repeat of a disabled user", err, authority.ErrPasswordMismatch)
	if told != "" {
		t.Error("it told the password")
	}
}

func TestARepeatMayComeOverAnotherSessionAndNeitherCostsNorForgivesAStrike(t *testing.T) {
	s, _, _, made := repeatable(t, authority.Policy{KeepSessionsOnReset: true})
	other := s.mustLogIn(t, made)
	_, err := s.logIn(t, "zaphod", "wrong")
	want(t, "a wrong password", err, authority.ErrInvalidCredentials)
	for range 6 {
		repeated, err := s.ResetPassword(t.Context(), other, "right", "key", authority.Origin{})
		if err != nil || !repeated.Equal(made) {
			t.Fatalf("a repeat returned the same password: %v, error %v", repeated.Equal(made), err)
		}
	}
	if account, err := s.Account(t.Context(), "zaphod"); err != nil || account.Strikes.Failures != 1 {
		t.Errorf("after one failure and six repeats: %+v, error %v", account.Strikes, err)
	}
}

func TestARepeatSurvivesAChangeOfTheHashParameters(t *testing.T) {
	var stores authority.Stores
	s := newService(t, func(c *authority.Config) { stores = c.Stores })
	token := s.mustLogIn(t, "right")
	made, err := s.ResetPassword(t.Context(), token, "right", "key", authority.Origin{})
	if err != nil {
		t.Fatal(err)
	}
	dearer, err := authority.New(authority.Config{
		Stores: stores, Key: serverKey, Now: s.Now,
		Hash: authority.HashParams{MemoryKiB: 128, Passes: 2, Lanes: 1},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := dearer.LogIn(t.Context(), "zaphod", made, authority.Origin{}); err != nil { // stores another hash
		t.Fatal(err)
	}
	repeated, err := dearer.ResetPassword(t.Context(), token, "right", "key", authority.Origin{})
	if err != nil || !repeated.Equal(made) {
		t.Errorf("the repeat returned the same password: %v, error %v", repeated.Equal(made), err)
	}
}

func TestARepeatTakesTheServerKeyAndTheOldPassword(t *testing.T) {
	var stores authority.Stores
	s := newService(t, func(c *authority.Config) { stores = c.Stores })
	token := s.mustLogIn(t, "right")
	if _, err := s.ResetPassword(t.Context(), token, "right", "", authority.Origin{}); err != nil {
		t.Fatal(err)
	}
	stranger, err := authority.New(authority.Config{Stores: stores, Key: make([]byte, 32), Now: s.Now, Hash: cheap})
	if err != nil {
		t.Fatal(err)
	}
	told, err := stranger.ResetPassword(t.Context(), token, "right", "", authority.Origin{})
	want(t, "a repeat under another server key", err, authority.ErrPasswordMismatch)
	if told != "" {
		t.Error("it told the password")
	}
	user, err := stores.Users.User(t.Context(), "zaphod")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.AddUser(t.Context(), "ford", "right", authority.Origin{}); err != nil {
		t.Fatal(err)
	}
	other, err := s.logIn(t, "ford", "right")
	want(t, "a login of another user", err, nil)
	made, err := s.ResetPassword(t.Context(), other, "right", "", authority.Origin{})
	want(t, "a reset of another user", err, nil)
	_, err = stores.Users.UpdateUser(t.Context(), "ford", func(u *authority.User) error {
		user.LastReset.Session = other.Key()
		u.LastReset = user.LastReset
		return nil
	})
	want(t, "giving another user's", err, nil)
	told, err = s.ResetPassword(t.Context(), other, "right", "", authority.Origin{})
	want(t, "a repeat with another user's record", err, authority.ErrPasswordMismatch)
	if told != "" || made == "" {
		t.Error("it told a password")
	}
}

func TestASweepForgetsWhatCanBeRepeatedNoMore(t *testing.T) {
	var stores authority.Stores
	s := newService(t, func(c *authority.Config) { stores = c.Stores })
	token := s.mustLogIn(t, "right")
	made, err := s.ResetPassword(t.Context(), token, "right", "", authority.Origin{})
	want(t, "the reset", err, nil)
	s.advance(2*time.Minute - time.Microsecond)
	want(t, "a sweep", s.Sweep(t.Context()), nil)
	if told, err := s.ResetPassword(t.Context(), token, "right", "", authority.Origin{}); err != nil || !told.Equal(made) {
		t.Errorf("the repeat told the same password: %v, error %v", told.Equal(made), err)
	}
	s.advance(time.Microsecond)
	want(t, "a sweep", s.Sweep(t.Context()), nil)
	user, err := stores.Users.User(t.Context(), "zaphod")
	if err != nil || user.LastReset != (authority.IdempotentReset{}) {
		t.Errorf("two minutes later the sweep leaves %+v, error %v", user.LastReset, err)
	}
	if _, err := s.SetPassword(t.Context(), "zaphod", "another password", authority.Origin{}); err != nil {
		t.Fatal(err)
	}
	s.advance(2 * time.Minute)
	want(t, "a sweep", s.Sweep(t.Context()), nil)
	user, err = stores.Users.User(t.Context(), "zaphod")
	if err != nil || user.LastReset != (authority.IdempotentReset{}) {
		t.Errorf("two minutes after an operator's change the sweep leaves %+v, error %v", user.LastReset, err)
	}
}

// TestAClockThatIsBehindLengthensNothing lets a replica repeat whose clock is
// behind that of the replica that made the reset.
func TestAClockThatIsBehindLengthensNothing(t *testing.T) {
	s := newService(t, nil)
	token := s.mustLogIn(t, "right")
	made, err := s.ResetPassword(t.Context(), token, "right", "", authority.Origin{})
	want(t, "the reset", err, nil)
	s.advance(-time.Second)
	if told, err := s.ResetPassword(t.Context(), token, "right", "", authority.Origin{}); err != nil || !told.Equal(made) {
		t.Errorf("a second behind, the repeat told the same password: %v, error %v", told.Equal(made), err)
	}
	s.advance(-2 * time.Minute)
	_, err = s.ResetPassword(t.Context(), token, "right", "", authority.Origin{})
	want(t, "a repeat minutes behind", err, authority.ErrPasswordMismatch)
}
