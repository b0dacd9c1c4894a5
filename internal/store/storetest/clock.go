package storetest

import (
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/authority"
)

// future is what a clock says that is a day ahead.
var future = start.Add(24 * time.Hour)

// sessionFuture has sessions that were made and used while the clock was ahead.
func sessionFuture(t *testing.T, s authority.Stores) {
	ctx := t.Context()
	alive := func(i int, now time.Time, want bool) {
		t.Helper()
		session, err := s.Sessions.UseSession(ctx, Key(i), now, Idle)
		if !want {
			wantError(t, err, authority.ErrNotFound)
			return
		}
		must(t, err)
		equal(t, "the last use", session.LastUsedAt, now)
	}
	for i := range 5 {
		session := NewSession(i, "u", future)
		if i == 2 {
			session.ExpiresAt = future.Add(time.Hour)
		}
		must(t, s.Sessions.CreateSession(ctx, session))
	}
	alive(0, future.Add(time.Minute), true)
	alive(4, future.Add(time.Minute), true)
	_, err := s.Sessions.EndSession(ctx, Key(4), end(future))
	must(t, err)

	// Back. The first is used, and the others are not.
	alive(0, start, true)
	swept, err := s.SessionLog.SweepSessions(ctx, start, Idle, 100)
	must(t, err)
	equal(t, "sessions swept too early", len(swept), 0)
	alive(2, start.Add(10*time.Minute), true)
	alive(3, start.Add(Idle-time.Microsecond), true)
	swept, err = s.SessionLog.SweepSessions(ctx, start.Add(Idle), Idle, 100)
	must(t, err)
	equal(t, "sessions swept", len(swept), 2)
	alive(0, start.Add(Idle), false)
	alive(1, start.Add(Idle), false)
	// What is left of its lifetime begins with the first sweep.
	for now := start.Add(20 * time.Minute); now.Before(start.Add(time.Hour)); now = now.Add(10 * time.Minute) {
		alive(2, now, true)
	}
	alive(2, start.Add(time.Hour), false)
	n, err := s.SessionLog.PurgeSessions(ctx, start.Add(time.Hour), 100)
	must(t, err)
	equal(t, "ended sessions that were removed", n, 3)
}

// auditFuture trims a trail that was written while the clock was ahead, for a time.
func auditFuture(t *testing.T, s authority.Stores) {
	ctx := t.Context()
	add := func(n int, at time.Time) {
		t.Helper()
		for range n {
			must(t, s.Audit.AppendAudit(ctx, authority.Event{At: at, Kind: authority.EventLogIn}))
		}
	}
	trim := func(before time.Time, want int) {
		t.Helper()
		n, err := s.Audit.TrimAudit(ctx, before, before.Add(time.Hour), 3, func(int, int64, authority.Chain) authority.Event {
			return authority.Event{At: before.Add(time.Hour), Kind: authority.EventAuditTrimmed}
		})
		must(t, err)
		equal(t, "trimmed events", n, want)
	}
	add(7, future)
	trim(start, 0) // nothing says yet how old they are
	add(2, start)
	add(1, future)
	add(1, start.Add(time.Hour))
	trim(start, 0)
	trim(start.Add(time.Minute), 9)
	trim(start.Add(time.Minute), 0)
	trim(start.Add(2*time.Hour), 3) // with the note of the first trimming
}
