package authority_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/secret"
	"github.com/latchkey/latchkey/internal/store/sqlite"
)

// hooked calls what a test has to do in the middle of an operation, once.
type hooked struct {
	authority.SessionStore
	authority.StrikeStore
	authority.UserStore
	create, settle, user func()
}

func call(hook *func()) {
	if do := *hook; do != nil {
		*hook = nil
		do()
	}
}

func (h *hooked) CreateSession(ctx context.Context, session authority.Session) error {
	call(&h.create)
	return h.SessionStore.CreateSession(ctx, session)
}

// UpdateStrikes calls settle after the first update that settles a reservation.
func (h *hooked) UpdateStrikes(
	ctx context.Context, key authority.StrikeKey, change func(*authority.Strikes) error,
) error {
	settles := false
	err := h.StrikeStore.UpdateStrikes(ctx, key, func(s *authority.Strikes) error {
		before := len(s.Reservations)
		err := change(s)
		settles = len(s.Reservations) < before
		return err
	})
	if settles {
		call(&h.settle)
	}
	return err
}

// User is called by an operation after it has reserved a strike.
func (h *hooked) User(ctx context.Context, name string) (authority.User, error) {
	call(&h.user)
	return h.UserStore.User(ctx, name)
}

// newHooked is a service with hooks, and stores without.
func newHooked(t *testing.T, policy authority.Policy) (*service, *hooked, authority.Stores) {
	t.Helper()
	h := &hooked{}
	var plain authority.Stores
	s := newService(t, func(c *authority.Config) {
		plain = c.Stores
		h.SessionStore, h.StrikeStore, h.UserStore = c.Stores.Sessions, c.Stores.Strikes, c.Stores.Users
		c.Stores.Sessions, c.Stores.Strikes, c.Stores.Users, c.Policy = h, h, h, policy
	})
	return s, h, plain
}

// replace removes zaphod and adds another one.
func (s *service) replace(t *testing.T, password secret.Text) {
	t.Helper()
	want(t, "removing", s.RemoveUser(t.Context(), "zaphod", authority.Origin{}), nil)
	want(t, "adding", s.AddKnownUser(t.Context(), "zaphod", password, authority.Origin{}), nil)
}

func (s *service) live(t *testing.T) int {
	t.Helper()
	live, err := s.Sessions(t.Context(), authority.SessionQuery{User: "zaphod"})
	want(t, "listing", err, nil)
	return len(live)
}

// TestALoginOfAUserWhoWasReplaced has the user removed and added again while the old
// password is being verified.
func TestALoginOfAUserWhoWasReplaced(t *testing.T) {
	for _, password := range []secret.Text{"right", "another"} { // the same one is no excuse
		s, h, _ := newHooked(t, authority.Policy{})
		h.create = func() { s.replace(t, password) }
		token, err := s.logIn(t, "zaphod", "right")
		if err == nil {
			session, err := s.Check(t.Context(), token)
			t.Errorf("the password of the user before has opened the session %+v, %v", session, err)
		}
		if n := s.live(t); n != 0 {
			t.Errorf("%d sessions live", n)
		}
		account, err := s.Account(t.Context(), "zaphod")
		if err != nil || account.Strikes.Failures != 0 {
			t.Errorf("the new user has %d failures, %v", account.Strikes.Failures, err)
		}
		s.mustLogIn(t, password)
	}
}

// TestAResetOfAUserWhoWasReplaced has the user removed and added again, with the same
// password, after the session was checked.
func TestAResetOfAUserWhoWasReplaced(t *testing.T) {
	s, h, _ := newHooked(t, authority.Policy{})
	token := s.mustLogIn(t, "right")
	h.user = func() { s.replace(t, "right") }
	_, err := s.ResetPassword(t.Context(), token, "right", "", authority.Origin{})
	want(t, "a reset in a session of the user before", err, authority.ErrSessionExpired)
	s.mustLogIn(t, "right")
}

// TestSessionsOfAUserBeforeAreNotPermitted lets a session live on that should not.
func TestSessionsOfAUserBeforeAreNotPermitted(t *testing.T) {
	s := newService(t, nil)
	session, err := s.Check(t.Context(), s.mustLogIn(t, "right"))
	want(t, "a check", err, nil)
	permits := func(session authority.Session, expect bool) {
		t.Helper()
		if may, err := s.Permits(t.Context(), session, "GET", "/api/a"); err != nil || may != expect {
			t.Errorf("permitted %v, error %v", may, err)
		}
	}
	permits(session, true)
	s.replace(t, "right")
	permits(session, false)
	next, err := s.Check(t.Context(), s.mustLogIn(t, "right"))
	want(t, "a check", err, nil)
	permits(next, true)
	permits(session, false)
}

