package storetest

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/authority"
)

func users(t *testing.T, s authority.Stores) {
	ctx := t.Context()
	zoe := authority.User{Name: "zoë ☃", PasswordHash: "$h$", PasswordVersion: 7, PasswordChangedAt: start, CreatedAt: start.Add(time.Microsecond),
		Disabled: true, Ending: authority.Ending{Pending: true, Version: 6, Keep: Key(1), Reason: authority.ReasonReset},
		Repeat: authority.Repeat{Key: Key(2), Session: Key(3), Replaced: "$old$", Sealed: "$sealed$", Until: start.Add(time.Hour)}, Allow: "GET /api/a\n* /api/b/**"}
	must(t, s.Users.CreateUser(ctx, zoe))
	wantError(t, s.Users.CreateUser(ctx, zoe), authority.ErrExists)
	got, err := s.Users.User(ctx, zoe.Name)
	must(t, err)
	zoe = zoe.WithIncarnation(incarnation(got))
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
	ending, err := s.Users.Users(ctx, authority.UserQuery{Ending: true})
	must(t, err)
	equal(t, "users with sessions to end", len(ending), 1)
	for until, want := range map[time.Duration]int{time.Hour - time.Microsecond: 0, time.Hour: 1, 2 * time.Hour: 1} {
		repeats, err := s.Users.Users(ctx, authority.UserQuery{RepeatBefore: start.Add(until)})
		must(t, err)
		equal(t, "users whose reset can be repeated no more", len(repeats), want)
	}
	for i, params := range []string{"$argon2id$v=19$m=64,t=1,p=1", "$argon2id$v=19$m=64,t=1,p=1", "$argon2id$v=19$m=19456,t=2,p=1"} {
		must(t, s.Users.CreateUser(ctx, authority.User{Name: fmt.Sprint("hashed ", i), CreatedAt: start,
			PasswordHash: params + "$" + strings.Repeat(strconv.Itoa(i), 22) + "$" + strings.Repeat("s", 43)}))
	}
	counts, err := s.Users.HashCounts(ctx)
	must(t, err)
	equal(t, "the parameters of hashes", fmt.Sprint(counts), "map[$argon2id$v=19$m=19456,t=2,p=1:1 $argon2id$v=19$m=64,t=1,p=1:2]")
	wantError(t, s.Users.RemoveUser(ctx, zoe.Name), authority.ErrUserInUse)
	wantError(t, s.Users.RemoveUser(ctx, "user 1"), authority.ErrUserInUse)
	_, err = s.Users.UpdateUser(ctx, zoe.Name, func(u *authority.User) error { u.Ending = authority.Ending{}; return nil })
	must(t, err)
	must(t, s.Users.RemoveUser(ctx, zoe.Name))
	wantError(t, s.Users.RemoveUser(ctx, zoe.Name), authority.ErrNotFound)
	_, err = s.Users.User(ctx, zoe.Name)
	wantError(t, err, authority.ErrNotFound)
}

// incarnation is the number that a store gave a user.
func incarnation(u authority.User) int64 { return u.PasswordVersion >> 32 }

// userTwice removes a user and adds another one with the same name.
func userTwice(t *testing.T, s authority.Stores) {
	ctx, key := t.Context(), authority.StrikeKey(sha256.Sum256([]byte("u")))
	add := func(name string) authority.User {
		t.Helper()
		must(t, s.Users.CreateUser(ctx, authority.User{Name: name, PasswordHash: "$h$", PasswordVersion: 1, CreatedAt: start}))
		u, err := s.Users.User(ctx, name)
		must(t, err)
		return u
	}
	guess := func(counted bool) {
		t.Helper()
		_, got, err := s.Strikes.FailStrike(ctx, reserve(t, s, key, limit(start)), authority.Guess{1}, start)
		must(t, err)
		equal(t, "whether a guess counted", got, counted)
	}
	first := add("u")
	guess(true)
	guess(false)
	var begun []authority.Reservation
	for range 4 {
		begun = append(begun, reserve(t, s, key, limit(start)))
	}
	_, err := s.Strikes.ReserveStrike(ctx, key, limit(start))
	wantError(t, err, authority.ErrBusy)
	_, err = s.Users.UpdateUser(ctx, "u", func(u *authority.User) error {
		u.Disabled, u.PasswordVersion = true, u.PasswordVersion+1000
		return nil
	})
	must(t, err)
	must(t, s.Users.RemoveUser(ctx, "u"))

	second := add("u")
	if first.PasswordVersion+1000 >= second.PasswordVersion {
		t.Errorf("the first user had the versions %d to %d, and the second begins at %d", first.PasswordVersion, first.PasswordVersion+1000, second.PasswordVersion)
	}
	got, err := s.Strikes.Strikes(ctx, key)
	must(t, err)
	equal(t, "the strikes of the second", got, authority.Strikes{})
	for _, outcome := range []authority.Outcome{authority.Failed, authority.Succeeded} {
		_, err = s.Strikes.SettleStrike(ctx, begun[outcome], outcome, start)
		wantError(t, err, authority.ErrReservationLost)
	}
	guess(true)

	seen := map[int64]bool{incarnation(first): true, incarnation(second): true}
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
		if err != nil || seen[incarnation(u)] {
			t.Errorf("the incarnation of a user is %d, which another one has, or %v", incarnation(u), err)
		}
		seen[incarnation(u)] = true
	})
}
