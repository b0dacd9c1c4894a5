package storetest

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/authority"
)

func users(t *testing.T, s authority.Stores) {
	ctx := t.Context()
	zoe := authority.User{Name: "zoë ☃", PasswordHash: "$h$", PasswordVersion: 7, PasswordChangedAt: start, CreatedAt: start.Add(time.Microsecond),
		Disabled: true, Ending: authority.Ending{Pending: true, Keep: Key(1), Reason: authority.ReasonReset},
		Repeat: authority.Repeat{Key: Key(2), Session: Key(3), Replaced: "$old$", Sealed: "$sealed$", Until: start.Add(time.Hour)}, Allow: "GET /api/a\n* /api/b/**"}
	must(t, s.Users.CreateUser(ctx, zoe))
	wantError(t, s.Users.CreateUser(ctx, zoe), authority.ErrExists)
	got, err := s.Users.User(ctx, zoe.Name)
	must(t, err)
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
	must(t, s.Users.RemoveUser(ctx, zoe.Name))
	wantError(t, s.Users.RemoveUser(ctx, zoe.Name), authority.ErrNotFound)
	_, err = s.Users.User(ctx, zoe.Name)
	wantError(t, err, authority.ErrNotFound)
}
