// Package redisstore keeps copies of live sessions where session checks find them
// faster than in a database: in Redis (or Valkey; alone, behind Sentinel, or as a
// Cluster), which all replicas share, and, of what Redis holds, in the memory of
// each.
//
// The database stays the record. A session is created, slid and ended there first,
// and only it says that a session is over; copies say "live", or nothing. So Redis
// may lose everything, be restored from last week, fail over to a node that lags,
// or be away: no session is lost, and none that has ended is answered. Without
// Redis, checks are answered by the database.
//
// What makes a copy true:
//
//   - A session that ends is marked in Redis before it ends on the record, so that
//     nobody answers a copy of it when who ends it dies or hears nothing, and again
//     before the end is acknowledged. Redis tells every replica that has a copy in
//     memory (client tracking).
//   - A copy is answered only under a lease, which is 100 ms old at most: then
//     every node of Redis, on the connection that also carries what it has to tell,
//     and the database have answered. So a replica that Redis cannot reach stops
//     relying on its copies by itself.
//   - The lease also says which history Redis has (its replication ID). When it is
//     another one than before, Redis may have forgotten an end: the database then
//     gives copies another name, and all that were made before count no more.
//   - A connection that is made anew revokes the lease before it can carry
//     anything.
//   - Where Redis cannot be told that a session has ended, the database changes the
//     name as well, and the end is acknowledged when every lease from before is over.
//
// So an ended session is refused everywhere 100 ms after its end was acknowledged
// at the latest, whatever fails, and mostly within a millisecond.
package redisstore

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/latchkey/latchkey/internal/authority"
)

// Record is where sessions are kept for good, and the name that copies have.
type Record interface {
	Sessions
	Revisions
}

// Sessions is where sessions are kept for good.
type Sessions interface {
	CreateSession(ctx context.Context, session authority.Session) error
	// CoverSession is authority.SessionStore's UseSession, and answers until when
	// no use of the session needs to be written.
	CoverSession(ctx context.Context, key authority.SessionKey, now time.Time, idle time.Duration) (authority.Session, time.Time, error)
	// EndOnRecord is authority.SessionStore's EndSession.
	EndOnRecord(ctx context.Context, key authority.SessionKey, end authority.End) (authority.Session, error)
	// EndUserOnRecord is authority.SessionStore's EndUserSessions, and answers which
	// ones it ended.
	EndUserOnRecord(ctx context.Context, user string, version int64, keep authority.SessionKey, end authority.End) ([]authority.SessionKey, error)
	// LiveSessions are those that EndUserOnRecord would end.
	LiveSessions(ctx context.Context, user string, version int64, keep authority.SessionKey) ([]authority.SessionKey, error)
}

// Revisions tell which copies count.
type Revisions interface {
	// CacheRevision answers the name that copies have in a cache with this history.
	// It is another one than before whenever the history is.
	CacheRevision(ctx context.Context, history string) (string, error)
	// DropCopies has no copy count that was made before, and returns when every
	// lease from before is over.
	DropCopies(ctx context.Context) error
}

// Options say which Redis to use.
type Options struct {
	// URL is redis://, rediss://, valkey:// or unix://, with further nodes as
	// &addr=HOST:PORT. A Cluster is recognized; ?master_set=NAME makes the
	// addresses those of Sentinels.
	URL    string
	Record Record
	// Key proves that a replica made a copy. It is secret, and the same in all.
	Key []byte
	Log *slog.Logger // nil: slog.Default()
}

// Store is an authority.SessionStore. It is safe for concurrent use.
type Store struct {
	record Record
	key    []byte
	option rueidis.ClientOption
	client atomic.Pointer[rueidis.Client] // nil until Redis answered for the first time
	log    *slog.Logger

	epoch     atomic.Int64 // grows whenever a connection is lost or made
	lease     atomic.Pointer[lease]
	renewing  sync.Mutex
	behind    atomic.Bool
	relied    atomic.Bool // whether Redis was said to be relied on
	local     *copies
	stop      context.CancelFunc
	running   context.Context //nolint:containedctx // ends with the Store
	tasks     sync.WaitGroup
	fromLocal atomic.Int64 // checks that were answered from this process's memory
	fromRedis atomic.Int64
	fromBelow atomic.Int64 // from the record
}

var _ authority.SessionStore = (*Store)(nil)

const (
	// patience is what Redis is given for one answer. The record is asked after
	// that.
	patience = 250 * time.Millisecond
	// reconnect is how often a Redis is looked for that was never there.
	reconnect = time.Second
	firstTry  = 2 * time.Second
)