// TestAnEarlierPendingEndIsKept resets the password, which keeps the sessions, while the
// earlier end of sessions that an operator required is still pending.
func TestAnEarlierPendingEndIsKept(t *testing.T) {
	for name, policy := range map[string]authority.Policy{
		"a reset that keeps sessions": {KeepSessionsOnReset: true},
		"a reset that ends sessions":  {},
	} {
		t.Run(name, func(t *testing.T) {
			store := &failing{}
			s := newService(t, func(c *authority.Config) {
				store.StrikeStore, store.SessionStore = c.Stores.Strikes, c.Stores.Sessions
				c.Stores.Strikes, c.Stores.Sessions, c.Policy = store, store, policy
			})
			old := s.mustLogIn(t, "right")
			other := s.mustLogIn(t, "right")
			store.ending.Store(true)
			if _, err := s.SetPassword(t.Context(), "zaphod", "second", authority.Origin{}); err != nil {
				t.Fatal(err)
			}
			later := s.mustLogIn(t, "second")
			made, err := s.ResetPassword(t.Context(), old, "second", "", authority.Origin{})
			want(t, "a reset by a session that is to end", err, nil)
			store.ending.Store(false)
			want(t, "a sweep", s.Sweep(t.Context()), nil)
			for what, check := range map[string]struct {
				token authority.SessionToken
				want  error
			}{
				"the session that made the reset": {old, authority.ErrSessionExpired},
				"another session from before":     {other, authority.ErrSessionExpired},
				"a later one": {
					later, map[bool]error{true: nil, false: authority.ErrSessionExpired}[policy.KeepSessionsOnReset],
				},
			} {
				_, err := s.Check(t.Context(), check.token)
				want(t, what, err, check.want)
			}
			s.mustLogIn(t, made)
			// And a reset alone keeps the session that makes it.
			token := s.mustLogIn(t, made)
			_, err = s.ResetPassword(t.Context(), token, made, "", authority.Origin{})
			want(t, "a reset", err, nil)
			_, err = s.Check(t.Context(), token)
			want(t, "the session that made it", err, nil)
		})
	}
}

// TestAUserWithSessionsToEndIsNotRemoved ends nothing while the user is removed.
func TestAUserWithSessionsToEndIsNotRemoved(t *testing.T) {
	store := &failing{}
	s := newService(t, func(c *authority.Config) {
		store.StrikeStore, store.SessionStore = c.Stores.Strikes, c.Stores.Sessions
		c.Stores.Strikes, c.Stores.Sessions = store, store
	})
	token := s.mustLogIn(t, "right")
	store.ending.Store(true)
	want(t, "removing", s.RemoveUser(t.Context(), "zaphod", authority.Origin{}), authority.ErrUnavailable)
	store.ending.Store(false)
	want(t, "removing again", s.RemoveUser(t.Context(), "zaphod", authority.Origin{}), nil)
	_, err := s.Check(t.Context(), token)
	want(t, "the session", err, authority.ErrSessionExpired)
}

// TestARehashDuringAReset makes another process hash the password again while it is reset.
func TestARehashDuringAReset(t *testing.T) {
	s, h, plain := newHooked(t, authority.Policy{})
	other, err := authority.New(authority.Config{Stores: plain, Key: serverKey, Now: s.Now,
		Hash: authority.HashParams{MemoryKiB: 128, Passes: 1, Lanes: 1}})
	want(t, "another process", err, nil)
	token := s.mustLogIn(t, "right")
	h.settle = func() {
		_, err := other.LogIn(t.Context(), "zaphod", "right", authority.Origin{})
		want(t, "a login that rehashes", err, nil)
	}
	made, err := s.ResetPassword(t.Context(), token, "right", "", authority.Origin{})
	want(t, "a reset that meets it", err, nil)
	s.mustLogIn(t, made)
	again, err := s.ResetPassword(t.Context(), token, "right", "", authority.Origin{})
	if err != nil || again != made {
		t.Errorf("repeated, it returns %v", err)
	}
}

// TestADisabledAndEnabledUserDuringAReset ends the session, and the password stays.
func TestADisabledAndEnabledUserDuringAReset(t *testing.T) {
	s, h, _ := newHooked(t, authority.Policy{})
	token := s.mustLogIn(t, "right")
	h.settle = func() {
		want(t, "disabling", s.DisableUser(t.Context(), "zaphod", authority.Origin{}), nil)
		want(t, "enabling", s.EnableUser(t.Context(), "zaphod", authority.Origin{}), nil)
	}
	_, err := s.ResetPassword(t.Context(), token, "right", "", authority.Origin{})
	want(t, "a reset", err, authority.ErrSessionExpired)
	s.mustLogIn(t, "right")
}

// TestUnlockingFreesReservations has five attempts that a dead process began.
func TestUnlockingFreesReservations(t *testing.T) {
	s := newService(t, nil)
	for range 5 {
		want(t, "reserving", authority.ReserveStrike(t.Context(), s.Authority, "zaphod"), nil)
	}
	want(t, "unlocking", s.UnlockUser(t.Context(), "zaphod", authority.Origin{}), nil)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	_, err := s.LogIn(ctx, "zaphod", "right", authority.Origin{})
	want(t, "a login", err, nil)
}

// TestAClientAddedAgainHasNoOldToken makes the same API client in a new database, with the
// same server key, at the same time.
func TestAClientAddedAgainHasNoOldToken(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	issue := func() (*authority.Authority, string) {
		db, err := sqlite.Open(t.Context(), sqlite.Options{})
		want(t, "a database", err, nil)
		t.Cleanup(func() { want(t, "closing", db.Close(context.Background()), nil) })
		a, err := authority.New(authority.Config{
			Stores: db.Stores(), Key: serverKey, Hash: cheap, Now: func() time.Time { return at },
		})
		want(t, "an authority", err, nil)
		credentials := authority.Credentials{Key: "demo-key", Secret: "demo-secret"}
		want(t, "a client", a.AddKnownClient(t.Context(), "demo", credentials, authority.Origin{}), nil)
		token, err := a.IssueAccessToken(t.Context(), credentials.Key, credentials.Secret)
		want(t, "a token", err, nil)
		_, err = a.Authenticate(t.Context(), token.Token.Reveal())
		want(t, "the token", err, nil)
		return a, token.Token.Reveal()
	}
	_, old := issue()
	a, _ := issue()
	if _, err := a.Authenticate(t.Context(), old); !errors.Is(err, authority.ErrInvalidBearer) {
		t.Errorf("a token of the client before: %v", err)
	}
}
