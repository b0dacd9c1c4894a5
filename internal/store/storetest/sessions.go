package storetest

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/authority"
)

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

// sessionExpiry compares UseSession and SweepSessions with authority.Expired, around every
// limit.
func sessionExpiry(t *testing.T, s authority.Stores) {
	ctx := t.Context()
	const us = time.Microsecond
	type times struct{ used, expires time.Duration } // before now; 0: no absolute end
	var all []times
	for _, used := range []time.Duration{0, us, Idle - us, Idle, Idle + us, 2 * Idle} {
		for _, expires := range []time.Duration{0, -time.Hour, -us, us, time.Hour} {
			all = append(all, times{used, expires})
		}
	}
	now := start.Add(24 * time.Hour)
	session := func(i int) authority.Session {
		session := NewSession(i, "u", now.Add(-all[i%len(all)].used))
		switch expires := all[i%len(all)].expires; {
		case expires == us: // exactly now
			session.ExpiresAt = now
		case expires != 0:
			session.ExpiresAt = now.Add(-expires)
		}
		return session
	}
	want := map[authority.SessionKey]bool{}
	for i := range 2 * len(all) {
		session := session(i)
		want[session.Key] = session.Expired(now, Idle)
		must(t, s.Sessions.CreateSession(ctx, session))
	}
	for i := range len(all) { // the first half is used, and the second is swept only
		_, err := s.Sessions.UseSession(ctx, Key(i), now, Idle)
		if expired := errors.Is(err, authority.ErrNotFound); expired != want[Key(i)] {
			t.Errorf("a session used %v ago, past its end for %v: expired %v, %v", all[i].used, all[i].expires, expired, err)
		}
	}
	swept, err := s.SessionLog.SweepSessions(ctx, now, Idle, 10*len(all))
	must(t, err)
	got := map[authority.SessionKey]bool{}
	for _, session := range swept {
		got[session.Key] = true
	}
	for i := range 2 * len(all) {
		if got[Key(i)] != want[Key(i)] {
			of := all[i%len(all)]
			t.Errorf("session %d, used %v ago, past its end for %v: swept %v", i, of.used, of.expires, got[Key(i)])
		}
	}
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
					_, err := s.Sessions.UseSession(ctx, Key(i), start, Idle)
					if err != nil && !errors.Is(err, authority.ErrNotFound) {
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
				t.Errorf("an ended session returned %v", err)
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
		created := start.Add(time.Duration(i/3) * time.Second)
		must(t, s.Sessions.CreateSession(ctx, NewSession(i, fmt.Sprintf("u%d", i%2), created)))
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
