package sqlstore

import (
	"sync"
	"sync/atomic"

	"github.com/latchkey/latchkey/internal/authority"
)

// resident is the index of live sessions in memory. It holds every session that
// was created or read since Open, and, once complete, every one there is.
//
// The last use is exact here. The table's last_used is written ahead of it, at
// creation and whenever the last use comes close (slides.go), so that a crash
// never makes a session expire early.
//
// A session that ended must not come back through a row that was read before it
// ended. So each shard counts its endings: whoever reads rows to fill them in
// notes the count first, and fill refuses when it has changed since.
type resident struct {
	shards   [256]shard
	ahead    int64 // how far last_used may be ahead of the last use
	names    names
	complete chan struct{} // closed when every live session is here
}

type shard struct {
	mu    sync.RWMutex
	index map[authority.SessionKey]uint32 // key → place in pages
	pages []*[pageSize]entry
	free  []uint32
	used  uint32
	ends  uint64
}

// pageSize entries are allocated at a time; their places never move.
const pageSize = 256

// entry is a live session. It holds no pointer, so that the garbage collector
// need not visit a million of them. Times are microseconds.
type entry struct {
	// lastUsed is negative once the session was found expired: then it stays
	// dead, even for a clock that goes back.
	lastUsed atomic.Int64
	// logged is until when a record in the log of uses covers the session (uselog.go).
	logged  atomic.Int64
	written int64 // last_used in the table; guarded by shard.mu
	created int64
	expires int64
	version int64
	user    uint32 // in names
	client  uint32 // in names
}

func newResident() *resident {
	r := &resident{complete: make(chan struct{})}
	for i := range r.shards {
		r.shards[i].index = map[authority.SessionKey]uint32{}
	}
	return r
}

// isComplete tells whether a key that is not here names no live session.
func (r *resident) isComplete() bool {
	select {
	case <-r.complete:
		return true
	default:
		return false
	}
}

func (r *resident) shard(key authority.SessionKey) *shard { return &r.shards[key[0]] }

func (s *shard) at(place uint32) *entry { return &s.pages[place/pageSize][place%pageSize] }

// endings returns how many sessions of the shard have ended so far.
func (s *shard) endings() uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.ends
}

// use slides a session and answers it; known says whether the session is here.
// An expired one is here, but not live. covered reports whether a process that starts
// after a crash would know of a use at this time.
func (r *resident) use(key authority.SessionKey, now, idle int64) (session authority.Session, live, known, covered bool) {
	s := r.shard(key)
	s.mu.RLock()
	defer s.mu.RUnlock()
	place, known := s.index[key]
	if !known {
		return session, false, false, false
	}
	e := s.at(place)
	for {
		last := e.lastUsed.Load()
		switch {
		case last < 0:
			return session, false, true, true
		case e.expired(last, now, idle):
			if e.lastUsed.CompareAndSwap(last, -last) {
				return session, false, true, true
			}
		case last >= now && !r.future(last, now) || e.lastUsed.CompareAndSwap(last, now):
			if r.future(last, now) {
				last = now
			}
			return r.session(key, e, max(last, now)), true, true, now <= e.written || now <= e.logged.Load()
		}
	}
}

// future reports whether a last use was written by a clock that was ahead.
func (r *resident) future(last, now int64) bool {
	return last-now > r.ahead+clockSlack.Microseconds()
}

// logged notes until when the log of uses covers a session.
func (r *resident) logged(key authority.SessionKey, until int64) {
	s := r.shard(key)
	s.mu.RLock()
	defer s.mu.RUnlock()
	if place, known := s.index[key]; known {
		s.at(place).logged.Store(until)
	}
}

func (e *entry) expired(last, now, idle int64) bool {
	return last < 0 || now-last >= idle || e.expires != 0 && now >= e.expires
}

// session makes the public form of an entry.
func (r *resident) session(key authority.SessionKey, e *entry, last int64) authority.Session {
	return authority.Session{
		Key:             key,
		User:            r.names.text(e.user),
		PasswordVersion: e.version,
		Client:          r.names.text(e.client),
		CreatedAt:       moment(e.created),
		LastUsedAt:      moment(max(last, -last)),
		ExpiresAt:       moment(e.expires),
	}
}

