package keeper

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/latchkey/latchkey"
)

const (
	// beatsPerLife is how finely the use of a session is timed: to a beat of 15 s
	// with the documented idle timeout of 20 minutes. Requests only raise a flag
	// that the beat lowers, so that they neither read the clock nor contend.
	beatsPerLife = 80
	// idleMargin, in beats, is how long before its idle timeout a session is
	// given up. Up to one beat may have passed between the last use and the beat
	// that noted it; the other is for the request that would be sent now to
	// arrive.
	idleMargin = 2
	// touchEvery is how often the use of a session is told to the State.
	touchEvery = 30 * time.Second
)

// session is a session token and the watch over its use. What requests read of
// it is constant or atomic.
type session struct {
	token  latchkey.Secret
	header []string // the token, as the value of its header
	keeper *Keeper
	met    time.Time // by the system's clock

	inUse   atomic.Bool // raised by requests, lowered by the beat
	over    atomic.Bool // idle, replaced, or no longer ours: not to be used again
	refused atomic.Bool // condemned: a resource of the upstream refused it

	serial  uint64 // of all sessions and bearers, in the order in which they were obtained
	adopted bool   // it is from the State, and may be as dead as the one before

	mu     sync.Mutex // guards what follows
	used   time.Time
	shared time.Time // the last use that was told to the State
	timer  *time.Timer
}

// newSession starts the watch. used is the last use, or the login.
func (k *Keeper) newSession(token latchkey.Secret, used time.Time) *session {
	s := &session{token: token, header: []string{token.Reveal()}, keeper: k, met: time.Now(),
		used: used, shared: used, serial: k.serials.Add(1)}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.timer = time.AfterFunc(k.beatEvery(), s.beat)
	return s
}

func (k *Keeper) beatEvery() time.Duration { return k.config.IdleTimeout / beatsPerLife }

// idleLimit is how long a session may have been unused.
func (k *Keeper) idleLimit() time.Duration {
	return k.config.IdleTimeout - idleMargin*k.beatEvery()
}

// use notes that a request was sent with s and not refused. It counts even if the
// request failed: while the upstream is away, a session must not seem idle, since
// that would lead to a login.
func (s *session) use() {
	if s.keeper.foreign || !s.inUse.Load() { // storing what is there already would cost the other cores their cached copy
		s.noteUse()
	}
}

func (s *session) noteUse() {
	if !s.keeper.foreign {
		s.inUse.Store(true)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used = s.keeper.now()
}

// dead reports whether s may not be used again. Only a clock that is not the
// system's is read for that, since beats do not follow it.
func (s *session) dead() bool { return s.over.Load() || s.keeper.foreign && s.expired() }

// expired gives the session up if it was not used for too long. With a clock that
// is not the system's it also does what is due by it.
func (s *session) expired() bool {
	now := s.keeper.now()
	if s.keeper.foreign && s.keeper.nextLook.due(now) {
		s.keeper.watch.Reset(0)
	}
	if since(s.lastUse(), now) >= s.keeper.idleLimit() {
		s.over.Store(true)
	}
	return s.over.Load()
}

// beat notes the use since the last beat, and gives the session up when there
// was none for too long. It also looks at the bearer, whose timer stands still
// while the machine sleeps.
func (s *session) beat() {
	if s.over.Load() {
		return
	}
	if used, tell := s.note(touchEvery); tell {
		s.keeper.touch(used)
	}
	if b := s.keeper.bearers.current.Load(); b != nil {
		b.check()
	}
	if s.expired() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.over.Load() {
		s.timer.Reset(s.keeper.beatEvery())
	}
}

// note returns the last use, and whether it is time to tell the State of it,
// which it is no sooner than apart after the last time.
func (s *session) note(apart time.Duration) (used time.Time, tell bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.keeper.now()
	if s.inUse.Swap(false) {
		s.used = now
	}
	s.used, s.shared = past(s.used, now), past(s.shared, now)
	tell = s.used.After(s.shared) && s.used.Sub(s.shared) >= apart
	if tell {
		s.shared = s.used
	}
	return s.used, tell
}

// stop ends the watch, after telling the State of the last use.
func (s *session) stop() {
	s.over.Store(true)
	s.mu.Lock()
	s.timer.Stop()
	s.mu.Unlock()
	if used, tell := s.note(0); tell {
		s.keeper.touch(used)
	}
}

// lastUse returns it as far as it is known, which is to a beat.
func (s *session) lastUse() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used = past(s.used, s.keeper.now())
	return s.used
}

