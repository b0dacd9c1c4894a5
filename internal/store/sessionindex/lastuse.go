package sessionindex

import (
	"github.com/latchkey/latchkey/internal/authority"
)

// LastUse is a last_used of the table: one that is to be written, or was written.
type LastUse struct {
	Key authority.SessionKey
	At  int64
}

// LastUse returns the exact last use of a session that is in the index.
func (x *Index) LastUse(key authority.SessionKey) (last int64, known bool) {
	s := x.shard(key)
	s.mu.RLock()
	defer s.mu.RUnlock()
	e := s.sessions.find(&key)
	if e == nil {
		return 0, false
	}
	last = e.lastUsed.Load()
	return max(last, -last), true
}

// SetLastUse sets the last use of a session that no caller can have used yet.
func (x *Index) SetLastUse(key authority.SessionKey, at int64) {
	s := x.shard(key)
	s.mu.RLock()
	defer s.mu.RUnlock()
	if e := s.sessions.find(&key); e != nil {
		e.lastUsed.Store(at)
	}
}

// SetLogged notes until when a log record covers a session.
func (x *Index) SetLogged(key authority.SessionKey, until int64) {
	s := x.shard(key)
	s.mu.RLock()
	defer s.mu.RUnlock()
	if e := s.sessions.find(&key); e != nil {
		e.logged.Store(until)
	}
}

// SetWritten notes that a last use is in the table.
func (x *Index) SetWritten(use LastUse) {
	s := x.shard(use.Key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.sessions.find(&use.Key); e != nil {
		e.written = use.At
	}
}

// Unwritten returns the last uses of a shard that are to be written ahead microseconds
// ahead of time: those that have come within a fifth of ahead of the table's last_used,
// or are so far before it that a clock was set back. If ahead is 0, Unwritten returns
// every last use that is not the table's.
func (x *Index) Unwritten(shard int, ahead int64) []LastUse {
	s := &x.shards[shard]
	s.mu.RLock()
	defer s.mu.RUnlock()
	var due []LastUse
	for i := range s.sessions.slots {
		e := &s.sessions.slots[i]
		if !e.live {
			continue
		}
		last := e.lastUsed.Load()
		if last < 0 {
			continue // expired, and about to be swept
		}
		soon := last+ahead/5 > e.written || e.written-last > ahead+authority.ClockSlack.Microseconds()
		if ahead > 0 && soon || ahead == 0 && last != e.written {
			due = append(due, LastUse{e.key, last + ahead})
		}
	}
	return due
}
