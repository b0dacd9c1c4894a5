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

	inUse   atomic.Bool // raised by requests, lowered by the beat
	over    atomic.Bool // refused, idle, or no longer ours: not to be used again
	refused atomic.Bool // the upstream said so

	every  time.Duration // between beats
	touch  func(time.Time)
	mu     sync.Mutex // guards what follows
	used   time.Time
	shared time.Time // the last use that was told to the State
	timer  *time.Timer
}

// newSession starts the watch. used is the last use, or the login.
func (k *Keeper) newSession(token latchkey.Secret, used time.Time) *session {
	s := &session{
		token: token, header: []string{token.Reveal()},
		every: k.config.IdleTimeout / beatsPerLife, touch: k.touch, used: used, shared: used,
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.timer = time.AfterFunc(s.every, s.beat)
	return s
}

// idleLimit is how long a session may have been unused.
func (k *Keeper) idleLimit() time.Duration {
	return k.config.IdleTimeout - idleMargin*(k.config.IdleTimeout/beatsPerLife)
}

// use notes that a request is about to be sent with s. It counts even if the
// request then fails: while the upstream is away, a session must not seem idle,
// since that would lead to a login.
func (s *session) use() {
	if !s.inUse.Load() { // storing what is there already would cost the other cores their cached copy
		s.inUse.Store(true)
	}
}

// beat notes the use since the last beat, and gives the session up when there
// was none for too long.
func (s *session) beat() {
	if s.over.Load() {
		return
	}
	used, tell := s.note(touchEvery)
	if tell {
		s.touch(used)
	}
	if time.Since(used) >= (beatsPerLife-idleMargin)*s.every {
		s.over.Store(true)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.over.Load() {
		s.timer.Reset(s.every)
	}
}

// note answers the last use, and whether it is time to tell the State of it,
// which it is no sooner than apart after the last time.
func (s *session) note(apart time.Duration) (used time.Time, tell bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.inUse.Swap(false) {
		s.used = time.Now()
	}
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
		s.touch(used)
	}
}

// lastUse answers it as far as it is known, which is to a beat.
func (s *session) lastUse() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
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

// bearer is an access token.
type bearer struct {
	latchkey.AccessToken
	header   []string // the value of its header
	fetched  time.Time
	refusals int // of the bearers before it, in a row

	due     atomic.Bool // refused, or close to its end
	refused atomic.Bool
}

func newBearer(token latchkey.AccessToken, last *bearer) *bearer {
	now := time.Now()
	b := &bearer{AccessToken: token, header: []string{"Bearer " + token.Token.Reveal()}, fetched: now}
	if last != nil && last.refused.Load() {
		b.refusals = last.refusals + 1
	}
	// A token that was handed out late in its hour is kept for half of the rest,
	// as latchkey.Client does.
	left := token.ExpiresAt.Sub(now)
	time.AfterFunc(max(left-min(bearerMargin, left/2), bearerRest), func() { b.due.Store(true) })
	return b
}

// resting reports whether b was fetched too recently to be renewed.
func (b *bearer) resting() bool { return b.refusals > 1 && time.Since(b.fetched) < bearerRest }

// usable reports whether a request with b may succeed.
func (b *bearer) usable() bool {
	return b != nil && !b.refused.Load() && (!b.due.Load() || time.Now().Before(b.ExpiresAt))
}