// Open answers a Store. A Redis that is away is looked for in the background, and
// sessions come from the record meanwhile.
func Open(ctx context.Context, options Options) (*Store, error) {
	s := &Store{record: options.Record, key: derived(options.Key), log: options.Log, local: newCopies()}
	if s.log == nil {
		s.log = slog.Default()
	}
	option, err := parse(options.URL)
	if err != nil {
		return nil, err
	}
	s.option = s.prepared(option)
	s.running, s.stop = context.WithCancel(context.Background())
	connected := make(chan struct{})
	s.tasks.Go(func() { s.connect(connected) })
	first := time.NewTimer(firstTry)
	defer first.Stop()
	select {
	case <-connected:
		_, _ = s.renew(ctx, time.Now()) // it says by itself what is wrong
	case <-first.C:
	case <-ctx.Done():
		return nil, errors.Join(ctx.Err(), s.Close())
	}
	return s, nil
}

// derived is a key for copies alone.
func derived(key []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte("copies of sessions"))
	return mac.Sum(nil)
}

// Close gives the connections up.
func (s *Store) Close() error {
	s.stop()
	s.tasks.Wait()
	if client := s.client.Load(); client != nil {
		(*client).Close()
	}
	return nil
}

// CreateSession implements authority.SessionStore.
func (s *Store) CreateSession(ctx context.Context, session authority.Session) error {
	return s.record.CreateSession(ctx, session)
}

// UseSession implements authority.SessionStore.
func (s *Store) UseSession(ctx context.Context, key authority.SessionKey, now time.Time, idle time.Duration) (authority.Session, error) {
	l := s.leased()
	stale := false // there is a copy, and it does not answer
	if l != nil {
		if c, ok := s.local.get(key, l); ok && c.covers(now) {
			s.fromLocal.Add(1)
			return c.used(key, now), nil
		}
		c := s.fetch(ctx, l, key)
		if c != nil && c.covers(now) {
			s.fromRedis.Add(1)
			return c.used(key, now), nil
		}
		stale = c != nil
	}
	s.fromBelow.Add(1)
	session, covered, err := s.record.CoverSession(ctx, key, now, idle)
	if err == nil && l != nil && covered.After(now) {
		// Under the lease from before the record was asked: an end since then has
		// either left its mark under the same name, or changed the name.
		s.fill(ctx, l, session, covered, idle)
	}
	if stale && errors.Is(err, authority.ErrNotFound) {
		// It expired. Nobody answers a copy at this time; this is for clocks that go
		// back.
		s.local.forget(key)
		_ = s.mark(ctx, l, []authority.SessionKey{key})
	}
	return session, err
}

// EndSession implements authority.SessionStore.
func (s *Store) EndSession(ctx context.Context, key authority.SessionKey, end authority.End) (authority.Session, error) {
	warned := s.warn(ctx, key)
	session, err := s.record.EndOnRecord(ctx, key, end)
	if err == nil || !warned { // one that was not answered may have ended it before
		if untold := s.tell(ctx, key); untold != nil {
			err = untold
		}
	}
	if err != nil {
		return authority.Session{}, err
	}
	return session, nil
}

// EndUserSessions implements authority.SessionStore.
func (s *Store) EndUserSessions(ctx context.Context, user string, version int64, keep authority.SessionKey, end authority.End) (int, error) {
	live, err := s.record.LiveSessions(ctx, user, version, keep)
	if err != nil {
		return 0, err
	}
	warned := s.warn(ctx, live...)
	keys, err := s.record.EndUserOnRecord(ctx, user, version, keep, end)
	switch {
	case err == nil && len(keys) > 0:
		err = s.tell(ctx, keys...)
	case !warned: // this one or one before may have ended some without an answer
		err = errors.Join(err, s.record.DropCopies(ctx))
	}
	if err != nil {
		return 0, err
	}
	return len(keys), nil
}

// warn has nobody rely on copies of sessions that are about to end: whoever ends them
// may not live to tell, or not be told that they have ended. The record is asked
// about them from then on, whatever comes of it. It answers whether that worked.
func (s *Store) warn(ctx context.Context, keys ...authority.SessionKey) bool {
	if len(keys) == 0 {
		return s.leased() != nil
	}
	l := s.leased()
	if l == nil {
		var err error
		if l, err = s.renew(ctx, time.Now()); err != nil {
			return false
		}
	}
	return s.mark(ctx, l, keys) == nil
}

// tell has no replica rely on copies of sessions that have ended.
func (s *Store) tell(ctx context.Context, keys ...authority.SessionKey) error {
	for _, key := range keys {
		s.local.forget(key)
	}
	for range 3 {
		l := s.leased()
		var err error
		if l == nil {
			l, err = s.renew(ctx, time.Now())
		}
		if err == nil {
			err = s.mark(ctx, l, keys)
		}
		if err != nil {
			break
		}
		// Only if the name is the same afterwards have the marks reached everybody.
		after, err := s.renew(ctx, time.Now())
		if err != nil {
			break
		}
		if after.revision == l.revision {
			return nil
		}
	}
	return s.record.DropCopies(ctx)
}
