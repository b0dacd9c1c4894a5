// Package sessionindex holds live sessions in memory. The embedded engine holds all of
// them there; a replica on PostgreSQL those that it has checked lately.
package sessionindex

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/store"
)

// Index is a set of live sessions. It is safe for concurrent use. Times are microseconds
// since 1970.
//
// The last use of a session is exact in the index. The table's last_used is written ahead
// of it, so that a crash never makes a session expire early.
//
// A session that ended must not return through a row that was read before it ended. So
// each shard counts the sessions that were removed: a caller that reads rows in order to
// add them calls Removals first, and Add refuses a row if the count has changed since.
type Index struct {
	shards [Shards]shard
	ahead  int64 // how far last_used may be ahead of the last use
	names  names
}

// Shards is the number of parts of an Index that are locked separately.
const Shards = 256

type shard struct {
	mu       sync.RWMutex
	sessions table
	removals uint64
}

// entry is a live session.
type entry struct {
	// lastUsed is negative once the session was found expired. Then it stays expired,
	// even for a clock that is set back.
	lastUsed atomic.Int64
	logged   atomic.Int64 // until when a log record covers the session
	written  int64        // last_used in the table; guarded by shard.mu
	created  int64
	expires  int64
	version  int64
	user     uint32 // in names
	client   uint32 // in names
}

// set copies another entry.
func (e *entry) set(from *entry) {
	e.lastUsed.Store(from.lastUsed.Load())
	e.logged.Store(from.logged.Load())
	e.written, e.created, e.expires = from.written, from.created, from.expires
	e.version, e.user, e.client = from.version, from.user, from.client
}

// New returns an empty index for an engine that writes last_used at most so far ahead of
// the last use.
func New(ahead time.Duration) *Index {
	return &Index{ahead: ahead.Microseconds()}
}

// ShardOf returns the shard of a session.
func ShardOf(key authority.SessionKey) int { return int(key[0]) }

func (x *Index) shard(key authority.SessionKey) *shard { return &x.shards[ShardOf(key)] }

// Removals returns how many sessions of a shard have been removed so far.
func (x *Index) Removals(shard int) uint64 {
	s := &x.shards[shard]
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.removals
}

// Use is the result of Index.Use.
type Use struct {
	Session authority.Session
	Known   bool // the session is in the index
	Live    bool // and not expired
	Covered bool // a process that starts after a crash would know of a use at this time
}

// Use slides the last use of a session to now.
func (x *Index) Use(key authority.SessionKey, now time.Time, idle time.Duration) Use {
	us := now.UnixMicro()
	s := x.shard(key)
	s.mu.RLock()
	defer s.mu.RUnlock()
	e := s.sessions.find(&key)
	if e == nil {
		return Use{}
	}
	for {
		last := e.lastUsed.Load()
		switch {
		case last < 0:
			return Use{Known: true, Covered: true}
		case e.expired(last, now, idle):
			if e.lastUsed.CompareAndSwap(last, -last) {
				return Use{Known: true, Covered: true}
			}
		case last >= us && !x.future(last, us) || e.lastUsed.CompareAndSwap(last, us):
			if x.future(last, us) {
				last = us
			}
			return Use{x.session(key, e, max(last, us)), true, true, us <= e.written || us <= e.logged.Load()}
		}
	}
}

// Covered returns a session whose use at now needs no writing. It returns false for one
// that reaches its absolute end within margin.
func (x *Index) Covered(key authority.SessionKey, now, margin int64) (session authority.Session, ok bool) {
	s := x.shard(key)
	s.mu.RLock()
	defer s.mu.RUnlock()
	e := s.sessions.find(&key)
	if e == nil {
		return session, false
	}
	if now > e.written || x.future(e.written, now) || e.expires != 0 && now >= e.expires-margin {
		return session, false
	}
	return x.session(key, e, now), true
}

// future reports whether a last use was written by a clock that was ahead.
func (x *Index) future(last, now int64) bool {
	return last-now > x.ahead+authority.ClockSlack.Microseconds()
}

// expired reports whether a session with that last use is expired, or was found to be.
func (e *entry) expired(last int64, now time.Time, idle time.Duration) bool {
	return last < 0 || authority.Expired(store.Moment(last), store.Moment(e.expires), now, idle)
}

// session returns an entry as an authority.Session.
func (x *Index) session(key authority.SessionKey, e *entry, last int64) authority.Session {
	return authority.Session{
		Key:             key,
		User:            x.names.text(e.user),
		PasswordVersion: e.version,
		Client:          x.names.text(e.client),
		CreatedAt:       store.Moment(e.created),
		LastUsedAt:      store.Moment(max(last, -last)),
		ExpiresAt:       store.Moment(e.expires),
	}
}

// Add adds a session that was read or created when its shard counted so many removals.
// If the session is in the index already, Add leaves it as it is. It returns false if the
// count has changed: then the caller reads the row again.
func (x *Index) Add(session authority.Session, lastUsed, written int64, removals uint64) bool {
	user, client := x.names.number(session.User), x.names.number(session.Client)
	s := x.shard(session.Key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.removals != removals {
		return false
	}
	if s.sessions.find(&session.Key) != nil {
		return true
	}
	e := s.sessions.add(&session.Key)
	e.lastUsed.Store(lastUsed)
	e.written, e.created, e.expires = written, store.Micros(session.CreatedAt), store.Micros(session.ExpiresAt)
	e.version, e.user, e.client = session.PasswordVersion, user, client
	return true
}

// Remove removes a session and returns its exact last use, if it was in the index.
func (x *Index) Remove(key authority.SessionKey) (last int64, known bool) {
	s := x.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.removals++
	e := s.sessions.find(&key)
	if e == nil {
		return 0, false
	}
	last = e.lastUsed.Load()
	s.sessions.remove(&key)
	return max(last, -last), true
}

// Clear removes every session, and makes Add refuse those that are being read.
func (x *Index) Clear() {
	for i := range x.shards {
		s := &x.shards[i]
		s.mu.Lock()
		s.removals++
		s.sessions = table{}
		s.mu.Unlock()
	}
}

// Keep adds or replaces a session that was read when its shard counted so many removals,
// and whose uses up to covered need no writing. A shard that holds most sessions already
// loses another one.
func (x *Index) Keep(session authority.Session, covered int64, removals uint64, most int) {
	s := x.shard(session.Key)
	if s.cover(session.Key, covered, removals) {
		return
	}
	if s.len() >= most {
		s.evict()
	}
	x.Add(session, covered, covered, removals)
}

// cover sets until when uses of a session need no writing, and reports whether the
// session is in the index.
func (s *shard) cover(key authority.SessionKey, covered int64, removals uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.sessions.find(&key)
	if e != nil && s.removals == removals {
		e.written = covered
	}
	return e != nil
}

func (s *shard) len() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.sessions.used
}

// evict removes an arbitrary session.
func (s *shard) evict() {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := &s.sessions
	if t.used == 0 {
		return
	}
	i := rand.IntN(len(t.slots)) //nolint:gosec // any session will do
	for !t.slots[i].live {
		i = t.next(i)
	}
	key := t.slots[i].key
	t.remove(&key)
}
