package redisstore

import (
	"sync"
	"time"

	"github.com/latchkey/latchkey/internal/authority"
)

// copied is a session that was live, and until when its uses are covered by what
// the record knows. Times are microseconds.
type copied struct {
	revision string // of the lease that it was fetched under
	epoch    int64
	user     string
	client   string
	version  int64
	created  int64
	expires  int64
	covered  int64
}

// endMargin keeps copies from being answered so close to an absolute end that
// clocks of replicas could differ about it.
const endMargin = int64(time.Second / time.Microsecond)

// covers reports whether the session is live at a time and needs no writing for it.
func (c *copied) covers(now time.Time) bool {
	us := now.UnixMicro()
	return us <= c.covered && (c.expires == 0 || us < c.expires-endMargin)
}

// used is the session as of a use.
func (c *copied) used(key authority.SessionKey, now time.Time) authority.Session {
	session := authority.Session{Key: key, User: c.user, PasswordVersion: c.version, Client: c.client,
		CreatedAt: time.UnixMicro(c.created).UTC(), LastUsedAt: now}
	if c.expires != 0 {
		session.ExpiresAt = time.UnixMicro(c.expires).UTC()
	}
	return session
}

// copies are those in memory. A copy must not come in that was fetched before its
// session ended; so each shard counts what it was told to forget, as of
// whoever puts one in has to know.
type copies struct{ shards [256]copyShard }

type copyShard struct {
	mu        sync.RWMutex
	all       map[authority.SessionKey]*copied
	forgotten uint64
}

// maxCopies bounds a shard, and so the memory: a million copies take some 250 MB.
const maxCopies = 4096

func newCopies() *copies {
	c := &copies{}
	for i := range c.shards {
		c.shards[i].all = map[authority.SessionKey]*copied{}
	}
	return c
}

// get answers a copy that may be relied on under a lease.
func (c *copies) get(key authority.SessionKey, l *lease) (*copied, bool) {
	s := &c.shards[key[0]]
	s.mu.RLock()
	found := s.all[key]
	s.mu.RUnlock()
	return found, found != nil && found.epoch == l.epoch && found.revision == l.revision
}

func (c *copies) forgotten(key authority.SessionKey) uint64 {
	s := &c.shards[key[0]]
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.forgotten
}

// put keeps a copy, unless the shard was told to forget something meanwhile.
func (c *copies) put(key authority.SessionKey, found *copied, forgotten uint64) {
	s := &c.shards[key[0]]
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.forgotten != forgotten {
		return
	}
	if _, there := s.all[key]; !there && len(s.all) >= maxCopies {
		for other := range s.all { // any one; it is in Redis still
			delete(s.all, other)
			break
		}
	}
	s.all[key] = found
}

func (c *copies) forget(key authority.SessionKey) {
	s := &c.shards[key[0]]
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, key)
	s.forgotten++
}
