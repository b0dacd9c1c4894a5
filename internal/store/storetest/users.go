package storetest

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/authority"
)

func users(t *testing.T, s authority.Stores) {
	ctx := t.Context()
	zoe := authority.User{
		Name: "zoë ☃", PasswordHash: "$h$", PasswordVersion: 7,
		PasswordChangedAt: start, CreatedAt: start.Add(time.Microsecond),
		Disabled: true, PendingEnd: authority.PendingEnd{Version: 6, Keep: Key(1), Reason: authority.ReasonReset},
		LastReset: authority.IdempotentReset{
			Key: Key(2), Session: Key(3), Replaced: "$old$", Sealed: "$sealed$", Until: start.Add(time.Hour),
		},
		Allow: "GET /api/a\n* /api/b/**",
	}
	must(t, s.Users.CreateUser(ctx, zoe))
	wantError(t, s.Users.CreateUser(ctx, zoe), authority.ErrExists)
	got, err := s.Users.User(ctx, zoe.Name)
	must(t, err)
	zoe = zoe.WithGeneration(generation(got))
	equal(t, "a user", got, zoe)
	_, err = s.Users.User(ctx, "ZOË ☃")
	wantError(t, err, authority.ErrNotFound)

	stop := errors.New("stop")
	_, err = s.Users.UpdateUser(ctx, zoe.Name, func(u *authority.User) error { u.PasswordHash = "other"; return stop })
	wantError(t, err, stop)
	got, err = s.Users.User(ctx, zoe.Name)
	must(t, err)
	equal(t, "a user whose update failed", got, zoe)
	_, err = s.Users.UpdateUser(ctx, "nobody", func(*authority.User) error { return nil })
	wantError(t, err, authority.ErrNotFound)

	for i := range 5 {
		must(t, s.Users.CreateUser(ctx, authority.User{Name: fmt.Sprintf("user %d", i), CreatedAt: start}))
	}
	var names []string
	for after := ""; ; {
		page, err := s.Users.Users(ctx, authority.UserQuery{After: after, Limit: 2})
		must(t, err)
		if len(page) == 0 {
			break
		}
		for _, u := range page {
			names = append(names, u.Name)
		}
		after = page[len(page)-1].Name
	}
	equal(t, "the listing", fmt.Sprint(names), "[user 0 user 1 user 2 user 3 user 4 zoë ☃]")
	ending, err := s.Users.Users(ctx, authority.UserQuery{PendingEnd: true})
	must(t, err)
	equal(t, "users with sessions to end", len(ending), 1)
	for until, want := range map[time.Duration]int{time.Hour - time.Microsecond: 0, time.Hour: 1, 2 * time.Hour: 1} {
		repeats, err := s.Users.Users(ctx, authority.UserQuery{ResetExpired: start.Add(until)})
		must(t, err)
		equal(t, "users whose reset can be repeated no more", len(repeats), want)
	}
	for i, params := range []string{
		"$argon2id$v=19$m=64,t=1,p=1", "$argon2id$v=19$m=64,t=1,p=1", "$argon2id$v=19$m=19456,t=2,p=1",
	} {
		must(t, s.Users.CreateUser(ctx, authority.User{Name: fmt.Sprint("hashed ", i), CreatedAt: start,
			PasswordHash: params + "$" + strings.Repeat(strconv.Itoa(i), 22) + "$" + strings.Repeat("s", 43)}))
	}
	counts, err := s.Users.HashCounts(ctx)
	must(t, err)
	equal(t, "the parameters of hashes", fmt.Sprint(counts),
		"map[$argon2id$v=19$m=19456,t=2,p=1:1 $argon2id$v=19$m=64,t=1,p=1:2]")
	wantError(t, s.Users.RemoveUser(ctx, zoe.Name), authority.ErrUserInUse)
	wantError(t, s.Users.RemoveUser(ctx, "user 1"), authority.ErrUserInUse)
	_, err = s.Users.UpdateUser(ctx, zoe.Name, func(u *authority.User) error {
		u.PendingEnd = authority.PendingEnd{}
		return nil
	})
	must(t, err)
	must(t, s.Users.RemoveUser(ctx, zoe.Name))
	wantError(t, s.Users.RemoveUser(ctx, zoe.Name), authority.ErrNotFound)
	_, err = s.Users.User(ctx, zoe.Name)
	wantError(t, err, authority.ErrNotFound)
}

func userUpdates(t *testing.T, s authority.Stores) {
	ctx := t.Context()
	must(t, s.Users.CreateUser(ctx, authority.User{Name: "u", CreatedAt: start}))
	many(50, func(int) {
		_, err := s.Users.UpdateUser(ctx, "u", func(u *authority.User) error { u.PasswordVersion++; return nil })
		if err != nil {
			t.Error(err)
		}
	})
	u, err := s.Users.User(ctx, "u")
	must(t, err)
	equal(t, "the version after 50 updates at once", u.PasswordVersion&0xffffffff, 50)
}

