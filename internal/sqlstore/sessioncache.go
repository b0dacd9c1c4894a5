package sqlstore

import (
	"sync/atomic"
	"time"

	"github.com/latchkey/latchkey/internal/authority"
)

// sessionCache holds live sessions that this replica has checked, and decides whether
// they may be trusted. Other replicas end sessions in the database. The database
// notifies every replica of that (listener.go), in the order of the commits.
//
// A cached session is trusted only under a heartbeat: a notification that this replica
// sent to itself and received again. Everything that was committed before a heartbeat
// was sent has been received and applied when the heartbeat comes back. So a session
// that is still in the cache after a heartbeat was received had not ended when that
// heartbeat was sent. A heartbeat is good for authority.Lease from when it was sent.
// Hence the promise: Lease after the commit that ends a session, no replica returns
// it, whatever the network, the database or the replica does in the meantime.
type sessionCache struct {
	index *resident // entry.written is until when no use has to be written
	clock func() time.Duration
	beat  atomic.Pointer[heartbeat] // the newest that came back; nil: nothing is trusted
	// clients counts the notifications that API clients have changed.
	clients atomic.Int64

	wanted atomic.Bool // whether a check has needed a heartbeat since the last one
	wake   chan struct{}

	hits   atomic.Int64
	misses atomic.Int64
}

// heartbeat is a notification of this replica to itself. Times are those of clock.
type heartbeat struct {
	sent time.Duration
	back time.Duration
}

const (
	// maxCached bounds the sessions in a shard of the cache, and maxCached times 256
	// those of a replica: 1,048,576, which take about 200 MB.
	maxCached = 4096
	// endMargin keeps a cached session from being returned so close to its absolute
	// end that the clocks of two replicas could differ about it.
	endMargin = int64(time.Second / time.Microsecond)
)

// newSessionCache returns an empty cache, which trusts nothing. clock counts from any
// moment, and goes on while the machine is suspended; nil: bootTime.
func newSessionCache(clock func() time.Duration) *sessionCache {
	if clock == nil {
		clock = bootTime
	}
	return &sessionCache{index: newResident(), clock: clock, wake: make(chan struct{}, 1)}
}

// use returns a cached session that may be trusted, as of a use at now.
func (c *sessionCache) use(key authority.SessionKey, now time.Time) (authority.Session, bool) {
	// The order matters. What was notified before the heartbeat has left the index
	// before the lookup; and the clock is read last, so that a pause of the process
	// anywhere in between makes the heartbeat too old.
	beat := c.beat.Load()
	session, found := c.index.cached(key, now.UnixMicro())
	c.want()
	if !found || !c.trusts(beat) {
		c.misses.Add(1)
		return authority.Session{}, false
	}
	c.hits.Add(1)
	session.LastUsedAt = now
	return session, true
}

// trusts reports whether what was in memory after the heartbeat was loaded is true.
func (c *sessionCache) trusts(beat *heartbeat) bool {
	return beat != nil && c.clock()-beat.sent < authority.Lease
}

// want asks for heartbeats. They are sent only while sessions are checked.
func (c *sessionCache) want() {
	if c.wanted.Load() || c.wanted.Swap(true) { // mostly it is, and no other core's memory is touched
		return
	}
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// mark is taken before a session is read from the database, and tells keep whether the
// session may have ended since.
func (c *sessionCache) mark(key authority.SessionKey) uint64 {
	return c.index.shard(key).endings()
}

// keep adds a session that is covered until then, unless a notification since mark may
// have been about it.
func (c *sessionCache) keep(session authority.Session, covered time.Time, mark uint64) {
	if c.beat.Load() != nil { // else it would only take memory
		c.index.keep(session, covered.UnixMicro(), mark)
	}
}

// forget removes a session that has ended.
func (c *sessionCache) forget(key authority.SessionKey) { c.index.end(key) }

// forgetAll removes everything, API clients included.
func (c *sessionCache) forgetAll() {
	c.clients.Add(1)
	c.index.clear()
}

// distrust is for a connection that was lost: nothing is trusted until a heartbeat has
// come back over another one.
func (c *sessionCache) distrust() {
	c.beat.Store(nil)
	c.forgetAll()
}

// cached returns a session whose use at now needs no writing.
func (r *resident) cached(key authority.SessionKey, now int64) (session authority.Session, ok bool) {
	s := r.shard(key)
	s.mu.RLock()
	defer s.mu.RUnlock()
	place, known := s.index[key]
	if !known {
		return session, false
	}
	e := s.at(place)
	if now > e.written || r.future(e.written, now) || e.expires != 0 && now >= e.expires-endMargin {
		return session, false
	}
	return r.session(key, e, now), true
}

// keep adds or replaces a session that was read when the shard had counted ends
// endings. A full shard loses another session.
func (r *resident) keep(session authority.Session, covered int64, ends uint64) {
	s := r.shard(session.Key)
	if s.cover(session.Key, covered, ends) {
		return
	}
	if s.full() {
		s.evict()
	}
	r.fill(session, covered, covered, ends)
}

// cover extends what covers a session that is there already.
func (s *shard) cover(key authority.SessionKey, covered int64, ends uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	place, known := s.index[key]
	if known && s.ends == ends {
		s.at(place).written = covered
	}
	return known
}

func (s *shard) full() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.index) >= maxCached
}

// evict removes any one session.
func (s *shard) evict() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, place := range s.index {
		delete(s.index, key)
		s.free = append(s.free, place)
		return
	}
}

// clear removes every session, and refuses those that are being read.
func (r *resident) clear() {
	for i := range r.shards {
		s := &r.shards[i]
		s.mu.Lock()
		s.ends++
		if len(s.index) > 0 {
			s.index, s.pages, s.free, s.used = map[authority.SessionKey]uint32{}, nil, nil, 0
		}
		s.mu.Unlock()
	}
}
