package keeper

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/keeper/internal/ledger"
)

const (
	// beatsPerLife is how precisely the use of a session is timed: to a beat of 15 s with
	// the documented idle timeout of 20 minutes. Requests only set a flag that the beat
	// clears, so that they neither read the clock nor contend.
	beatsPerLife = 80
	// idleMargin is how many beats before its idle timeout a session is replaced. Up to
	// one beat may have passed between the last use and the beat that noted it. The other
	// one is for the request to arrive.
	idleMargin = 2
	// touchEvery is how often the use of a session is recorded in the State.
	touchEvery = 30 * time.Second
	// shortLife is how long a session must have lasted for its refusal to be its normal
	// end: see ledger.Rules.
	shortLife = 5 * time.Minute
	// strikePause is how long the next login waits after a strike, in all processes. Trouble
	// that is over by then costs one strike, and needs no operator.
	strikePause = 10 * time.Second
)

// session is a session token and the record of its use. What requests read of it is
// constant or atomic.
type session struct {
	token  latchkey.Secret
	header []string // the token, as the value of its header
	keeper *Keeper
	met    time.Time // when it was obtained, by the system's clock

	inUse   atomic.Bool // set by requests, cleared by the beat
	over    atomic.Bool // idle, replaced, or logged out: not to be used any more
	refused atomic.Bool // marked as refused: a resource of the upstream refused it

	serial uint64 // of all sessions and bearers, in the order in which they were obtained
	found  bool   // it is from the State, and may be as dead as the one before

	mu     sync.Mutex // guards what follows
	used   time.Time
	shared time.Time // the last use that is recorded in the State
	timer  *time.Timer
}

// newSession returns a session and starts its beat. used is the last use, or the login.
func (k *Keeper) newSession(token latchkey.Secret, used time.Time) *session {
	s := &session{token: token, header: []string{token.Reveal()}, keeper: k, met: time.Now(),
		used: used, shared: used, serial: k.serials.Add(1)}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.timer = time.AfterFunc(k.beatEvery(), s.beat)
	return s
}

// held returns s for the ledger. s may be nil.
func (s *session) held() ledger.Held {
	if s == nil {
		return ledger.Held{}
	}
	return ledger.Held{Token: s.token.Reveal(), Refused: s.refused.Load(), Age: time.Since(s.met)}
}

func (k *Keeper) beatEvery() time.Duration { return k.config.IdleTimeout / beatsPerLife }

// idleLimit is how long a session may have been unused.
func (k *Keeper) idleLimit() time.Duration {
	return k.config.IdleTimeout - idleMargin*k.beatEvery()
}

// use notes that a request was sent with s and not refused. It counts even if the request
// failed: while the upstream cannot be reached, a session must not seem idle, because that
// would cause a login.
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

// dead reports whether s must not be used any more. It reads the clock only if that is not
// the system's, because beats do not follow it then.
func (s *session) dead() bool { return s.over.Load() || s.keeper.foreign && s.expired() }

// expired reports whether the session is over, and ends it if it was unused for too long.
// With a clock that is not the system's, it also starts a check that is due.
func (s *session) expired() bool {
	now := s.keeper.now()
	if s.keeper.foreign && s.keeper.nextLook.due(now) {
		s.keeper.watch.Reset(0)
	}
	if ledger.Since(s.lastUse(), now) >= s.keeper.idleLimit() {
		s.over.Store(true)
	}
	return s.over.Load()
}

// beat notes the use since the last beat, and ends the session if there was none for too
// long. It also checks the bearer, whose timer does not run while the machine sleeps.
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

// note returns the last use, and whether it has to be recorded in the State, which is done
// at intervals of apart or longer.
func (s *session) note(apart time.Duration) (used time.Time, tell bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.keeper.now()
	if s.inUse.Swap(false) {
		s.used = now
	}
	s.used, s.shared = ledger.NotAfter(s.used, now), ledger.NotAfter(s.shared, now)
	tell = s.used.After(s.shared) && s.used.Sub(s.shared) >= apart
	if tell {
		s.shared = s.used
	}
	return s.used, tell
}

// stop ends the beat, and records the last use in the State.
func (s *session) stop() {
	s.over.Store(true)
	s.mu.Lock()
	s.timer.Stop()
	s.mu.Unlock()
	if used, tell := s.note(0); tell {
		s.keeper.touch(used)
	}
}

// lastUse returns the last use, to a beat.
func (s *session) lastUse() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used = ledger.NotAfter(s.used, s.keeper.now())
	return s.used
}

// touch records in the State that the session was used.
func (k *Keeper) touch(at time.Time) {
	ctx, cancel := context.WithTimeout(context.Background(), saveLimit)
	defer cancel()
	if err := k.config.State.Touch(ctx, at); err != nil {
		k.note(Event{Kind: EventStateFailed, Err: stateError("touch", err)})
	}
}

// install makes s, which a login has just opened, the session of all callers.
func (k *Keeper) install(s *session) {
	if before := k.sessions.install(s); before != nil {
		before.stop()
	}
}