// fill adds a session that was read or created when the shard had counted ends
// endings, unless it is there. It answers false when the count has changed: then
// the row has to be read again.
func (r *resident) fill(session authority.Session, lastUsed, written int64, ends uint64) bool {
	user, client := r.names.number(session.User), r.names.number(session.Client)
	s := r.shard(session.Key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ends != ends {
		return false
	}
	if _, there := s.index[session.Key]; there {
		return true
	}
	place := s.used
	if n := len(s.free); n > 0 {
		place, s.free = s.free[n-1], s.free[:n-1]
	} else {
		if place%pageSize == 0 {
			s.pages = append(s.pages, new([pageSize]entry))
		}
		s.used++
	}
	e := s.at(place)
	e.lastUsed.Store(lastUsed)
	e.logged.Store(0)
	e.written, e.created, e.expires = written, micros(session.CreatedAt), micros(session.ExpiresAt)
	e.version, e.user, e.client = session.PasswordVersion, user, client
	s.index[session.Key] = place
	return true
}

// created sets the last use of a session that nobody can have used yet.
func (r *resident) created(key authority.SessionKey, used int64) {
	s := r.shard(key)
	s.mu.RLock()
	defer s.mu.RUnlock()
	if place, known := s.index[key]; known {
		s.at(place).lastUsed.Store(used)
	}
}

// end takes a session out and answers its exact last use, if it was here.
func (r *resident) end(key authority.SessionKey) (last int64, known bool) {
	s := r.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ends++
	place, known := s.index[key]
	if !known {
		return 0, false
	}
	last = s.at(place).lastUsed.Load()
	last = max(last, -last)
	delete(s.index, key)
	s.free = append(s.free, place)
	return last, true
}

// takeExpired takes up to limit expired sessions out and answers them.
func (r *resident) takeExpired(now, idle int64, limit int) []authority.Session {
	var taken []authority.Session
	for i := range r.shards {
		s := &r.shards[i]
		if !r.anyDue(s, now, idle) {
			continue
		}
		s.mu.Lock() // with the lock held nobody can use one meanwhile
		for key, place := range s.index {
			if len(taken) == limit {
				break
			}
			e := s.at(place)
			r.pullBack(e, now)
			if last := e.lastUsed.Load(); e.expired(last, now, idle) {
				taken = append(taken, r.session(key, e, last))
				delete(s.index, key)
				s.free = append(s.free, place)
				s.ends++
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
func (r *resident) anyDue(s *shard, now, idle int64) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, place := range s.index {
		e := s.at(place)
		if last := e.lastUsed.Load(); e.expired(last, now, idle) || r.future(last, now) || e.created > now+clockSlack.Microseconds() {
			return true
		}
	}
	return false
}

// pullBack makes times of now of those in the future, as the table's are. The shard is
// locked.
func (r *resident) pullBack(e *entry, now int64) {
	if last := e.lastUsed.Load(); r.future(last, now) {
		e.lastUsed.Store(now)
	}
	if ahead := e.created - now; ahead > clockSlack.Microseconds() {
		e.created = now
		if e.expires != 0 {
			e.expires -= ahead
		}
	}
}

// names numbers the user names and API keys that sessions carry, so that each is
// kept once. They are as few as there are accounts.
type names struct {
	mu      sync.Mutex
	numbers map[string]uint32
	texts   atomic.Pointer[[]string]
}

func (n *names) text(number uint32) string { return (*n.texts.Load())[number] }

func (n *names) number(text string) uint32 {
	n.mu.Lock()
	defer n.mu.Unlock()
	number, ok := n.numbers[text]
	if ok {
		return number
	}
	if n.numbers == nil {
		n.numbers = map[string]uint32{}
	}
	var texts []string
	if old := n.texts.Load(); old != nil {
		texts = *old
	}
	number = uint32(len(texts)) //nolint:gosec // fewer than there are accounts
	n.numbers[text] = number
	// Readers of the old slice never look past its length.
	texts = append(texts, text)
	n.texts.Store(&texts)
	return number
}