// userResets changes a password many times at once, each if it is still the first.
// What one of them wrote stands together; the others wrote nothing.
func userResets(t *testing.T, s authority.Stores) {
	ctx := t.Context()
	must(t, s.Users.CreateUser(ctx,
		authority.User{Name: "u", PasswordHash: "first", PasswordVersion: 1, CreatedAt: start}))
	changed := errors.New("changed")
	var won atomic.Int64
	many(50, func(i int) {
		name := strconv.Itoa(i)
		_, err := s.Users.UpdateUser(ctx, "u", func(u *authority.User) error {
			if u.PasswordHash != "first" {
				return changed
			}
			u.PasswordHash, u.PasswordVersion = name, u.PasswordVersion+1
			u.LastReset = authority.IdempotentReset{
				Key: Key(i), Session: Key(i + 1), Replaced: "first", Sealed: name, Until: start.Add(time.Hour),
			}
			return nil
		})
		if err == nil {
			won.Add(1)
		} else if !errors.Is(err, changed) {
			t.Error(err)
		}
	})
	equal(t, "resets that were made", won.Load(), 1)
	u, err := s.Users.User(ctx, "u")
	must(t, err)
	i, err := strconv.Atoi(u.PasswordHash)
	must(t, err)
	want := authority.User{
		Name: "u", PasswordHash: u.PasswordHash, PasswordVersion: 2, CreatedAt: start,
		LastReset: authority.IdempotentReset{
			Key: Key(i), Session: Key(i + 1), Replaced: "first", Sealed: u.PasswordHash, Until: start.Add(time.Hour),
		},
	}
	equal(t, "the user", u, want.WithGeneration(generation(u)))

	// A further change takes what can be repeated away in the same step.
	_, err = s.Users.UpdateUser(ctx, "u", func(u *authority.User) error {
		u.PasswordHash, u.LastReset = "last", authority.IdempotentReset{}
		return nil
	})
	must(t, err)
	u, err = s.Users.User(ctx, "u")
	must(t, err)
	equal(t, "what can be repeated", u.LastReset, authority.IdempotentReset{})
	due, err := s.Users.Users(ctx, authority.UserQuery{ResetExpired: start.Add(1000 * time.Hour)})
	must(t, err)
	equal(t, "users whose reset can be repeated no more", len(due), 0)
}

// generation is the number that a store gave a user.
func generation(u authority.User) int64 { return u.PasswordVersion >> 32 }

// keyOf returns the key that strikes of a user name are stored under.
func keyOf(name string) authority.StrikeKey { return sha256.Sum256([]byte(name)) }

// userTwice removes a user and adds another one with the same name.
func userTwice(t *testing.T, s authority.Stores) {
	ctx, key := t.Context(), keyOf("u")
	add := func(name string) authority.User {
		t.Helper()
		must(t, s.Users.CreateUser(ctx,
			authority.User{Name: name, PasswordHash: "$h$", PasswordVersion: 1, CreatedAt: start}))
		u, err := s.Users.User(ctx, name)
		must(t, err)
		return u
	}
	full := authority.Strikes{Failures: 5, LockedAt: start, Manual: true, Guesses: []authority.Guess{{1}},
		Reservations: []authority.Reservation{{ID: authority.ReservationID{1}, ExpiresAt: start}}}
	setStrikes(t, s, key, full) // of a client that guessed at the name
	first := add("u")
	wantStrikes(t, s, key, authority.Strikes{})
	setStrikes(t, s, key, full)
	_, err := s.Users.UpdateUser(ctx, "u", func(u *authority.User) error {
		u.Disabled, u.PasswordVersion = true, u.PasswordVersion+1000
		return nil
	})
	must(t, err)
	must(t, s.Users.RemoveUser(ctx, "u"))
	wantError(t, s.Users.RemoveUser(ctx, "u"), authority.ErrNotFound)

	second := add("u")
	if first.PasswordVersion+1000 >= second.PasswordVersion {
		t.Errorf("the first user had the versions %d to %d, and the second begins at %d",
			first.PasswordVersion, first.PasswordVersion+1000, second.PasswordVersion)
	}
	wantStrikes(t, s, key, authority.Strikes{})

	seen := map[int64]bool{generation(first): true, generation(second): true}
	var mu sync.Mutex
	many(30, func(i int) {
		name := strconv.Itoa(i % 15)
		err := s.Users.CreateUser(ctx, authority.User{Name: name, CreatedAt: start})
		if err != nil && !errors.Is(err, authority.ErrExists) {
			t.Error(err)
		}
		if err != nil {
			return
		}
		u, err := s.Users.User(ctx, name)
		mu.Lock()
		defer mu.Unlock()
		if err != nil || seen[generation(u)] {
			t.Errorf("the generation of a user is %d, which another one has, or %v", generation(u), err)
		}
		seen[generation(u)] = true
	})
}
