package authority_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/secret"
)

// hashedAnew is a service whose users have hashes of other parameters than its own.
func hashedAnew(t *testing.T, users int, before, today authority.HashParams) *service {
	t.Helper()
	var stores authority.Stores
	old := newService(t, func(c *authority.Config) { stores, c.Hash = c.Stores, before })
	for i := range users {
		want(t, "a user", old.AddKnownUser(t.Context(), fmt.Sprint("user ", i), "right", authority.Origin{}), nil)
	}
	s := &service{}
	s.clock.Store(old.clock.Load())
	var err error
	s.Authority, err = authority.New(authority.Config{Stores: stores, Key: serverKey, Hash: today,
		Now: func() time.Time { return time.Unix(0, s.clock.Load()).UTC() }})
	want(t, "an authority", err, nil)
	return s
}

// TestMadeUpNamesHashAsUsersDo changes the parameters of hashing, and lets users log in.
func TestMadeUpNamesHashAsUsersDo(t *testing.T) {
	const users, names = 100, 1000
	before, today := cheap, authority.HashParams{MemoryKiB: 128, Passes: 1, Lanes: 1}
	s := hashedAnew(t, users-1, before, today) // and zaphod
	moved := map[string]bool{}
	for _, loggedIn := range []int{0, 30, 60, users - 1} {
		for i := range loggedIn {
			_, err := s.logIn(t, fmt.Sprint("user ", i), "right")
			want(t, "a login", err, nil)
		}
		s.advance(time.Minute)
		want(t, "a sweep", s.Sweep(t.Context()), nil)
		n := 0
		for i := range names {
			name := fmt.Sprint("made up ", i)
			params, err := authority.DecoyParams(t.Context(), s.Authority, name)
			want(t, "the parameters", err, nil)
			switch {
			case params == today:
				n++
				moved[name] = true
			case params != before || moved[name]:
				t.Errorf("%s has the parameters %v, and had those of today: %v", name, params, moved[name])
			}
		}
		if expect := names * loggedIn / users; n < expect-names/10 || n > expect+names/10 || loggedIn == 0 && n > 0 {
			t.Errorf("after %d of %d users have logged in, %d of %d made-up names have today's parameters",
				loggedIn, users, n, names)
		}
	}
}

// TestMadeUpNamesTakeAsLongAsUsers measures logins where today's hash is a thousand times
// as expensive as that of every user.
func TestMadeUpNamesTakeAsLongAsUsers(t *testing.T) {
	s := hashedAnew(t, 10,
		authority.HashParams{MemoryKiB: 8, Passes: 1, Lanes: 1},
		authority.HashParams{MemoryKiB: 64 << 10, Passes: 1, Lanes: 1})
	quickest := func(name string) time.Duration {
		least := time.Hour
		for i := range 10 {
			began := time.Now()
			_, _ = s.LogIn(context.Background(), fmt.Sprint(name, i), secret.Text("wrong"), authority.Origin{})
			least = min(least, time.Since(began))
		}
		return least
	}
	want(t, "removing", s.RemoveUser(t.Context(), "zaphod", authority.Origin{}), nil) // whose hash is another
	user, name := quickest("user "), quickest("made up ")
	if name > 5*user+5*time.Millisecond {
		t.Errorf("a login of a user took %v, and one of an unknown name %v", user, name)
	}
}
