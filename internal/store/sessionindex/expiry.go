package sessionindex

import (
	"time"

	"github.com/latchkey/latchkey/internal/authority"
)

// TakeExpired removes up to limit expired sessions and returns them. Like
// authority.SessionLog.SweepSessions, it first replaces times in the future by now.
func (x *Index) TakeExpired(now time.Time, idle time.Duration, limit int) []authority.Session {
	var taken []authority.Session
	var due []authority.SessionKey // of one shard
	for i := range x.shards {
		s := &x.shards[i]
		if !x.anyDue(s, now, idle) {
			continue
		}
		s.mu.Lock() // while it is held, no session can be used
		for i := 0; i < len(s.sessions.slots) && len(taken) < limit; i++ {
			e := &s.sessions.slots[i]
			if !e.live {
				continue
			}
			x.pullBack(&e.entry, now.UnixMicro())
			if last := e.lastUsed.Load(); e.expired(last, now, idle) {
				taken = append(taken, x.session(e.key, &e.entry, last))
				due = append(due, e.key)
			}
		}
		for _, key := range due {
			s.sessions.remove(&key)
			s.removals++
		}
		due = due[:0]
		s.mu.Unlock()
		if len(taken) == limit {
			break
		}
	}
	return taken
}

// anyDue reports whether a session of a shard is expired, or has times in the future.
func (x *Index) anyDue(s *shard, now time.Time, idle time.Duration) bool {
	us := now.UnixMicro()
	s.mu.RLock()
	defer s.mu.RUnlock()
	for i := range s.sessions.slots {
		e := &s.sessions.slots[i]
		if !e.live {
			continue
		}
		last := e.lastUsed.Load()
		if e.expired(last, now, idle) || x.future(last, us) || e.created > us+authority.ClockSlack.Microseconds() {
			return true
		}
	}
	return false
}

// pullBack replaces times in the future by now, as store.PullBack does in the table. The
// shard is locked.
func (x *Index) pullBack(e *entry, now int64) {
	if last := e.lastUsed.Load(); x.future(last, now) {
		e.lastUsed.Store(now)
	}
	if ahead := e.created - now; ahead > authority.ClockSlack.Microseconds() {
		e.created = now
		if e.expires != 0 {
			e.expires -= ahead
		}
	}
}
