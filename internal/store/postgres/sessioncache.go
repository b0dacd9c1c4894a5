package postgres

import (
	"sync/atomic"
	"time"

	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/store/sessionindex"
)

// sessionCache holds live sessions that this replica has checked, and decides whether
// they may be trusted. Other replicas end sessions in the database. The database
// notifies every replica of that (listener.go), in the order of the commits.
//
// A cached session is trusted only under a heartbeat: a notification that this replica
// sent to itself and received again. Everything that was committed before a heartbeat
// was sent has been received and applied when the heartbeat comes back. So a session
// that is still in the cache after a heartbeat was received had not ended when that
// heartbeat was sent. A heartbeat is good for authority.MaxStaleness from when it was sent.
// Hence the promise: MaxStaleness after the commit that ends a session, no replica returns
// it, whatever the network, the database or the replica does in the meantime.
type sessionCache struct {
	index *sessionindex.Index
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
func newSessionCache(clock func() time.Duration, ahead time.Duration) *sessionCache {
	if clock == nil {
		clock = bootTime
	}
	return &sessionCache{index: sessionindex.New(ahead), clock: clock, wake: make(chan struct{}, 1)}
}

// use returns a cached session that may be trusted, as of a use at now.
func (c *sessionCache) use(key authority.SessionKey, now time.Time) (authority.Session, bool) {
	// The order matters. What was notified before the heartbeat has left the index
	// before the lookup; and the clock is read last, so that a pause of the process
	// anywhere in between makes the heartbeat too old.
	beat := c.beat.Load()
	session, found := c.index.Covered(key, now.UnixMicro(), endMargin)
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
	return beat != nil && c.clock()-beat.sent < authority.MaxStaleness
}

// want asks for heartbeats. They are sent only while sessions are checked.
func (c *sessionCache) want() {
	if c.wanted.Load() || c.wanted.Swap(true) { // usually it is set, and no other core's cache is touched
		return
	}
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// mark is taken before a session is read from the database, and lets keep detect that the
// session may have ended since.
func (c *sessionCache) mark(key authority.SessionKey) uint64 {
	return c.index.Removals(sessionindex.ShardOf(key))
}

// keep adds a session that is covered until then, unless a notification since mark may
// have been about it.
func (c *sessionCache) keep(session authority.Session, covered time.Time, mark uint64) {
	if c.beat.Load() != nil { // else it would only take memory
		c.index.Keep(session, covered.UnixMicro(), mark, maxCached)
	}
}

// forget removes a session that has ended.
func (c *sessionCache) forget(key authority.SessionKey) { c.index.Remove(key) }

// forgetAll removes everything, API clients included.
func (c *sessionCache) forgetAll() {
	c.clients.Add(1)
	c.index.Clear()
}

// distrust is called when a connection is lost: nothing is trusted until a heartbeat has
// come back over another one.
func (c *sessionCache) distrust() {
	c.beat.Store(nil)
	c.forgetAll()
}
