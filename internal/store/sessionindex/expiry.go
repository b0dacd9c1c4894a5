package sessionindex

import (
	"time"

	"github.com/latchkey/latchkey/internal/authority"
)

// TakeExpired removes up to limit expired sessions and returns them. Like
// authority.SessionLog.SweepSessions, it first replaces times in the future by now.
func (x *Index) TakeExpired(now time.Time, idle time.Duration, limit int) []authority.Session {
	var taken []authority.Session
	for i := range x.shards {
		s := &x.shards[i]
		if !x.anyDue(s, now, idle) {
			continue
		}
		s.mu.Lock() // while it is held, no session can be used
		for key, position := range s.index {
			if len(taken) == limit {
				break
			}
			e := s.at(position)
			x.pullBack(e, now.UnixMicro())
			if last := e.lastUsed.Load(); e.expired(last, now, idle) {
				taken = append(taken, x.session(key, e, last))
				delete(s.index, key)
				s.free = append(s.free, position)
				s.removals++
			}
		}
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
	for _, position := range s.index {
		e := s.at(position)
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
