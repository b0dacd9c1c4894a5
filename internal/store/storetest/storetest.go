// Package storetest is the conformance suite of stores: every rule that
// internal/authority/stores.go states is a case here, and every store passes
// every case. Time is a value that goes into the calls, so the suite moves it as
// it likes.
package storetest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/authority"
)

// Idle is the idle timeout that the suite uses.
const Idle = 20 * time.Minute

// start is when the suite's time begins.
var start = time.Date(2026, 3, 1, 12, 0, 0, 123456000, time.UTC)

// Run holds a store to the rules. open returns stores with nothing in them; what
// must be closed is closed by t.Cleanup.
func Run(t *testing.T, open func(t *testing.T) authority.Stores) {
	cases := map[string]func(*testing.T, authority.Stores){
		"users/create, read, change, list and remove":           users,
		"users/an update is atomic":                             userUpdates,
		"users/who has a name twice is two people":              userTwice,
		"users/of resets at once one is kept, and whole":        userResets,
		"clients/create, read, change and list":                 clients,
		"strikes/no more are reserved than are left":            strikesBounded,
		"strikes/a success forgets failures":                    strikesSuccess,
		"strikes/a lost reservation tells nothing":              strikesLost,
		"strikes/the same guess is one failure":                 strikesGuessed,
		"strikes/locks lift by time, but not an operator's":     strikesUnlock,
		"sessions/idle time slides and is exact":                sessionIdle,
		"sessions/an absolute end holds":                        sessionLifetime,
		"sessions/exactly one end succeeds":                     sessionEnd,
		"sessions/an ended one is never answered again":         sessionEndedForGood,
		"sessions/a change of the password ends the others":     sessionEndUser,
		"sessions/a sweep takes the expired and no other":       sessionSweep,
		"sessions/a listing pages through all, newest first":    sessionPages,
		"audit/events are kept in order and found":              audit,
		"audit/events are chained, and trimmed from the front":  auditChain,
		"audit/any text is kept, and chained as it is kept":     auditText,
		"sessions/a future time counts as now":                  sessionFuture,
		"strikes/a future time counts as now":                   strikesFuture,
		"audit/a future time ends no trimming":                  auditFuture,
		"every store/a context that has ended stops what waits": contexts,
	}
	for name, run := range cases {
		t.Run(name, func(t *testing.T) { run(t, open(t)) })
	}
}

// Must fails the test on an error.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wantError fails the test unless err is the wanted one.
func wantError(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got error %v, want %v", err, want)
	}
}

func equal[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Fatalf("%s:\n got %+v\nwant %+v", what, got, want)
	}
}

// Key returns the i-th of a series of session keys.
func Key(i int) authority.SessionKey { return sha256.Sum256([]byte("session " + strconv.Itoa(i))) }

// NewSession returns the i-th of a series of sessions, created at the given time.
func NewSession(i int, user string, at time.Time) authority.Session {
	return authority.Session{Key: Key(i), User: user, PasswordVersion: 1, Client: "key", CreatedAt: at, LastUsedAt: at}
}

