// Package sessionindex holds live sessions in memory. The embedded engine holds all of
// them there; a replica on PostgreSQL those that it has checked lately.
package sessionindex

import (
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
	index    map[authority.SessionKey]uint32 // key → position in pages
	pages    []*[pageSize]entry
	free     []uint32
	used     uint32
	removals uint64
}

// pageSize entries are allocated at a time; their addresses never change.
const pageSize = 256

// entry is a live session. It holds no pointer, so that the garbage collector need not
// visit a million of them.
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

// New returns an empty index for an engine that writes last_used at most so far ahead of
// the last use.
func New(ahead time.Duration) *Index {
	x := &Index{ahead: ahead.Microseconds()}
	for i := range x.shards {
		x.shards[i].index = map[authority.SessionKey]uint32{}
	}
	return x
}

// ShardOf returns the shard of a session.
func ShardOf(key authority.SessionKey) int { return int(key[0]) }

func (x *Index) shard(key authority.SessionKey) *shard { return &x.shards[ShardOf(key)] }

func (s *shard) at(position uint32) *entry { return &s.pages[position/pageSize][position%pageSize] }

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
	position, known := s.index[key]
	if !known {
		return Use{}
	}
	e := s.at(position)
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
	position, known := s.index[key]
	if !known {
		return session, false
	}
	e := s.at(position)
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
	if _, found := s.index[session.Key]; found {
		return true
	}
	position := s.used
	if n := len(s.free); n > 0 {
		position, s.free = s.free[n-1], s.free[:n-1]
	} else {
		if position%pageSize == 0 {
			s.pages = append(s.pages, new([pageSize]entry))
		}
		s.used++
	}
	e := s.at(position)
	e.lastUsed.Store(lastUsed)
	e.logged.Store(0)
	e.written, e.created, e.expires = written, store.Micros(session.CreatedAt), store.Micros(session.ExpiresAt)
	e.version, e.user, e.client = session.PasswordVersion, user, client
	s.index[session.Key] = position
	return true
}

// Remove removes a session and returns its exact last use, if it was in the index.
func (x *Index) Remove(key authority.SessionKey) (last int64, known bool) {
	s := x.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.removals++
	position, known := s.index[key]
	if !known {
		return 0, false
	}
	last = s.at(position).lastUsed.Load()
	last = max(last, -last)
	delete(s.index, key)
	s.free = append(s.free, position)
	return last, true
}

// Clear removes every session, and makes Add refuse those that are being read.
func (x *Index) Clear() {
	for i := range x.shards {
		s := &x.shards[i]
		s.mu.Lock()
		s.removals++
		if len(s.index) > 0 {
			s.index, s.pages, s.free, s.used = map[authority.SessionKey]uint32{}, nil, nil, 0
		}
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
	position, known := s.index[key]
	if known && s.removals == removals {
		s.at(position).written = covered
	}
	return known
}

func (s *shard) len() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.index)
}

// evict removes an arbitrary session.
func (s *shard) evict() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, position := range s.index {
		delete(s.index, key)
		s.free = append(s.free, position)
		return
	}
}