// bearerMargin is how long before its end a bearer is renewed, while it goes on
// being used. It is that of latchkey.Client, which would answer the same one
// before.
const bearerMargin = time.Minute

// bearerRest is how soon after it was fetched a bearer may be renewed where the
// ones before it were refused as quickly: it bounds the requests for tokens where
// the upstream refuses whatever it gives out. The first such bearer is spared, for
// it may have come from the cache of the upstream's client, and be as old as the
// one that it replaced.
const bearerRest = time.Second

// maxBearerLife bounds what is believed of the lifetime of a bearer. The documented
// one is an hour.
const maxBearerLife = 24 * time.Hour

// bearer is an access token.
type bearer struct {
	latchkey.AccessToken
	header   []string // the value of its header
	keeper   *Keeper
	life     time.Duration // from when it was fetched
	refusals int           // of the bearers before it, in a row, each within a minute
	cached   bool          // it may be as old as the one before: see bearerRest

	due     atomic.Bool // refused, or close to its end
	over    atomic.Bool // refused for certain
	refused atomic.Bool // condemned: a resource of the upstream refused it
	serial  uint64      // of all sessions and bearers, in the order in which they were obtained

	mu      sync.Mutex // guards fetched
	fetched time.Time
}

func (k *Keeper) newBearer(token latchkey.AccessToken, last *bearer) *bearer {
	now := k.now()
	b := &bearer{
		AccessToken: token, header: []string{"Bearer " + token.Token.Reveal()}, keeper: k, fetched: now,
		serial: k.serials.Add(1),
		life:   max(0, min(token.ExpiresAt.Sub(now), maxBearerLife)),
	}
	if last != nil && last.refused.Load() {
		b.refusals = 1
		if last.age() < freshBearer {
			b.refusals += last.refusals
		}
		b.cached = b.refusals == 1 && !b.Token.Equal(last.Token)
	}
	time.AfterFunc(b.fresh(), b.check)
	return b
}

// fresh is how long after it was fetched b is renewed. One that was handed out late
// in its hour is kept for half of the rest, as latchkey.Client does.
func (b *bearer) fresh() time.Duration {
	return max(b.life-min(bearerMargin, b.life/2), bearerRest)
}

// age returns how long ago b was fetched.
func (b *bearer) age() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.keeper.now()
	b.fetched = past(b.fetched, now)
	return since(b.fetched, now)
}

// check notes it if b is to be renewed.
func (b *bearer) check() {
	if b.age() >= b.fresh() {
		b.due.Store(true)
	}
}

// stale reports whether b is to be renewed. As with sessions, only a clock that is
// not the system's is read for that.
func (b *bearer) stale() bool {
	if b.keeper.foreign {
		b.check()
	}
	return b.due.Load()
}

// ended reports whether the life of b is over.
func (b *bearer) ended() bool { return b.life > 0 && b.age() >= b.life }

// resting reports whether b was fetched too recently to be renewed.
func (b *bearer) resting() bool { return b.refusals > 1 && b.age() < bearerRest }

// usable reports whether a request with b may succeed.
func (b *bearer) usable() bool {
	return b != nil && !b.refused.Load() && (!b.stale() || b.age() < b.life)
}

// condemned reports whether b was refused, and may be good all the same.
func (b *bearer) condemned() bool {
	return b != nil && b.refused.Load() && !b.over.Load() && b.age() < b.life
}