func userUpdates(t *testing.T, s authority.Stores) {
	ctx := t.Context()
	must(t, s.Users.CreateUser(ctx, authority.User{Name: "u", CreatedAt: start}))
	many(50, func(int) {
		if _, err := s.Users.UpdateUser(ctx, "u", func(u *authority.User) error { u.PasswordVersion++; return nil }); err != nil {
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
	must(t, s.Users.CreateUser(ctx, authority.User{Name: "u", PasswordHash: "first", PasswordVersion: 1, CreatedAt: start}))
	changed := errors.New("changed")
	var won atomic.Int64
	many(50, func(i int) {
		name := strconv.Itoa(i)
		_, err := s.Users.UpdateUser(ctx, "u", func(u *authority.User) error {
			if u.PasswordHash != "first" {
				return changed
			}
			u.PasswordHash, u.PasswordVersion = name, u.PasswordVersion+1
			u.Repeat = authority.Repeat{Key: Key(i), Session: Key(i + 1), Replaced: "first", Sealed: name, Until: start.Add(time.Hour)}
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
	want := authority.User{Name: "u", PasswordHash: u.PasswordHash, PasswordVersion: 2, CreatedAt: start,
		Repeat: authority.Repeat{Key: Key(i), Session: Key(i + 1), Replaced: "first", Sealed: u.PasswordHash, Until: start.Add(time.Hour)}}
	equal(t, "the user", u, want.WithIncarnation(incarnation(u)))

	// A further change takes what can be repeated away in the same step.
	_, err = s.Users.UpdateUser(ctx, "u", func(u *authority.User) error {
		u.PasswordHash, u.Repeat = "last", authority.Repeat{}
		return nil
	})
	must(t, err)
	u, err = s.Users.User(ctx, "u")
	must(t, err)
	equal(t, "what can be repeated", u.Repeat, authority.Repeat{})
	due, err := s.Users.Users(ctx, authority.UserQuery{RepeatBefore: start.Add(1000 * time.Hour)})
	must(t, err)
	equal(t, "users whose reset can be repeated no more", len(due), 0)
}

// many runs n calls at once and returns when all have ended.
func many(n int, call func(i int)) {
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() { call(i) })
	}
	group.Wait()
}

func clients(t *testing.T, s authority.Stores) {
	ctx := t.Context()
	c := authority.Client{ID: authority.ClientID{1}, Key: "b", SecretHash: sha256.Sum256([]byte("s")), Label: "label", CreatedAt: start}
	must(t, s.Clients.CreateClient(ctx, c))
	wantError(t, s.Clients.CreateClient(ctx, c), authority.ErrExists)
	got, err := s.Clients.Client(ctx, c.ID)
	must(t, err)
	equal(t, "a client", got, c)
	_, err = s.Clients.Client(ctx, authority.ClientID{2})
	wantError(t, err, authority.ErrNotFound)
	must(t, s.Clients.CreateClient(ctx, authority.Client{ID: authority.ClientID{2}, Key: "a", CreatedAt: start}))
	many(20, func(int) {
		if _, err := s.Clients.UpdateClient(ctx, c.ID, func(c *authority.Client) error {
			c.TokenSerial++
			c.TokenIssuedAt = start.Add(time.Duration(c.TokenSerial) * time.Microsecond)
			return nil
		}); err != nil {
			t.Error(err)
		}
	})
	c.TokenSerial, c.TokenIssuedAt = 20, start.Add(20*time.Microsecond)
	got, err = s.Clients.Client(ctx, c.ID)
	must(t, err)
	equal(t, "a changed client", got, c)
	stop := errors.New("stop")
	_, err = s.Clients.UpdateClient(ctx, c.ID, func(c *authority.Client) error { c.Revoked = true; return stop })
	wantError(t, err, stop)
	_, err = s.Clients.UpdateClient(ctx, authority.ClientID{3}, func(*authority.Client) error { return nil })
	wantError(t, err, authority.ErrNotFound)
	all, err := s.Clients.Clients(ctx)
	must(t, err)
	equal(t, "the number of clients", len(all), 2)
	equal(t, "the first client", all[0].Key, "a")
	equal(t, "the second client", all[1], c)
}

func limit(now time.Time) authority.StrikeLimit {
	return authority.StrikeLimit{Max: 5, Now: now, Hold: time.Minute}
}

func strikesBounded(t *testing.T, s authority.Stores) {
	ctx, key := t.Context(), authority.StrikeKey{1}
	var reserved, evaluated atomic.Int64
	reservations := make(chan authority.Reservation, 200)
	many(200, func(int) {
		r, err := s.Strikes.ReserveStrike(ctx, key, limit(start))
		if err == nil {
			reserved.Add(1)
			reservations <- r
		} else if !errors.Is(err, authority.ErrBusy) {
			t.Error(err)
		}
	})
	equal(t, "strikes reserved at once", reserved.Load(), 5)
	close(reservations)
	for r := range reservations {
		strikes, err := s.Strikes.SettleStrike(ctx, r, authority.Failed, start)
		must(t, err)
		evaluated.Add(1)
		equal(t, "failures", strikes.Failures, int(evaluated.Load()))
		equal(t, "locked", !strikes.LockedAt.IsZero(), evaluated.Load() == 5)
	}
	_, err := s.Strikes.ReserveStrike(ctx, key, limit(start.Add(1000*time.Hour)))
	wantError(t, err, authority.ErrLocked)
	got, err := s.Strikes.Strikes(ctx, key)
	must(t, err)
	equal(t, "strikes", got, authority.Strikes{Failures: 5, LockedAt: start})
	_, err = s.Strikes.ReserveStrike(ctx, authority.StrikeKey{2}, limit(start))
	must(t, err) // another key feels nothing
}

func reserve(t *testing.T, s authority.Stores, key authority.StrikeKey, l authority.StrikeLimit) authority.Reservation {
	t.Helper()
	r, err := s.Strikes.ReserveStrike(t.Context(), key, l)
	must(t, err)
	return r
}

func settle(t *testing.T, s authority.Stores, r authority.Reservation, outcome authority.Outcome, now time.Time) authority.Strikes {
	t.Helper()
	strikes, err := s.Strikes.SettleStrike(t.Context(), r, outcome, now)
	must(t, err)
	return strikes
}

func strikesSuccess(t *testing.T, s authority.Stores) {
	key := authority.StrikeKey{1}
	for range 4 {
		settle(t, s, reserve(t, s, key, limit(start)), authority.Failed, start)
	}
	last := reserve(t, s, key, limit(start))
	_, err := s.Strikes.ReserveStrike(t.Context(), key, limit(start))
	wantError(t, err, authority.ErrBusy)
	equal(t, "failures after one that was abandoned", settle(t, s, last, authority.Abandoned, start).Failures, 4)
	equal(t, "strikes after a success", settle(t, s, reserve(t, s, key, limit(start)), authority.Succeeded, start), authority.Strikes{})
	for range 4 {
		settle(t, s, reserve(t, s, key, limit(start)), authority.Failed, start)
	}
	got, err := s.Strikes.Strikes(t.Context(), key)
	must(t, err)
	equal(t, "strikes after four more failures", got, authority.Strikes{Failures: 4})
}

func strikesLost(t *testing.T, s authority.Stores) {
	ctx, key := t.Context(), authority.StrikeKey{1}
	r := reserve(t, s, key, limit(start))
	for range 4 {
		reserve(t, s, key, limit(start.Add(time.Second)))
	}
	_, err := s.Strikes.ReserveStrike(ctx, key, limit(start.Add(time.Minute-time.Microsecond)))
	wantError(t, err, authority.ErrBusy)
	_, err = s.Strikes.SettleStrike(ctx, r, authority.Failed, start.Add(time.Minute))
	wantError(t, err, authority.ErrReservationLost)
	wantError(t, s.Strikes.ExtendStrike(ctx, r, start.Add(time.Minute), time.Hour), authority.ErrReservationLost)
	again := reserve(t, s, key, limit(start.Add(time.Minute)))
	must(t, s.Strikes.ExtendStrike(ctx, again, start.Add(time.Minute), 10*time.Minute))
	must(t, s.Strikes.ExtendStrike(ctx, again, start.Add(10*time.Minute), 2*time.Minute))
	settle(t, s, again, authority.Failed, start.Add(12*time.Minute-time.Microsecond))
	_, err = s.Strikes.SettleStrike(ctx, again, authority.Failed, start.Add(time.Minute))
	wantError(t, err, authority.ErrReservationLost)
	got, err := s.Strikes.Strikes(ctx, key)
	must(t, err)
	equal(t, "failures", got.Failures, 1)
}

func strikesUnlock(t *testing.T, s authority.Stores) {
	ctx, key := t.Context(), authority.StrikeKey{1}
	l := limit(start)
	l.Max, l.UnlockAfter = 1, time.Hour
	settle(t, s, reserve(t, s, key, l), authority.Failed, start)
	l.Now = start.Add(time.Hour - time.Microsecond)
	_, err := s.Strikes.ReserveStrike(ctx, key, l)
	wantError(t, err, authority.ErrLocked)
	l.Now = start.Add(time.Hour)
	equal(t, "strikes after the lock lifted", settle(t, s, reserve(t, s, key, l), authority.Abandoned, l.Now), authority.Strikes{})

	manual := authority.Strikes{Failures: 1, LockedAt: start, Manual: true}
	must(t, s.Strikes.SetStrikes(ctx, key, manual))
	got, err := s.Strikes.Strikes(ctx, key)
	must(t, err)
	equal(t, "an operator's lock", got, manual)
	_, err = s.Strikes.ReserveStrike(ctx, key, l)
	wantError(t, err, authority.ErrLocked)
	must(t, s.Strikes.SetStrikes(ctx, key, authority.Strikes{}))
	begun := reserve(t, s, key, l)
	_, err = s.Strikes.ReserveStrike(ctx, key, l)
	wantError(t, err, authority.ErrBusy)
	must(t, s.Strikes.SetStrikes(ctx, key, authority.Strikes{}))
	reserve(t, s, key, l)
	_, err = s.Strikes.SettleStrike(ctx, begun, authority.Failed, l.Now)
	wantError(t, err, authority.ErrReservationLost)
}

func sessionIdle(t *testing.T, s authority.Stores) {
	ctx := t.Context()
	must(t, s.Sessions.CreateSession(ctx, NewSession(1, "u", start)))
	wantError(t, s.Sessions.CreateSession(ctx, NewSession(1, "u", start)), authority.ErrExists)
	now := start
	for range 100 {
		now = now.Add(Idle - time.Microsecond)
		got, err := s.Sessions.UseSession(ctx, Key(1), now, Idle)
		must(t, err)
		want := NewSession(1, "u", start)
		want.LastUsedAt = now
		equal(t, "a used session", got, want)
	}
	_, err := s.Sessions.UseSession(ctx, Key(1), start, Idle) // a clock that went back slides nothing back
	must(t, err)
	_, err = s.Sessions.UseSession(ctx, Key(1), now.Add(Idle), Idle)
	wantError(t, err, authority.ErrNotFound)
	_, err = s.Sessions.UseSession(ctx, Key(1), now, Idle) // found dead, it stays dead
	wantError(t, err, authority.ErrNotFound)
	_, err = s.Sessions.UseSession(ctx, Key(2), now, Idle)
	wantError(t, err, authority.ErrNotFound)
}

func sessionLifetime(t *testing.T, s authority.Stores) {
	ctx := t.Context()
	session := NewSession(1, "u", start)
	session.ExpiresAt = start.Add(time.Minute)
	must(t, s.Sessions.CreateSession(ctx, session))
	got, err := s.Sessions.UseSession(ctx, Key(1), session.ExpiresAt.Add(-time.Microsecond), Idle)
	must(t, err)
	equal(t, "the absolute end", got.ExpiresAt, session.ExpiresAt)
	_, err = s.Sessions.UseSession(ctx, Key(1), session.ExpiresAt, Idle)
	wantError(t, err, authority.ErrNotFound)
}

func end(at time.Time) authority.End {
	return authority.End{At: at, Reason: authority.ReasonLogout, By: "u"}
}

func sessionEnd(t *testing.T, s authority.Stores) {
	ctx := t.Context()
	must(t, s.Sessions.CreateSession(ctx, NewSession(1, "u", start)))
	_, err := s.Sessions.UseSession(ctx, Key(1), start.Add(time.Minute), Idle)
	must(t, err)
	var ended atomic.Int64
	many(50, func(int) {
		got, err := s.Sessions.EndSession(ctx, Key(1), end(start.Add(time.Hour)))
		if err == nil {
			ended.Add(1)
			if !got.LastUsedAt.Equal(start.Add(time.Minute)) || got.User != "u" {
				t.Errorf("the session was ended as %+v", got)
			}
		} else if !errors.Is(err, authority.ErrNotFound) {
			t.Error(err)
		}
	})
	equal(t, "calls that ended the session", ended.Load(), 1)
	_, err = s.Sessions.EndSession(ctx, Key(2), end(start))
	wantError(t, err, authority.ErrNotFound)
	all, err := s.SessionLog.Sessions(ctx, authority.SessionQuery{Ended: true})
	must(t, err)
	equal(t, "sessions on record", len(all), 1)
	equal(t, "the end on record", all[0].End, end(start.Add(time.Hour)))
	live, err := s.SessionLog.Sessions(ctx, authority.SessionQuery{})
	must(t, err)
	equal(t, "live sessions", len(live), 0)
	n, err := s.SessionLog.PurgeSessions(ctx, start.Add(time.Hour), 10)
	must(t, err)
	equal(t, "purged too early", n, 0)
	n, err = s.SessionLog.PurgeSessions(ctx, start.Add(time.Hour+time.Microsecond), 10)
	must(t, err)
	equal(t, "purged", n, 1)
}

func sessionEndedForGood(t *testing.T, s authority.Stores) {
	ctx := t.Context()
	const n = 16
	many(n, func(i int) {
		if err := s.Sessions.CreateSession(ctx, NewSession(i, "u", start)); err != nil {
			t.Error(err)
		}
		done := make(chan struct{})
		var group sync.WaitGroup
		for range 2 {
			group.Go(func() {
				for {
					select {
					case <-done:
						return
					default:
					}
					if _, err := s.Sessions.UseSession(ctx, Key(i), start, Idle); err != nil && !errors.Is(err, authority.ErrNotFound) {
						t.Error(err)
					}
					runtime.Gosched()
				}
			})
		}
		if _, err := s.Sessions.EndSession(ctx, Key(i), end(start)); err != nil {
			t.Error(err)
		}
		for range 100 {
			if _, err := s.Sessions.UseSession(ctx, Key(i), start, Idle); !errors.Is(err, authority.ErrNotFound) {
				t.Errorf("an ended session answers %v", err)
			}
		}
		close(done)
		group.Wait()
	})
}

func sessionEndUser(t *testing.T, s authority.Stores) {
	ctx := t.Context()
	for i := range 6 {
		session := NewSession(i, "u", start)
		if i == 4 {
			session.User = "v"
		}
		if i == 5 {
			session.PasswordVersion = 2
		}
		must(t, s.Sessions.CreateSession(ctx, session))
	}
	n, err := s.Sessions.EndUserSessions(ctx, "u", 2, Key(0), end(start))
	must(t, err)
	equal(t, "sessions ended", n, 3)
	for i, alive := range []bool{true, false, false, false, true, true} {
		_, err := s.Sessions.UseSession(ctx, Key(i), start, Idle)
		equal(t, fmt.Sprintf("session %d alive", i), err == nil, alive)
	}
}

func sessionSweep(t *testing.T, s authority.Stores) {
	ctx := t.Context()
	for i := range 10 {
		must(t, s.Sessions.CreateSession(ctx, NewSession(i, "u", start)))
	}
	now := start.Add(Idle)
	for i := range 5 {
		_, err := s.Sessions.UseSession(ctx, Key(i), now.Add(-time.Microsecond), Idle)
		must(t, err)
	}
	swept := map[authority.SessionKey]bool{}
	for range 3 {
		some, err := s.SessionLog.SweepSessions(ctx, now, Idle, 2)
		must(t, err)
		if len(some) > 2 {
			t.Fatalf("swept %d at once, above the limit", len(some))
		}
		for _, session := range some {
			equal(t, "swept twice", swept[session.Key], false)
			equal(t, "the reason", session.End.Reason, authority.ReasonExpired)
			swept[session.Key] = true
		}
	}
	equal(t, "sessions swept", len(swept), 5)
	for i := range 10 {
		equal(t, fmt.Sprintf("session %d swept", i), swept[Key(i)], i >= 5)
		_, err := s.Sessions.UseSession(ctx, Key(i), now, Idle)
		equal(t, fmt.Sprintf("session %d alive", i), err == nil, i < 5)
	}
}

func sessionPages(t *testing.T, s authority.Stores) {
	ctx := t.Context()
	for i := range 25 {
		must(t, s.Sessions.CreateSession(ctx, NewSession(i, fmt.Sprintf("u%d", i%2), start.Add(time.Duration(i/3)*time.Second))))
	}
	seen, last := map[authority.SessionKey]bool{}, start.Add(time.Hour)
	for query := (authority.SessionQuery{Limit: 4}); ; {
		page, err := s.SessionLog.Sessions(ctx, query)
		must(t, err)
		if len(page) == 0 {
			break
		}
		for _, session := range page {
			equal(t, "listed twice", seen[session.Key], false)
			seen[session.Key] = true
			if session.CreatedAt.After(last) {
				t.Fatal("an older session is listed before a newer one")
			}
			last = session.CreatedAt
		}
		query.Before = &page[len(page)-1]
	}
	equal(t, "sessions listed", len(seen), 25)
	of, err := s.SessionLog.Sessions(ctx, authority.SessionQuery{User: "u1"})
	must(t, err)
	equal(t, "sessions of one user", len(of), 12)
	one, err := s.SessionLog.Sessions(ctx, authority.SessionQuery{ID: Key(7).ID()})
	must(t, err)
	equal(t, "sessions with one ID", len(one), 1)
	equal(t, "the session with that ID", one[0].Key, Key(7))
	none, err := s.SessionLog.Sessions(ctx, authority.SessionQuery{ID: "no such id"})
	must(t, err)
	equal(t, "sessions with an ID that is none", len(none), 0)
}

func contexts(t *testing.T, s authority.Stores) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	wantError(t, s.Users.CreateUser(ctx, authority.User{Name: "u"}), context.Canceled)
	_, err := s.Users.User(t.Context(), "u")
	wantError(t, err, authority.ErrNotFound)
}
